"""The Store: vectors in one file, and a catalogue of their photos in SQLite.

A row is the place of a photo in the vectors, and is never reused. A removed photo leaves a hole:
its catalogue row is gone, and its vector stays until the next generation. The table `changes` notes
every change, so that readers can catch up. The table `state` has one row, with a checksum: the
number of rows and changes, and the newest record of the journal that the catalogue contains.
Vectors beyond its `next_row` belong to photos that were never acknowledged.
"""

import sqlite3
import threading
import weakref
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any, Literal, NamedTuple, Self

import numpy as np
import numpy.typing as npt

from deepfood.data.photo_file import ID_DIGITS
from deepfood.embed import Vectors
from deepfood.errors import (
    ArtifactCorruptError,
    ArtifactError,
    ArtifactMissingError,
    raising_disk_full,
)
from deepfood.gallery.fold import ManualEdits, edits_from_json
from deepfood.gallery.photo import PHOTO_FIELDS, Photo, Skipped, crc_of, photo_from
from deepfood.gallery.record import BEGINNING, Head
from deepfood.index import Storage, VectorFile
from deepfood.local.attributes import SCHEMA as ATTRIBUTES_SCHEMA
from deepfood.local.attributes import Attributes
from deepfood.local.connections import close_all, connect_to_read, unusable
from deepfood.local.sums import SCHEMA as SUMS_SCHEMA
from deepfood.local.sums import sum_fits
from deepfood.local.vocabulary import CatalogueWords

CATALOGUE = "catalogue.sqlite"

#: `changes` does not list what a build wrote: readers start with all of that. `absent` keeps the
#: edits of photos that are not here now, until they are back.
SCHEMA = """
CREATE TABLE IF NOT EXISTS photos (
    row INTEGER PRIMARY KEY, sha256 TEXT NOT NULL, file TEXT NOT NULL, label TEXT, name TEXT,
    media_type TEXT NOT NULL, width INTEGER NOT NULL, height INTEGER NOT NULL,
    bytes INTEGER NOT NULL, modified_ns INTEGER NOT NULL, added INTEGER NOT NULL,
    label_edited INTEGER NOT NULL, name_edited INTEGER NOT NULL,
    vector_crc INTEGER NOT NULL, checksum INTEGER NOT NULL, values_sum INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX IF NOT EXISTS photos_sha256 ON photos (sha256);
CREATE INDEX IF NOT EXISTS photos_file ON photos (file);
CREATE INDEX IF NOT EXISTS photos_label ON photos (label);
CREATE TABLE IF NOT EXISTS skipped (
    file TEXT PRIMARY KEY, reason TEXT NOT NULL, bytes INTEGER NOT NULL,
    modified_ns INTEGER NOT NULL, same_as TEXT, checksum INTEGER NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS skipped_same_as ON skipped (same_as);
CREATE TABLE IF NOT EXISTS changes (
    seq INTEGER PRIMARY KEY, row INTEGER NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN ('add', 'remove', 'update')), checksum INTEGER NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS removals ON changes (seq, row) WHERE kind = 'remove';
CREATE TABLE IF NOT EXISTS state (
    id INTEGER PRIMARY KEY CHECK (id = 0), next_row INTEGER NOT NULL, seq INTEGER NOT NULL,
    record INTEGER NOT NULL, record_sum TEXT NOT NULL, checksum INTEGER NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS absent (
    sha256 TEXT PRIMARY KEY, said TEXT NOT NULL, checksum INTEGER NOT NULL
) STRICT;
"""
SCHEMA += ATTRIBUTES_SCHEMA
SCHEMA += SUMS_SCHEMA

_PHOTO = ", ".join(PHOTO_FIELDS)
_STATE = "next_row, seq, record, record_sum, checksum"
_NAMES = "SELECT row, sha256, file FROM photos"
_CRC_CHUNK = 4096
#: Variables in one statement: fewer than the limit of SQLite.
_CHUNK = 500


class StoreState(NamedTuple):
    """The number of rows, the number of the newest change, and the newest record."""

    next_row: int = 0
    seq: int = 0
    head: Head = BEGINNING

    def checksum(self) -> int:
        return crc_of(self.next_row, self.seq, *self.head)


