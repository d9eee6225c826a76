"""Add photos from files to a gallery: read and embed outside the lock, commit in batches."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path

from deepfood.data.locate import locate
from deepfood.data.passed_over import PassedOver
from deepfood.data.photos import PhotoFile, PhotoSource, list_photos
from deepfood.data.tables import clean_label
from deepfood.embed import Embedder
from deepfood.errors import ModelMismatchError
from deepfood.gallery.attribute_table import attributes_of
from deepfood.gallery.embedding import batched_in_time, read_photos
from deepfood.gallery.photo import EmbeddedPhoto, Outcome, Photo, Skipped
from deepfood.gallery.protocol import ChangedGallery
from deepfood.gallery.values import Value
from deepfood.progress import bar
from deepfood.storage import AWS, S3Options

#: A batch is committed once it has this many photos, or its first has waited this long.
_BATCH_PHOTOS = 256
_BATCH_S = 1.0


@dataclass
class AddReport:
    """Each photo with its outcome, and the files that are no usable photos.

    `attributes` are those that tables brought. `rows_without_photo` counts table rows that name no
    photo. `passed_over` lists what the folders hold that is no candidate.
    """

    photos: list[tuple[Photo, Outcome]] = field(default_factory=list)
    left_out: list[Skipped] = field(default_factory=list)
    attributes: list[str] = field(default_factory=list)
    rows_without_photo: int = 0
    passed_over: list[PassedOver] = field(default_factory=list)
    seconds: float = 0.0


def add_batches(
    writing: Callable[[], AbstractContextManager[ChangedGallery]],
    paths: Sequence[Path | str],
    embedder: Embedder,
    *,
    label: str | None = None,
    name: str | None = None,
    attributes: Mapping[str, object] | None = None,
    s3: S3Options = AWS,
    quiet: bool = False,
) -> AddReport:
    """As `add_photos`. Each batch opens a writer of its own."""
    started = time.monotonic()
    sources = [_source(path, s3) for path in paths]
    report = AddReport(passed_over=[one for source in sources for one in source.passed_over])
    total = sum(len(source.files) for source in sources)
    of_tables = _declare_those_of(sources, writing, report)

    def commit(photos: list[EmbeddedPhoto]) -> None:
        try:
            with writing() as writer:
                outcomes = writer.add(photos)
        except ModelMismatchError as error:
            raise ModelMismatchError(
                f"the gallery has got another Model meanwhile: {len(report.photos)} of {total} "
                "photos are added, run the same command again for the others"
            ) from error
        report.photos += zip((one.photo for one in photos), outcomes, strict=True)

    with bar("adding", " photos", total, quiet=quiet) as progress:
        results = _embedded(sources, of_tables, embedder)
        for batch in batched_in_time(results, _BATCH_PHOTOS, _BATCH_S, progress.update):
            report.left_out += [one for one in batch if isinstance(one, Skipped)]
            photos = [
                _edited(one, label, name, attributes or {})
                for one in batch
                if isinstance(one, EmbeddedPhoto)
            ]
            if photos:
                commit(photos)
    report.seconds = time.monotonic() - started
    return report


def _source(path: Path | str, s3: S3Options) -> PhotoSource:
    root, file = locate(path, s3)
    if not file or file.lower().endswith(".csv"):
        return list_photos(path, s3)
    return PhotoSource(root.resolve(), (PhotoFile(file),))


#: The attributes that a table gives photos, by file.
_OfTable = Mapping[str, Mapping[str, Value | None]]


def _declare_those_of(
    sources: Sequence[PhotoSource],
    writing: Callable[[], AbstractContextManager[ChangedGallery]],
    report: AddReport,
) -> list[_OfTable]:
    """Declare the attributes of the tables; the values, by source. Raises DatasetError."""
    found: list[_OfTable] = [{} for _ in sources]
    for number, source in enumerate(sources):
        report.rows_without_photo += source.rows_without_photo
        if source.table is None:
            continue
        with writing() as writer:
            declared = writer.declared()
        table = attributes_of(source, declared)
        if table.declared:
            with writing() as writer:
                writer.declare(table.declared)
            new = [name for name in table.declared if name not in report.attributes]
            report.attributes += new
            found[number] = table.by_photo()
    return found


def _embedded(
    sources: Sequence[PhotoSource], of_tables: Sequence[_OfTable], embedder: Embedder
) -> Iterator[EmbeddedPhoto | Skipped]:
    for source, of_table in zip(sources, of_tables, strict=True):
        with read_photos(source, source.files, embedder) as results:
            for file, result in zip(source.files, results, strict=True):
                if isinstance(result, Skipped):
                    yield result
                else:  # an empty cell removes no value, as an empty label removes none
                    cells = of_table.get(file.file, {}).items()
                    known = {name: value for name, value in cells if value is not None}
                    yield replace(result, attributes=known)


def _edited(
    one: EmbeddedPhoto, label: str | None, name: str | None, attributes: Mapping[str, object]
) -> EmbeddedPhoto:
    photo = one.photo
    if label is not None:
        photo = replace(photo, label=clean_label(label))
    if name is not None:
        photo = replace(photo, name=name or None)
    return replace(one, photo=photo, attributes={**one.attributes, **attributes})
