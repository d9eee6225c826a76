"""A Store that is written: rows are appended, removed and updated, durable when a call returns.

Vectors are flushed to disk first. Then their rows are written in one transaction, whose record is
flushed to the journal before the commit. A crash before that leaves vectors without a row, which
the next append overwrites. A crash after it leaves a record that the catalogue lacks, and a power
cut may leave several: `replay` applies them.
"""

import os
import sqlite3
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt

from deepfood.data.photo_file import ID_DIGITS
from deepfood.errors import ArtifactError, raising_disk_full
from deepfood.gallery.declared import Declared, check_unused, no_attribute
from deepfood.gallery.fold import (
    ManualEdits,
    addition_of,
    edit_of,
    edits_from_json,
    edits_to_json,
    removal_of,
)
from deepfood.gallery.history import Undo
from deepfood.gallery.photo import (
    PHOTO_FIELDS,
    REMOVED,
    Photo,
    Skipped,
    checksum,
    crc_of,
    values_of,
)
from deepfood.gallery.record import Kind
from deepfood.gallery.values import Value, attribute_name
from deepfood.index import Storage, VectorFile, append_vectors, check_rows
from deepfood.local import written_index
from deepfood.local.connections import unusable
from deepfood.local.journal import Journal
from deepfood.local.store import CATALOGUE, SCHEMA, Store, StoreState
from deepfood.local.sums import keep_sums, sum_again

ChangeKind = Literal["add", "remove", "update"]
Given = Mapping[str, object]
Values = Mapping[str, Value | None]

_COLUMNS = ("row", *PHOTO_FIELDS, "vector_crc", "checksum", "values_sum")
_INSERT = f"INSERT INTO photos ({', '.join(_COLUMNS)}) VALUES ({', '.join('?' * len(_COLUMNS))})"  # noqa: S608


@dataclass
class Transaction:
    """A transaction: the state after it, and its records for the journal."""

    db: sqlite3.Connection
    before: StoreState
    state: StoreState
    records: list[tuple[Kind, Mapping[str, Any]]]

    def note(self, change: ChangeKind, rows: Iterable[int]) -> None:
        """Note changed rows for readers."""
        notes = [(seq, row, change) for seq, row in enumerate(rows, self.state.seq + 1)]
        self.db.executemany(
            "INSERT INTO changes VALUES (?, ?, ?, ?)", ((*one, crc_of(*one)) for one in notes)
        )
        self.state = self.state._replace(seq=self.state.seq + len(notes))


