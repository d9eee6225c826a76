"""Opens a gallery wherever it is: a folder, a release in a bucket, or a collection of Milvus."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from deepfood.config import Settings
from deepfood.errors import MissingExtraError
from deepfood.gallery import Gallery, GalleryWriter, Photo, gallery_model
from deepfood.gallery.read_photos import EmbeddedPhoto
from deepfood.gallery.searched import SearchedGallery
from deepfood.gallery.writer import Outcome
from deepfood.milvus.address import MilvusAddress, is_milvus
from deepfood.model import Model, open_model
from deepfood.release.cached import cached
from deepfood.storage import is_remote

if TYPE_CHECKING:
    from deepfood.milvus.gallery import MilvusGallery


class AnyWriter(Protocol):
    """`GalleryWriter` says what each of these does."""

    def add(self, new: Sequence[EmbeddedPhoto]) -> list[Outcome]: ...
    def remove(self, names: Sequence[str]) -> list[Photo]: ...
    def update(
        self,
        name: str,
        *,
        label: str | None = None,
        photo_name: str | None = None,
        attributes: Mapping[str, object] | None = None,
    ) -> Photo: ...


def open_gallery(place: Path | str, settings: Settings) -> tuple["Gallery | MilvusGallery", Model]:
    """A gallery to search, and the Model for its queries: its own copy, or the one in `settings`.

    Raises ArtifactError, StorageError, EngineError, or MissingExtraError.
    """
    if is_milvus(place):
        return _on_milvus(MilvusAddress.parse(place), settings)
    folder = cached(str(place), settings) if is_remote(place) else Path(place)
    model = gallery_model(folder, settings.model)
    return Gallery.open(folder, model, settings.photos_root), model


def writing(
    gallery: SearchedGallery, settings: Settings, model: Model | None, *, wait_s: float = 0
) -> AbstractContextManager[AnyWriter]:
    """The writer of an open gallery. Raises ArtifactBusyError, ArtifactError or EngineError."""
    if isinstance(gallery, Gallery):
        return GalleryWriter.open(gallery.folder, model, wait_s=wait_s)
    return writer_of(gallery.place, settings, model)


@contextmanager
def writer_of(
    place: Path | str, settings: Settings, model: Model | None = None, *, wait_s: float = 0
) -> Iterator[AnyWriter]:
    """The writer of the gallery at `place`."""
    if not is_milvus(place):
        with GalleryWriter.open(Path(place), model, wait_s=wait_s) as writer:
            yield writer
        return
    _expect_pymilvus()
    from deepfood.milvus.writer import MilvusWriter

    with MilvusWriter.open(MilvusAddress.parse(place), settings, model) as on_milvus:
        yield on_milvus


def _on_milvus(address: MilvusAddress, settings: Settings) -> tuple["MilvusGallery", Model]:
    _expect_pymilvus()
    from deepfood.milvus.gallery import MilvusGallery
    from deepfood.milvus.model_copy import fetch_model

    gallery = MilvusGallery.open(address, settings)
    if settings.model is not None:
        model = open_model(settings.model)
    else:
        model = fetch_model(gallery.about, gallery.manifest.model_fingerprint, settings)
    gallery.check_model(model)
    return gallery, model


def _expect_pymilvus() -> None:
    try:
        import pymilvus  # noqa: F401
    except ImportError as error:
        raise MissingExtraError(
            "galleries on Milvus need pymilvus: pip install 'deepfood[milvus]'"
        ) from error
