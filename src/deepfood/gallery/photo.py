"""What the catalogue says of a file: that it is a photo of the gallery, or why it is none."""

import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal

from deepfood.data.photo_file import photo_id
from deepfood.data.root import CheckBytes
from deepfood.embed import Vector
from deepfood.errors import PhotoError
from deepfood.gallery.values import Value


@dataclass(frozen=True)
class Photo:
    """A catalogue row. `width` and `height` are as shown, upright.

    `file` is below the photos' root; for a photo that was added it is only what it was called, and
    its bytes are kept in the gallery. `label_edited` and `name_edited`: set by hand, by a person.
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
        """Names the photo by its content: the same on every machine and in every gallery."""
        return photo_id(self.sha256)


#: How likely a hit shows the same dish as the query, in words: see `judge`.
SameDish = Literal["likely", "perhaps", "unlikely"]


@dataclass(frozen=True)
class Hit:
    """A photo of the gallery and its cosine similarity to the query, -1 to 1.

    `probability` is that of having the query's label, where `judge` could tell; `same_dish` says
    it in a word. `attributes` are what is known of the photo, and `alike` its near-duplicates where
    these were grouped: a finished search has them.
    """

    photo: Photo
    score: float
    probability: float | None = None
    same_dish: SameDish | None = None
    attributes: Mapping[str, Value] = field(default_factory=dict, hash=False)
    alike: tuple["Hit", ...] = ()


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
#: One encoder for all: `json.dumps` makes one each time. What a damaged page has in place of a text
#: or a number may be bytes.
_as_json = json.JSONEncoder(default=repr, check_circular=False).encode
_FLAGS = sum(field.type is bool for field in fields(Photo))


def edited(photo: Photo, edit: Mapping[str, Any]) -> Photo:
    """The photo with its `label` and `name` set by hand, those of the two that `edit` has."""
    if "label" in edit:
        photo = replace(photo, label=edit["label"], label_edited=True)
    if "name" in edit:
        photo = replace(photo, name=edit["name"], name_edited=True)
    return photo


def relabelled(before: Photo, given: Photo) -> Photo:
    """`before` with the label and name that are given by hand now."""
    now = {"label": given.label, "name": given.name}
    old = {"label": before.label, "name": before.name}
    return edited(before, {key: now[key] for key in now if now[key] and now[key] != old[key]})


def photo_from(values: tuple[Any, ...]) -> Photo:
    """A Photo of what SQLite gives for PHOTO_FIELDS; it knows no bool."""
    return Photo(*values[:-_FLAGS], *map(bool, values[-_FLAGS:]))


def checksum(entry: Photo | Skipped, *more: int) -> int:
    """CRC-32 of all that a catalogue row says, kept in the row: an altered row is found by it."""
    return crc_of(*more, *values_of(entry))


def values_of(entry: Photo | Skipped) -> tuple[Any, ...]:
    """Its fields in order, as SQLite has them: bools are numbers."""
    # dataclasses.astuple copies deeply, in ten times the time.
    return tuple(int(value) if isinstance(value, bool) else value for value in vars(entry).values())


def crc_of(*said: int | str | None) -> int:
    """CRC-32 of what a row of the catalogue says, kept in it: an altered one is found by it."""
    return zlib.crc32(_as_json(said).encode())


Outcome = Literal["added", "updated", "unchanged"]


def edit_given(label: str | None, name: str | None) -> dict[str, str | None]:
    """What is set by hand: None leaves a text as it is, and "" takes it away."""
    given = {"label": label, "name": name}
    return {key: text or None for key, text in given.items() if text is not None}


#: Why a photo of the living gallery has no vector of the new Model.
UNREADABLE = "its photo could not be read when the gallery was embedded again"


def unreadable(photo: Photo) -> Skipped:
    """What is noted of a photo that has no vector of the new Model."""
    # The size and time of a file that cannot be seen: a build looks at it again once it can be.
    file = f"photos/{photo.sha256}" if photo.added else photo.file
    return Skipped(file, UNREADABLE, -1, -1, same_as=photo.sha256)


def of_size(photo: Photo) -> CheckBytes:
    """Refuses a file of another size than what was embedded had, before it is read."""

    def check(size: int) -> None:
        if size != photo.bytes:
            raise PhotoError(f"{size} bytes, and {photo.bytes} were embedded")

    return check


@dataclass(frozen=True)
class EmbeddedPhoto:
    """What the catalogue will say of a photo, its unit vector float32 [dim], and its bytes.

    `attributes` are those given by hand; None as a value makes one unknown.
    """

    photo: Photo
    vector: Vector
    data: bytes
    attributes: Mapping[str, object] = field(default_factory=dict)
