"""Read attributes from a table: a CSV with a heading, or JSON lines, one photo a row.

The whole table is read and checked before anything is written. An error names file, line, column
and value.
"""

import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from deepfood.data.photo_file import PhotoSource
from deepfood.data.root import Folder, Root
from deepfood.data.tables import (
    PHOTO_COLUMNS,
    PhotoPaths,
    Row,
    expect_cells,
    photo_cell,
    read_lines,
    read_rows,
)
from deepfood.errors import DatasetError
from deepfood.gallery.declared import Declared, Definition, resolved_definitions
from deepfood.gallery.named_photos import NamedPhotos
from deepfood.gallery.values import (
    SAFETY,
    Type,
    Value,
    WrittenNumber,
    attribute_name,
    check_name,
    type_of,
    type_of_cell,
    value_of_cell,
    value_of_json,
)

#: Columns that may name a photo; the first one that a row has is used.
_PHOTO_KEYS = ("id", "sha256", *PHOTO_COLUMNS)
#: Columns that `deepfood build` reads, so that one table serves both.
_OF_BUILD = frozenset({"label", "name", "split"})
_GIVE = f"give {', '.join(_PHOTO_KEYS[:-1])} or {_PHOTO_KEYS[-1]}"
#: Columns that `deepfood data combine` writes.
_OF_COMBINE = frozenset({"source", "original"})

#: Identifies a photo: its row, its id, or its file.
PhotoKey = TypeVar("PhotoKey")


@dataclass(frozen=True)
class Table(Generic[PhotoKey]):
    """The attributes in a table, and their values for `photos`.

    `passed_over` lists columns that are no attributes. `rows_without_photo` counts the rows that
    name no photo.
    """

    declared: dict[str, Definition]
    values: dict[str, list[tuple[PhotoKey, Value | None]]]
    photos: tuple[PhotoKey, ...] = ()
    passed_over: tuple[str, ...] = ()
    rows_without_photo: int = 0

    def by_photo(self) -> dict[PhotoKey, dict[str, Value | None]]:
        """The values of each photo, by name; None is unknown."""
        found: dict[PhotoKey, dict[str, Value | None]] = {photo: {} for photo in self.photos}
        for name, column in self.values.items():
            for photo, value in column:
                found[photo][name] = value
        return found


@dataclass(frozen=True)
class _Line:
    """The values of a row by name, None for an empty cell. Those of a CSV are still text."""

    values: dict[str, Any]
    where: str
    from_csv: bool


#: Finds the photo of a line; None where it names none. Raises DatasetError.
PhotoOf = Callable[[_Line], PhotoKey | None]


def read_table(
    declared: Mapping[str, Declared],
    path: Path,
    photos: NamedPhotos[PhotoKey],
    *,
    types: Mapping[str, Type] | None = None,
    safety: frozenset[str] = frozenset(),
) -> Table[PhotoKey]:
    """Read the attributes that a table gives a gallery's photos.

    A column has its declared type, else the one in `types`, else that of its first value. Those in
    `safety` become safety attributes. An empty cell, or null, makes a value unknown. Raises
    DatasetError.
    """

    def photo_of(line: _Line) -> PhotoKey | None:
        for key in ("id", "sha256"):
            if line.values.get(key) is not None:
                name = str(line.values[key])
                break
        else:
            key, name = "file", photo_cell(line.values, line.where) or ""
        try:
            return photos.find(key, name) if name else None
        except DatasetError as error:
            raise DatasetError(f"{line.where}, column {key}: {error}") from None

    root = Folder(path.parent)
    if path.suffix.lower() in (".jsonl", ".ndjson"):
        lines = _json_lines(root, path.name)
    else:
        lines = _csv_lines(root, path.name, _PHOTO_KEYS)
    table = _read(
        lines,
        photo_of,
        str(path),
        declared,
        types,
        safety,
        (_OF_BUILD | {*_PHOTO_KEYS}).__contains__,
    )
    if table.rows_without_photo and not table.photos:
        raise DatasetError(f"{path}: none of its rows names a photo: {_GIVE}")
    return table


def attributes_of(
    source: PhotoSource,
    declared: Mapping[str, Declared],
    *,
    types: Mapping[str, Type] | None = None,
    safety: frozenset[str] = frozenset(),
) -> Table[str]:
    """Read the attributes in the table that named a source's photos, by file.

    Empty for a source without a table. As `read_table`, but columns that cannot be attributes are
    passed over. Raises DatasetError.
    """
    if source.table is None:
        return Table({}, {})
    paths = PhotoPaths(source.root)

    def photo_of(line: _Line) -> str | None:
        cell = photo_cell(line.values, line.where)
        return None if cell is None else paths.named(cell, line.where)

    lines = _csv_lines(source.root, source.table, PHOTO_COLUMNS)
    place = source.root.where(source.table)
    return _read(lines, photo_of, place, declared, types, safety, _is_no_attribute)