class GrowingStore(Store):
    """A Store with one writer. Methods may raise DiskFullError, and have then changed nothing.

    With a `journal`, each manual edit becomes a record in the name of `by`.
    """

    journal: Journal | None = None
    by: str = ""
    _indexes_words = False

    @classmethod
    def open(
        cls,
        folder: Path,
        dimension: int,
        storage: Storage,
        *,
        journal: Journal | None = None,
        by: str = "",
        lengthen: bool = False,
        words: bool = True,
    ) -> Self:
        """Open or create a Store, and cut off what a crash left unfinished.

        `lengthen` fills missing vectors with zeros, so that they can be repaired. `words` keeps the
        index of what is written, and makes it where there is none: see `index_words`. Raises
        ArtifactCorruptError where vectors are missing, or the catalogue is unusable.
        """
        path = folder / CATALOGUE
        try:
            with raising_disk_full(folder):
                folder.mkdir(parents=True, exist_ok=True)
                fresh = not path.exists()
                connection = sqlite3.connect(path, check_same_thread=False)
                # WAL: readers are not blocked. FULL: commits are on the disk. With a journal they
                # are in it already, so that the catalogue may follow later.
                connection.execute("PRAGMA journal_mode = WAL")
                connection.execute(f"PRAGMA synchronous = {'NORMAL' if journal else 'FULL'}")
                if fresh or not _has_tables(connection):
                    connection.executescript(SCHEMA)
                    with connection:
                        _write_state(connection, StoreState())
                keep_sums(connection)
        except sqlite3.DatabaseError as error:
            raise unusable(path, error) from error
        except PermissionError as error:
            raise ArtifactError(f"{path} cannot be written: {error.strerror}") from error
        store = cls(folder, dimension, storage, connection)
        store.journal, store.by = journal, by
        nothing = np.empty((0, dimension), np.float32)
        rows = store.next_row() if lengthen else store.check_ends().next_row
        if lengthen:
            store.vectors_path.touch()
            row_bytes = VectorFile.open(store.vectors_path, dimension, storage, 0).row_bytes
            wanted = rows * row_bytes
            if store.vectors_path.stat().st_size < wanted:
                os.truncate(store.vectors_path, wanted)
        elif journal is None:
            append_vectors(store.vectors_path, dimension, storage, rows, nothing)
        else:  # vectors beyond the last row may belong to records that are applied next
            check_rows(store.vectors_path, dimension, storage, rows)
        if words:
            store.index_words()
        return store

    def index_words(self, *, anew: bool = False) -> None:
        """Bring the index of what is written up to date, or make it `anew`, and keep it so.

        Raises ArtifactError where SQLite has no FTS5.
        """
        with self._locked() as db:
            written_index.check_fts5(db)
            if anew or not written_index.is_current(db):
                with db:
                    db.execute("BEGIN IMMEDIATE")
                    written_index.index_all_rows(db)
                    written_index.mark_current(db, self.state().checksum())
            written_index.note_changed_rows(db)
            self._indexes_words = True

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

        `attributes` are those of each photo, or empty. `announce` notes the photos in `changes`,
        for readers. Raises DatasetError for an invalid value.
        """
        start = self.next_row()
        crcs: list[int] = []
        if photos:
            path = self.vectors_path
            crcs = append_vectors(path, self.dimension, self.storage, start, vectors).tolist()
        with self.transaction() as work:
            clean: Sequence[Values] = self.attributes.cleaned(attributes or [{} for _ in photos])
            if self.journal is not None:
                facts = [addition_of(*one) for one in zip(photos, clean, strict=True)]
                work.records.append(("add", {"photos": facts, "row": start, "crcs": crcs}))
            self.insert(work, photos, crcs, clean, announce=announce)
            _write_skipped(work.db, skipped)

    def insert(
        self,
        work: Transaction,
        photos: Sequence[Photo],
        crcs: Sequence[int],
        attributes: Sequence[Values],
        *,
        announce: bool,
    ) -> None:
        """Write catalogue rows for vectors that are in the file behind the last row."""
        start = work.state.next_row
        rows = range(start, start + len(photos))
        known: dict[int, Values] = {}
        entries = []
        some_absent = self._all("SELECT 1 FROM absent LIMIT 1")
        for row, photo, crc, values in zip(rows, photos, crcs, attributes, strict=True):
            edits = self.absent(photo.sha256) if some_absent else None
            if edits is not None:  # it is back
                photo, values = edits.apply_to(photo), {**edits.attributes, **values}
                work.db.execute("DELETE FROM absent WHERE sha256 = ?", (photo.sha256,))
            entries.append(_entry(row, photo, crc))
            known[row] = values
        work.db.executemany(_INSERT, entries)
        self.attributes.put_clean(known)
        # Files that were skipped before and are readable now.
        mended = ((photo.file,) for photo in photos if not photo.added)
        work.db.executemany("DELETE FROM skipped WHERE file = ?", mended)
        # Photos that were removed and are added again.
        work.db.executemany(
            "DELETE FROM skipped WHERE same_as = ? AND reason = ?",
            ((photo.sha256, REMOVED) for photo in photos if photo.added),
        )
        work.state = work.state._replace(next_row=rows.stop)
        if announce:
            work.note("add", rows)

    def one_photo_for_each_content(self) -> None:
        """Refuse the same content twice from now on, as galleries do."""
        with self.transaction() as work:
            work.db.execute("CREATE UNIQUE INDEX IF NOT EXISTS one_photo ON photos (sha256)")

    def remove(self, photos: Mapping[int, Photo]) -> None:
        """Make holes of these rows. Files of the source and their copies are noted as removed."""
        with self.transaction() as work:
            if photos:
                removals = [removal_of(photo) for photo in photos.values()]
                work.records.append(("remove", {"photos": removals}))
            self._remove(work, photos)

    def _remove(self, work: Transaction, photos: Mapping[int, Photo]) -> None:
        db = work.db
        db.executemany("DELETE FROM photos WHERE row = ?", ((row,) for row in photos))
        for row in photos:
            self.attributes.forget(row)
        for photo in photos.values():
            removed = [replace(one, reason=REMOVED) for one in self.copies_of(photo)]
            if not photo.added:
                about = (photo.file, REMOVED, photo.bytes, photo.modified_ns, photo.sha256)
                removed.append(Skipped(*about))
            _write_skipped(db, removed)
        work.note("remove", photos)

    def update(
        self, photos: Mapping[int, Photo], attributes: Mapping[int, Given] | None = None
    ) -> None:
        """Replace the photos of existing rows, and set the given attributes.

        Raises DatasetError for an invalid value.
        """
        with self.transaction() as work:
            given = attributes or {}
            clean = dict(zip(given, self.attributes.cleaned(list(given.values())), strict=True))
            before = self.at(photos)  # refuses altered rows, as the update makes a new checksum
            if self.journal is not None:
                edits = [
                    edit_of(before[row], photo, clean.get(row, {})) for row, photo in photos.items()
                ]
                work.records.append(("update", {"photos": edits}))
            self._update(work, photos, clean)

    def _update(
        self, work: Transaction, photos: Mapping[int, Photo], attributes: Mapping[int, Values]
    ) -> None:
        for row, photo in photos.items():
            _update_photo(work.db, row, photo)
        self.attributes.put_clean(attributes)
        work.note("update", photos)

    def import_values(
        self,
        definitions: Mapping[str, Declared],
        values: Mapping[str, Sequence[tuple[int, Value | None]]],
    ) -> None:
        """Set whole columns of cleaned values, by attribute."""
        assert self.journal is not None
        with self.transaction() as work:
            work.records.append(self._import_record(self.journal, definitions, values))
            self.attributes.import_values(definitions, values)

    def _import_record(
        self,
        journal: Journal,
        definitions: Mapping[str, Declared],
        values: Mapping[str, Sequence[tuple[int, Value | None]]],
    ) -> tuple[Kind, Mapping[str, Any]]:
        rows = {row for some in values.values() for row, _ in some}
        photos = self.at(rows)  # refuses altered rows, as the record names their content
        by_photo: dict[str, dict[str, Value | None]] = {}
        for name, some in values.items():
            for row, value in some:
                by_photo.setdefault(photos[row].sha256, {})[name] = value
        table = journal.write_table(by_photo)
        declared = {name: _definition(one) for name, one in definitions.items()}
        return "import", {"table": table, "count": len(by_photo), "attributes": declared}

    def declare(self, columns: Mapping[str, Declared]) -> list[str]:
        """Declare attributes, all or none. Returns the new names. Raises DatasetError."""
        with self.transaction() as work:
            before = self.attributes.declared()
            after = dict(before)
            for name, one in columns.items():
                self.attributes.declare(name, one.type, one.safety, after)
            changed = {n: _definition(one) for n, one in after.items() if before.get(n) != one}
            if changed and self.journal is not None:
                work.records.append(("declare", {"attributes": changed}))
            return [name for name in changed if name not in before]

    def drop_attribute(self, name: str) -> None:
        """Drop an attribute that no photo, present or absent, has a value of.

        Raises UndeclaredError for an unknown name, and DatasetError where a photo has a value.
        """
        name = attribute_name(name)
        with self.transaction() as work:
            declared = self.attributes.declared()
            if name not in declared:
                raise no_attribute(declared, name)
            absent = sum(name in edits.attributes for edits in self.every_absent())
            check_unused(name, self.attributes.known_counts()[name] + absent)
            self.attributes.drop(name)
            work.records.append(("drop", {"attribute": name}))

    def _find(self, sha256: str) -> tuple[int, Photo] | None:
        return self.find(sha256[:ID_DIGITS])

    def crc_of_vector(self, vector: npt.NDArray[np.float32]) -> int:
        """The CRC-32 of a vector as it would be stored."""
        return zlib.crc32(self._stored(vector))

    def has_vector(self, row: int, vector: npt.NDArray[np.float32]) -> bool:
        """Whether the stored vector of a row equals this one, to the last bit."""
        stored = self._stored(vector)
        with self.vectors_path.open("rb") as file:
            file.seek(row * len(stored))
            return file.read(len(stored)) == stored

    def mend(self, row: int, photo: Photo, vector: npt.NDArray[np.float32]) -> None:
        """Overwrite the vector and the catalogue row of a row."""
        stored = self._stored(vector)
        with raising_disk_full(self.folder), self.vectors_path.open("r+b") as file:
            file.seek(row * len(stored))
            file.write(stored)
            file.flush()
            os.fsync(file.fileno())
        with self.transaction() as work:
            (total,) = work.db.execute(
                "SELECT values_sum FROM photos WHERE row = ?", (row,)
            ).fetchone()
            work.db.execute("DELETE FROM photos WHERE row = ?", (row,))
            work.db.execute(_INSERT, _entry(row, photo, zlib.crc32(stored), total))
            work.note("update", [row])

    def make_holes(self, rows: Sequence[int]) -> None:
        """Take out rows that are altered or missing."""
        with self.transaction() as work:
            work.db.executemany("DELETE FROM photos WHERE row = ?", ((row,) for row in rows))
            for row in rows:
                self.attributes.forget(row)
            work.note("remove", rows)

    def sum_again(self) -> None:
        """For repair: accept the present rows of skipped files and absent photos as complete."""
        with self.transaction() as work:
            sum_again(work.db)

    def note_skipped(self, skipped: Iterable[Skipped]) -> None:
        with self.transaction() as work:
            _write_skipped(work.db, skipped)

    def forget_skipped(self, file: str) -> None:
        with self.transaction() as work:
            work.db.execute("DELETE FROM skipped WHERE file = ?", (file,))

    def rebuild_indexes(self) -> None:
        """Rebuild the indexes of the catalogue from its tables."""
        with self.transaction() as work:
            work.db.execute("REINDEX")
            work.db.execute("DELETE FROM state")  # its row may have a wrong id
            _write_state(work.db, work.state)

    def _stored(self, vector: npt.NDArray[np.float32]) -> bytes:
        """A vector as it is stored."""
        beside = self.vectors_path.with_name(".vector.new")
        append_vectors(beside, self.dimension, self.storage, 0, vector[np.newaxis])
        stored = beside.read_bytes()
        beside.unlink()
        return stored

    def take_back(self, undo: Undo) -> list[Photo]:
        """Restore the edits from before a change. Returns the photos that are here.

        A photo that was removed comes back with the next build.
        """
        there = {sha256: found for sha256 in undo.before if (found := self._find(sha256))}
        with self.transaction() as work:
            photos = [
                {"sha256": sha256, "said": edits_to_json(one), "texts": undo.texts.get(sha256, {})}
                for sha256, one in undo.before.items()
            ]
            work.records.append(("restore", {"photos": photos, "undoes": undo.number}))
            for one in photos:
                self.restore(work, one)
        return [found[1] for found in (self._find(sha256) for sha256 in there) if found]

    def restore(self, work: Transaction, one: Mapping[str, Any]) -> None:
        """Apply a `restore` of one photo, in a transaction."""
        sha256, edits = one["sha256"], edits_from_json(one["said"])
        work.db.execute("DELETE FROM skipped WHERE same_as = ? AND reason = ?", (sha256, REMOVED))
        found = self._find(sha256)
        if found is None:
            if edits.outlasts_photo:
                self.keep_absent(work, sha256, edits)
            return
        row, photo = found
        unset = replace(photo, **one.get("texts", {}), label_edited=False, name_edited=False)
        values = dict.fromkeys(self.attributes.read(row)) | dict(edits.attributes)
        self._update(work, {row: edits.apply_to(unset)}, {row: values})

    def keep_absent(self, work: Transaction, sha256: str, edits: ManualEdits) -> None:
        """Keep the edits of a photo that is not here, in a transaction."""
        text = edits_to_json(replace(edits, added=None, removed=None))
        work.db.execute(
            "INSERT OR REPLACE INTO absent VALUES (?, ?, ?)", (sha256, text, crc_of(sha256, text))
        )

    @contextmanager
    def _locked(self) -> Iterator[sqlite3.Connection]:
        with raising_disk_full(self.folder), self._lock, self._read_errors():
            yield self._db

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        """All changes inside are made, with their records, or none."""
        with self._locked() as db:
            db.execute("BEGIN IMMEDIATE")
            before = self.state()
            work = Transaction(db, before, before, [])
            try:
                yield work
                for do, what in work.records:
                    assert self.journal is not None
                    head = self.journal.append(do, self.by, what)
                    work.state = work.state._replace(head=head)
                if self._indexes_words:
                    written_index.index_changed_rows(db)
                if work.state != before:
                    _write_state(db, work.state)
                    if self._indexes_words:
                        written_index.mark_current(db, work.state.checksum())
                db.commit()
            except BaseException:
                db.rollback()
                if self.journal is not None:
                    self.journal.take_back()
                raise
            if self.journal is not None:
                self.journal.settle()


def _has_tables(db: sqlite3.Connection) -> bool:
    return db.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone() is not None


def _write_state(db: sqlite3.Connection, state: StoreState) -> None:
    values = (state.next_row, state.seq, *state.head, state.checksum())
    db.execute("INSERT OR REPLACE INTO state VALUES (0, ?, ?, ?, ?, ?)", values)


def _definition(one: Declared) -> dict[str, object]:
    """An attribute's definition as stored in a record."""
    return {"type": one.type, "safety": one.safety}


def _entry(row: int, photo: Photo, crc: int, values_sum: int = 0) -> tuple[Any, ...]:
    """The values for `_INSERT`."""
    fields = values_of(photo)
    return row, *fields, crc, crc_of(row, crc, *fields), values_sum


def _update_photo(db: sqlite3.Connection, row: int, photo: Photo) -> None:
    """Replace the photo of a row. The vector and its CRC-32 stay."""
    (crc,) = db.execute("SELECT vector_crc FROM photos WHERE row = ?", (row,)).fetchone()
    changed = ", ".join(f"{name} = ?" for name in (*PHOTO_FIELDS, "checksum"))
    values = (*values_of(photo), checksum(photo, row, crc), row)
    db.execute(f"UPDATE photos SET {changed} WHERE row = ?", values)  # noqa: S608


def _write_skipped(db: sqlite3.Connection, skipped: Iterable[Skipped]) -> None:
    db.executemany(
        "INSERT OR REPLACE INTO skipped VALUES (?, ?, ?, ?, ?, ?)",
        ((*values_of(one), checksum(one)) for one in skipped),
    )
