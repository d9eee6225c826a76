"""Restore a damaged journal, or the state of a catalogue, from what is left."""

import contextlib
import shutil
import sqlite3
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from deepfood.artifacts import sync_folder, write_atomically
from deepfood.beside import beside
from deepfood.errors import ArtifactCorruptError, ArtifactError, raising_disk_full
from deepfood.gallery.fold import Fold, ManualEdits, addition_of, edits_to_json
from deepfood.gallery.photo import REMOVED, Photo, crc_of
from deepfood.gallery.record import BEGINNING, Record
from deepfood.gallery.values import Value
from deepfood.local.checkpoints import followed
from deepfood.local.connections import unusable
from deepfood.local.journal import JOURNAL, Journal
from deepfood.local.manifest import LOST_FOUND
from deepfood.local.store import SCHEMA, Store, StoreState
from deepfood.local.sums import sum_again

#: The folder of a journal that is being restored.
SALVAGING = "salvaging"
#: Photos in one record.
_BATCH = 500


def salvage(folder: Path, store: Store | None, by: str) -> list[str]:
    """Restore a damaged journal from its readable records and the catalogue.

    The records before the damage stay. The state after it is written as new records: by the
    readable ones, and by the catalogue where that is sound. `store` is None where there is no
    catalogue. The damaged journal is kept in lost+found. Returns what was done, a line each.
    """
    _put_back(folder)
    journal = Journal(folder)
    whole, after = Fold(), Fold()
    with contextlib.suppress(ArtifactCorruptError):
        followed(whole, journal)
    lines, newer = [], list[Record]()
    known = store.state().head.number if store else 0
    for one in journal.readable():
        if isinstance(one, str):
            lines.append(one)
        elif one.number > known and store:
            newer.append(one)
        else:
            lines += _apply(after, one, journal)
    if store is None and not after.head.number:
        raise ArtifactCorruptError(
            f"neither {journal.folder} nor the catalogue can be read: restore one from a copy"
        )
    if store is not None:
        _take_from_catalogue(store, after)
    for record in newer:
        lines += _apply(after, record, journal)
    new = _begun_again(folder, journal, whole.head.number, by)
    with contextlib.closing(new):
        _write_rest(new, whole, after, by)
    kept = _keep_aside(folder, journal)
    _put_back(folder)
    return [*lines, f"the journal is whole again; the damaged one is kept in {kept}"]


def _apply(fold: Fold, record: Record, journal: Journal) -> list[str]:
    try:
        fold.apply(record, journal)
    except ArtifactError as error:
        return [f"record {record.number} of the journal: {error}"]
    return []


def _take_from_catalogue(store: Store, fold: Fold) -> None:
    """Update a fold with the sound rows of the catalogue, and their attributes where sound."""
    declared = None
    with contextlib.suppress(ArtifactCorruptError):
        declared = store.attributes.declared()
    for name, one in (declared or {}).items():
        fold.declare(name, one.type, one.safety)
    there = set()
    for row, photo in store.sound_rows():
        before = fold[photo.sha256]
        values, altered = store.attributes.read_sound([row]) if declared is not None else ({}, True)
        known = before.attributes if altered else values[row]
        fold.put(photo.sha256, _edits(photo, known, before))
        there.add(photo.sha256)
    for left_out in store.sound_skipped():
        sha256 = left_out.same_as
        if left_out.reason == REMOVED and sha256 and fold[sha256].removed is None:
            fold.put(sha256, _removed(vars(left_out)))
    if declared is None or not _is_complete(store):
        return
    for name in fold.definitions.keys() - declared:
        fold.drop(name)
    for sha256 in {*fold, *store.absent_hashes()} - there:
        edits, absent = fold[sha256], store.absent(sha256)
        if absent is not None:
            fold.put(sha256, absent)
        elif edits.added is not None:  # the record of its removal was lost
            fold.put(sha256, _removed(edits.added))


