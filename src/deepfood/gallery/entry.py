"""What the catalogue says of a file: that it is a photo of the gallery, or why it is none."""

import json
import zlib
from dataclasses import dataclass, fields
from typing import Any, Literal

from deepfood.data.photo_file import photo_id


@dataclass(frozen=True)
class Photo:
    """A catalogue row. `width` and `height` are as shown, upright.

    `file` is below the photos' root; for a photo that was added it is only what it was called, and
    its bytes are kept in the gallery. `edited` means that label and name were set by hand.
    """

    sha256: str
    file: str
    label: str | None
    name: str | None
    media_type: str
    width: int
    height: int
    bytes: int
    modified_ns: int
    added: bool = False
    edited: bool = False

    @property
    def id(self) -> str:
        """Names the photo by its content: the same on every machine and in every gallery."""
        return photo_id(self.sha256)


#: How likely a hit shows the same dish as the query, in words: see `judge`.
SameDish = Literal["likely", "perhaps", "unlikely"]


@dataclass(frozen=True)
class Hit:
    """A photo of the gallery and its cosine similarity to the query, -1 to 1.

    `probability` is that of having the query's label, where `judge` could tell; `same_dish` says
    it in a word.
    """

    photo: Photo
    score: float
    probability: float | None = None
    same_dish: SameDish | None = None


@dataclass(frozen=True)
class Skipped:
    """A file that is not in the gallery, and why.

    `same_as` is the SHA-256 of the gallery's photo with the very same content, where that is why.
    """

    file: str
    reason: str
    bytes: int
    modified_ns: int
    same_as: str | None = None


#: Why a file of the source that was removed from the gallery is not in it.
REMOVED = "it was removed from the gallery"

PHOTO_FIELDS = tuple(field.name for field in fields(Photo))


def photo_from(values: tuple[Any, ...]) -> Photo:
    """A Photo of what SQLite gives for PHOTO_FIELDS; it knows no bool."""
    return Photo(*values[:-2], *map(bool, values[-2:]))


def checksum(entry: Photo | Skipped, *more: int) -> int:
    """CRC-32 of all that a catalogue row says, kept in the row: an altered row is found by it."""
    # In the order of the fields; dataclasses.astuple copies deeply, in ten times the time.
    values = [int(value) if isinstance(value, bool) else value for value in vars(entry).values()]
    return zlib.crc32(json.dumps([*more, *values]).encode())
