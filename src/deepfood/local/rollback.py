"""Back to the generation before, which each build and change of Model keeps, losing nothing said.

The old generation takes in what the journal has since: photos that were added are embedded with its
Model, removed ones become holes, labels, names and attributes are what people say now. The newer
one is then the one before, so that a second rollback goes forward again.
"""

import contextlib
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from deepfood.embed import Embedder, Vector
from deepfood.errors import ArtifactError, ArtifactMissingError
from deepfood.gallery.embedding import Lost, embed_photos_of, refuse_lost
from deepfood.gallery.photo import Photo, unreadable
from deepfood.gallery.reports import RenewReport
from deepfood.local.following_store import FollowingStore
from deepfood.local.gallery import Gallery
from deepfood.local.journal import Journal
from deepfood.local.leftovers import remove_leftovers
from deepfood.local.lock import only_writer
from deepfood.local.manifest import GalleryManifest
from deepfood.local.recover import replay
from deepfood.local.reindex import reindex, wants_reindex
from deepfood.local.renew import WAIT_S, only_renewal
from deepfood.local.snapshot import Snapshot, open_store, stamp_of
from deepfood.model import Model, open_model


def rollback(
    folder: Path,
    open_embedder: Callable[[Model], Embedder],
    *,
    photos_root: Path | str | None = None,
    drop_unreadable: bool = False,
    quiet: bool = False,
) -> RenewReport[GalleryManifest]:
    """Make the generation before the gallery again.

    `open_embedder` is called only where photos were added since. Raises ArtifactMissingError where
    there is none before, another ArtifactError where it is damaged, DatasetError where an added
    photo cannot be read, or DiskFullError; the gallery then stays as it was.
    """
    started = time.monotonic()
    journal, lost, made = Journal(folder), Lost(), 0
    with only_renewal(folder), _replaced_told(folder):
        before = _before(folder)
        model = open_model(before.model_folder(folder))
        store = open_store(folder, before)
        with contextlib.closing(store):  # is it whole?
            Snapshot.of(folder, stamp_of(folder), before, store, contents=True)

        def embed(photos: Sequence[Photo]) -> list[Vector | None]:
            nonlocal made
            if not photos:
                return []
            with Gallery.open(folder, photos_root=photos_root) as living:
                found = list(embed_photos_of(living, photos, open_embedder(model)))
            failed = [
                (photo, one)
                for photo, one in zip(photos, found, strict=True)
                if isinstance(one, str)
            ]
            refuse_lost(folder, failed, drop_unreadable=drop_unreadable)
            lost.extend(failed)
            made += len(found) - len(failed)
            return [None if isinstance(one, str) else one for one in found]

        inside = before.folder(folder)
        with contextlib.closing(
            FollowingStore.open(inside, before.dimension, before.storage)
        ) as store:
            replay(store, journal, embed)  # while others go on writing
            with only_writer(folder, WAIT_S):
                before = _before(folder)
                replay(store, journal, embed)
                store.note_skipped(unreadable(photo) for photo, _ in lost)
                living = GalleryManifest.read(folder)
                took_over = (living.generation, store.seq()) if _same(folder, store) else None
                update = {"before": living.alone, "took_over": took_over}
                manifest = before.model_copy(update=update)
                manifest.write(folder)
                remove_leftovers(folder, manifest)
                count = store.count()
    with Gallery.open(folder) as now:
        late = wants_reindex(now.refresh())
    if late:  # what was added since is a tail
        reindex(folder, quiet=quiet)
    return RenewReport(manifest, count, made, lost, time.monotonic() - started, True)


def _same(folder: Path, store: FollowingStore) -> bool:
    """Whether the living generation holds the same photos: then searches may go on with it."""
    with contextlib.closing(open_store(folder, GalleryManifest.read(folder))) as living:
        return living.hashes() == store.hashes()


@contextlib.contextmanager
def _replaced_told(folder: Path) -> Iterator[None]:
    """A build may delete the generation before while it is being worked on."""
    begun = _before(folder)
    try:
        yield
    except (ArtifactError, OSError, sqlite3.Error) as error:
        now = GalleryManifest.read(folder).before
        if now is not None and now.generation == begun.generation:
            raise
        raise ArtifactMissingError(
            f"{folder} has been built or embedded again meanwhile, and has no generation "
            f"{begun.generation} to go back to any more"
        ) from error


def forget(folder: Path) -> None:
    """Delete the generation before. Raises ArtifactMissingError where there is none."""
    with only_renewal(folder), only_writer(folder, WAIT_S):
        _before(folder)
        manifest = GalleryManifest.read(folder).alone
        manifest.write(folder)
        remove_leftovers(folder, manifest)


def _before(folder: Path) -> GalleryManifest:
    before = GalleryManifest.read(folder).before
    if before is None:
        raise ArtifactMissingError(
            f"{folder} has no generation before: the next build or reembed keeps one"
        )
    return before
