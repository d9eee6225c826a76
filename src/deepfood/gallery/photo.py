"""Catalogue entries: a photo of the gallery, or a file that is none and why."""

import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from enum import IntEnum
from typing import Any, Literal

from deepfood.data.photo_file import photo_id
from deepfood.data.root import CheckBytes
from deepfood.embed import Vector
from deepfood.errors import PhotoError
from deepfood.gallery.values import Value
from deepfood.photo_box import Box


@dataclass(frozen=True)
class Photo:
    """A catalogue row. `width` and `height` are those of the upright picture.

    `file` is below the photos' root. For an added photo it is only a name, and the gallery keeps
    the bytes. `label_edited` and `name_edited` mark texts that were set by hand.
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
    label_edited: bool = False
    name_edited: bool = False

    @property
    def id(self) -> str:
        """Identifies the content: the same on every machine and in every gallery."""
        return photo_id(self.sha256)


class How(IntEnum):
    """How a word of the query is in a text, the better the greater."""

    TYPO = 0
    PART = 1
    BEGINNING = 2
    WHOLE = 3


@dataclass(frozen=True)
class Matched:
    """Where a photo has a word of the query: the best place of it."""

    word: str
    field: str
    value: str
    how: How


#: How likely a hit shows the dish of the query, in a word: see `judge`.
SameDish = Literal["likely", "perhaps", "unlikely"]


@dataclass(frozen=True)
class Hit:
    """A photo of the gallery and its cosine similarity to the query, -1 to 1.

    `probability` is that of having the query's label, if `judge` could estimate it; `same_dish` is
    the same in a word. `box` is the part of the photo that is so similar, if a part is more so than
    the whole; there is no probability then. A finished search adds the known `attributes`, and in
    `alike` the near-duplicates if these were grouped. `matched` says where the words of the
    question are in the texts of the photo.
    """

    photo: Photo
    score: float
    probability: float | None = None
    same_dish: SameDish | None = None
    attributes: Mapping[str, Value] = field(default_factory=dict, hash=False)
    alike: tuple["Hit", ...] = ()
    matched: tuple[Matched, ...] = ()
    box: Box | None = None


@dataclass(frozen=True)
class Skipped:
    """A file that is not in the gallery, and the reason.

    `same_as` is the SHA-256 of the photo with the same content, where that is the reason.
    """

    file: str
    reason: str
    bytes: int
    modified_ns: int
    same_as: str | None = None


def sample_bound(count: int, most: int) -> str:
    """The hashes below it are a uniform sample of about `most` of `count` photos.

    SHA-256 and ids are digits of a hash, and are compared with it as texts.
    """
    return f"{min(int(most / max(count, 1) * 16**8), 16**8 - 1):08x}"


#: The reason for a file of the source that was removed from the gallery.
REMOVED = "it was removed from the gallery"

PHOTO_FIELDS = tuple(field.name for field in fields(Photo))
#: One encoder for all rows, as `json.dumps` makes one per call. Damaged pages may hold bytes, hence
#: `repr`.
_as_json = json.JSONEncoder(default=repr, check_circular=False).encode
_FLAGS = sum(field.type is bool for field in fields(Photo))


def edited(photo: Photo, edit: Mapping[str, Any]) -> Photo:
    """The photo with the `label` and `name` in `edit`, if any, set by hand."""
    if "label" in edit:
        photo = replace(photo, label=edit["label"], label_edited=True)
    if "name" in edit:
        photo = replace(photo, name=edit["name"], name_edited=True)
    return photo


def relabelled(before: Photo, given: Photo) -> Photo:
    """`before` with the label and name of `given`, where these are new."""
    now = {"label": given.label, "name": given.name}
    old = {"label": before.label, "name": before.name}
    return edited(before, {key: now[key] for key in now if now[key] and now[key] != old[key]})


def photo_from(values: tuple[Any, ...]) -> Photo:
    """A Photo of the PHOTO_FIELDS of a row; SQLite has no bool."""
    return Photo(*values[:-_FLAGS], *map(bool, values[-_FLAGS:]))


def checksum(entry: Photo | Skipped, *more: int) -> int:
    """CRC-32 of a catalogue row, stored in it, so that an altered row is found."""
    return crc_of(*more, *values_of(entry))


def values_of(entry: Photo | Skipped) -> tuple[Any, ...]:
    """The fields in order, as SQLite stores them: bools are numbers."""
    # dataclasses.astuple copies deeply, in ten times the time.
    return tuple(int(value) if isinstance(value, bool) else value for value in vars(entry).values())


def crc_of(*fields: int | str | None) -> int:
    """CRC-32 of the fields of any row, stored in it, so that an altered row is found."""
    return zlib.crc32(_as_json(fields).encode())


Outcome = Literal["added", "updated", "unchanged"]


def edit_given(label: str | None, name: str | None) -> dict[str, str | None]:
    """The texts to set by hand: None keeps a text, and "" removes it."""
    given = {"label": label, "name": name}
    return {key: text or None for key, text in given.items() if text is not None}


#: The reason for a photo without a vector of the new Model.
UNREADABLE = "its photo could not be read when the gallery was embedded again"


def unreadable(photo: Photo) -> Skipped:
    """The entry of a photo without a vector of the new Model."""
    # Size and time of no file: the next build looks at it again once it can be read.
    file = f"photos/{photo.sha256}" if photo.added else photo.file
    return Skipped(file, UNREADABLE, -1, -1, same_as=photo.sha256)


def of_size(photo: Photo) -> CheckBytes:
    """Check the size of a file before it is read. Raises PhotoError if it has changed."""

    def check(size: int) -> None:
        if size != photo.bytes:
            raise PhotoError(f"{size} bytes, and {photo.bytes} were embedded")

    return check


@dataclass(frozen=True)
class EmbeddedPhoto:
    """A photo, its unit vector float32 [dim], and its bytes.

    `attributes` are given by hand; None makes one unknown.
    """

    photo: Photo
    vector: Vector
    data: bytes
    attributes: Mapping[str, object] = field(default_factory=dict)
