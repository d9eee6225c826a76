"""Checks of a push while it copies, so that no altered data becomes a release.

Opening a gallery verifies the vectors of small ones only, and a release gets new hashes, which
would hide earlier damage for ever.
"""

import zlib
from pathlib import Path
from typing import Protocol

from deepfood.errors import ArtifactCorruptError
from deepfood.gallery.fold import touched
from deepfood.gallery.record import BEGINNING, Head
from deepfood.local.checkpoints import checkpoints, read_checkpoint
from deepfood.local.journal import Journal
from deepfood.local.store import Store
from deepfood.local.verify import catalogue_faults, short_error_text


class Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...
    def tell(self) -> int: ...


class CheckedVectors:
    """A file of vectors, read from its start; each row's CRC-32 is checked on the way.

    Reading raises ArtifactCorruptError for the first row that is altered.
    """

    def __init__(self, file: Readable, row_bytes: int, store: Store, gallery: Path) -> None:
        self._file = file
        self._row_bytes = row_bytes
        self._crcs = dict(zip(*(column.tolist() for column in store.crcs()), strict=True))
        self._gallery = gallery
        self._row = 0
        self._begun = b""

    def read(self, size: int) -> bytes:
        data = self._file.read(size)
        passing = self._begun + data
        whole = len(passing) // self._row_bytes * self._row_bytes
        for start in range(0, whole, self._row_bytes):
            crc = zlib.crc32(passing[start : start + self._row_bytes])
            if self._crcs.get(self._row, crc) != crc:  # holes do not matter
                raise _altered(self._gallery, f"the vector of row {self._row} is altered")
            self._row += 1
        self._begun = passing[whole:]
        return data

    def tell(self) -> int:
        return self._file.tell()


def check_catalogue(store: Store, gallery: Path) -> None:
    """Raise ArtifactCorruptError for the first altered entry of a catalogue."""
    for fault in catalogue_faults(store):
        raise _altered(gallery, fault.what)


def check_journal(journal: Journal, head: Head, gallery: Path) -> None:
    """Raise ArtifactCorruptError where a file with records up to `head` was altered."""
    newest = BEGINNING
    try:
        for path in checkpoints(journal):
            read_checkpoint(path)
        for record in journal.records():
            if newest.number == head.number:
                break
            newest = record.head
            if record.do == "import":
                touched(record, journal)  # this verifies its table
    except ArtifactCorruptError as error:
        raise _altered(gallery, f"the journal: {short_error_text(error)}") from error
    if newest != head:
        raise _altered(gallery, f"the journal lacks record {head.number}, which the catalogue has")


def _altered(gallery: Path, what: str) -> ArtifactCorruptError:
    return ArtifactCorruptError(
        f"{gallery} is damaged: {what}; run deepfood verify {gallery} --repair, and push again"
    )
