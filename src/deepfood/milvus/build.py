"""Make a gallery on Milvus from photos, or make it follow them.

Photos go to the engine in batches as they are embedded, so that a build that was stopped, or
killed, goes on after the last batch. With another Model a new collection is filled beside the
living one, and the alias is moved to it in one step: searches see the one or the other.
"""

import json
import time
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np

from deepfood.config import Settings
from deepfood.data.photos import PhotoFile, PhotoSource
from deepfood.embed import Embedder
from deepfood.errors import DatasetError
from deepfood.gallery.build import BuildReport
from deepfood.gallery.calibration import Calibration, Labelled, calibrate
from deepfood.gallery.entry import Photo, Skipped
from deepfood.gallery.read_photos import EmbeddedPhoto, Reading, read_photos
from deepfood.milvus.about import About, MilvusManifest
from deepfood.milvus.address import MilvusAddress
from deepfood.milvus.connection import Connection
from deepfood.milvus.gallery import MilvusGallery
from deepfood.milvus.generations import collection_for, go_live
from deepfood.milvus.schema import PHOTO_ROW, attributes_of, photo_of, row_of
from deepfood.milvus.writer import MilvusWriter
from deepfood.progress import bar

#: A batch is written when it has so many photos, or when its first has waited so long.
_BATCH_PHOTOS, _BATCH_S = 500, 5.0
#: Calibrated with no more photos than these; of larger galleries with a fair draw.
_MOST_CALIBRATED = 200_000


def build_on_milvus(
    source: PhotoSource,
    address: MilvusAddress,
    embedder: Embedder,
    settings: Settings,
    *,
    reading: Reading = read_photos,
    quiet: bool = False,
) -> BuildReport[MilvusManifest]:
    """Make `address` a gallery of `source`; photos that are in it already are not embedded again.

    Photos that were added stay, as do labels and names that were set by hand. Raises DatasetError
    where no photo is usable, and EngineError.
    """
    started = time.monotonic()
    connection = Connection(address, settings)
    about = About(connection)
    about.create(settings)
    collection, manifest = collection_for(
        connection, about, embedder.model, str(source.root), settings
    )
    gallery = MilvusGallery(connection, settings, collection)
    writer = MilvusWriter(gallery, connection, settings)
    photos = {photo.file: photo for photo in map(photo_of, gallery.rows.every(PHOTO_ROW))}
    left_out = {one.file: one for one in gallery.left_out()}
    todo = [file for file in source.files if not _is_known(source, file, photos, left_out)]
    reused = len(source.files) - len(todo)
    for file in todo:
        left_out.pop(file.stored, None)
    files = {file.stored for file in source.files}
    with (
        bar("embedding", " photos", len(source.files), done=reused, quiet=quiet) as progress,
        reading(source, todo, embedder) as results,
    ):
        for batch in _batches(_usable(results, left_out, progress.update)):
            for copy in _write(writer, batch, files):
                left_out[copy.file] = copy
    gone = [
        photo.id
        for name, photo in photos.items()
        if not photo.added and (name not in files or name in left_out)
    ]
    writer.delete(gone)
    changed = bool(todo or gone) or not manifest.whole
    skipped = tuple(one for name, one in sorted(left_out.items()) if name in files)
    if changed:
        about.write(f"{collection}/left_out", json.dumps([asdict(one) for one in skipped]))
        manifest = _finish(gallery, writer, manifest, embedder, quiet=quiet)
        go_live(connection, collection)
    count = gallery.count
    if not count:
        raise DatasetError(f"none of the {len(source.files)} files of {source.root} is usable")
    return BuildReport(
        manifest,
        count,
        manifest.labels,
        len(todo),
        reused,
        skipped,
        time.monotonic() - started,
        not changed,
    )


def _finish(
    gallery: MilvusGallery,
    writer: MilvusWriter,
    manifest: MilvusManifest,
    embedder: Embedder,
    *,
    quiet: bool,
) -> MilvusManifest:
    """The manifest of a gallery whose photos are all there: labels counted, calibrated."""
    labels, calibration, why_not = _calibrated(gallery, embedder, quiet=quiet)
    manifest = manifest.model_copy(
        update={
            "labels": labels,
            "calibration": calibration,
            "uncalibrated": why_not,
            "whole": True,
        }
    )
    writer.commit(manifest)
    return manifest


def _calibrated(
    gallery: MilvusGallery, embedder: Embedder, *, quiet: bool
) -> tuple[int, Calibration | None, str | None]:
    count = gallery.count
    where = ""
    if count > _MOST_CALIBRATED:  # ids are digits of a hash: those below a bound are a fair draw
        bound = int(_MOST_CALIBRATED / count * 16**8)
        where = f'id < "{bound:08x}"'
    rows = list(gallery.rows.every(["said", "id", "vector"], where))
    labels = [row["said"]["label"] for row in rows]
    different = len({label for label in labels if label})
    vectors = np.array([row["vector"] for row in rows], np.float32)
    labelled = Labelled(
        vectors.reshape(len(rows), gallery.manifest.dimension),
        labels,
        [str(row["id"]) for row in rows],
    )
    try:
        found = calibrate(labelled, embedder.model.trained_on, quiet=quiet)
    except DatasetError as error:
        return different, None, str(error)
    return different, found, None


def _is_known(
    source: PhotoSource,
    file: PhotoFile,
    photos: Mapping[str, Photo],
    left_out: Mapping[str, Skipped],
) -> bool:
    photo = photos.get(file.stored)
    one = left_out.get(file.stored) if photo is None or photo.added else photo
    if one is None or (one.bytes, one.modified_ns) != source.root.stamp(file.file):
        return False
    if isinstance(one, Skipped):
        return True
    return one.edited or (one.label, one.name) == (file.label, file.name)


def _usable(
    results: Iterable[EmbeddedPhoto | Skipped], left_out: dict[str, Skipped], update: Any
) -> Iterator[EmbeddedPhoto]:
    for result in results:
        update()
        if isinstance(result, Skipped):
            left_out[result.file] = result
        else:
            yield result


def _batches(photos: Iterable[EmbeddedPhoto]) -> Iterator[list[EmbeddedPhoto]]:
    batch: list[EmbeddedPhoto] = []
    first = 0.0
    for one in photos:
        first = first if batch else time.monotonic()
        batch.append(one)
        if len(batch) >= _BATCH_PHOTOS or time.monotonic() - first > _BATCH_S:
            yield batch
            batch = []
    if batch:
        yield batch


def _write(
    writer: MilvusWriter, batch: Sequence[EmbeddedPhoto], files: Container[str]
) -> list[Skipped]:
    """Write photos as the source says, but for what was said of them by hand.

    Returns those that are copies of another of the source's photos, which is there already.
    """
    there = writer.rows([one.photo.id for one in batch])
    rows: dict[str, dict[str, Any]] = {}
    copies = []
    for one in batch:
        photo, attributes = one.photo, {}
        row = rows.get(photo.id) or there.get(photo.id)
        if row:
            before, attributes = photo_of(row), attributes_of(row)
            if before.file != photo.file and before.file in files and not before.added:
                reason = f"the same photo as {before.file}"
                copies.append(
                    Skipped(photo.file, reason, photo.bytes, photo.modified_ns, photo.sha256)
                )
                continue
            if before.edited:
                photo = replace(photo, label=before.label, name=before.name, edited=True)
        rows[photo.id] = row_of(photo, one.vector, attributes, time.time_ns())
    writer.write(list(rows.values()))
    return copies
