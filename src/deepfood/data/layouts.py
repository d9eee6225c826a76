"""The layouts of folders: class folders, split folders, Food-101's own, a plain folder of photos.

Each function yields the photos of one layout, paths relative to the folder it is given.
"""

import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from deepfood.data.photo_file import TEST, TRAIN, PhotoFile
from deepfood.data.tables import SPLIT_NAMES, Seen, all_split_names, clean_label, read_lines
from deepfood.errors import DatasetError
from deepfood.photo import SUFFIXES


def photos_of_folder(folder: Path) -> Iterator[PhotoFile]:
    """Photos below a folder; the topmost sub-folder is the label: `curry/1.jpg` is a curry.

    Where all sub-folders are splits (`train`, `val`, `test`; `valid` and `validation` are val), the
    topmost is the split and the next one the label.
    """
    with_splits = all_split_names(sub_folders(folder))
    for file in photo_paths(folder):
        parts = PurePosixPath(file).parts
        split = SPLIT_NAMES[parts[0].lower()] if with_splits and len(parts) > 1 else None
        inner = parts[1:] if split else parts
        yield PhotoFile(file, clean_label(inner[0]) if len(inner) > 1 else None, split=split)


def is_food101(folder: Path) -> bool:
    """Whether the folder is laid out as Food-101's archive is."""
    meta = folder / "meta"
    return (folder / "images").is_dir() and all(
        (meta / f"{split}.txt").is_file() for split in (TRAIN, TEST)
    )


def photos_of_food101(folder: Path) -> Iterator[PhotoFile]:
    """`images/<class>/<id>.jpg`, as `meta/train.txt` and `meta/test.txt` list them: <class>/<id>.

    Raises DatasetError with the line that is no such pair, or that is in both lists.
    """
    seen = Seen()
    for split in (TRAIN, TEST):
        for row in read_lines(folder / "meta" / f"{split}.txt"):
            parts = row.cells[0].split("/")
            if len(parts) != 2 or not all(map(_is_plain_name, parts)):
                raise DatasetError(f"{row.where}: {row.cells[0]!r} is no <class>/<id> of Food-101")
            label, number = parts
            photo = PhotoFile(f"images/{label}/{number}.jpg", clean_label(label), split=split)
            if seen.is_new(photo, row.where):
                yield photo


def photo_paths(folder: Path) -> Iterator[str]:
    """Photos below a folder by file name ending, hidden ones left out, relative, with `/`."""

    def unreadable(error: OSError) -> None:
        raise DatasetError(f"{error.filename} cannot be read: {error.strerror}") from error

    for here, folders, names in os.walk(folder, onerror=unreadable):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in names:
            if Path(name).suffix.lower() in SUFFIXES and not name.startswith("."):
                yield Path(here, name).relative_to(folder).as_posix()


def sub_folders(folder: Path) -> list[str]:
    try:
        return [
            entry.name
            for entry in os.scandir(folder)
            if entry.is_dir() and not entry.name.startswith(".")
        ]
    except OSError as error:
        raise DatasetError(f"{folder} cannot be read: {error.strerror}") from error


def _is_plain_name(name: str) -> bool:
    return bool(name) and name not in (".", "..") and not set(name) & set("\\\0")
