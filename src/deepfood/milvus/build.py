"""Make a gallery on Milvus from photos, or make it follow them.

Photos go to the engine in batches as they are embedded, so that a build that was stopped, or
killed, goes on after the last batch. With another Model a generation is filled beside the living
one, and takes its place in one step.
"""

import contextlib
import time
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from deepfood.config import Settings
from deepfood.data.photos import PhotoFile, PhotoSource
from deepfood.embed import Embedder, Vector
from deepfood.errors import DatasetError
from deepfood.gallery.build import BuildReport
from deepfood.gallery.catch_up import embed_photos_of
from deepfood.gallery.entry import REMOVED, Photo, Skipped, edited
from deepfood.gallery.read_photos import EmbeddedPhoto, Reading, read_photos
from deepfood.milvus.about import About, MilvusManifest
from deepfood.milvus.address import MilvusAddress
from deepfood.milvus.calibrated import calibrated
from deepfood.milvus.connection import Connection
from deepfood.milvus.gallery import MilvusGallery
from deepfood.milvus.generations import finish_index, generation_for, go_live, living
from deepfood.milvus.renew import begun, renewal, still_left_out, take_over
from deepfood.milvus.schema import PHOTO_ROW, attributes_of, photo_of, row_of
from deepfood.milvus.successor import Successor
from deepfood.milvus.writer import MilvusWriter
from deepfood.progress import bar

