"""Change the Model of a gallery on Milvus, and roll back, without losing changes.

A Successor is filled while the gallery is searched and changed; finished work stays if it is
stopped or killed. At the end, writers wait while the last changes are applied and the alias is
moved. The previous generation is kept, with its Model, until the next one takes over. A rollback to
it restores its photos, and applies the manual edits made since, from the journal. A build with the
gallery's own Model is rolled back in the living generation itself, with the before-images that it
kept.
"""

import contextlib
import functools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol

from deepfood.config import Settings
from deepfood.embed import Embedder, Vector
from deepfood.errors import ArtifactMissingError, DatasetError
from deepfood.gallery.embedding import PASSES, Lost, embed_photos_of, refuse_lost
from deepfood.gallery.fold import Fold
from deepfood.gallery.part_vectors import PartEmbedder
from deepfood.gallery.photo import Photo, Skipped, unreadable
from deepfood.gallery.reports import RenewReport
from deepfood.gallery.tuned import is_untuned
from deepfood.milvus.address import MilvusAddress
from deepfood.milvus.before_images import drop_images
from deepfood.milvus.calibrate import calibration_fields
from deepfood.milvus.changed_ids import changed_ids
from deepfood.milvus.columns import update_columns
from deepfood.milvus.connection import Connection
from deepfood.milvus.facts import columns_of
from deepfood.milvus.find_parts import find_parts
from deepfood.milvus.follow import JournalFollower
from deepfood.milvus.gallery import MilvusGallery
from deepfood.milvus.generations import (
    collection_of,
    drop_others,
    finish_index,
    generation_for,
    generations_of,
    go_live,
)
from deepfood.milvus.gone import GonePhotos
from deepfood.milvus.lease import HeldLease
from deepfood.milvus.metadata import GalleryMetadata, MilvusManifest
from deepfood.milvus.model_copy import fetch_model
from deepfood.milvus.revision import OF_PHOTOS, Revision
from deepfood.milvus.rows import StrongRows
from deepfood.milvus.successor import MilvusSuccessor, lost_before
from deepfood.milvus.writer import MilvusWriter
from deepfood.model import Model

#: Writers are made to wait once at most this many changes remain to be applied.
_FEW = 100

Report = RenewReport[MilvusManifest]


class NextGeneration(Protocol):
    """A generation that will replace the living one: a MilvusSuccessor's or JournalFollower's."""

    @property
    def gallery(self) -> MilvusGallery: ...
    @property
    def fold(self) -> Fold: ...
    def catch_up(self) -> int:
        """Apply the changes since the last call; returns how many photos they are about."""

    def lost_now(self) -> Lost:
        """Photos without a vector, and why."""


def reembed_on_milvus(
    address: MilvusAddress,
    embedder: Embedder,
    settings: Settings,
    *,
    drop_unreadable: bool = False,
    swap: bool = True,
    quiet: bool = False,
) -> Report:
    """Like `reembed` of a local gallery. Raises the same errors, and EngineError."""
    started = time.monotonic()
    model = embedder.model
    with renewal(address, settings) as (lease, living):
        now = living.manifest
        if now.model_fingerprint == model.fingerprint:
            return _report(now, living.count, 0, [], started, swapped=False)
        if now.parts:
            PartEmbedder(embedder).check()
        collection, _ = begin_generation(
            living, model, now.photos_root, settings, parts=now.parts is not None
        )

        def vectors(photos: Sequence[Photo]) -> Iterator[Vector | str]:
            return embed_photos_of(living, photos, embedder)

        work = MilvusSuccessor(living, settings, collection, vectors, quiet=quiet)
        work.follow_everything()
        if not swap:
            return _report(
                now, work.gallery.count, work.made, work.lost_now(), started, swapped=False
            )
        refuse_lost(address, work.lost_now(), drop_unreadable=drop_unreadable)
        if not work.gallery.count:
            raise DatasetError(f"{address} has no photos: build it, or add some")
        writer = MilvusWriter(living.connection, settings, collection=collection)

        def find() -> None:
            if work.gallery.follow().parts:
                find_parts(work.gallery, writer.commit, lambda: PartEmbedder(embedder), quiet=quiet)

        find()
        fields = calibration_fields(work.gallery, model, quiet=quiet)
        finish_index(living.connection, collection, quiet=quiet)
        done, lost = take_over(lease, living, work, fields, drop_unreadable=drop_unreadable)
        find()  # of photos that were added at the end
        return replace(
            _report(done, work.gallery.count, work.made, lost, started, swapped=True),
            untuned=is_untuned(now, done),
        )


