"""The layouts of folders: class folders, split folders, Food-101's own, a plain folder of photos.

Each function yields the photos of one layout, paths relative to the Root it is given.
"""

from collections.abc import Iterator
from pathlib import PurePosixPath

from deepfood.data.passed_over import Tally
from deepfood.data.photo_file import TEST, TRAIN, PhotoFile
from deepfood.data.root import Root
from deepfood.data.tables import SPLIT_NAMES, Seen, all_split_names, clean_label, read_lines
from deepfood.errors import DatasetError


def photos_of_folder(root: Root, passed_over: Tally) -> Iterator[PhotoFile]:
    """Photos below a folder; the topmost sub-folder is the label: `curry/1.jpg` is a curry.

    Where all sub-folders are splits (`train`, `val`, `test`; `valid` and `validation` are val), the
    topmost is the split and the next one the label.
    """
    with_splits = all_split_names(root.sub_folders())
    for file in root.photos("", passed_over):
        parts = PurePosixPath(file).parts
        split = SPLIT_NAMES[parts[0].lower()] if with_splits and len(parts) > 1 else None
        inner = parts[1:] if split else parts
        yield PhotoFile(file, clean_label(inner[0]) if len(inner) > 1 else None, split=split)


def is_food101(root: Root) -> bool:
    """Whether the folder is laid out as Food-101's archive is."""
    return root.is_dir("images") and all(
        root.is_file(f"meta/{split}.txt") for split in (TRAIN, TEST)
    )


def photos_of_food101(root: Root) -> Iterator[PhotoFile]:
    """`images/<class>/<id>.jpg`, as `meta/train.txt` and `meta/test.txt` list them: <class>/<id>.

    Raises DatasetError with the line that is malformed or in both lists.
    """
    seen = Seen()
    for split in (TRAIN, TEST):
        for row in read_lines(root, f"meta/{split}.txt"):
            parts = row.cells[0].split("/")
            if len(parts) != 2 or not all(map(_is_plain_name, parts)):
                raise DatasetError(
                    f"{row.where}: {row.cells[0]!r} is not a <class>/<id> of Food-101"
                )
            label, number = parts
            photo = PhotoFile(f"images/{label}/{number}.jpg", clean_label(label), split=split)
            if seen.is_new(photo, row.where):
                yield photo


def _is_plain_name(name: str) -> bool:
    return bool(name) and name not in (".", "..") and not set(name) & set("\\\0")
