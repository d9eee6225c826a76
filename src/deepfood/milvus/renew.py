"""Another Model for a gallery on Milvus, and back: beside the living generation, losing nothing.

A Successor is filled while the gallery is searched and changed; what is finished stays when it is
stopped or killed. At the end writers wait for as long as the last changes are taken over and the
alias is moved. The generation before stays, with its Model, until the next one takes over.
"""

import contextlib
import functools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from deepfood.config import Settings
from deepfood.embed import Embedder
from deepfood.errors import ArtifactMissingError, DatasetError
from deepfood.gallery.catch_up import PASSES, Lost, Vector, embed_photos_of, refuse_lost
from deepfood.gallery.entry import Photo, Skipped
from deepfood.gallery.renew import RenewReport
from deepfood.gallery.successor import unreadable
from deepfood.milvus.about import About, MilvusManifest
from deepfood.milvus.address import MilvusAddress
from deepfood.milvus.calibrated import calibrated
from deepfood.milvus.changes import EVERYTHING, Changes
from deepfood.milvus.connection import Connection
from deepfood.milvus.gallery import MilvusGallery
from deepfood.milvus.generations import (
    collection_of,
    drop_others,
    finish_index,
    generation_for,
    go_live,
)
from deepfood.milvus.model_copy import fetch_model
from deepfood.milvus.successor import Successor, lost_before
from deepfood.milvus.turn import HeldTurn
from deepfood.model import Model

#: Writers wait while no more changes than these are taken over.
_FEW = 100

Report = RenewReport[MilvusManifest]


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
    with renewal(address, settings) as (turn, living):
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
        done, lost = take_over(turn, work, said, drop_unreadable=drop_unreadable)
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
    with renewal(address, settings) as (turn, living):
        about = living.about
        collection = _before(living)
        before = about.manifest(collection)
        model = fetch_model(about, before.model_fingerprint, settings)
        living.connection.load(collection)

        embedder = functools.cache(lambda: open_embedder(model))  # most times nothing is embedded

        def vectors(photos: Sequence[Photo]) -> Iterator[Vector | str]:
            return embed_photos_of(living, photos, embedder())

        work = Successor(living, settings, collection, vectors, quiet=quiet)
        # Also what was noted there: by a writer that was killed when it had just been left.
        work.follow_changes(work.changes.read())
        lost = work.lost_now()
        refuse_lost(address, lost, drop_unreadable=drop_unreadable)
        if work.gallery.count != living.count - len(lost):
            work.follow_everything()
        said = {name: getattr(before, name) for name in ("labels", "calibration", "uncalibrated")}
        done, lost = take_over(turn, work, said, drop_unreadable=drop_unreadable)
        return _report(done, work.gallery.count, work.made, lost, started, swapped=True)


def forget_on_milvus(address: MilvusAddress, settings: Settings) -> None:
    """Drop the generation before, and its Model. Raises ArtifactMissingError."""
    with renewal(address, settings) as (turn, living):
        _before(living)
        with turn.swapping():
            now = living.follow().model_copy(update={"before": None})
            living.about.write_manifest(living.collection, now)
        Changes(living.about, living.collection).forget()
        drop_others(living.connection, living.about, {now.generation})


@contextlib.contextmanager
def renewal(address: MilvusAddress, settings: Settings) -> Iterator[tuple[HeldTurn, MilvusGallery]]:
    """The turn to make a next generation, and the gallery, held to the generation that lives.

    Raises ArtifactBusyError, ArtifactMissingError or EngineError.
    """
    with contextlib.closing(Connection.strong(address, settings)) as connection:
        MilvusGallery(connection, settings)  # is there one?
        with HeldTurn.take(About(connection)) as turn:
            # Asked again, for it is only now that nobody else moves the alias.
            collection = MilvusGallery(connection, settings).collection
            yield turn, MilvusGallery(connection, settings, collection)


def begun(
    living: MilvusGallery, model: Model, photos_root: str, settings: Settings
) -> tuple[str, MilvusManifest]:
    """The generation for another Model, and none beside it but the living one and that before."""
    found = generation_for(living.connection, living.about, model, photos_root, settings)
    now = living.manifest
    kept = {now.generation, now.before or 0, found[1].generation}
    drop_others(living.connection, living.about, kept)
    return found


def take_over(
    turn: HeldTurn,
    work: Successor,
    said: Mapping[str, Any],
    *,
    drop_unreadable: bool,
    left_out: Sequence[Skipped] | None = None,
) -> tuple[MilvusManifest, Lost]:
    """Make the Successor the gallery, with the last changes; its manifest, and photos let go.

    `said` is what its manifest says else than the living one's. `left_out` are the files that a
    build could not use, where the Successor follows one; else they are the living gallery's.
    """
    living, new = work.living, work.gallery
    for _ in range(PASSES):
        if work.follow_changes() <= _FEW:
            break
    with turn.swapping():
        work.follow_changes()
        lost = work.lost_now()
        refuse_lost(living.place, lost, drop_unreadable=drop_unreadable)
        own, now = new.manifest, living.follow()
        ours = ("generation", "dimension", "model_name", "model_fingerprint", "index")
        changed = {name: getattr(own, name) for name in ours}
        changed |= {**said, "whole": True, "before": now.generation}
        manifest = now.model_copy(update=changed)
        skipped = still_left_out(work) if left_out is None else list(left_out)
        skipped += [unreadable(one) for one, _ in lost if one.added or left_out is None]
        new.note_left_out(skipped)
        work.changes.forget()
        if left_out is not None:  # the two are not alike
            work.changes.note([EVERYTHING])
        new.about.write_manifest(new.collection, manifest)
        new.rows.count()  # waits, as it must see the newest: searches that come then see all
        turn.check()
        go_live(living.connection, new.collection)
    drop_others(living.connection, living.about, {manifest.generation, now.generation})
    return manifest, lost


def still_left_out(work: Successor) -> list[Skipped]:
    """What the living gallery leaves out, but for photos that were lost there and are here."""
    skipped = work.living.left_out()
    there = work.has(sorted(lost_before(skipped)))
    return [one for one in skipped if not lost_before([one]) & there]


def _before(living: MilvusGallery) -> str:
    """The collection of the generation before. Raises ArtifactMissingError."""
    before = living.manifest.before
    if before is None:
        raise ArtifactMissingError(
            f"{living.place} has no generation before: deepfood reembed keeps one"
        )
    return collection_of(living.address.name, before)


def _report(
    manifest: MilvusManifest, count: int, made: int, lost: Lost, started: float, *, swapped: bool
) -> Report:
    return RenewReport(manifest, count, made, lost, time.monotonic() - started, swapped)
