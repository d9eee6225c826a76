"""Tables that name photos: rows with their line numbers, and what may stand in a cell.

Whatever is wrong with a table is said with its file and line, for a table of 100,000 rows is not
read by eye.
"""

import csv
import unicodedata
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import IO

from deepfood.data.photo_file import TEST, TRAIN, VAL, PhotoFile
from deepfood.data.root import Root
from deepfood.errors import DatasetError

#: What a split may be called in a table or as a folder, in lower case.
SPLIT_NAMES = {
    "train": TRAIN,
    "val": VAL,
    "valid": VAL,
    "validation": VAL,
    "test": TEST,
}


@dataclass(frozen=True)
class Row:
    """The cells of one row of a table, stripped, and where it is: "photos.csv, line 3"."""

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
            raise DatasetError(f"{path}, line {line + 1}: it is no CSV: {error}") from error


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


def photos_of_csv(root: Root, file: str) -> Iterator[PhotoFile]:
    """The photos of a CSV with the column `photo`, and perhaps `label`, `name` and `split`.

    Further columns are passed over. Raises DatasetError for a table that cannot be meant.
    """
    rows = read_rows(root, file)
    head = next(rows, None)
    columns = {title.lower(): at for at, title in enumerate(head.cells)} if head else {}
    if head is None or "photo" not in columns:
        first = list(head.cells) if head else None
        raise DatasetError(f"{root.where(file)} has no column 'photo': its first line is {first}")
    named = [title.lower() for title in head.cells]
    for title in ("photo", "label", "name", "split"):
        if named.count(title) > 1:
            raise DatasetError(f"{head.where}: there are two columns {title!r}")
    seen = Seen()
    for row in rows:
        expect_cells(row, len(head.cells))

        def cell(title: str, row: Row = row) -> str:
            return row.cells[columns[title]] if title in columns else ""

        if not cell("photo"):
            raise DatasetError(f"{row.where}: it names no photo")
        photo = PhotoFile(
            photo_path(cell("photo")),
            label=clean_label(cell("label")),
            name=cell("name") or None,
            split=split_named(cell("split"), row.where),
        )
        if seen.is_new(photo, row.where):
            yield photo


class Seen:
    """The photos that tables have named so far, to find one that is named in two ways."""

    def __init__(self) -> None:
        self._by_file: dict[str, tuple[PhotoFile, str]] = {}

    def is_new(self, photo: PhotoFile, where: str) -> bool:
        """Raise DatasetError for a photo that was named before with another label or split."""
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
            f"{row.where}: it has {len(row.cells)} columns, and {count} are needed: a cell with a "
            'comma in it stands in "quotes"'
        )


def photo_path(cell: str) -> str:
    """A photo's path as written in a table, with `/` and without `./` or `//`."""
    return str(PurePosixPath(cell.replace("\\", "/")))


def clean_label(text: str) -> str | None:
    """One spelling for each label: NFC, so that é is é, without blanks around it; None if empty.

    What is no Unicode (a folder's name may be any bytes) is spelled out with backslashes.
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
    """Whether these folders are a dataset's splits: nothing but split names, `train` among them."""
    splits = [SPLIT_NAMES.get(name.lower()) for name in names]
    return TRAIN in splits and None not in splits
