"""One photo of a dataset, and the Root that all of its photos are below."""

from dataclasses import dataclass

from deepfood.data.passed_over import PassedOver
from deepfood.data.root import Root

TRAIN, VAL, TEST = "train", "val", "test"

#: Hex digits of the SHA-256 that make a photo's id: 80 bits, so that among ten billion photos the
#: odds of two sharing an id are below one in ten thousand.
ID_DIGITS = 20


def photo_id(sha256: str) -> str:
    """The id of the photo whose file has that SHA-256: by content, so the same on every machine."""
    return sha256[:ID_DIGITS]


@dataclass(frozen=True)
class PhotoFile:
    """One photo as its source names it; `file` is relative to the source's root, with `/`."""

    file: str
    label: str | None = None
    name: str | None = None
    split: str | None = None  # train, val or test

    @property
    def stored(self) -> str:
        """`file` as text that can be stored and displayed, even if it is not valid Unicode."""
        return self.file.encode("utf-8", "backslashreplace").decode()


@dataclass(frozen=True)
class PhotoSource:
    """`root` is what every file is below; `files` are distinct and sorted.

    `table` is the CSV below `root` that lists them, if there is one; `rows_without_photo` counts
    its rows without a photo. `passed_over` counts the files and folders that were skipped.
    """

    root: Root
    files: tuple[PhotoFile, ...]
    table: str | None = None
    rows_without_photo: int = 0
    passed_over: tuple[PassedOver, ...] = ()
