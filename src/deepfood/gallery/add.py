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
from deepfood.gallery.embedding import read_photos
from deepfood.gallery.photo import EmbeddedPhoto, Outcome, Photo, Skipped
from deepfood.gallery.protocol import ChangedGallery
from deepfood.gallery.values import Value
from deepfood.progress import bar

#: A batch is committed when it has so many photos, or when its first has waited so long.
_BATCH_PHOTOS = 256
_BATCH_S = 1.0


@dataclass
class AddReport:
    """Each photo and what was done with it, and the files that are no usable photos.

    `attributes` are those that came with tables, and `rows_without_photo` counts rows of these that
    name no photo. `passed_over` is what the folders hold that was not even tried.
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
    quiet: bool = False,
) -> AddReport:
    """As `add_photos`, each batch with a writer of its own."""
    started = time.monotonic()
    sources = [_source(path) for path in paths]
    report = AddReport(passed_over=[one for source in sources for one in source.passed_over])
    total = sum(len(source.files) for source in sources)
    of_tables = _declare_those_of(sources, writing, report)
    batch: list[EmbeddedPhoto] = []
    first = started

    def commit() -> None:
        try:
            with writing() as writer:
                outcomes = writer.add(batch)
        except ModelMismatchError as error:
            raise ModelMismatchError(
                f"the gallery has got another Model meanwhile: {len(report.photos)} of {total} "
                "photos are added, run the same command again for the others"
            ) from error
        report.photos += zip((one.photo for one in batch), outcomes, strict=True)
        batch.clear()

    with bar("adding", " photos", total, quiet=quiet) as progress:
        for result in _embedded(sources, of_tables, embedder):
            if isinstance(result, Skipped):
                report.left_out.append(result)
            else:
                first = first if batch else time.monotonic()
                batch.append(_said(result, label, name, attributes or {}))
            progress.update()
            waited = time.monotonic() - first
            if batch and (len(batch) >= _BATCH_PHOTOS or waited > _BATCH_S):
                commit()
        if batch:
            commit()
    report.seconds = time.monotonic() - started
    return report


def _source(path: Path | str) -> PhotoSource:
    root, file = locate(path)
    if not file or file.lower().endswith(".csv"):
        return list_photos(path)
    return PhotoSource(root.resolve(), (PhotoFile(file),))


#: What tables say of photos, by their files.
_OfTable = Mapping[str, Mapping[str, Value | None]]


def _declare_those_of(
    sources: Sequence[PhotoSource],
    writing: Callable[[], AbstractContextManager[ChangedGallery]],
    report: AddReport,
) -> list[_OfTable]:
    """Declare the attributes that tables have; what each source's says. Raises DatasetError."""
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
                else:  # an empty cell takes nothing away, as an empty label does not
                    said = of_table.get(file.file, {}).items()
                    known = {name: value for name, value in said if value is not None}
                    yield replace(result, attributes=known)


def _said(
    one: EmbeddedPhoto, label: str | None, name: str | None, attributes: Mapping[str, object]
) -> EmbeddedPhoto:
    photo = one.photo
    if label is not None:
        photo = replace(photo, label=clean_label(label))
    if name is not None:
        photo = replace(photo, name=name or None)
    return replace(one, photo=photo, attributes={**one.attributes, **attributes})
