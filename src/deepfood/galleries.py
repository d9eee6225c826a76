"""Opens a gallery wherever it is: a folder, a release in a bucket, or a collection of Milvus."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from deepfood.config import Settings
from deepfood.data.photos import PhotoSource
from deepfood.embed import Embedder, open_embedder
from deepfood.errors import ArtifactMissingError, MissingExtraError
from deepfood.gallery import (
    BuildReport,
    Gallery,
    GalleryManifest,
    GalleryWriter,
    build_gallery,
    gallery_model,
    is_gallery,
)
from deepfood.gallery.add import AddReport, add_batches, add_photos
from deepfood.gallery.renew import RenewReport, open_work
from deepfood.gallery.renew import reembed as reembed_folder
from deepfood.gallery.rollback import forget as forget_in_folder
from deepfood.gallery.rollback import rollback as rollback_folder
from deepfood.gallery.searched import ChangedGallery, SearchedGallery, SearchedVectors
from deepfood.index import IndexSpec
from deepfood.milvus.address import MilvusAddress, is_milvus
from deepfood.model import Model, open_model
from deepfood.on_ray import reading_for
from deepfood.release.cached import cached
from deepfood.storage import is_remote

if TYPE_CHECKING:
    from deepfood.milvus.about import MilvusManifest
    from deepfood.milvus.gallery import MilvusGallery


def open_gallery(place: Path | str, settings: Settings) -> tuple["Gallery | MilvusGallery", Model]:
    """A gallery to search, and the Model for its queries: its own copy, or the one in `settings`.

    Raises ArtifactError, StorageError, EngineError, or MissingExtraError.
    """
    if is_milvus(place):
        gallery = open_on_milvus(place, settings)
        return gallery, _model_of(gallery, settings)
    folder = cached(str(place), settings) if is_remote(place) else Path(place)
    model = gallery_model(folder, settings.model)
    return Gallery.open(folder, model, settings.photos_root), model


def writing(
    gallery: SearchedGallery, settings: Settings, model: Model | None, *, wait_s: float = 0
) -> AbstractContextManager[ChangedGallery]:
    """The writer of an open gallery. Raises ArtifactBusyError, ArtifactError or EngineError."""
    if isinstance(gallery, Gallery):
        return GalleryWriter.open(gallery.folder, model, wait_s=wait_s)
    return writer_of(gallery.place, settings, model)


@contextmanager
def writer_of(
    place: Path | str, settings: Settings, model: Model | None = None, *, wait_s: float = 0
) -> Iterator[ChangedGallery]:
    """The writer of the gallery at `place`."""
    if not is_milvus(place):
        with GalleryWriter.open(Path(place), model, wait_s=wait_s) as writer:
            yield writer
        return
    _expect_pymilvus()
    from deepfood.milvus.writer import MilvusWriter

    with MilvusWriter.open(MilvusAddress.parse(place), settings, model) as on_milvus:
        yield on_milvus


def add_to(
    place: Path | str,
    paths: Sequence[Path | str],
    settings: Settings,
    *,
    label: str | None = None,
    name: str | None = None,
    attributes: Mapping[str, object] | None = None,
    wait_s: float = 0,
    quiet: bool = False,
) -> AddReport:
    """Add the photos that files, folders and CSVs name to the gallery at `place`."""
    said: dict[str, Any] = {
        "label": label,
        "name": name,
        "attributes": attributes,
        "quiet": quiet,
    }
    if not is_milvus(place):
        embedder = open_embedder(settings, gallery_model(Path(place), settings.model))
        return add_photos(Path(place), paths, embedder, wait_s=wait_s, **said)
    gallery, model = open_gallery(place, settings)
    gallery.close()
    embedder = open_embedder(settings, model)
    return add_batches(lambda: writer_of(place, settings, model), paths, embedder, **said)


def build(
    source: PhotoSource, out: Path | str, settings: Settings, *, quiet: bool = False
) -> "BuildReport[GalleryManifest] | BuildReport[MilvusManifest]":
    """Make `out` a gallery of `source`, or make it follow it, with the Model that it has."""
    if is_milvus(out):
        _expect_pymilvus()
        from deepfood.milvus.build import build_on_milvus

        embedder = open_embedder(settings, _living_model(out, settings))
        address, reading = MilvusAddress.parse(out), reading_for(settings)
        return build_on_milvus(source, address, embedder, settings, reading=reading, quiet=quiet)
    folder = Path(out)
    keep = settings.model is None and is_gallery(folder)
    embedder = open_embedder(settings, gallery_model(folder) if keep else None)
    return build_gallery(
        source,
        folder,
        embedder,
        IndexSpec.of(settings),
        settings.storage,
        reading=reading_for(settings),
        quiet=quiet,
    )


def reembed(
    place: Path | str,
    embedder: Embedder,
    settings: Settings,
    *,
    drop_unreadable: bool = False,
    swap: bool = True,
    quiet: bool = False,
) -> "RenewReport[GalleryManifest] | RenewReport[MilvusManifest]":
    """Embed a gallery's photos with another Model, and make the result the gallery."""
    said: dict[str, Any] = {"drop_unreadable": drop_unreadable, "swap": swap, "quiet": quiet}
    if not is_milvus(place):
        root = settings.photos_root
        return reembed_folder(Path(place), embedder, photos_root=root, **said)
    _expect_pymilvus()
    from deepfood.milvus.renew import reembed_on_milvus

    return reembed_on_milvus(MilvusAddress.parse(place), embedder, settings, **said)