def rollback_on_milvus(
    address: MilvusAddress,
    open_embedder: Callable[[Model], Embedder],
    settings: Settings,
    *,
    drop_unreadable: bool = False,
    quiet: bool = False,
) -> Report:
    """Like `rollback` of a local gallery. Raises the same errors, and EngineError."""
    started = time.monotonic()
    with renewal(address, settings) as (lease, living):
        before = _before(living)
        model = fetch_model(living.metadata, before.model_fingerprint, settings)
        embedder = functools.cache(lambda: open_embedder(model))  # usually nothing is embedded

        def vectors(photos: Sequence[Photo]) -> Iterator[Vector | str]:
            return embed_photos_of(living, photos, embedder())

        def parts() -> PartEmbedder:
            return PartEmbedder(embedder())

        if before.generation == living.manifest.generation:
            revision = Revision(living, lease, settings)
            work = JournalFollower(living, revision.writer, living.journal, vectors)
            done, lost = _undo_build(
                revision, work, parts, drop_unreadable=drop_unreadable, quiet=quiet
            )
        else:
            collection = collection_of(address.name, before.generation)
            living.connection.load(collection)
            gallery = MilvusGallery(living.connection, settings, collection)
            if before.parts:
                gallery.parts().create(before.dimension, settings)
            writer = MilvusWriter(living.connection, settings, collection=collection)
            work = JournalFollower(gallery, writer, living.journal, vectors)
            work.follow_everything()
            refuse_lost(address, work.lost_now(), drop_unreadable=drop_unreadable)
            if before.parts:
                find_parts(gallery, writer.commit, parts, quiet=quiet)
            done, lost = take_over(
                lease,
                living,
                work,
                {name: getattr(before, name) for name in OF_PHOTOS},
                drop_unreadable=drop_unreadable,
                left_out=gallery.left_out(),
            )
        work.keep_absent_edits()
        return _report(done, work.gallery.count, work.made, lost, started, swapped=True)


def _undo_build(
    revision: Revision,
    work: JournalFollower,
    parts: Callable[[], PartEmbedder],
    *,
    drop_unreadable: bool,
    quiet: bool,
) -> tuple[MilvusManifest, Lost]:
    """Make a revision with the contents from before the last build; returns the lost photos too."""
    gallery, settings = revision.gallery, revision.settings
    work.follow_everything()
    refuse_lost(gallery.place, work.lost_now(), drop_unreadable=drop_unreadable)
    last = gallery.before_images(gallery.manifest.revision)
    state = last.state()
    assert state is not None
    for images, checksum in ((last, gallery.manifest.before_images), (revision.images, None)):
        images.check(checksum)
    last.load(state.manifest.dimension, settings)
    revision.begin()
    # First undo what a killed build has changed since, then the last build.
    for images in (revision.images, last):
        work.restore(images)
    work.catch_up_with_all()
    lost = work.lost_now()
    refuse_lost(gallery.place, lost, drop_unreadable=drop_unreadable)
    if state.manifest.parts:
        revision.find_parts(parts, quiet=quiet)
    skipped = [*state.left_out, *(unreadable(photo) for photo, _ in lost)]
    gallery.note_left_out(skipped)
    done = revision.commit({name: getattr(state.manifest, name) for name in OF_PHOTOS})
    revision.drop_parts()
    return done, lost


def forget_on_milvus(address: MilvusAddress, settings: Settings) -> None:
    """Drop the previous generation and its Model. Raises ArtifactMissingError."""
    with renewal(address, settings) as (lease, living):
        before = _before(living)
        now = living.manifest
        if before.generation == now.generation:
            forgotten = now.model_copy(update={"before_images": None})
            living.metadata.write_manifest(living.collection, forgotten)
            living.before_images(now.revision).drop()
            return
        with lease.swapping():
            now = living.follow().model_copy(update={"before": None})
            living.metadata.write_manifest(living.collection, now)
        drop_others(living.connection, living.metadata, {now.generation})


def discard_on_milvus(address: MilvusAddress, settings: Settings) -> bool:
    """Drop a generation that was begun and never went live; whether there was one."""
    with renewal(address, settings) as (_, living):
        now = living.manifest
        kept = {now.generation, now.before or 0}
        there = not kept.issuperset(generations_of(living.connection))
        drop_others(living.connection, living.metadata, kept)
        return there