def _removed(about: Mapping[str, Any]) -> ManualEdits:
    return ManualEdits(removed={name: about[name] for name in ("file", "bytes", "modified_ns")})


def _is_complete(store: Store) -> bool:
    """Whether no row of the catalogue is missing or altered."""
    try:
        store.holes()
        store.check_sum("absent")
        return all(whole for _, _, whole in store.all_rows())
    except ArtifactCorruptError:
        return False


def _edits(photo: Photo, values: Mapping[str, Value], before: ManualEdits) -> ManualEdits:
    """The edits that a sound row shows; `before` are those that the readable records show."""
    added = None
    if photo.added:
        facts = addition_of(photo, {})
        added = {name: facts[name] for name in facts if name != "sha256"}
        if before.added is not None:  # as it was added, not as it was edited since
            added = dict(before.added)
    return replace(ManualEdits.from_photo(photo, values), added=added)


def _begun_again(folder: Path, journal: Journal, last: int, by: str) -> Journal:
    """A new journal in `salvaging/`, with the records up to number `last` and all tables."""
    shutil.rmtree(folder / SALVAGING, ignore_errors=True)
    new = Journal(folder / SALVAGING)
    (new.folder / "tables").mkdir(parents=True)
    for first, path in journal.segments():
        if first > last:
            break
        lines = path.read_bytes().splitlines(keepends=True)[: last - first + 1]
        write_atomically(new.folder / path.name, b"".join(lines))
    for sha256 in journal.tables():
        with contextlib.suppress(ArtifactError):
            for _ in journal.read_table(sha256):
                pass
            shutil.copyfile(journal.table(sha256), new.table(sha256))
    if not last:
        new.append("begin", by, {"format": 1})
    return new


def _write_rest(new: Journal, whole: Fold, after: Fold, by: str) -> None:
    """Append records that lead from the fold `whole` to the fold `after`."""
    declared = {
        name: {"type": one.type, "safety": one.safety}
        for name, one in after.definitions.items()
        if whole.definitions.get(name) != one
    }
    if declared:
        new.append("declare", by, {"attributes": declared})
    for name in whole.definitions.keys() - after.definitions:
        new.append("drop", by, {"attribute": name})
        whole.drop(name)
    table = after.source_table
    if table not in (None, whole.source_table) and table in new.tables():
        what = {"table": table, "count": 0, "attributes": {}, "source_table": table}
        new.append("import", by, what)
        whole.apply(Record(0, "", by, "import", what), new)
    changed = [
        sha256 for sha256 in dict.fromkeys([*whole, *after]) if whole[sha256] != after[sha256]
    ]
    for start in range(0, len(changed), _BATCH):
        photos = [
            {"sha256": sha256, "said": edits_to_json(after[sha256])}
            for sha256 in changed[start : start + _BATCH]
        ]
        new.append("restore", by, {"photos": photos})


def _keep_aside(folder: Path, journal: Journal) -> Path:
    """Move the damaged journal to lost+found, unchanged."""
    home, number = folder / LOST_FOUND / JOURNAL, 1
    while home.exists():
        home, number = home.with_name(f"{JOURNAL}.{number}"), number + 1
    home.parent.mkdir(exist_ok=True)
    if journal.folder.exists():
        journal.folder.rename(home)
    return home.relative_to(folder)


def _put_back(folder: Path) -> None:
    """Move the new journal into place, once the old one was moved away."""
    new = Journal(folder / SALVAGING)
    if new.is_there and not (folder / JOURNAL).exists():
        new.folder.rename(folder / JOURNAL)
        sync_folder(folder)
    shutil.rmtree(folder / SALVAGING, ignore_errors=True)


