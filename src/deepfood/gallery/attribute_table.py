"""Attributes from a table: a CSV with a heading, or JSON lines, a photo a row.

The whole table is read and checked before anything is written: it is taken as it is, or refused
with file, line, column and value.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from deepfood.data.root import Folder
from deepfood.data.tables import Row, expect_cells, photo_path, read_lines, read_rows
from deepfood.errors import DatasetError
from deepfood.gallery.values import (
    SAFETY,
    Type,
    Value,
    attribute_name,
    check_name,
    checked,
    type_of,
    type_of_cell,
    value_of_cell,
)

#: What a row may name its photo by; the first that a table has is used. `photo` is its file.
_PHOTO_KEYS = ("id", "sha256", "file", "photo")
#: Columns that `deepfood build` reads, so that one table can serve both.
_OF_BUILD = frozenset({"label", "name", "split"})


#: What a photo goes by: its row, or its id.
P = TypeVar("P")


class Declared(Protocol):
    """What is known of an attribute that is there."""

    @property
    def type(self) -> Type: ...
    @property
    def safety(self) -> bool: ...


@dataclass(frozen=True)
class Table(Generic[P]):
    """What a table says: the type of each attribute and its values, of `photos`.

    `safety` are attributes that must be known to pass a filter; `passed_over` are columns that are
    no attributes.
    """

    types: dict[str, Type]
    values: dict[str, list[tuple[P, Value | None]]]
    safety: frozenset[str]
    photos: tuple[P, ...]
    passed_over: tuple[str, ...]


@dataclass(frozen=True)
class _Line:
    """A row's values by name, None where it gives none; `cells` of a CSV are still text."""

    values: dict[str, Any]
    where: str
    from_csv: bool


def read_table(
    declared: Mapping[str, Declared],
    path: Path,
    photos: Mapping[str, Mapping[str, P]],
    *,
    types: Mapping[str, Type] | None = None,
    safety: frozenset[str] = frozenset(),
) -> Table[P]:
    """What a table says of photos, which go by what `photos` gives for `id`, `sha256` and `file`.

    A column's type is the one that it was declared with, else the one in `types`, else what its
    first value shows; columns in `safety` become safety attributes. An empty cell, or null, makes a
    value unknown. Raises DatasetError.
    """
    lines = _json_lines(path) if path.suffix.lower() in (".jsonl", ".ndjson") else _csv_lines(path)
    given = {attribute_name(name): type_ for name, type_ in (types or {}).items()}
    safety = frozenset(map(attribute_name, safety)) | SAFETY
    known: dict[str, Type] = {name: one.type for name, one in declared.items()}
    columns: dict[str, list[tuple[P, Value | None]]] = {}
    seen: dict[P, str] = {}
    passed_over: dict[str, None] = {}
    inferred: set[str] = set()
    for line in lines:
        row = _row_of(line, photos)
        if row in seen:
            raise DatasetError(f"{line.where}: the photo is at {seen[row]} already")
        seen[row] = line.where
        for name, value in line.values.items():
            if name in _PHOTO_KEYS or name in _OF_BUILD:
                passed_over[name] = None
                continue
            try:
                column = columns.get(name)
                if column is None:
                    check_name(name)
                    column = columns[name] = []
                if value is None:
                    column.append((row, None))
                    continue
                if name not in known:
                    show = type_of_cell if line.from_csv else type_of
                    known[name] = given.get(name) or show(name, value)
                    inferred |= {name} - given.keys()
                read = value_of_cell if line.from_csv else checked
                safe = name in safety or (name in declared and declared[name].safety)
                column.append((row, read(value, known[name], safety=safe)))
            except DatasetError as error:
                hint = ""
                if name in inferred and known[name] not in ("text", "list"):
                    hint = f" (its first value is a {known[name]}: --type {name}=text takes any)"
                raise DatasetError(f"{line.where}, column {name}: {error}{hint}") from None
    for name in {**given, **dict.fromkeys(safety - SAFETY)}:
        if name not in columns:
            raise DatasetError(f"{path} has no column {name!r}")
    # A column without a single value, whose type nobody gave, says nothing.
    found = {name: given.get(name) or known[name] for name in columns if name in {**given, **known}}
    for name, type_ in found.items():
        if known.get(name, type_) != type_:
            raise DatasetError(
                f"the attribute {name} is a {known[name]}, and cannot become a {type_}"
            )
        if name in SAFETY and type_ != "list":
            raise DatasetError(f"{name} is a list, and cannot be a {type_}: write [] for none")
    values = {name: columns[name] for name in found}
    return Table(found, values, safety, tuple(seen), tuple(passed_over))


def _row_of(line: _Line, photos: Mapping[str, Mapping[str, P]]) -> P:
    for key in _PHOTO_KEYS:
        value = line.values.get(key)
        if value is not None:
            break
    else:
        raise DatasetError(
            f"{line.where}: it names no photo: give its {', '.join(_PHOTO_KEYS[:-1])} or photo"
        )
    wanted = str(value)
    if key in ("file", "photo"):
        key, wanted = "file", photo_path(wanted)
    row = photos[key].get(wanted.lower() if key != "file" else wanted)
    if row is None:
        raise DatasetError(f"{line.where}, column {key}: the gallery has no photo {wanted[:80]!r}")
    return row


def _csv_lines(path: Path) -> Iterator[_Line]:
    rows = read_rows(Folder(path.parent), path.name)
    head = next(rows, None)
    if head is None:
        raise DatasetError(f"{path} is empty: its first line names the columns")
    names = [attribute_name(title) for title in head.cells]
    _refuse_twice(names, head)
    for row in rows:
        expect_cells(row, len(names))
        values = {name: cell or None for name, cell in zip(names, row.cells, strict=True)}
        yield _Line(values, row.where, from_csv=True)


def _json_lines(path: Path) -> Iterator[_Line]:
    for row in read_lines(Folder(path.parent), path.name):

        def pairs(given: list[tuple[str, Any]], row: Row = row) -> dict[str, Any]:
            names = [attribute_name(name) for name, _ in given]
            _refuse_twice(names, row)
            return dict(zip(names, (value for _, value in given), strict=True))

        try:
            values = json.loads(row.cells[0], object_pairs_hook=pairs)
        except (ValueError, RecursionError) as error:
            raise DatasetError(f"{row.where}: it is no JSON: {error}") from None
        if not isinstance(values, dict):
            raise DatasetError(f'{row.where}: it is no JSON object: {{"file": "…", …}}')
        yield _Line(values, row.where, from_csv=False)


def _refuse_twice(names: list[str], row: Row) -> None:
    for name in names:
        if names.count(name) > 1:
            raise DatasetError(f"{row.where}: {name!r} is there twice")
