"""Return to the generation before, which each build and change of Model keeps.

The old generation first replays the newer records of the journal, so that no change is lost: added
photos are embedded with its Model, removed ones become holes, and all manual edits apply. The newer
generation becomes the one before, so that a second rollback goes forward again.
"""

import contextlib
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from deepfood.data.locate import IN_PLACE, PhotoAccess
from deepfood.embed import Embedder, Vector
from deepfood.errors import ArtifactError, ArtifactMissingError
from deepfood.gallery.embedding import Lost, embed_photos_of, refuse_lost
from deepfood.gallery.photo import Photo, unreadable
from deepfood.gallery.reports import RenewReport
from deepfood.local.following_store import FollowingStore
from deepfood.local.gallery import LocalGallery
from deepfood.local.journal import Journal
from deepfood.local.lock import only_writer
from deepfood.local.manifest import (
    LocalManifest,
    remove_leftovers,
)
from deepfood.local.recover import replay
from deepfood.local.reindex import reindex, wants_reindex
from deepfood.local.renew import WAIT_S, only_renewal
from deepfood.local.snapshot import Snapshot, manifest_stamp, open_store
from deepfood.model import Model, open_model


def rollback(
    folder: Path,
    open_embedder: Callable[[Model], Embedder],
    *,
    photos: PhotoAccess = IN_PLACE,
    drop_unreadable: bool = False,
    quiet: bool = False,
) -> RenewReport[LocalManifest]:
    """Make the generation before the living one again.

    `open_embedder` is called only where photos were added since. Raises ArtifactMissingError where
    there is none before, another ArtifactError where it is damaged, DatasetError where an added
    photo cannot be read, or DiskFullError; the gallery then stays as it was.
    """
    started = time.monotonic()
    with only_renewal(folder), _replacement_explained(folder):
        before, journal = _before(folder), Journal(folder)
        added = _AddedPhotos(folder, open_model(before.model_folder(folder)), open_embedder)
        added.photos, added.drop_unreadable = photos, drop_unreadable
        _check_whole(folder, before)
        inside = before.folder(folder)
        with contextlib.closing(
            FollowingStore.open(inside, before.dimension, before.storage)
        ) as store:
            replay(store, journal, added.embed)  # while others go on writing
            with only_writer(folder, WAIT_S):
                replay(store, journal, added.embed)
                store.note_skipped(unreadable(photo) for photo, _ in added.lost)
                manifest = _swap(folder, store)
                count = store.count()
    with LocalGallery.open(folder) as now:
        late = wants_reindex(now.refresh())
    if late:  # what was added since is a tail
        reindex(folder, quiet=quiet)
    return RenewReport(manifest, count, added.made, added.lost, time.monotonic() - started, True)


@dataclass
class _AddedPhotos:
    """Embeds the photos that were added since, with the Model of the generation before."""

    folder: Path
    model: Model
    open_embedder: Callable[[Model], Embedder]
    photos: PhotoAccess = IN_PLACE
    drop_unreadable: bool = False
    made: int = 0
    lost: Lost = field(default_factory=list)

    def embed(self, photos: Sequence[Photo]) -> list[Vector | None]:
        """The vector of each photo, None where it is lost. Raises DatasetError."""
        if not photos:
            return []
        with LocalGallery.open(self.folder, photos=self.photos) as living:
            found = list(embed_photos_of(living, photos, self.open_embedder(self.model)))
        lost = [
            (photo, one) for photo, one in zip(photos, found, strict=True) if isinstance(one, str)
        ]
        refuse_lost(self.folder, lost, drop_unreadable=self.drop_unreadable)
        self.lost += lost
        self.made += len(found) - len(lost)
        return [None if isinstance(one, str) else one for one in found]


def _check_whole(folder: Path, before: LocalManifest) -> None:
    """Raise an ArtifactError where the generation before is damaged."""
    store = open_store(folder, before)
    with contextlib.closing(store):
        Snapshot.of(folder, manifest_stamp(folder), before, store, contents=True)


def _swap(folder: Path, store: FollowingStore) -> LocalManifest:
    """Make the generation before the living one, and the living one the one before."""
    living, before = LocalManifest.read(folder), _before(folder)
    took_over = (living.generation, store.seq()) if _same(folder, store) else None
    manifest = before.model_copy(update={"before": living.alone, "took_over": took_over})
    manifest.write(folder)
    remove_leftovers(folder, manifest)
    return manifest


def _same(folder: Path, store: FollowingStore) -> bool:
    """Whether the living generation holds the same photos, so that searches may go on with it."""
    with contextlib.closing(open_store(folder, LocalManifest.read(folder))) as living:
        return living.hashes() == store.hashes()


@contextlib.contextmanager
def _replacement_explained(folder: Path) -> Iterator[None]:
    """Explain errors of a build that deletes the generation before while it is being used."""
    begun = _before(folder)
    try:
        yield
    except (ArtifactError, OSError, sqlite3.Error) as error:
        now = LocalManifest.read(folder).before
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
        manifest = LocalManifest.read(folder).alone
        manifest.write(folder)
        remove_leftovers(folder, manifest)


def _before(folder: Path) -> LocalManifest:
    before = LocalManifest.read(folder).before
    if before is None:
        raise ArtifactMissingError(
            f"{folder} has no generation before: the next build or reembed keeps one"
        )
    return before
