"""Another Model for a gallery on Milvus, and back: beside the living generation, losing nothing.

A Successor is filled while the gallery is searched and changed; what is finished stays when it is
stopped or killed. At the end writers wait for as long as the last changes are taken over and the
alias is moved. The generation before stays, with its Model, until the next one takes over: its
photos are those that it had, and what people said since then comes from the journal. A build with
the gallery's own Model is undone in the living generation itself, by the before-images that it
kept.
"""

import contextlib
import functools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

from deepfood.config import Settings
from deepfood.embed import Embedder, Vector
from deepfood.errors import ArtifactMissingError, DatasetError
from deepfood.gallery.embedding import PASSES, Lost, embed_photos_of, refuse_lost
from deepfood.gallery.fold import Fold
from deepfood.gallery.photo import Photo, Skipped, unreadable
from deepfood.gallery.reports import RenewReport
from deepfood.milvus.address import MilvusAddress
from deepfood.milvus.before_images import drop_images
from deepfood.milvus.calibrated import calibrated
from deepfood.milvus.changed_ids import changed_in
from deepfood.milvus.columns import bring_columns
from deepfood.milvus.connection import Connection
from deepfood.milvus.facts import columns_of
from deepfood.milvus.follow import Follower
from deepfood.milvus.gallery import MilvusGallery
from deepfood.milvus.generations import (
    collection_of,
    drop_others,
    finish_index,
    generation_for,
    go_live,
)
from deepfood.milvus.gone import GonePhotos
from deepfood.milvus.lease import HeldLease
from deepfood.milvus.metadata import GalleryMetadata, MilvusManifest
from deepfood.milvus.model_copy import fetch_model
from deepfood.milvus.revision import OF_PHOTOS, Revision
from deepfood.milvus.rows import WrittenRows
from deepfood.milvus.successor import Successor, lost_before
from deepfood.milvus.writer import MilvusWriter
from deepfood.model import Model

#: Writers wait while no more changes than these are taken over.
_FEW = 100

Report = RenewReport[MilvusManifest]


class Next(Protocol):
    """A generation that is to take the living one's place: a Successor, or a Follower."""

    @property
    def gallery(self) -> MilvusGallery: ...
    @property
    def fold(self) -> Fold: ...
    def catch_up(self) -> int:
        """Take in what has changed since the last time; of how many photos."""

    def lost_now(self) -> Lost:
        """Photos that have no vector, and why."""


def reembed_on_milvus(
    address: MilvusAddress,
    embedder: Embedder,
    settings: Settings,
    *,
    drop_unreadable: bool = False,
    swap: bool = True,
    quiet: bool = False,
) -> Report:
    """As the local gallery's `reembed`. Raises what that does, and EngineError."""
    started = time.monotonic()
    model = embedder.model
    with renewal(address, settings) as (lease, living):
        now = living.manifest
        if now.model_fingerprint == model.fingerprint:
            return _report(now, living.count, 0, [], started, swapped=False)
        collection, _ = begun(living, model, now.photos_root, settings)

        def vectors(photos: Sequence[Photo]) -> Iterator[Vector | str]:
            return embed_photos_of(living, photos, embedder)

        work = Successor(living, settings, collection, vectors, quiet=quiet)
        work.follow_everything()
        if not swap:
            return _report(
                now, work.gallery.count, work.made, work.lost_now(), started, swapped=False
            )
        refuse_lost(address, work.lost_now(), drop_unreadable=drop_unreadable)
        if not work.gallery.count:
            raise DatasetError(f"{address} has no photos: build it, or add some")
        said = calibrated(work.gallery, model, quiet=quiet)
        finish_index(living.connection, collection, quiet=quiet)
        done, lost = take_over(lease, living, work, said, drop_unreadable=drop_unreadable)
        return _report(done, work.gallery.count, work.made, lost, started, swapped=True)


def rollback_on_milvus(
    address: MilvusAddress,
    open_embedder: Callable[[Model], Embedder],
    settings: Settings,
    *,
    drop_unreadable: bool = False,
    quiet: bool = False,
) -> Report:
    """As the local gallery's `rollback`. Raises what that does, and EngineError."""
    started = time.monotonic()
    with renewal(address, settings) as (lease, living):
        before = _before(living)
        model = fetch_model(living.metadata, before.model_fingerprint, settings)
        embedder = functools.cache(lambda: open_embedder(model))  # most times nothing is embedded

        def vectors(photos: Sequence[Photo]) -> Iterator[Vector | str]:
            return embed_photos_of(living, photos, embedder())

        if before.generation == living.manifest.generation:
            revision = Revision(living, lease, settings)
            work = Follower(living, revision.writer, living.journal, vectors)
            done, lost = _undo_build(revision, work, drop_unreadable=drop_unreadable)
        else:
            collection = collection_of(address.name, before.generation)
            living.connection.load(collection)
            gallery = MilvusGallery(living.connection, settings, collection)
            writer = MilvusWriter(living.connection, settings, collection=collection)
            work = Follower(gallery, writer, living.journal, vectors)
            work.follow_everything()
            refuse_lost(address, work.lost_now(), drop_unreadable=drop_unreadable)
            done, lost = take_over(
                lease,
                living,
                work,
                {name: getattr(before, name) for name in OF_PHOTOS},
                drop_unreadable=drop_unreadable,
                left_out=gallery.left_out(),
            )
        work.keep_what_is_said_of_others()
        return _report(done, work.gallery.count, work.made, lost, started, swapped=True)


