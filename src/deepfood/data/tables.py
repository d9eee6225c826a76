"""Tables that list photos: rows with their line numbers, and the syntax of their cells.

Every error names the table's file and line.
"""

import csv
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import IO

from deepfood.counted import counted
from deepfood.data.photo_file import TEST, TRAIN, VAL, PhotoFile
from deepfood.data.root import Root
from deepfood.errors import DatasetError

#: Names of splits in tables and as folders, in lower case.
SPLIT_NAMES = {
    "train": TRAIN,
    "val": VAL,
    "valid": VAL,
    "validation": VAL,
    "test": TEST,
}
#: Columns of a table that name a row's photo by its path below the table's folder.
PHOTO_COLUMNS = ("photo", "file")
#: `/a.jpg`, `C:\a.jpg` or `s3://bucket/a.jpg`.
_ABSOLUTE = re.compile(r"[/\\]|[A-Za-z]:[/\\]|[A-Za-z0-9+.-]+://")
_SHOWN = 80
_SHOWN_PATH = 500


@dataclass(frozen=True)
class Row:
    """The cells of one row of a table, stripped, and its position: "photos.csv, line 3"."""

    cells: tuple[str, ...]
    where: str


def read_rows(root: Root, file: str) -> Iterator[Row]:
    """The rows of a UTF-8 CSV that are not blank. Raises DatasetError with the line number."""
    line, path = 0, root.where(file)
    with _text(root, file) as text:
        rows = csv.reader(text, strict=True)
        try:
            for cells in rows:
                line = rows.line_num
                stripped = tuple(cell.strip() for cell in cells)
                if any(stripped):
                    yield Row(stripped, f"{path}, line {line}")
        except csv.Error as error:
            raise DatasetError(f"{path}, line {line + 1}: this is not CSV: {error}") from error


def read_lines(root: Root, file: str) -> Iterator[Row]:
    """The lines of a UTF-8 text that are not blank, as rows of one cell."""
    path = root.where(file)
    with _text(root, file) as text:
        for number, line in enumerate(text, start=1):
            if line.strip():
                yield Row((line.strip(),), f"{path}, line {number}")


@contextmanager
def _text(root: Root, file: str) -> Iterator[IO[str]]:
    try:
        with root.text(file) as text:
            yield text
    except UnicodeDecodeError as error:
        raise DatasetError(f"{root.where(file)} cannot be read as UTF-8: {error}") from error
    except OSError as error:
        raise DatasetError(
            f"{root.where(file)} cannot be read: {error.strerror or error}"
        ) from error


@dataclass(frozen=True)
class NamedInTable:
    """The photos that a table lists, and how many of its rows name none."""

    photos: list[PhotoFile]
    rows_without_photo: int


def photos_of_csv(root: Root, file: str) -> NamedInTable:
    """The photos of a CSV with a column `photo` or `file`, optionally `label`, `name`, `split`.

    Further columns are attributes (gallery/attribute_table.py). Raises DatasetError for an
    invalid table.
    """
    rows = read_rows(root, file)
    head = next(rows, None)
    titles = [title.lower() for title in head.cells] if head else []
    if head is None or not set(PHOTO_COLUMNS) & set(titles):
        first = list(head.cells) if head else None
        raise DatasetError(
            f"{root.where(file)} has no column 'photo' or 'file': its first line is {first}"
        )
    for title in (*PHOTO_COLUMNS, "label", "name", "split"):
        if titles.count(title) > 1:
            raise DatasetError(f"{head.where}: there are two columns {title!r}")
    photos: list[PhotoFile] = []
    without, seen, paths = 0, Seen(), PhotoPaths(root)
    for row in rows:
        expect_cells(row, len(titles))
        cells = dict(zip(titles, row.cells, strict=True))
        named = photo_cell(cells, row.where)
        if named is None:
            without += 1
            continue
        photo = PhotoFile(
            paths.named(named, row.where),
            label=clean_label(cells.get("label", "")),
            name=cells.get("name") or None,
            split=split_named(cells.get("split", ""), row.where),
        )
        if seen.is_new(photo, row.where):
            photos.append(photo)
    return NamedInTable(photos, without)