@contextmanager
def beside(
    place: Path | str, model: Model, settings: Settings
) -> Iterator[tuple[SearchedGallery, list[str], SearchedVectors, npt.NDArray[np.int64]]]:
    """A gallery, and what `reembed` has embedded of it so far with `model`.

    Ids of photos, vectors, and of each photo its row in them.
    """
    if is_milvus(place):
        with open_on_milvus(place, settings) as living:
            photos, vectors, rows = living.generation_with(model).photos()
            yield living, [photo.id for photo in photos], vectors, rows
        return
    folder = Path(place)
    with Gallery.open(folder) as gallery, closing(open_work(folder)) as work:
        found = [(photo.id, row) for row, photo in work.rows()]
        ids, at = [one for one, _ in found], np.array([row for _, row in found], np.int64)
        yield gallery, ids, work.vectors(), at


def rollback(
    place: Path | str,
    settings: Settings,
    *,
    drop_unreadable: bool = False,
    quiet: bool = False,
) -> "RenewReport[GalleryManifest] | RenewReport[MilvusManifest]":
    """Make the generation before a gallery again."""

    def embedder(model: Model) -> Embedder:
        return open_embedder(settings, model)

    said: dict[str, Any] = {"drop_unreadable": drop_unreadable, "quiet": quiet}
    if not is_milvus(place):
        return rollback_folder(Path(place), embedder, photos_root=settings.photos_root, **said)
    _expect_pymilvus()
    from deepfood.milvus.renew import rollback_on_milvus

    return rollback_on_milvus(MilvusAddress.parse(place), embedder, settings, **said)


def forget_before(place: Path | str, settings: Settings) -> None:
    """Delete the generation before. Raises ArtifactMissingError where there is none."""
    if not is_milvus(place):
        forget_in_folder(Path(place))
        return
    _expect_pymilvus()
    from deepfood.milvus.renew import forget_on_milvus

    forget_on_milvus(MilvusAddress.parse(place), settings)


def open_on_milvus(place: Path | str, settings: Settings) -> "MilvusGallery":
    """Raises ArtifactMissingError, EngineError, or MissingExtraError."""
    _expect_pymilvus()
    from deepfood.milvus.gallery import MilvusGallery

    return MilvusGallery.open(MilvusAddress.parse(place), settings)


def _living_model(place: Path | str, settings: Settings) -> Model | None:
    """The Model of a gallery that is there, unless the settings name one."""
    if settings.model is not None:
        return None
    try:
        with open_on_milvus(place, settings) as gallery:
            return _model_of(gallery, settings)
    except ArtifactMissingError:
        return None


def _model_of(gallery: "MilvusGallery", settings: Settings) -> Model:
    from deepfood.milvus.model_copy import fetch_model

    if settings.model is not None:
        model = open_model(settings.model)
    else:
        model = fetch_model(gallery.about, gallery.manifest.model_fingerprint, settings)
    gallery.check_model(model)
    return model


def _expect_pymilvus() -> None:
    try:
        import pymilvus  # noqa: F401
    except ImportError as error:
        raise MissingExtraError(
            "galleries on Milvus need pymilvus: pip install 'deepfood[milvus]'"
        ) from error
