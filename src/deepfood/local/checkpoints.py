"""The fold of a journal in files, and checkpoints, which make it quick to read."""

import contextlib
import re
from pathlib import Path

from deepfood.artifacts import replacing
from deepfood.errors import ArtifactCorruptError
from deepfood.gallery.fold import TAIL_RECORDS, Fold
from deepfood.gallery.record import Head
from deepfood.local.journal import Journal, reading

_CHECKPOINT = re.compile(r"checkpoint-([0-9]{12})\.jsonl")


def fold_of(journal: Journal) -> Fold:
    """The fold of all records. Raises ArtifactCorruptError where the journal is damaged."""
    for path in reversed(checkpoints(journal)):
        # Only a cache: an earlier checkpoint, or all records, give the same fold.
        with contextlib.suppress(ArtifactCorruptError):
            return followed(read_checkpoint(path), journal)
    return followed(Fold(), journal)


def followed(fold: Fold, journal: Journal) -> Fold:
    """Apply the records after the head of a fold."""
    for record in journal.records(fold.head):
        fold.apply(record, journal)
    return fold


def read_checkpoint(path: Path) -> Fold:
    """Read a checkpoint. Raises ArtifactCorruptError."""
    with reading(path) as file:
        fold = Fold.from_lines(file.read(), path)
    if fold.head.number != _number_of(path):
        raise ArtifactCorruptError(f"{path} is damaged: it is of another record")
    return fold


def write_checkpoint(fold: Fold, journal: Journal) -> None:
    """Write a checkpoint of the fold, and delete all but the last two."""
    path = journal.folder / f"checkpoint-{fold.head.number:012d}.jsonl"
    with replacing(path) as file:
        file.writelines(fold.lines())
    for old in checkpoints(journal)[:-2]:
        old.unlink(missing_ok=True)


def checkpoints(journal: Journal) -> list[Path]:
    """The existing checkpoints, the oldest first."""
    return [path for path in journal.listed() if _CHECKPOINT.fullmatch(path.name)]


def is_long(journal: Journal, head: Head) -> bool:
    """Whether enough records came after the last checkpoint for another one."""
    there = checkpoints(journal)
    return head.number - (_number_of(there[-1]) if there else 0) >= TAIL_RECORDS


def checkpoint_if_long(journal: Journal, fold: Fold) -> None:
    if is_long(journal, fold.head):
        write_checkpoint(fold, journal)


def _number_of(path: Path) -> int:
    """The number of the last record that a checkpoint contains."""
    found = _CHECKPOINT.fullmatch(path.name)
    assert found is not None
    return int(found[1])
