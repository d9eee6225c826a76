"""Attributes from a table: a CSV with a heading, or JSON lines, a photo a row.

The whole table is read and checked before anything is written: it is taken as it is, or refused
with file, line, column and value.
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
from deepfood.gallery.declared import Declared, Definition, settled
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

#: What a row may name its photo by; the first that it has is used.
_PHOTO_KEYS = ("id", "sha256", *PHOTO_COLUMNS)
#: Columns that `deepfood build` reads, so that one table can serve both.
_OF_BUILD = frozenset({"label", "name", "split"})
_GIVE = f"give {', '.join(_PHOTO_KEYS[:-1])} or {_PHOTO_KEYS[-1]}"
#: Columns that `deepfood data combine` writes.
_OF_COMBINE = frozenset({"source", "original"})

#: What a photo goes by: its row, its id, or its file.
PhotoKey = TypeVar("PhotoKey")


@dataclass(frozen=True)
class Table(Generic[PhotoKey]):
    """What a table says: the attributes that it has and their values, of `photos`.

    `passed_over` are columns that are no attributes, and `rows_without_photo` counts the rows that
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
        for name, said in self.values.items():
            for photo, value in said:
                found[photo][name] = value
        return found


@dataclass(frozen=True)
class _Line:
    """A row's values by name, None where it gives none; `cells` of a CSV are still text."""

    values: dict[str, Any]
    where: str
    from_csv: bool


#: From a line to its photo, None where it names none. Raises DatasetError.
PhotoOf = Callable[[_Line], PhotoKey | None]


def read_table(
    declared: Mapping[str, Declared],
    path: Path,
    photos: NamedPhotos[PhotoKey],
    *,
    types: Mapping[str, Type] | None = None,
    safety: frozenset[str] = frozenset(),
) -> Table[PhotoKey]:
    """What a table says of a gallery's photos.

    A column's type is the one that it was declared with, else the one in `types`, else what its
    first value shows; columns in `safety` become safety attributes. An empty cell, or null, makes a
    value unknown. Raises DatasetError.
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
    """What the table that named a source's photos says of them besides, by their files.

    That is nothing for a source without a table. As `read_table`, but that columns which can be no
    attributes are passed over. Raises DatasetError.
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
    """What lines say of photos; `place` is what their table is called."""
    given = {attribute_name(name): type_ for name, type_ in (types or {}).items()}
    safety = frozenset(map(attribute_name, safety))
    safe = safety | SAFETY | {name for name, one in declared.items() if one.safety}
    known: dict[str, Type] = {name: one.type for name, one in declared.items()}
    columns: dict[str, list[tuple[PhotoKey, Value | None]]] = {}
    seen: dict[PhotoKey, tuple[str, int]] = {}
    passed_over: dict[str, None] = {}
    inferred: set[str] = set()
    without = 0
    for line in lines:
        photo = photo_of(line)
        if photo is None:
            without += 1
            continue
        said = {name: value for name, value in line.values.items() if not is_passed_over(name)}
        passed_over.update(dict.fromkeys(name for name in line.values if name not in said))
        where, before = seen.setdefault(photo, (line.where, hash(repr(said))))
        if where != line.where:
            if before != hash(repr(said)):
                raise DatasetError(f"{line.where}: the photo is at {where} already")
            continue
        for name, value in said.items():
            try:
                if name not in columns:
                    check_name(name)
                column = columns.setdefault(name, [])
                if value is None:
                    column.append((photo, None))
                    continue
                if name not in known:
                    show = type_of_cell if line.from_csv else type_of
                    known[name] = given.get(name) or show(name, value)
                    inferred |= {name} - given.keys()
                read = value_of_cell if line.from_csv else value_of_json
                column.append((photo, read(value, known[name], safety=name in safe)))
            except DatasetError as error:
                hint = ""
                if name in inferred and known[name] not in ("text", "list"):
                    hint = (
                        f" (its first value is a {known[name]}: declared as text, by --type "
                        f"{name}=text or --declare {name}=text, it takes any)"
                    )
                raise DatasetError(f"{line.where}, column {name}: {error}{hint}") from None
    for name in {**given, **dict.fromkeys(safety)}:
        if name not in columns:
            raise DatasetError(f"{place} has no column {name!r}")
    # A column without a single value, whose type nobody gave, says nothing.
    wanted = {
        name: Definition(given.get(name) or known[name], name in safe)
        for name in columns
        if name in given or name in known
    }
    values = {name: columns[name] for name in wanted}
    return Table(settled(declared, wanted), values, tuple(seen), tuple(passed_over), without)


def _is_no_attribute(name: str) -> bool:
    """Whether a build passes a column over: nobody has said that it is to be an attribute."""
    if name in _OF_BUILD or name in _OF_COMBINE or name in _PHOTO_KEYS:
        return True
    try:
        check_name(name)
    except DatasetError:
        return True
    return False


def _csv_lines(root: Root, file: str, keys: Collection[str]) -> Iterator[_Line]:
    """The rows of a CSV that names photos in one of the columns `keys`, at least."""
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
