"""Opens a gallery wherever it is: a folder, a release in a bucket, or a collection of Milvus."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from deepfood.config import Settings
from deepfood.data.photos import PhotoSource
from deepfood.embed import open_embedder
from deepfood.errors import ArtifactMissingError
from deepfood.extras import missing_extra
from deepfood.gallery import BuildReport
from deepfood.gallery.add import AddReport, add_batches
from deepfood.gallery.attribute_table import Table
from deepfood.gallery.calibration import Calibration
from deepfood.gallery.history import Event, history
from deepfood.gallery.protocol import ChangedGallery, Compared, EveryPhoto, SearchedGallery
from deepfood.gallery.reports import NOTHING_ASKED, Consent
from deepfood.gallery.values import Type
from deepfood.index import IndexSpec
from deepfood.local import (
    Gallery,
    GalleryManifest,
    GalleryWriter,
    build_gallery,
    gallery_model,
    is_gallery,
)
from deepfood.local.add import add_photos
from deepfood.local.embedding_cache import held_out_photos
from deepfood.local.import_attributes import import_attributes as import_into_folder
from deepfood.local.journal import Journal
from deepfood.local.recalibrate import recalibrate as recalibrate_folder
from deepfood.milvus.address import MilvusAddress, is_milvus
from deepfood.milvus.fetched import Neighbours
from deepfood.model import Model, open_model
from deepfood.on_ray import reading_for
from deepfood.release.cached import cached
from deepfood.release.shelf import is_release

if TYPE_CHECKING:
    from deepfood.milvus.gallery import MilvusGallery
    from deepfood.milvus.metadata import MilvusManifest


def open_gallery(place: Path | str, settings: Settings) -> tuple["Gallery | MilvusGallery", Model]:
    """A gallery to search, and the Model for its queries: its own copy, or the one in `settings`.

    Raises ArtifactError, StorageError, EngineError, or MissingExtraError.
    """
    if is_milvus(place):
        gallery = open_on_milvus(place, settings)
        return gallery, _model_of(gallery, settings)
    folder = cached(str(place), settings) if is_release(place) else Path(place)
    model = gallery_model(folder, settings.model)
    return Gallery.open(folder, model, settings.photos_root), model


def own_model(place: Path | str, settings: Settings) -> Model:
    """The Model that a gallery was made with: its own copy, whichever the settings name."""
    gallery, model = open_gallery(place, settings.model_copy(update={"model": None}))
    gallery.close()
    return model


def open_to_read(place: Path | str, settings: Settings) -> SearchedGallery:
    """A gallery that is not searched with new photos, so that it needs no Model."""
    return open_on_milvus(place, settings) if is_milvus(place) else Gallery.open(Path(place))


def known_counts(gallery: SearchedGallery) -> dict[str, int]:
    """Of how many photos each attribute is known."""
    if isinstance(gallery, Gallery):
        return gallery.store.attributes.known_counts()
    return cast("MilvusGallery", gallery).known_counts()


def compared(gallery: SearchedGallery) -> tuple[EveryPhoto, Compared]:
    """All photos, and what finds rows of their vectors near one."""
    if isinstance(gallery, Gallery):
        now = gallery.refresh()
        return now.photos(), now.index
    every = gallery.photos()
    return every, Neighbours(gallery, every)


def history_of(place: Path | str, settings: Settings, photo: str | None = None) -> Iterator[Event]:
    """Every change of a gallery, or of one photo by its id. Raises ArtifactError or QueryError."""
    if is_milvus(place):
        with open_on_milvus(place, settings) as gallery:
            yield from history(gallery.journal, photo)
        return
    GalleryManifest.read(Path(place))
    yield from history(Journal(Path(place)), photo)


def writing(
    gallery: SearchedGallery,
    settings: Settings,
    model: Model | None,
    *,
    wait_s: float = 0,
    by: str = "",
) -> AbstractContextManager[ChangedGallery]:
    """The writer of an open gallery. Raises ArtifactBusyError, ArtifactError or EngineError."""
    if isinstance(gallery, Gallery):
        return GalleryWriter.open(gallery.folder, model, wait_s=wait_s, by=by)
    return writer_of(gallery.place, settings, model, by=by)


@contextmanager
def writer_of(
    place: Path | str,
    settings: Settings,
    model: Model | None = None,
    *,
    wait_s: float = 0,
    by: str = "",
) -> Iterator[ChangedGallery]:
    """The writer of the gallery at `place`."""
    if not is_milvus(place):
        with GalleryWriter.open(Path(place), model, wait_s=wait_s, by=by) as writer:
            yield writer
        return
    expect_pymilvus()
    from deepfood.milvus.writer import MilvusWriter

    with MilvusWriter.open(MilvusAddress.parse(place), settings, model, by=by) as on_milvus:
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
    source: PhotoSource,
    out: Path | str,
    settings: Settings,
    *,
    consent: Consent = NOTHING_ASKED,
    quiet: bool = False,
) -> "BuildReport[GalleryManifest] | BuildReport[MilvusManifest]":
    """Make `out` a gallery of `source`, or make it follow it, with the Model that it has."""
    if is_milvus(out):
        expect_pymilvus()
        from deepfood.milvus.build import build_on_milvus

        embedder = open_embedder(settings, _living_model(out, settings))
        address, reading = MilvusAddress.parse(out), reading_for(settings)
        return build_on_milvus(
            source, address, embedder, settings, consent=consent, reading=reading, quiet=quiet
        )
    folder = Path(out)
    keep = settings.model is None and not consent.discard and is_gallery(folder)
    embedder = open_embedder(settings, gallery_model(folder) if keep else None)
    return build_gallery(
        source,
        folder,
        embedder,
        IndexSpec.of(settings),
        settings.storage,
        consent=consent,
        reading=reading_for(settings),
        quiet=quiet,
    )


def recalibrate(
    place: Path | str, source: PhotoSource, settings: Settings, *, quiet: bool = False
) -> Calibration:
    """Calibrate a gallery on photos that it does not hold. Raises DatasetError."""
    gallery, model = open_gallery(place, settings)
    gallery.close()
    embedder = open_embedder(settings, model)
    asked = held_out_photos(source, embedder, settings.cache.expanduser(), quiet=quiet)
    if not is_milvus(place):
        return recalibrate_folder(Path(place), asked, embedder.model, quiet=quiet)
    from deepfood.milvus.calibrated import recalibrate_on_milvus

    address = MilvusAddress.parse(place)
    return recalibrate_on_milvus(address, asked, embedder.model, settings, quiet=quiet)


def import_attributes(
    place: Path | str,
    table: Path,
    types: Mapping[str, Type],
    safety: frozenset[str],
    settings: Settings,
) -> Table[int] | Table[str]:
    """Set attributes of a gallery's photos from a table, which is checked before any is written."""
    if not is_milvus(place):
        return import_into_folder(Path(place), table, types, safety)
    expect_pymilvus()
    from deepfood.milvus.import_attributes import import_on_milvus

    return import_on_milvus(MilvusAddress.parse(place), table, types, safety, settings)


def open_on_milvus(place: Path | str, settings: Settings) -> "MilvusGallery":
    """Raises ArtifactMissingError, EngineError, or MissingExtraError."""
    expect_pymilvus()
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
        model = fetch_model(gallery.metadata, gallery.manifest.model_fingerprint, settings)
    gallery.check_model(model)
    return model


def expect_pymilvus() -> None:
    """Raise MissingExtraError where pymilvus is not installed."""
    try:
        import pymilvus  # noqa: F401
    except ImportError as error:
        raise missing_extra("galleries on Milvus need pymilvus", "milvus") from error