#: A batch is written when it has so many photos, or when its first has waited so long.
_BATCH_PHOTOS, _BATCH_S = 500, 5.0


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
    where no photo is usable, ArtifactBusyError where another process changes its Model, and
    EngineError.
    """
    build = _Build(source, embedder, reading, quiet)
    with contextlib.closing(Connection.strong(address, settings)) as connection:
        about = About(connection)
        about.create(settings)
        living_one = living(connection)
        if living_one is None:
            root = str(source.root)
            collection, _ = generation_for(connection, about, embedder.model, root, settings)
            writer = MilvusWriter(connection, settings, collection=collection)
        elif about.manifest(living_one).model_fingerprint != embedder.model.fingerprint:
            return _with_another_model(build, address, settings)
        else:
            collection = living_one
            connection.load(collection)
            writer = MilvusWriter(connection, settings, embedder.model)
        gallery = MilvusGallery(connection, settings, collection)
        build.follow(gallery, writer)
        now = gallery.manifest
        changed = build.changed or not now.whole or now.photos_root != str(source.root)
        if changed:
            said = {**calibrated(gallery, embedder.model, quiet=quiet), **build.said}
            gallery.note_left_out(build.skipped)
            now = writer.steadily(lambda: writer.commit(said))
            if living_one is None:
                go_live(connection, collection)
        return build.report(now, gallery.count, up_to_date=not changed)


def _with_another_model(
    build: "_Build", address: MilvusAddress, settings: Settings
) -> BuildReport[MilvusManifest]:
    """Fill a generation with what the living one has and the source says, and make it live."""
    embedder, root = build.embedder, str(build.source.root)
    moved = settings.model_copy(update={"photos_root": root})
    with renewal(address, moved) as (turn, now):
        collection, _ = begun(now, embedder.model, root, settings)

        def vectors(photos: Sequence[Photo]) -> Iterator[Vector | str]:
            return embed_photos_of(now, photos, embedder)

        work = Successor(now, settings, collection, vectors, keeps_built=True, quiet=build.quiet)
        work.follow_everything()
        # What is known of files that are not in it holds for every Model.
        work.gallery.note_left_out(still_left_out(work))
        build.follow(work.gallery, MilvusWriter(now.connection, settings, collection=collection))
        said = {**calibrated(work.gallery, embedder.model, quiet=build.quiet), **build.said}
        finish_index(now.connection, collection, quiet=build.quiet)
        manifest, _ = take_over(turn, work, said, drop_unreadable=True, left_out=build.skipped)
        build.embedded += work.made
        return build.report(manifest, work.gallery.count, up_to_date=False)


class _Build:
    """Brings a generation to hold what the source has, and counts what that took."""

    def __init__(
        self, source: PhotoSource, embedder: Embedder, reading: Reading, quiet: bool
    ) -> None:
        self.source, self.embedder, self.quiet = source, embedder, quiet
        self.embedded = self.reused = 0
        self.changed = False
        self.skipped: list[Skipped] = []
        #: What the manifest says of it.
        self.said = {"photos_root": str(source.root), "whole": True}
        self._reading = reading
        self._started = time.monotonic()

    def follow(self, gallery: MilvusGallery, writer: MilvusWriter) -> None:
        """Embed what is new, delete what is gone. Raises DatasetError where nothing is usable."""
        source = self.source
        every = [photo_of(row) for row in gallery.rows.every(PHOTO_ROW)]
        photos = {photo.file: photo for photo in every}
        # Where nobody else writes no other can be there, and each look takes half a second.
        perhaps = {photo.id for photo in every} if writer.alone else None
        left_out = {one.file: one for one in gallery.left_out() if not _is_back(one, photos)}
        todo = [file for file in source.files if not _is_known(source, file, photos, left_out)]
        self.embedded, self.reused = len(todo), len(source.files) - len(todo)
        for file in todo:
            left_out.pop(file.stored, None)
        files = {file.stored for file in source.files}
        with (
            bar(
                "embedding", " photos", len(source.files), done=self.reused, quiet=self.quiet
            ) as progress,
            self._reading(source, todo, self.embedder) as results,
        ):
            for batch in _batches(_usable(results, left_out, progress.update)):
                for copy in writer.steadily(partial(_write, writer, batch, files, perhaps)):
                    left_out[copy.file] = copy
        gone = [
            photo.id
            for name, photo in photos.items()
            if not photo.added and (name not in files or name in left_out)
        ]
        if gone:
            writer.steadily(lambda: writer.delete(gone))
        self.changed = bool(todo or gone)
        self.skipped = [one for name, one in sorted(left_out.items()) if name in files]
        if not gallery.count:
            raise DatasetError(f"none of the {len(source.files)} files of {source.root} is usable")

    def report(
        self, manifest: MilvusManifest, count: int, *, up_to_date: bool
    ) -> BuildReport[MilvusManifest]:
        return BuildReport(
            manifest,
            count,
            manifest.labels,
            self.embedded,
            self.reused,
            tuple(self.skipped),
            time.monotonic() - self._started,
            up_to_date,
        )


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
    return (one.label_edited or one.label == file.label) and (
        one.name_edited or one.name == file.name
    )


def _is_back(one: Skipped, photos: Mapping[str, Photo]) -> bool:
    """Whether a file that was removed by hand has been taken in again since."""
    photo = photos.get(one.file)
    return one.reason == REMOVED and photo is not None and not photo.added


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
    writer: MilvusWriter,
    batch: Sequence[EmbeddedPhoto],
    files: Container[str],
    perhaps: set[str] | None,
) -> list[Skipped]:
    """Write photos as the source says, but for what was said of them by hand.

    `perhaps` are the ids of all rows that may be there, or None where others write too; it gets
    those that are written. Returns photos that are copies of another of the source's photos, which
    is there already.
    """
    ids = [one.photo.id for one in batch]
    there = writer.rows([one for one in ids if perhaps is None or one in perhaps])
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
            by_hand = {"label": before.label_edited, "name": before.name_edited}
            edit = {key: getattr(before, key) for key, is_set in by_hand.items() if is_set}
            photo = edited(photo, edit)
        rows[photo.id] = row_of(photo, one.vector, attributes, time.time_ns())
    writer.write(list(rows.values()))
    if perhaps is not None:
        perhaps.update(rows)
    return copies