@contextlib.contextmanager
def renewal(
    address: MilvusAddress, settings: Settings
) -> Iterator[tuple[HeldLease, MilvusGallery]]:
    """Hold the lease for a next generation; yields it and the gallery, fixed to the living one.

    Raises ArtifactBusyError, ArtifactMissingError or EngineError.
    """
    with contextlib.closing(Connection.strong(address, settings)) as connection:
        MilvusGallery(connection, settings)  # raises if there is no gallery
        with HeldLease.take(GalleryMetadata(connection)) as lease:
            # Read again: only the holder of the lease can rely on the alias.
            collection = MilvusGallery(connection, settings).collection
            yield lease, MilvusGallery(connection, settings, collection)


def begin_generation(
    living: MilvusGallery, model: Model, photos_root: str, settings: Settings, *, parts: bool
) -> tuple[str, MilvusManifest]:
    """The generation for another Model; others than the living and the previous one are dropped.

    `parts`: whether it is to keep the parts of photos.
    """
    found = generation_for(
        living.connection, living.metadata, model, photos_root, settings, parts=parts
    )
    now = living.manifest
    kept = {now.generation, now.before or 0, found[1].generation}
    drop_others(living.connection, living.metadata, kept)
    return found


def take_over(
    lease: HeldLease,
    living: MilvusGallery,
    work: NextGeneration,
    fields: Mapping[str, Any],
    *,
    drop_unreadable: bool,
    left_out: Sequence[Skipped] | None = None,
) -> tuple[MilvusManifest, Lost]:
    """Make a next generation the gallery, with the last changes; its manifest, and lost photos.

    `fields` of its manifest differ from the living one's. `left_out` are the files that it leaves
    out, if they are not those that the living gallery leaves out.
    """
    new = work.gallery
    for _ in range(PASSES):
        if work.catch_up() <= _FEW:
            break
    there = {row["id"] for row in new.rows.every(["id"])}
    gone = [row for row in living.rows.every(["id", "sha256", "file"]) if row["id"] not in there]
    with lease.swapping():
        begun = time.time_ns()
        work.catch_up()
        lost = work.lost_now()
        refuse_lost(living.place, lost, drop_unreadable=drop_unreadable)
        own, now = new.manifest, living.follow()
        ours = ("generation", "dimension", "model_name", "model_fingerprint", "index", "revision")
        changed = {name: getattr(own, name) for name in ours}
        changed |= {"parts": "kept" if own.parts else None}
        changed |= {"whole": True, "before": now.generation, "before_images": None}
        manifest = now.model_copy(update={**changed, **fields})
        skipped = still_left_out(work, living) if left_out is None else list(left_out)
        skipped += [unreadable(one) for one, _ in lost if one.added or left_out is None]
        new.note_left_out(skipped)
        gone += [{"sha256": one.sha256, "file": one.file} for one, _ in lost]
        GonePhotos(new).note(manifest.revision, gone)
        update_columns(living.metadata, living.journal, now.columns, begun, columns_of(work.fold))
        new.metadata.write_manifest(new.collection, manifest)
        new.rows.count()  # a strongly consistent read: searches from now on see all rows
        drop_images(living.connection, living.metadata, new.collection)  # left by a killed build
        lease.check()
        go_live(living.connection, new.collection)
    changed_ids(living.metadata, living.collection).forget()
    drop_images(living.connection, living.metadata, living.collection)
    drop_others(living.connection, living.metadata, {manifest.generation, now.generation})
    return manifest, lost


def still_left_out(work: NextGeneration, living: MilvusGallery) -> list[Skipped]:
    """Files that the living gallery leaves out, except photos that it had lost and `work` has."""
    skipped = living.left_out()
    rows = StrongRows(living.connection, work.gallery.collection)
    there = set(rows.named(sorted(lost_before(skipped)), ["id"]))
    return [one for one in skipped if not lost_before([one]) & there]


def _before(living: MilvusGallery) -> MilvusManifest:
    """The manifest to roll back to. Raises ArtifactMissingError."""
    before = living.before()
    if before is None:
        raise ArtifactMissingError(
            f"{living.place} has no generation before: the next build or reembed keeps one"
        )
    return before


def _report(
    manifest: MilvusManifest, count: int, made: int, lost: Lost, started: float, *, swapped: bool
) -> Report:
    return RenewReport(manifest, count, made, lost, time.monotonic() - started, swapped)
