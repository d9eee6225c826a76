"""The Store: vectors in one plain file, and a catalogue in SQLite that says what each row is.

Rows are only ever appended: the vectors first, flushed to disk, then their catalogue rows in one
transaction. After a crash the catalogue is the truth, and vectors beyond its last row are cut off.
"""

import os
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt

from deepfood.errors import ArtifactCorruptError, disk_full_named
from deepfood.gallery.attributes import SCHEMA, Attributes
from deepfood.index import VectorFile

VECTORS = "vectors.f32"
CATALOGUE = "catalogue.sqlite"

Vectors = npt.NDArray[np.float32]

_SCHEMA = """
CREATE TABLE IF NOT EXISTS photos (
    row INTEGER PRIMARY KEY, sha256 TEXT NOT NULL, file TEXT NOT NULL, label TEXT, name TEXT,
    media_type TEXT NOT NULL, width INTEGER NOT NULL, height INTEGER NOT NULL,
    bytes INTEGER NOT NULL, modified_ns INTEGER NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS photos_sha256 ON photos (sha256);
CREATE TABLE IF NOT EXISTS skipped (
    file TEXT PRIMARY KEY, reason TEXT NOT NULL, bytes INTEGER NOT NULL,
    modified_ns INTEGER NOT NULL, same_as TEXT
) STRICT;
"""

#: Hex digits of the SHA-256 that make a photo's id: 80 bits, so that among ten billion photos the
#: odds of two sharing an id are below one in ten thousand.
ID_DIGITS = 20


@dataclass(frozen=True)
class Photo:
    """A catalogue row. `width` and `height` are as shown, upright; `file` is below the root."""

    sha256: str
    file: str
    label: str | None
    name: str | None
    media_type: str
    width: int
    height: int
    bytes: int
    modified_ns: int

    @property
    def id(self) -> str:
        """Names the photo by its content: the same on every machine and in every gallery."""
        return self.sha256[:ID_DIGITS]


@dataclass(frozen=True)
class Skipped:
    """A file that is not in the gallery, and why.

    `same_as` is the SHA-256 of the gallery's photo with the very same content, where that is why.
    """

    file: str
    reason: str
    bytes: int
    modified_ns: int
    same_as: str | None = None


_PHOTO_COLUMNS = ", ".join(field.name for field in fields(Photo))


