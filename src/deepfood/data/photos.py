"""What photos there are: a folder, a folder of class folders, or a CSV that names them.

- A folder is searched for photos (by file name ending, hidden ones left out). A photo inside a
  sub-folder has the name of the topmost one as its label: `curry/1.jpg` is a curry.
- A CSV has a column `photo` (path relative to the CSV), and may have `label` and `name`.
- A folder with a `photos.csv` in it is what that CSV says.
"""

import csv
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from deepfood.errors import DatasetError
from deepfood.photo import SUFFIXES

CATALOGUE = "photos.csv"


@dataclass(frozen=True)
class PhotoFile:
    """One photo as its source names it; `file` is relative to the source's root, with `/`."""

    file: str
    label: str | None = None
    name: str | None = None
    split: str | None = None  # train, val or test

    @property
    def stored(self) -> str:
        """`file` as text that can be stored and shown, also where it is no valid Unicode."""
        return self.file.encode("utf-8", "backslashreplace").decode()


@dataclass(frozen=True)
class PhotoSource:
    """`root` is the folder that every file is below; `files` are distinct and sorted."""

    root: Path
    files: tuple[PhotoFile, ...]


def list_photos(source: Path) -> PhotoSource:
    """Find the photos of a folder or CSV. Raises DatasetError where there are none."""
    if source.is_dir() and (source / CATALOGUE).is_file():
        source = source / CATALOGUE
    if source.is_dir():
        root, found = source, _from_folder(source)
        nothing = f"no photos in {source}: looked for files ending in {' '.join(sorted(SUFFIXES))}"
    elif source.suffix.lower() == ".csv" and source.is_file():
        root, found = source.parent, _from_csv(source)
        nothing = f"{source} names no photos"
    elif source.exists():
        raise DatasetError(f"{source} is neither a folder nor a .csv file")
    else:
        raise DatasetError(
            f"there is no {source}: give a folder of photos or a CSV that names them"
        )
    by_file: dict[str, PhotoFile] = {}
    for photo in found:
        by_file.setdefault(photo.file, photo)
    if not by_file:
        raise DatasetError(nothing)
    return PhotoSource(root.resolve(), tuple(by_file[file] for file in sorted(by_file)))


def _from_folder(folder: Path) -> Iterator[PhotoFile]:
    def unreadable(error: OSError) -> None:
        raise DatasetError(f"{error.filename} cannot be read: {error.strerror}") from error

    for here, folders, names in os.walk(folder, onerror=unreadable):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in names:
            if Path(name).suffix.lower() in SUFFIXES and not name.startswith("."):
                path = PurePosixPath(Path(here, name).relative_to(folder).as_posix())
                yield PhotoFile(str(path), label=path.parts[0] if len(path.parts) > 1 else None)


def _from_csv(path: Path) -> Iterator[PhotoFile]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.DictReader(file, strict=True)
            if "photo" not in (rows.fieldnames or ()):
                raise DatasetError(
                    f"{path} has no column 'photo': its first line is {rows.fieldnames}"
                )
            for row in rows:
                name = (row["photo"] or "").strip().replace("\\", "/")
                if name:
                    yield PhotoFile(
                        name,
                        label=(row.get("label") or "").strip() or None,
                        name=(row.get("name") or "").strip() or None,
                    )
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DatasetError(f"{path} cannot be read as a UTF-8 CSV: {error}") from error


def path_inside(root: Path, file: str) -> Path | None:
    """`root / file` with links resolved, or None where that leaves `root`."""
    try:
        path = (root / file).resolve()
    except (OSError, ValueError, RuntimeError):  # a NUL in the name, or a loop of links
        return None
    return path if path.is_relative_to(root.resolve()) else None
