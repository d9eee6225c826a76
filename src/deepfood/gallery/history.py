"""The history of a gallery, read from its journal, and what undoing a change restores."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from deepfood.data.photo_file import ID_DIGITS, photo_id
from deepfood.errors import QueryError
from deepfood.gallery.fold import AnyJournal, Fold, ManualEdits, edits_in, touched
from deepfood.gallery.record import Record
from deepfood.gallery.values import Type

#: Fields of a record that are shown by photo, or not at all.
_OF_PHOTOS = ("photos", "row", "crcs", "undoes", "table", "source_table")
#: Kinds of records that can be undone.
_UNDOABLE = ("update", "import", "remove", "restore")


@dataclass(frozen=True)
class Event:
    """One change: its number, when (UTC, ISO 8601), by whom, what was done, and to which photos.

    `about` holds the details as in the journal. `undoes` is the number of the change that this one
    undoes, or None.
    """

    number: int
    at: str
    by: str
    do: str
    photos: tuple[str, ...]
    about: dict[str, Any]
    undoes: int | None = None


def history(journal: AnyJournal, photo: str | None = None) -> Iterator[Event]:
    """All changes in a journal, or those of one photo by its id, the oldest first.

    Raises ArtifactCorruptError for a damaged journal, QueryError for a malformed id.
    """
    if photo is not None and len(photo) != ID_DIGITS:
        raise QueryError(f"{photo[:40]!r} is not a photo's id, which has {ID_DIGITS} hex digits")
    for record in journal.records():
        if record.do == "begin":
            continue
        hashes = sorted(touched(record, journal))
        if photo is None or any(sha256.startswith(photo) for sha256 in hashes):
            yield _event(record, journal, hashes, photo)


def _event(record: Record, journal: AnyJournal, hashes: list[str], photo: str | None) -> Event:
    about = {name: value for name, value in record.what.items() if name not in _OF_PHOTOS}
    if photo is not None or len(hashes) == 1:
        each = edits_in(record, journal) if record.do == "import" else record.what["photos"]
        about["changes"] = [
            {name: value for name, value in one.items() if name != "sha256"}
            for one in each
            if photo is None or one["sha256"].startswith(photo)
        ]
    return Event(
        record.number,
        record.at,
        record.by,
        record.do,
        tuple(photo_id(one) for one in hashes),
        about,
        record.what.get("undoes"),
    )


@dataclass(frozen=True)
class Undo:
    """How to undo a change: the edits of each photo before it, by SHA-256."""

    number: int
    before: dict[str, ManualEdits]
    #: The earlier labels and names, for photos whose edit recorded them.
    texts: dict[str, dict[str, str | None]]


def undo_of(journal: AnyJournal, number: int) -> Undo:
    """Raise QueryError where the change cannot be undone, or a newer one is in the way."""
    record, now = None, Fold()
    before: dict[str, ManualEdits] = {}
    after: dict[str, ManualEdits] = {}
    types: dict[str, Type] = {}
    for one in journal.records():
        hashes = touched(one, journal) if one.number == number else ()
        before |= {sha256: now[sha256] for sha256 in hashes}
        if hashes:
            types = {name: column.type for name, column in now.definitions.items()}
        now.apply(one, journal)
        if one.number == number:
            record, after = one, {sha256: now[sha256] for sha256 in hashes}
    if record is None:
        raise QueryError(f"there is no change number {number}: deepfood history lists them")
    if record.do not in _UNDOABLE:
        way = {
            "add": ": deepfood remove takes its photos out",
            "declare": ": deepfood attributes --drop takes a column away",
        }
        hint = way.get(record.do, "")
        raise QueryError(f"change {number} ({record.do}) cannot be taken back{hint}")
    for sha256 in sorted(before):
        if now[sha256] != after[sha256]:
            raise QueryError(
                f"photo {photo_id(sha256)} was edited again after change {number}: undo that edit "
                "first"
            )
        for name in before[sha256].attributes:
            column = now.definitions.get(name)
            if column is None or column.type != types[name]:
                raise QueryError(
                    f"the attribute {name} that photo {photo_id(sha256)} had was dropped after "
                    f"change {number}: declare it again, as a {types[name]}"
                )
        if before[sha256].added is not None and now[sha256].added is None:
            raise QueryError(
                f"the bytes of photo {photo_id(sha256)}, which was added, were deleted when it was "
                "removed: add it again"
            )
    texts = {one["sha256"]: one["was"] for one in record.what.get("photos", ()) if "was" in one}
    return Undo(number, before, texts)
