"""Bring catalogue and journal together after a crash or a power cut.

A change is written to the journal before the catalogue, so the catalogue may lack the newest
records: the next process that opens the gallery applies them. A journal that lacks what the
catalogue contains is damaged, and is not applied.
"""

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NoReturn

from deepfood.counted import counted
from deepfood.errors import ArtifactBusyError, ArtifactCorruptError, ArtifactError
from deepfood.gallery.photo import Photo
from deepfood.gallery.record import Head, user
from deepfood.local.following_store import Embed, FollowingStore
from deepfood.local.journal import Journal
from deepfood.local.lock import only_writer
from deepfood.local.manifest import LocalManifest
from deepfood.local.store import Store


@contextlib.contextmanager
def open_to_change(folder: Path, manifest: LocalManifest, by: str = "") -> Iterator[FollowingStore]:
    """Open the living Store, with all of its journal applied, for the holder of the write lock.

    Raises an ArtifactError.
    """
    journal = Journal(folder)
    store = FollowingStore.open(
        manifest.folder(folder),
        manifest.dimension,
        manifest.storage,
        journal=journal,
        by=by or user(),
    )
    try:
        replay(store, journal, no_vectors)
        yield store
    finally:
        store.close()
        journal.close()


def replay(store: FollowingStore, journal: Journal, embed: Embed) -> int:
    """Apply the records that a catalogue lacks; how many these were. Raises an ArtifactError."""
    known, head = _heads(store, journal)
    if head == known:
        return 0
    records = list(journal.records(known))
    removed: dict[str, int] = {}
    for record in records:
        if record.do == "remove":
            removed |= {one["sha256"]: record.number for one in record.what["photos"]}
    for record in records:
        gone = {sha256 for sha256, number in removed.items() if number > record.number}
        store.apply(record, journal, embed, gone)
    return len(records)


def check_head(store: Store, journal: Journal) -> Head:
    """The journal's head. Raises ArtifactCorruptError where it is behind the catalogue."""
    return _heads(store, journal)[1]


def _heads(store: Store, journal: Journal) -> tuple[Head, Head]:
    """The heads of the catalogue and of the journal, which is checked."""
    known, head = store.state().head, journal.head()
    if head.number < known.number or (head.number == known.number and head != known):
        raise ArtifactCorruptError(
            f"{journal.folder} is damaged: it ends at record {head.number}, and record "
            f"{known.number} was acknowledged: run deepfood verify --repair"
        )
    return known, head


def catch_up_with_journal(folder: Path, manifest: LocalManifest, store: Store) -> None:
    """Apply the records that the catalogue lacks, before a gallery is read.

    Raises ArtifactCorruptError where they cannot be applied.
    """
    journal = Journal(folder)
    known, head = _heads(store, journal)
    if head == known:
        return
    try:
        with only_writer(folder):
            if LocalManifest.read(folder).generation == manifest.generation:
                with open_to_change(folder, manifest):
                    pass
    except ArtifactBusyError:
        return  # a writer is doing it
    except ArtifactError as error:
        lacking = journal.head().number - store.state().head.number
        raise ArtifactCorruptError(
            f"{store.folder} lacks the {counted(lacking, 'newest change')} of its journal, which "
            f"cannot be taken in from here ({error})"
        ) from error


def no_vectors(photos: Sequence[Photo]) -> NoReturn:
    raise ArtifactCorruptError(
        f"the vectors of {counted(photos, 'added photo')} are missing: run deepfood verify --repair"
    )
