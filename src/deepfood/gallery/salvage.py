"""What is left of a damaged journal, or of a catalogue's own counts, made whole again."""

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from deepfood.artifacts import write_atomically
from deepfood.errors import ArtifactCorruptError, ArtifactError
from deepfood.gallery.attributes import crc_of
from deepfood.gallery.entry import REMOVED, Photo
from deepfood.gallery.fold import Fold, Said, checkpoints, facts_of, text_of
from deepfood.gallery.journal import BEGINNING, Journal
from deepfood.gallery.leftovers import LOST_FOUND
from deepfood.gallery.store import State, Store, unusable

#: Photos in one record.
_BATCH = 500


def salvage(folder: Path, store: Store, by: str) -> list[str]:
    """Make a damaged journal whole from its readable records and the catalogue.

    Its whole beginning stays. The damaged rest is kept in lost+found, and what it came to is
    written anew: by its readable records, and where the catalogue is sound, by what that says.
    What was done, a line each.
    """
    journal = Journal(folder)
    whole, after = Fold(), Fold()
    try:
        for record in journal.records():
            whole.apply(record, journal)
    except ArtifactCorruptError:
        pass
    lines = []
    for one in journal.readable():
        if isinstance(one, str):
            lines.append(one)
        else:
            try:
                after.apply(one, journal)
            except ArtifactError as error:
                lines.append(f"record {one.number} of the journal: {error}")
    _believe(store, after)
    for one in journal.readable():  # newer than the catalogue
        if not isinstance(one, str) and one.number > store.state().head.number:
            with contextlib.suppress(ArtifactError):
                after.apply(one, journal)
    kept = _cut(folder, journal, whole.head.number)
    for path in checkpoints(journal):
        path.unlink()
    if not journal.is_there:
        journal.append("begin", by, {"format": 1})
    declared = {
        name: {"type": one.type, "safety": one.safety}
        for name, one in after.definitions.items()
        if whole.definitions.get(name) != one
    }
    if declared:
        journal.append("declare", by, {"attributes": declared})
    changed = [sha256 for sha256 in {*whole, *after} if whole[sha256] != after[sha256]]
    for start in range(0, len(changed), _BATCH):
        photos = [
            {"sha256": sha256, "said": text_of(after[sha256])}
            for sha256 in sorted(changed)[start : start + _BATCH]
        ]
        journal.append("restore", by, {"photos": photos})
    journal.close()
    return [*lines, f"the journal is whole again; its damaged end is kept in {kept}"]


def _believe(store: Store, fold: Fold) -> None:
    """Have a fold say what the catalogue says, wherever that is as it was written."""
    try:
        for name, one in store.attributes.declared().items():
            fold.declare(name, one.type, one.safety)
    except ArtifactError:
        return
    for row, photo in store.sound_rows():
        fold.put(photo.sha256, _said(photo, store.attributes.read(row), fold[photo.sha256]))
    for left_out in store.sound_skipped():
        sha256 = left_out.same_as
        if left_out.reason == REMOVED and sha256 and fold[sha256].removed is None:
            kept = ("file", "bytes", "modified_ns")
            fold.put(sha256, Said(removed={name: getattr(left_out, name) for name in kept}))


def _said(photo: Photo, values: dict[str, Any], before: Said) -> Said:
    by_hand = tuple(name for name in ("label", "name") if getattr(photo, f"{name}_edited"))
    edit = {name: getattr(photo, name) for name in by_hand}
    added = None
    if photo.added:
        facts = facts_of(photo, {})
        added = {name: facts[name] for name in facts if name != "sha256"}
        if before.added is not None:  # as it was added, not as it was edited since
            added = dict(before.added)
    return Said(by_hand=by_hand, attributes=values, added=added, **edit)


def _cut(folder: Path, journal: Journal, last: int) -> Path:
    """Keep all segments as they are in lost+found, and leave the records up to number `last`."""
    home, number = folder / LOST_FOUND / "journal", 1
    while home.exists():
        home, number = home.with_name(f"journal.{number}"), number + 1
    home.mkdir(parents=True)
    left = last
    for first, path in journal.segments():
        content = path.read_bytes()
        write_atomically(home / path.name, content)
        wanted = max(left - first + 1, 0)
        lines = content.splitlines(keepends=True)[:wanted]
        if lines:
            write_atomically(path, b"".join(lines))
        else:
            path.unlink()
    return home.relative_to(folder)


def count_anew(catalogue: Path) -> str:
    """Write a catalogue's state and list of changes anew, from its rows.

    The newest record that it contains is not known then: the journal is followed from scratch.
    """
    try:
        with contextlib.closing(sqlite3.connect(catalogue)) as db, db:
            rows = {row for (row,) in db.execute("SELECT row FROM photos")}
            (seen,) = db.execute("SELECT COALESCE(MAX(seq), 0) FROM changes").fetchone()
            next_row = max([*rows, -1]) + 1
            notes = list(_notes(rows, next_row, seen))
            db.execute("DELETE FROM changes")
            db.executemany("INSERT INTO changes VALUES (?, ?, ?, ?)", notes)
            state = State(next_row, len(notes), BEGINNING)
            db.execute("DELETE FROM state")
            db.execute(
                "INSERT INTO state VALUES (0, ?, ?, ?, ?, ?)",
                (state.next_row, state.seq, *state.head, state.checksum()),
            )
    except sqlite3.DatabaseError as error:
        raise unusable(catalogue, error) from error
    return "the catalogue's rows and changes are counted again"


def _notes(rows: set[int], next_row: int, seen: int) -> Iterator[tuple[int, int, str, int]]:
    """A removal for each hole, and so many notes more that readers notice that there is news."""
    holes = sorted(set(range(next_row)) - rows)
    changes = [(row, "remove") for row in holes]
    anyone = min(rows, default=0)
    changes += [(anyone, "update")] * (seen + 1 if rows else 0)
    for seq, (row, kind) in enumerate(changes, 1):
        yield seq, row, kind, crc_of(seq, row, kind)