class RowEntry(NamedTuple):
    """A row of `photos`, sound or not."""

    row: int
    photo: Photo
    vector_crc: int
    checksum: int


class Store:
    """Vectors [rows, dimension] and their catalogue, to read. Safe to use from many threads."""

    def __init__(
        self,
        folder: Path,
        dimension: int,
        storage: Storage,
        connection: sqlite3.Connection,
        filtering: sqlite3.Connection | None = None,
    ) -> None:
        self.folder = folder
        self.dimension = dimension
        self.storage = storage
        self._db = connection
        self._lock = threading.RLock()
        self._altered_vectors: set[int] | None = None
        #: The last sound row of `state`, parsed.
        self._known_state: tuple[tuple[Any, ...], StoreState] = ((), StoreState())
        # A filter over a million photos may take a second, which must not block other queries.
        if filtering is None:
            self.attributes = Attributes(connection, self._lock)
        else:
            self.attributes = Attributes(filtering, threading.RLock())
        self.words = CatalogueWords(self.attributes.db, self.attributes.lock)
        # The last user of an old generation closes it, in whatever thread.
        self._close = weakref.finalize(self, close_all, connection, filtering)

    @classmethod
    def open(cls, folder: Path, dimension: int, storage: Storage) -> Self:
        """Open to read only. The disk may be read-only; another process may be writing."""
        return cls._open(folder, dimension, storage, 2)

    @classmethod
    def open_to_check(cls, folder: Path, dimension: int, storage: Storage) -> Self:
        """Open as `open` does, with one connection for all, so that `one_moment` is of all."""
        return cls._open(folder, dimension, storage, 1)

    @classmethod
    def _open(cls, folder: Path, dimension: int, storage: Storage, connections: int) -> Self:
        path = folder / CATALOGUE
        try:
            if not path.is_file():
                raise ArtifactMissingError(f"{path} is missing")
            with raising_disk_full(folder):  # readers too need room for its -shm
                opened = [connect_to_read(path) for _ in range(connections)]
                return cls(folder, dimension, storage, *opened)
        except sqlite3.DatabaseError as error:
            raise unusable(path, error) from error
        except OSError as error:
            raise ArtifactError(f"{path} cannot be read: {error.strerror}") from error

    def close(self) -> None:
        with self._lock, self.attributes.lock:  # SQLite crashes if it is closed during a query
            self._close()

    def copy_to(self, folder: Path) -> None:
        """Copy the catalogue, at one moment, into another folder.

        Raises DiskFullError, or ArtifactCorruptError where it cannot be read.
        """
        with raising_disk_full(folder), closing(sqlite3.connect(folder / CATALOGUE)) as copy:
            self.copy_into(copy)

    def copy_into(self, copy: sqlite3.Connection) -> None:
        """Copy the catalogue, at one moment, into another database; raises as `copy_to`."""
        with self._lock, self._read_errors():
            self._db.backup(copy)

    @property
    def vectors_path(self) -> Path:
        return self.folder / f"vectors.{self.storage}"

    def vectors(self, rows: int | None = None) -> VectorFile:
        """The vectors of all rows including holes, memory-mapped and read-only."""
        rows = self.next_row() if rows is None else rows
        return VectorFile.open(self.vectors_path, self.dimension, self.storage, rows)

    def vector(self, row: int) -> Vectors:
        """That of one row, float32 [dimension]."""
        return np.ravel(self.vectors(row + 1).take(np.array([row])))

    def state(self) -> StoreState:
        """The current state, in microseconds. Raises ArtifactCorruptError where it is altered."""
        return self._state_in(self._all(f"SELECT {_STATE} FROM state"))  # noqa: S608

    def _state_in(self, found: list[tuple[Any, ...]]) -> StoreState:
        if len(found) == 1:
            known, state = self._known_state
            if found[0] == known:  # nearly always, and read before each search
                return state
            next_row, seq, number, total, check = found[0]
            state = StoreState(next_row, seq, Head(number, total))
            if state.checksum() == check:
                self._known_state = found[0], state
                return state
        raise self._altered("its table `state`")

    def next_row(self) -> int:
        """The number of rows, holes included: the row of the next photo."""
        return self.state().next_row

    def seq(self) -> int:
        """The number of the newest change, 0 for none."""
        return self.state().seq

    def changed_since(self, seq: int) -> tuple[StoreState, list[int]]:
        """The state, and the rows that became holes by changes after number `seq`.

        Raises ArtifactCorruptError where a change is altered or missing.
        """
        with self.one_moment():
            state = self.state()
            found = self._all("SELECT seq, row, kind, checksum FROM changes WHERE seq > ?", seq)
        whole = all(
            crc_of(*change) == check and change[1] < state.next_row for *change, check in found
        )
        if not whole or len(found) != state.seq - seq:
            raise self._altered("its list of changes")
        return state, [row for _, row, kind, _ in found if kind == "remove"]

    def holes(self) -> tuple[StoreState, list[int]]:
        """The state, and all rows that are holes.

        Raises ArtifactCorruptError where rows and changes disagree.
        """
        with self.one_moment():
            state = self.state()
            found = self._all("SELECT seq, row, kind, checksum FROM changes WHERE kind = 'remove'")
            holes = [row for _, row, _, _ in found]
            whole = all(crc_of(*change) == check for *change, check in found)
            if not whole or self.count() + len(set(holes)) != state.next_row:
                raise self._altered("the list of its rows, or of its changes,")
        return state, holes

    def check_ends(self) -> StoreState:
        """The state. Raises ArtifactCorruptError for rows or changes beyond the last one."""
        found = self._all(
            f"SELECT {_STATE}, (SELECT MAX(row) FROM photos), (SELECT MAX(seq) FROM changes) "  # noqa: S608
            "FROM state"
        )
        state = self._state_in([one[:-2] for one in found])
        row, seq = found[0][-2:]
        if (row is not None and row >= state.next_row) or (seq or 0) != state.seq:
            raise self._altered("how many rows or changes there are")
        return state

    def check_rows(self) -> None:
        """Raise ArtifactCorruptError where a row of a photo is altered or missing."""
        self.holes()
        for _ in self.rows():
            pass

    def absent(self, sha256: str) -> ManualEdits | None:
        """The edits of a photo that is not here, or None."""
        return next(self._absent("WHERE sha256 = ?", sha256), None)

    def absent_hashes(self) -> set[str]:
        """SHA-256 of the photos in `absent`."""
        return {sha256 for (sha256,) in self._all("SELECT sha256 FROM absent")}

    def every_absent(self) -> Iterator[ManualEdits]:
        """The edits of each photo that is not here."""
        return self._absent("")

    def _absent(self, where: str, *values: object) -> Iterator[ManualEdits]:
        rows = self._all(f"SELECT sha256, said, checksum FROM absent {where}", *values)  # noqa: S608
        for sha256, text, check in rows:
            if crc_of(sha256, text) != check:
                raise self._altered(f"the entry of the absent photo {sha256[:ID_DIGITS]}")
            yield edits_from_json(text)

    def at(self, rows: Iterable[int]) -> dict[int, Photo]:
        """The photos of some rows, without holes."""
        wanted = [int(row) for row in rows]
        found: dict[int, Photo] = {}
        for start in range(0, len(wanted), _CHUNK):
            some = wanted[start : start + _CHUNK]
            marks = ", ".join("?" * len(some))
            found.update(self._photos(f"WHERE row IN ({marks})", *some))
        return found

    def find(self, photo_id: str) -> tuple[int, Photo] | None:
        """Row and photo by id, or None."""
        if len(photo_id) != ID_DIGITS:
            return None
        # A range of the index, so that the text of the caller is only compared.
        found = self._photos("WHERE sha256 >= ? AND sha256 < ?", photo_id, photo_id + "g")
        return next(found, None)

    def has_added(self, sha256: str) -> bool:
        """Whether an added photo has this content, so that the gallery must keep its bytes."""
        return bool(self._all("SELECT 1 FROM photos WHERE sha256 = ? AND added", sha256))

    def has(self, sha256: str) -> bool:
        """Whether there is a photo with this content."""
        return bool(self._all("SELECT 1 FROM photos WHERE sha256 = ?", sha256))

    def named(self, file: str) -> list[tuple[int, Photo]]:
        """Rows and photos by file name."""
        return list(self._photos("WHERE file = ?", file))

    def rows(self, below: str | None = None) -> Iterator[tuple[int, Photo]]:
        """All rows with a photo, and these photos, in order; or those of hashes below a text."""
        if below is None:
            return self._photos("ORDER BY row")
        return self._photos("WHERE sha256 < ? ORDER BY row", below)

    def photos(self) -> Iterator[Photo]:
        """All photos by row."""
        return (photo for _, photo in self.rows())

    def names(self) -> list[tuple[int, str, str]]:
        """Row, SHA-256 and file of each photo."""
        return [(row, sha256, file) for row, sha256, file in self._all(_NAMES)]

    def skipped(self) -> list[Skipped]:
        """All skipped files, by name. Raises ArtifactCorruptError where one is altered."""
        with self.one_moment():
            self.check_sum("skipped")
            found = list(self.all_skipped())
        for one, whole in found:
            if not whole:
                raise self._altered(f"the entry of the skipped file {one.file}")
        return [one for one, _ in found]

    def copies_of(self, photo: Photo) -> list[Skipped]:
        """The files that were skipped as copies of a photo."""
        found = list(self._skipped("WHERE same_as = ?", photo.sha256))
        for one, whole in found:
            if not whole:
                raise self._altered(f"the entry of the skipped file {one.file}")
        return [one for one, _ in found]

    def check_sum(self, table: Literal["skipped", "absent"]) -> None:
        """Raise ArtifactCorruptError where rows of the table are missing or altered."""
        with self.one_moment(), self._read_errors():
            if not sum_fits(self._db, table):
                raise self._altered(f"its table `{table}`")

    def crcs(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.uint32]]:
        """The rows with a photo, and the CRC-32 of their vectors' bytes."""
        found = self._all("SELECT row, vector_crc FROM photos ORDER BY row")
        try:
            table = np.fromiter(found, [("row", np.int64), ("crc", np.int64)], len(found))
        except (ValueError, TypeError, OverflowError):
            raise self._altered("a CRC-32 of a vector") from None
        return table["row"], table["crc"].astype(np.uint32)

    def hashes(self) -> set[str]:
        """SHA-256 of every photo."""
        return {sha256 for (sha256,) in self._all("SELECT sha256 FROM photos")}

    def count(self) -> int:
        return int(self._one("SELECT COUNT(*) FROM photos"))

    def labels(self) -> int:
        """The number of different labels."""
        return int(self._one("SELECT COUNT(DISTINCT label) FROM photos"))

    def integrity_problems(self) -> list[str]:
        """The faults that SQLite itself finds."""
        found = self._all("PRAGMA integrity_check")
        return [" ".join(line.split()) for (line,) in found if line != "ok"]

    def sound_rows(self) -> Iterator[tuple[int, Photo]]:
        """Rows and photos that match their checksums, vectors included, by row."""
        if self._altered_vectors is None:
            self._altered_vectors = self._find_altered_vectors()
        altered = self._altered_vectors
        return ((row, photo) for row, photo, _ in self._sound_entries() if row not in altered)

    def _sound_entries(self) -> Iterator[tuple[int, Photo, int]]:
        """Row, photo and the vector's CRC-32 of rows that match their checksum."""
        sql = f"SELECT row, {_PHOTO}, vector_crc, checksum FROM photos"  # noqa: S608
        try:
            found = self._all(f"{sql} ORDER BY row")
        except ArtifactCorruptError:  # one page cannot be read, but others can
            found = []
            for row in range(self.next_row()):
                with suppress(ArtifactCorruptError):
                    found += self._all(f"{sql} WHERE row = ?", row)
        for row, *fields, crc, check in found:
            if crc_of(row, crc, *fields) == check:
                yield row, photo_from(tuple(fields)), crc

    def sound_skipped(self) -> Iterator[Skipped]:
        """Skipped files that match their checksums."""
        with suppress(ArtifactCorruptError):
            yield from (one for one, whole in self.all_skipped() if whole)

    def altered_vectors(self, vectors: VectorFile) -> list[int]:
        """The rows of these vectors that do not match their CRC-32."""
        return _altered_rows(vectors, *self.crcs())

    def _find_altered_vectors(self) -> set[int]:
        """Rows whose vectors are altered or missing, in a Store that may be damaged."""
        found = {row: crc for row, _, crc in self._sound_entries()}
        rows = np.fromiter(found, np.int64, len(found))
        crcs = np.fromiter(found.values(), np.int64, len(found)).astype(np.uint32)
        last = int(rows.max(initial=-1)) + 1
        try:
            size = self.vectors_path.stat().st_size
        except FileNotFoundError:
            size = 0
        if not size:
            return set(found)
        row_bytes = VectorFile.open(self.vectors_path, self.dimension, self.storage, 0).row_bytes
        there = min(size // row_bytes, last)
        vectors = VectorFile.open(self.vectors_path, self.dimension, self.storage, there)
        return {*_altered_rows(vectors, rows, crcs), *range(there, last)}

    def all_rows(self, row: int | None = None) -> Iterator[tuple[int, Photo, bool]]:
        """Row, photo and whether the row is sound; altered rows are included."""
        return self._read("ORDER BY row") if row is None else self._read("WHERE row = ?", row)

    def row_entry(self, row: int) -> RowEntry | None:
        """A row, sound or not."""
        sql = f"SELECT {_PHOTO}, vector_crc, checksum FROM photos WHERE row = ?"  # noqa: S608
        for *fields, crc, check in self._all(sql, row):
            return RowEntry(row, photo_from(tuple(fields)), crc, check)
        return None

    def every_label(self) -> set[str]:
        """The labels of all rows, altered ones included."""
        return {one for (one,) in self._all("SELECT DISTINCT label FROM photos") if one}

    def all_skipped(self) -> Iterator[tuple[Skipped, bool]]:
        """Skipped files, and whether each entry is sound."""
        return self._skipped("ORDER BY file")

    def _skipped(self, where: str, *values: object) -> Iterator[tuple[Skipped, bool]]:
        columns = "file, reason, bytes, modified_ns, same_as, checksum"
        for *fields, check in self._all(f"SELECT {columns} FROM skipped {where}", *values):  # noqa: S608
            yield Skipped(*fields), crc_of(*fields) == check

    def _read(self, where: str, *values: object) -> Iterator[tuple[int, Photo, bool]]:
        sql = f"SELECT row, {_PHOTO}, vector_crc, checksum FROM photos {where}"  # noqa: S608
        for row, *fields, crc, check in self._all(sql, *values):
            yield row, photo_from(tuple(fields)), crc_of(row, crc, *fields) == check

    def _photos(self, where: str, *values: object) -> Iterator[tuple[int, Photo]]:
        for row, photo, whole in self._read(where, *values):
            if not whole:
                raise self._altered(f"row {row}")
            yield row, photo

    def _altered(self, what: str) -> ArtifactCorruptError:
        return ArtifactCorruptError(
            f"{self.folder / CATALOGUE} is damaged: {what} has been altered: run deepfood verify "
            "--repair"
        )

    @contextmanager
    def one_moment(self) -> Iterator[None]:
        """A read transaction: all queries inside see one state, whatever others write."""
        with self._lock, self._read_errors():
            own = not self._db.in_transaction
            if own:
                self._db.execute("BEGIN")
            try:
                yield
            finally:
                if own and self._db.in_transaction:  # SQLite may end it where a page is damaged
                    self._db.execute("COMMIT")

    def _one(self, statement: str) -> Any:
        return self._all(statement)[0][0]

    def query(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        """What a statement selects. Raises ArtifactCorruptError where it cannot be read."""
        return self._all(statement, *values)

    def _all(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        with self._lock, self._read_errors():
            return self._db.execute(statement, values).fetchall()

    @contextmanager
    def _read_errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.DatabaseError as error:
            raise unusable(self.folder / CATALOGUE, error) from error


def _altered_rows(
    vectors: VectorFile, rows: npt.NDArray[np.int64], wanted: npt.NDArray[np.uint32]
) -> list[int]:
    """Those of some rows, in order, whose vectors lack the wanted CRC-32."""
    starts = range(0, len(vectors), _CRC_CHUNK)
    places = np.searchsorted(rows, [*starts, len(vectors)]).tolist()  # rows beyond were added since
    found: list[int] = []
    for start, first, last in zip(starts, places, places[1:], strict=False):
        here = rows[first:last]
        crcs = vectors.crc(start, min(start + _CRC_CHUNK, len(vectors)))
        found += here[crcs[here - start] != wanted[first:last]].tolist()
    return found