def _read(
    lines: Iterable[_Line],
    photo_of: PhotoOf[PhotoKey],
    place: str,
    declared: Mapping[str, Declared],
    types: Mapping[str, Type] | None,
    safety: frozenset[str],
    is_passed_over: Callable[[str], bool],
) -> Table[PhotoKey]:
    """Read a table line by line; `place` names it in errors."""
    columns = _ColumnReader[PhotoKey](declared, types or {}, safety)
    seen: dict[PhotoKey, tuple[str, int]] = {}
    passed_over: dict[str, None] = {}
    without = 0
    for line in lines:
        photo = photo_of(line)
        if photo is None:
            without += 1
            continue
        cells = {name: value for name, value in line.values.items() if not is_passed_over(name)}
        passed_over.update(dict.fromkeys(name for name in line.values if name not in cells))
        where, before = seen.setdefault(photo, (line.where, hash(repr(cells))))
        if where == line.where:
            for name, value in cells.items():
                columns.add(photo, name, value, line)
        elif before != hash(repr(cells)):
            raise DatasetError(f"{line.where}: the photo is at {where} already")
    columns.expect_named(place)
    definitions = columns.definitions()
    values = {name: columns.values[name] for name in definitions}
    return Table(
        resolved_definitions(declared, definitions),
        values,
        tuple(seen),
        tuple(passed_over),
        without,
    )


class _ColumnReader(Generic[PhotoKey]):
    """Reads the cells of a table into columns of one type each.

    A column has its declared type, else the one in `types`, else that of its first value.
    """

    def __init__(
        self, declared: Mapping[str, Declared], types: Mapping[str, Type], safety: frozenset[str]
    ) -> None:
        self.values: dict[str, list[tuple[PhotoKey, Value | None]]] = {}
        self._given = {attribute_name(name): type_ for name, type_ in types.items()}
        self._named = dict.fromkeys([*self._given, *map(attribute_name, safety)])
        self._safety = {*map(attribute_name, safety), *SAFETY}
        self._safety |= {name for name, one in declared.items() if one.safety}
        self._types: dict[str, Type] = {name: one.type for name, one in declared.items()}
        self._inferred: set[str] = set()

    def add(self, photo: PhotoKey, name: str, value: Any, line: _Line) -> None:
        """Read one cell. Raises DatasetError, which names line and column."""
        try:
            if name not in self.values:
                check_name(name)
                self.values[name] = []
            read = None if value is None else self._read(name, value, line)
        except DatasetError as error:
            raise DatasetError(f"{line.where}, column {name}: {error}{self._hint(name)}") from None
        self.values[name].append((photo, read))

    def expect_named(self, place: str) -> None:
        """Raise DatasetError where the table lacks a column that was asked for by name."""
        for name in self._named:
            if name not in self.values:
                raise DatasetError(f"{place} has no column {name!r}")

    def definitions(self) -> dict[str, Definition]:
        """The columns of a known type. An empty column whose type nobody gave is left out."""
        return {
            name: Definition(self._given.get(name) or self._types[name], name in self._safety)
            for name in self.values
            if name in self._given or name in self._types
        }

    def _read(self, name: str, value: Any, line: _Line) -> Value:
        if name not in self._types:
            infer = type_of_cell if line.from_csv else type_of
            self._types[name] = self._given.get(name) or infer(name, value)
            self._inferred |= {name} - self._given.keys()
        read = value_of_cell if line.from_csv else value_of_json
        return read(value, self._types[name], safety=name in self._safety)

    def _hint(self, name: str) -> str:
        """What to do where an inferred type is too narrow."""
        if name not in self._inferred or self._types[name] in ("text", "list"):
            return ""
        return (
            f" (its first value is a {self._types[name]}: declared as text, by --type {name}=text "
            f"or --declare {name}=text, it takes any)"
        )


def _is_no_attribute(name: str) -> bool:
    """Whether a build passes a column over, as nobody asked for it to be an attribute."""
    if name in _OF_BUILD or name in _OF_COMBINE or name in _PHOTO_KEYS:
        return True
    try:
        check_name(name)
    except DatasetError:
        return True
    return False


def _csv_lines(root: Root, file: str, keys: Collection[str]) -> Iterator[_Line]:
    """The rows of a CSV with at least one of the columns `keys`, which name photos."""
    rows = read_rows(root, file)
    head = next(rows, None)
    if head is None:
        raise DatasetError(f"{root.where(file)} is empty: its first line names the columns")
    names = [attribute_name(title) for title in head.cells]
    if not set(keys) & set(names):
        raise DatasetError(f"{head.where}: no column names the photos: {_GIVE}")
    _refuse_twice([name for name in names if name], head)
    for row in rows:
        expect_cells(row, len(names))
        values = {name: cell or None for name, cell in zip(names, row.cells, strict=True)}
        yield _Line(values, row.where, from_csv=True)


def _json_lines(root: Root, file: str) -> Iterator[_Line]:
    for row in read_lines(root, file):

        def pairs(given: list[tuple[str, Any]], row: Row = row) -> dict[str, Any]:
            names = [attribute_name(name) for name, _ in given]
            _refuse_twice(names, row)
            return dict(zip(names, (value for _, value in given), strict=True))

        try:
            values = json.loads(
                row.cells[0],
                object_pairs_hook=pairs,
                parse_int=WrittenNumber,
                parse_float=WrittenNumber,
            )
        except (ValueError, RecursionError) as error:
            raise DatasetError(f"{row.where}: it is no JSON: {error}") from None
        if not isinstance(values, dict):
            raise DatasetError(f'{row.where}: it is no JSON object: {{"file": "…", …}}')
        yield _Line(values, row.where, from_csv=False)


def _refuse_twice(names: list[str], row: Row) -> None:
    for name in names:
        if names.count(name) > 1:
            raise DatasetError(f"{row.where}: {name!r} is there twice")