class Store:
    """Vectors float32 [n, dimension] and their catalogue, in one folder."""

    def __init__(self, folder: Path, dimension: int, connection: sqlite3.Connection) -> None:
        self.folder = folder
        self.dimension = dimension
        self._db = connection
        self._lock = threading.RLock()
        self.attributes = Attributes(connection, self._lock)

    @classmethod
    def open_for_append(cls, folder: Path, dimension: int) -> Self:
        """Open or create; cuts off what a crash left unfinished."""
        with disk_full_named(folder):
            folder.mkdir(parents=True, exist_ok=True)
            connection = sqlite3.connect(folder / CATALOGUE, check_same_thread=False)
            connection.executescript(_SCHEMA + SCHEMA)
            store = cls(folder, dimension, connection)
            with (folder / VECTORS).open("ab") as file:
                file.truncate(store.count() * dimension * 4)
        return store

    @classmethod
    def open(cls, folder: Path, dimension: int) -> Self:
        """Open to read only; the folder may lie on a read-only disk."""
        path = folder / CATALOGUE
        try:
            connection = sqlite3.connect(
                f"{path.resolve().as_uri()}?mode=ro&immutable=1", uri=True, check_same_thread=False
            )
            store = cls(folder, dimension, connection)
            store.count()
        except sqlite3.DatabaseError as error:
            raise ArtifactCorruptError(f"{path} is no usable catalogue: {error}") from error
        return store

    def close(self) -> None:
        self._db.close()

    def append(self, photos: Sequence[Photo], vectors: Vectors, skipped: Sequence[Skipped]) -> None:
        """Add photos with their vectors, float32 [len(photos), dimension], durable on return.

        Raises DiskFullError, and then nothing of this call has been added.
        """
        start = self.count()
        with disk_full_named(self.folder):
            if len(photos):
                with (self.folder / VECTORS).open("r+b") as file:
                    file.seek(start * self.dimension * 4)
                    file.write(np.ascontiguousarray(vectors, np.float32).data)
                    file.truncate()
                    file.flush()
                    os.fsync(file.fileno())
            with self._lock, self._db:
                self._db.executemany(
                    f"INSERT INTO photos (row, {_PHOTO_COLUMNS}) VALUES "  # noqa: S608
                    f"(?{', ?' * len(fields(Photo))})",
                    ((start + i, *astuple(photo)) for i, photo in enumerate(photos)),
                )
                self._db.executemany(
                    "INSERT OR REPLACE INTO skipped VALUES (?, ?, ?, ?, ?)",
                    (astuple(one) for one in skipped),
                )

    def vectors(self) -> Vectors:
        """All vectors, memory-mapped and read-only: float32 [n, dimension]."""
        count = self.count()
        path = self.folder / VECTORS
        wanted = count * self.dimension * 4
        if path.stat().st_size != wanted:
            raise ArtifactCorruptError(
                f"{path} has {path.stat().st_size} bytes, and its catalogue of {count} photos "
                f"wants {wanted}"
            )
        if count == 0:
            return np.empty((0, self.dimension), np.float32)
        return np.memmap(path, np.float32, mode="r", shape=(count, self.dimension))

    def vector_file(self) -> VectorFile:
        """All vectors, as the index wants them."""
        return VectorFile.open(self.folder / VECTORS, self.dimension, "f32", self.count())

    def count(self) -> int:
        with self._lock:
            return int(
                self._db.execute("SELECT COALESCE(MAX(row) + 1, 0) FROM photos").fetchone()[0]
            )

    def at(self, row: int) -> Photo:
        with self._lock:
            found = self._db.execute(
                f"SELECT {_PHOTO_COLUMNS} FROM photos WHERE row = ?",  # noqa: S608
                (row,),
            ).fetchone()
        return Photo(*found)

    def find(self, photo_id: str) -> tuple[int, Photo] | None:
        """Row and photo of an id, or None."""
        # A range over the index, so that what the caller sent is only ever compared.
        with self._lock:
            found = self._db.execute(
                f"SELECT row, {_PHOTO_COLUMNS} FROM photos "  # noqa: S608
                "WHERE sha256 >= ? AND sha256 < ? LIMIT 1",
                (photo_id, photo_id + "g"),
            ).fetchone()
        if found is None or len(photo_id) != ID_DIGITS:
            return None
        return found[0], Photo(*found[1:])

    def photos(self) -> Iterator[Photo]:
        """All photos by row."""
        with self._lock:
            rows = self._db.execute(f"SELECT {_PHOTO_COLUMNS} FROM photos ORDER BY row").fetchall()  # noqa: S608
        return (Photo(*row) for row in rows)

    def rows_by_key(self) -> dict[str, dict[str, int]]:
        """The row of each photo by `id`, `sha256` and `file`."""
        with self._lock:
            found = self._db.execute("SELECT sha256, file, row FROM photos").fetchall()
        return {
            "id": {sha256[:ID_DIGITS]: row for sha256, _, row in found},
            "sha256": {sha256: row for sha256, _, row in found},
            "file": {file: row for _, file, row in found},
        }

    def commit(self) -> None:
        """Make what was written to `attributes` durable."""
        with self._lock:
            self._db.commit()

    def skipped(self) -> list[Skipped]:
        """All files left out, by name."""
        with self._lock:
            rows = self._db.execute("SELECT * FROM skipped ORDER BY file").fetchall()
        return [Skipped(*row) for row in rows]

    def labels(self) -> int:
        """How many different labels there are."""
        with self._lock:
            return int(self._db.execute("SELECT COUNT(DISTINCT label) FROM photos").fetchone()[0])