def _undo_build(
    revision: Revision, work: Follower, *, drop_unreadable: bool
) -> tuple[MilvusManifest, Lost]:
    """Make a revision that holds what the one before the last build held; photos let go."""
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
    # What a killed build has changed since, and then what the last one changed.
    for images in (revision.images, last):
        work.restore(images)
    work.catch_up_with_all()
    lost = work.lost_now()
    refuse_lost(gallery.place, lost, drop_unreadable=drop_unreadable)
    skipped = [*state.left_out, *(unreadable(photo) for photo, _ in lost)]
    gallery.note_left_out(skipped)
    return revision.commit({name: getattr(state.manifest, name) for name in OF_PHOTOS}), lost


def forget_on_milvus(address: MilvusAddress, settings: Settings) -> None:
    """Drop the generation before, and its Model. Raises ArtifactMissingError."""
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


@contextlib.contextmanager
def renewal(
    address: MilvusAddress, settings: Settings
) -> Iterator[tuple[HeldLease, MilvusGallery]]:
    """The lease to make a next generation, and the gallery, held to the generation that lives.

    Raises ArtifactBusyError, ArtifactMissingError or EngineError.
    """
    with contextlib.closing(Connection.strong(address, settings)) as connection:
        MilvusGallery(connection, settings)  # is there one?
        with HeldLease.take(GalleryMetadata(connection)) as lease:
            # Asked again, for it is only now that nobody else moves the alias.
            collection = MilvusGallery(connection, settings).collection
            yield lease, MilvusGallery(connection, settings, collection)


def begun(
    living: MilvusGallery, model: Model, photos_root: str, settings: Settings
) -> tuple[str, MilvusManifest]:
    """The generation for another Model, and none beside it but the living one and that before."""
    found = generation_for(living.connection, living.metadata, model, photos_root, settings)
    now = living.manifest
    kept = {now.generation, now.before or 0, found[1].generation}
    drop_others(living.connection, living.metadata, kept)
    return found


def take_over(
    lease: HeldLease,
    living: MilvusGallery,
    work: Next,
    said: Mapping[str, Any],
    *,
    drop_unreadable: bool,
    left_out: Sequence[Skipped] | None = None,
) -> tuple[MilvusManifest, Lost]:
    """Make a next generation the gallery, with the last changes; its manifest, and photos let go.

    `said` is what its manifest says else than the living one's. `left_out` are the files that are
    not in it, where these are not those that are not in the living gallery.
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
        changed |= {"whole": True, "before": now.generation, "before_images": None}
        manifest = now.model_copy(update={**changed, **said})
        skipped = still_left_out(work, living) if left_out is None else list(left_out)
        skipped += [unreadable(one) for one, _ in lost if one.added or left_out is None]
        new.note_left_out(skipped)
        gone += [{"sha256": one.sha256, "file": one.file} for one, _ in lost]
        GonePhotos(new).note(manifest.revision, gone)
        bring_columns(living.metadata, living.journal, now.columns, begun, columns_of(work.fold))
        new.metadata.write_manifest(new.collection, manifest)
        new.rows.count()  # waits, as it must see the newest: searches that come then see all
        drop_images(living.connection, living.metadata, new.collection)  # left by a kill
        lease.check()
        go_live(living.connection, new.collection)
    changed_in(living.metadata, living.collection).forget()
    drop_images(living.connection, living.metadata, living.collection)
    drop_others(living.connection, living.metadata, {manifest.generation, now.generation})
    return manifest, lost


def still_left_out(work: Next, living: MilvusGallery) -> list[Skipped]:
    """What the living gallery leaves out, but for photos that were lost there and are here."""
    skipped = living.left_out()
    rows = WrittenRows(living.connection, work.gallery.collection)
    there = set(rows.named(sorted(lost_before(skipped)), ["id"]))
    return [one for one in skipped if not lost_before([one]) & there]


def _before(living: MilvusGallery) -> MilvusManifest:
    """The manifest to go back to. Raises ArtifactMissingError."""
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
