"""Read the catalogue of a gallery of format 1, which had no journal: see upgrade.py.

The schema is that of format 1: one flag `edited` means that label and name were set by hand, and
neither changes nor `state` have checksums.
"""

import contextlib
import json
import re
import sqlite3
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

from deepfood.errors import ArtifactMissingError, DatasetError, in_one_line
from deepfood.gallery.declared import Definition
from deepfood.gallery.photo import Photo, Skipped
from deepfood.gallery.values import SAFETY, Type, Value, attribute_name, check_name
from deepfood.local.connections import unusable
from deepfood.local.store import CATALOGUE

_FACTS = (
    "sha256",
    "file",
    "label",
    "name",
    "media_type",
    "width",
    "height",
    "bytes",
    "modified_ns",
)
_ROWS = (
    f"SELECT row, {', '.join(_FACTS)}, added, edited, vector_crc, checksum FROM photos "  # noqa: S608
    "ORDER BY row"
)
_SHA256 = re.compile("[0-9a-f]{64}")
#: The Python types of a value read from JSON, by the type of its attribute.
_OF_TYPE: dict[Type, tuple[type, ...]] = {
    "text": (str,),
    "number": (int, float),
    "boolean": (bool,),
    "list": (list,),
}


@dataclass(frozen=True)
class EarlierRow:
    """A photo, its vector's CRC-32, and whether the row matches its checksum."""

    photo: Photo
    crc: int
    whole: bool


@dataclass
class Earlier:
    """The contents of the catalogue, and a line about each altered part."""

    rows: dict[int, EarlierRow] = field(default_factory=dict)
    next_row: int = 0
    definitions: dict[str, Definition] = field(default_factory=dict)
    #: By row.
    values: dict[int, dict[str, Value]] = field(default_factory=dict)
    skipped: list[Skipped] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    @property
    def holes(self) -> list[int]:
        return [row for row in range(self.next_row) if row not in self.rows]


def read_earlier(folder: Path) -> Earlier:
    """Read the catalogue of a generation. Raises an ArtifactError where it cannot be read."""
    found = Earlier()
    with _opened(folder / CATALOGUE) as db:
        found.faults += [
            f"the earlier catalogue: {line}"
            for (line,) in db.execute("PRAGMA integrity_check")
            if line != "ok"
        ]
        _read_rows(db, found)
        _read_attributes(db, found)
        for *fields, check in db.execute(
            "SELECT file, reason, bytes, modified_ns, same_as, checksum FROM skipped"
        ):
            if _crc(*fields) == check:
                found.skipped.append(Skipped(*fields))
            else:
                found.faults.append(
                    f"the entry of the skipped file {fields[0]} is altered, and forgotten; the "
                    "next build looks at it again"
                )
    return found


def copy_earlier(folder: Path, to: Path) -> None:
    """Copy the catalogue of a generation unchanged. Raises an ArtifactError."""
    with _opened(folder / CATALOGUE) as db, contextlib.closing(sqlite3.connect(to)) as copy:
        db.backup(copy)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[sqlite3.Connection]:
    if not path.is_file():
        raise ArtifactMissingError(f"{path} is missing: build the gallery into another folder")
    try:
        # Opened for writing, so that the log of a killed writer is merged.
        uri = f"{path.resolve().as_uri()}?mode=rw"
        with contextlib.closing(sqlite3.connect(uri, uri=True)) as db:
            db.text_factory = lambda text: text.decode("utf-8", "replace")
            yield db
    except sqlite3.DatabaseError as error:
        kind = type(unusable(path, error))
        raise kind(
            f"{path} cannot be read ({in_one_line(error)}): build the gallery into another folder"
        ) from error


