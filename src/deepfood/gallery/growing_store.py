"""A Store that is written: rows are appended, removed and updated, durable when a call returns.

First the vectors, flushed to disk, then their catalogue rows in one transaction. A crash between
the two leaves vectors that no row claims; the next append writes over them.
"""

import os
import sqlite3
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import astuple, replace
from pathlib import Path
from typing import Literal, Self

import numpy as np
import numpy.typing as npt

from deepfood.errors import ArtifactCorruptError, disk_full_named
from deepfood.gallery.attributes import Attributes
from deepfood.gallery.columns import check_said
from deepfood.gallery.entry import PHOTO_FIELDS, REMOVED, Photo, Skipped, checksum
from deepfood.gallery.store import CATALOGUE, SCHEMA, Store
from deepfood.gallery.values import attribute_name, type_of
from deepfood.index import Storage, VectorFile, append_vectors

Change = Literal["add", "remove", "update"]
Given = Mapping[str, object]


class GrowingStore(Store):
    """A Store with one writer. Every method raises DiskFullError, and has then done nothing."""

    @classmethod
    def open(
        cls, folder: Path, dimension: int, storage: Storage, *, lengthen: bool = False
    ) -> Self:
        """Open or create; cuts off what a crash left unfinished.

        `lengthen` puts zeros where vectors are missing, so that they can be mended. Raises
        ArtifactCorruptError where vectors are missing, or the catalogue is unusable.
        """
        path = folder / CATALOGUE
        try:
            with disk_full_named(folder):
                folder.mkdir(parents=True, exist_ok=True)
                connection = sqlite3.connect(path, check_same_thread=False)
                # WAL: readers go on while this writes. FULL: what is committed is on the disk.
                connection.execute("PRAGMA journal_mode = WAL")
                connection.execute("PRAGMA synchronous = FULL")
                connection.executescript(SCHEMA)
        except sqlite3.DatabaseError as error:
            raise ArtifactCorruptError(f"{path} is no usable catalogue: {error}") from error
        store = cls(folder, dimension, storage, connection)
        nothing = np.empty((0, dimension), np.float32)
        if lengthen:
            store.vectors_path.touch()
            row_bytes = VectorFile.open(store.vectors_path, dimension, storage, 0).row_bytes
            os.truncate(store.vectors_path, store.next_row() * row_bytes)
        append_vectors(store.vectors_path, dimension, storage, store.next_row(), nothing)
        return store

    def append(
        self,
        photos: Sequence[Photo],
        vectors: npt.NDArray[np.float32],
        skipped: Iterable[Skipped] = (),
        *,
        attributes: Sequence[Given] = (),
        announce: bool = False,
    ) -> None:
        """Add photos with their vectors, float32 [len(photos), dimension], and skipped files.

        `attributes` are those of each photo, or of none. `announce` notes the photos in `changes`,
        for those who read meanwhile. Raises DatasetError for a value that cannot be used.
        """
        start = self.next_row()
        crcs: list[int] = []
        if photos:
            path = self.vectors_path
            crcs = append_vectors(path, self.dimension, self.storage, start, vectors).tolist()
        rows = range(start, start + len(photos))
        with self._transaction() as db:
            for row, photo, crc in zip(rows, photos, crcs, strict=True):
                _write_photo(db, row, photo, crc)
            # A file that was skipped before, and has been mended since.
            mended = ((photo.file,) for photo in photos if not photo.added)
            db.executemany("DELETE FROM skipped WHERE file = ?", mended)
            for row, given in zip(rows, attributes, strict=False):
                self._write_attributes(row, given)
            _write_skipped(db, skipped)
            db.execute("UPDATE state SET value = ? WHERE name = 'next_row'", (rows.stop,))
            if announce:
                _note(db, "add", rows)

    def one_photo_for_each_content(self) -> None:
        """Refuse the same bytes twice from now on, as galleries do."""
        with self._transaction() as db:
            db.execute("CREATE UNIQUE INDEX IF NOT EXISTS one_photo ON photos (sha256)")

    def remove(self, photos: dict[int, Photo]) -> None:
        """Make holes of these rows. Files of the source are noted as removed, also their copies."""
        with self._transaction() as db:
            db.executemany("DELETE FROM photos WHERE row = ?", ((row,) for row in photos))
            for row in photos:
                self.attributes.forget(row)
            for photo in photos.values():
                copies = [
                    Skipped(*values)
                    for values in db.execute(
                        "SELECT file, reason, bytes, modified_ns FROM skipped WHERE same_as = ?",
                        (photo.sha256,),
                    )
                ]
                if not photo.added:
                    copies.append(Skipped(photo.file, REMOVED, photo.bytes, photo.modified_ns))
                _write_skipped(db, (replace(copy, reason=REMOVED) for copy in copies))
            _note(db, "remove", photos)

    def update(
        self, photos: dict[int, Photo], attributes: Mapping[int, Given] | None = None
    ) -> None:
        """Write what is now said of these rows, which must be there; of attributes, those given.

        Raises DatasetError for a value that cannot be used.
        """
        with self._transaction() as db:
            for row, photo in photos.items():
                (crc,) = db.execute(
                    "SELECT vector_crc FROM photos WHERE row = ?", (row,)
                ).fetchone()
                _write_photo(db, row, photo, crc)
            for row, given in (attributes or {}).items():
                self._write_attributes(row, given)
            _note(db, "update", photos)

    @contextmanager
    def changing_attributes(self) -> Iterator[Attributes]:
        """The attributes, to be written in one transaction, durable when the context is left."""
        with self._transaction():
            yield self.attributes

    def _write_attributes(self, row: int, given: Given) -> None:
        """In a transaction; an attribute that is new gets the type that its value shows."""
        check_said(given)
        known = self.attributes.declared()
        for name, value in given.items():
            if value is not None and attribute_name(name) not in known:
                type_ = type_of(attribute_name(name), value)
                self.attributes.declare(name, type_, known=known)
        self.attributes.write(row, given, known)

    def has_vector(self, row: int, vector: npt.NDArray[np.float32]) -> bool:
        """Whether a row's stored vector is this one, to the last bit."""
        stored = self._stored(vector)
        with self.vectors_path.open("rb") as file:
            file.seek(row * len(stored))
            return file.read(len(stored)) == stored

    def mend(self, row: int, photo: Photo, vector: npt.NDArray[np.float32]) -> None:
        """Write a row's vector over what is there, and its catalogue row."""
        stored = self._stored(vector)
        with disk_full_named(self.folder), self.vectors_path.open("r+b") as file:
            file.seek(row * len(stored))
            file.write(stored)
            file.flush()
            os.fsync(file.fileno())
        with self._transaction() as db:
            _write_photo(db, row, photo, zlib.crc32(stored))
            _note(db, "update", [row])

    def make_holes(self, rows: Sequence[int]) -> None:
        """Take rows out that are not what they should be, or not there at all."""
        with self._transaction() as db:
            db.executemany("DELETE FROM photos WHERE row = ?", ((row,) for row in rows))
            for row in rows:
                self.attributes.forget(row)
            _note(db, "remove", rows)

    def note_skipped(self, skipped: Iterable[Skipped]) -> None:
        with self._transaction() as db:
            _write_skipped(db, skipped)

    def forget_skipped(self, file: str) -> None:
        with self._transaction() as db:
            db.execute("DELETE FROM skipped WHERE file = ?", (file,))

    def rebuild_indexes(self) -> None:
        """The catalogue's own indexes, from its tables."""
        with self._transaction() as db:
            db.execute("REINDEX")

    def _stored(self, vector: npt.NDArray[np.float32]) -> bytes:
        """A vector as its file has it."""
        beside = self.vectors_path.with_name(".vector.new")
        append_vectors(beside, self.dimension, self.storage, 0, vector[np.newaxis])
        stored = beside.read_bytes()
        beside.unlink()
        return stored

    @contextmanager
    def _locked(self) -> Iterator[sqlite3.Connection]:
        with disk_full_named(self.folder), self._lock:
            yield self._db

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._locked() as db, db:
            yield db


def _write_photo(db: sqlite3.Connection, row: int, photo: Photo, crc: int) -> None:
    columns = ("row", *PHOTO_FIELDS, "vector_crc", "checksum")
    db.execute(
        f"INSERT OR REPLACE INTO photos ({', '.join(columns)}) VALUES "  # noqa: S608
        f"({', '.join('?' * len(columns))})",
        (row, *astuple(photo), crc, checksum(photo, row, crc)),
    )


def _write_skipped(db: sqlite3.Connection, skipped: Iterable[Skipped]) -> None:
    db.executemany(
        "INSERT OR REPLACE INTO skipped VALUES (?, ?, ?, ?, ?, ?)",
        ((*astuple(one), checksum(one)) for one in skipped),
    )


def _note(db: sqlite3.Connection, change: Change, rows: Iterable[int]) -> None:
    db.executemany("INSERT INTO changes (row, kind) VALUES (?, ?)", ((row, change) for row in rows))