def write_again(catalogue: Path) -> str:
    """Copy the tables of a catalogue to new pages, which replace all of it in one transaction.

    Indexes and the index of words are not copied, but made from the tables: damage to their pages
    can keep SQLite from dropping them. Rows keep their checksums. Readers go on, as with any
    change. Raises ArtifactCorruptError where a table cannot be read to its end, or DiskFullError.
    """
    try:
        with (
            raising_disk_full(catalogue.parent),
            beside(catalogue) as new,
            contextlib.closing(sqlite3.connect(catalogue)) as old,
            contextlib.closing(sqlite3.connect(new)) as copy,
        ):
            (page_size,) = old.execute("PRAGMA page_size").fetchone()
            copy.execute(f"PRAGMA page_size = {page_size}")
            copy.executescript(SCHEMA)
            copy.execute("ATTACH ? AS damaged", (str(catalogue),))
            with copy:
                for table in sorted(_tables(copy, "main") & _tables(copy, "damaged")):
                    there = _columns(copy, "damaged", table)
                    columns = ", ".join(
                        one for one in _columns(copy, "main", table) if one in there
                    )
                    copy.execute(f"DELETE FROM main.{table}")  # noqa: S608
                    copy.execute(
                        f"INSERT INTO main.{table} ({columns}) "  # noqa: S608
                        f"SELECT {columns} FROM damaged.{table} NOT INDEXED"
                    )
                for (statement,) in copy.execute(_UNIQUE_INDEXES).fetchall():
                    copy.execute(statement)
            copy.execute("DETACH damaged")
            copy.backup(old)
    except sqlite3.DatabaseError as error:
        raise unusable(catalogue, error) from error
    return "the catalogue's tables are written again, and its indexes made anew"


#: Those that are made for a catalogue and are not of its schema.
_UNIQUE_INDEXES = "SELECT sql FROM damaged.sqlite_master WHERE sql LIKE 'CREATE UNIQUE INDEX %'"


def _tables(db: sqlite3.Connection, schema: str) -> set[str]:
    names = f"SELECT name FROM {schema}.sqlite_master WHERE type = 'table'"  # noqa: S608
    return {name for (name,) in db.execute(names)}


def _columns(db: sqlite3.Connection, schema: str, table: str) -> list[str]:
    return [one[1] for one in db.execute(f"PRAGMA {schema}.table_info({table})")]


def count_anew(catalogue: Path) -> str:
    """Rewrite the state and the list of changes of a catalogue from its rows.

    The newest record that it contains is then unknown: the journal is applied from the start.
    """
    try:
        with contextlib.closing(sqlite3.connect(catalogue)) as db, db:
            rows = {row for (row,) in db.execute("SELECT row FROM photos")}
            (seen,) = db.execute("SELECT COALESCE(MAX(seq), 0) FROM changes").fetchone()
            next_row = max([*rows, -1]) + 1
            notes = list(_notes(rows, next_row, seen))
            db.execute("DELETE FROM changes")
            db.executemany("INSERT INTO changes VALUES (?, ?, ?, ?)", notes)
            state = StoreState(next_row, len(notes), BEGINNING)
            db.execute("DELETE FROM state")
            db.execute(
                "INSERT INTO state VALUES (0, ?, ?, ?, ?, ?)",
                (state.next_row, state.seq, *state.head, state.checksum()),
            )
            sum_again(db)
    except sqlite3.DatabaseError as error:  # pragma: no cover - verify has just read all of it
        raise unusable(catalogue, error) from error
    return "the catalogue's rows and changes are counted again"


def _notes(rows: set[int], next_row: int, seen: int) -> Iterator[tuple[int, int, str, int]]:
    """A removal for each hole, and enough further notes for readers to notice a change."""
    holes = sorted(set(range(next_row)) - rows)
    changes = [(row, "remove") for row in holes]
    anyone = min(rows, default=0)
    changes += [(anyone, "update")] * (seen + 1 if rows else 0)
    for seq, (row, kind) in enumerate(changes, 1):
        yield seq, row, kind, crc_of(seq, row, kind)