def _read_rows(db: sqlite3.Connection, found: Earlier) -> None:
    removed = {row for (row,) in db.execute("SELECT row FROM changes WHERE kind = 'remove'")}
    there = set()
    for row, *fields, crc, check in db.execute(_ROWS):
        there.add(row)
        *facts, added, edited = fields
        about = dict(zip(_FACTS, facts, strict=True))
        by_hand = bool(edited)  # one flag for both texts
        photo = Photo(**about, added=bool(added), label_edited=by_hand, name_edited=by_hand)
        whole = _crc(row, crc, *fields) == check
        if row in removed:
            found.faults.append(f"row {row} was removed, and is there: it is taken out")
        elif whole or _is_possible(photo, crc):
            found.rows[row] = EarlierRow(photo, crc, whole)
        if not whole:
            found.faults.append(f"row {row} ({photo.file}) is altered")
    stated = db.execute("SELECT value FROM state WHERE name = 'next_row'").fetchone()
    found.next_row = max([*there, *removed, -1]) + 1
    if stated != (found.next_row,):
        sound = [row for row, one in found.rows.items() if one.whole]
        found.next_row = max([*sound, -1]) + 1
        found.rows = {row: one for row, one in found.rows.items() if row < found.next_row}
        found.faults.append(f"how many rows there are is altered: {found.next_row} are found")
    found.faults += [
        f"row {row} is missing, and was not removed; build again to find its photo anew"
        for row in range(found.next_row)
        if row not in there and row not in removed
    ]


def _is_possible(photo: Photo, crc: int) -> bool:
    """Whether an altered row still has a value of the right type in each column."""
    texts = (photo.sha256, photo.file, photo.media_type, photo.label or "", photo.name or "")
    numbers = (photo.width, photo.height, photo.bytes, photo.modified_ns, crc)
    return (
        all(isinstance(one, str) for one in texts)
        and all(isinstance(one, int) for one in numbers)
        and _SHA256.fullmatch(photo.sha256) is not None
    )


def _read_attributes(db: sqlite3.Connection, found: Earlier) -> None:
    names: dict[int, str] = {}
    for *fields, check in db.execute(
        "SELECT id, name, type, safety, checksum FROM attributes ORDER BY id"
    ):
        number, name, type_, safety = fields
        if _crc(*fields) != check:
            definition = _guessed(db, number, name, type_)
            outcome = "it is one of safety now" if definition else "and cannot be read"
            found.faults.append(f"the definition of the attribute {name} is altered: {outcome}")
            if definition is None:
                continue
        else:
            definition = Definition(type_, bool(safety) or name in SAFETY)
        names[number], found.definitions[name] = name, definition
    for row, number, text, check in db.execute(
        "SELECT row, attribute, value, checksum FROM attribute_values"
    ):
        name = names.get(number)
        if _crc(row, number, text) != check:
            why = "is altered"
        elif name is None:
            why = "has no definition"
        elif row not in found.rows:
            why = "is of no photo"
        else:
            found.values.setdefault(row, {})[name] = json.loads(text)
            continue
        which = name or f"number {number}"
        found.faults.append(f"the attribute {which} of row {row} {why}, and is unknown now")


def _guessed(db: sqlite3.Connection, number: int, name: Any, type_: Any) -> Definition | None:
    """An altered definition by the type of its values; as a safety attribute, to be safe."""
    for row, text, check in db.execute(
        "SELECT row, value, checksum FROM attribute_values WHERE attribute = ?", (number,)
    ):
        if _crc(row, number, text) == check:
            kind = type(json.loads(text))
            type_ = next((one for one in _OF_TYPE if kind in _OF_TYPE[one]), type_)
            break
    try:
        check_name(attribute_name(name))
    except (DatasetError, TypeError, AttributeError):
        return None
    fits = type_ in get_args(Type) and attribute_name(name) == name
    return Definition(type_, True) if fits and (name not in SAFETY or type_ == "list") else None


def _crc(*fields: Any) -> int:
    """The checksum of the fields of any row."""
    return zlib.crc32(json.dumps(fields, default=repr).encode())