def photo_cell(cells: Mapping[str, object], where: str) -> str | None:
    """The photo that a row names in its columns `photo` and `file`; None if it names none.

    Raises DatasetError where they name two.
    """
    named = [str(cells[title]) for title in PHOTO_COLUMNS if cells.get(title) not in (None, "")]
    if len(set(named)) > 1:
        one, other = (name[:_SHOWN] for name in named)
        raise DatasetError(f"{where}: its photo is {one!r}, and its file {other!r}: leave one out")
    return named[0] if named else None


class PhotoPaths:
    """Maps the names that a table gives photos to files below the table's Root."""

    def __init__(self, root: Root) -> None:
        self._root = root
        self._listed: dict[str, dict[str, str]] = {}

    def named(self, cell: str, where: str) -> str:
        """The file as its Root spells it. Raises DatasetError for one outside the Root."""
        if not is_absolute(cell):
            return self._as_spelled(photo_path(cell))
        inside = self._root.inside(cell)
        if inside is None:
            raise DatasetError(
                f"{where}: {cell[:_SHOWN_PATH]!r} lies outside {self._root}: move the table to a "
                "folder above its photos, and name them by their paths below that"
            )
        return self._as_spelled(inside)

    def _as_spelled(self, file: str) -> str:
        """The file itself if it exists, else one whose name differs only in Unicode normalization.

        Macs may write names in NFD; nearly all other systems use NFC.
        """
        if file.isascii() or self._root.is_file(file):
            return file
        found = ""
        for part in file.split("/"):
            names = self._names(found)
            name = names.get(part) or names.get(unicodedata.normalize("NFC", part))
            if name is None:
                return file
            found = f"{found}/{name}" if found else name
        return found

    def _names(self, folder: str) -> dict[str, str]:
        """The names in a folder, by themselves and by their NFC forms."""
        if folder not in self._listed:
            names = sorted(self._root.names(folder))
            in_nfc = {unicodedata.normalize("NFC", name): name for name in names}
            self._listed[folder] = {**in_nfc, **{name: name for name in names}}
        return self._listed[folder]


class Seen:
    """The photos that tables have listed so far, to find contradictions."""

    def __init__(self) -> None:
        self._by_file: dict[str, tuple[PhotoFile, str]] = {}

    def is_new(self, photo: PhotoFile, where: str) -> bool:
        """Whether it is new. Raises DatasetError if it was listed with another label or split."""
        before, line = self._by_file.setdefault(photo.file, (photo, where))
        for what, one, other in (
            ("label", before.label, photo.label),
            ("split", before.split, photo.split),
        ):
            if one != other:
                raise DatasetError(
                    f"{where}: {photo.stored} has the {what} {other!r} here and {one!r} at {line}"
                )
        return line == where


def expect_cells(row: Row, count: int) -> None:
    if len(row.cells) != count:
        raise DatasetError(
            f"{row.where}: it has {counted(row.cells, 'column')}, and {count} are needed: a cell "
            "with a "
            'comma needs "quotes"'
        )


def photo_path(cell: str) -> str:
    """A photo's path as written in a table, with `/` and without `./` or `//`."""
    return str(PurePosixPath(cell.replace("\\", "/")))


def is_absolute(cell: str) -> bool:
    """Whether a cell is an absolute path or a URL."""
    return _ABSOLUTE.match(cell) is not None


def clean_label(text: str) -> str | None:
    """The normal form of a label: NFC, without surrounding blanks; None if empty.

    Bytes that are not valid Unicode (in a folder's name) become backslash escapes.
    """
    valid = text.encode("utf-8", "backslashreplace").decode()
    return unicodedata.normalize("NFC", valid).strip() or None


def split_named(text: str, where: str) -> str | None:
    """The split that a cell means, None for an empty one. Raises DatasetError naming `where`."""
    if not text:
        return None
    split = SPLIT_NAMES.get(text.lower())
    if split is None:
        raise DatasetError(f"{where}: the split is {text!r}, and can be train, val, test or empty")
    return split


def all_split_names(names: Iterable[str]) -> bool:
    """Whether these folders are a dataset's splits: split names only, `train` among them."""
    splits = [SPLIT_NAMES.get(name.lower()) for name in names]
    return TRAIN in splits and None not in splits
