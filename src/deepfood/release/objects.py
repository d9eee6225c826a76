"""The objects of a release, and their keys below the prefix.

blobs/ab/SHA256       bytes by content: chunks of files, and photos
releases/NAME.json    a Release, written after the blobs that it names
latest                the latest release and the one before
marks/                running pushes, promotes and prunes
"""

import hashlib
import json
import math
import re
from typing import Annotated, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from deepfood import __version__
from deepfood.artifacts import FileName
from deepfood.errors import ArtifactFormatError, SettingError, StorageError

#: Files are sent in chunks of this size, so that only the end of a grown file is sent.
CHUNK_BYTES = 8 * 2**20

BLOBS, RELEASES, LATEST, MARKS = "blobs", "releases", "latest", "marks"

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")

Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


def blob_key(sha256: str) -> str:
    return f"{BLOBS}/{sha256[:2]}/{sha256}"


def release_key(name: str) -> str:
    return f"{RELEASES}/{name}.json"


def check_name(name: str) -> str:
    """Raise SettingError for an invalid name of a release."""
    if not _NAME.fullmatch(name) or name == LATEST:
        raise SettingError(
            f"{name!r} cannot name a release: use letters, digits, '.', '_' and '-', 100 at most"
        )
    return name


def parse_address(address: str) -> tuple[str, str | None]:
    """The prefix, and the release after `@`; None means the latest. Raises SettingError."""
    prefix, at, name = address.rpartition("@")
    if not at or "/" in name:
        return address, None
    return prefix, None if name == LATEST else check_name(name)


class StoredFile(BaseModel):
    """A file, by the SHA-256 of all of it and of each chunk."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    bytes: Annotated[int, Field(ge=0)]
    sha256: Sha256
    chunks: tuple[Sha256, ...]

    @model_validator(mode="after")
    def _chunks_fit(self) -> Self:
        if len(self.chunks) != math.ceil(self.bytes / CHUNK_BYTES):
            raise ValueError(f"{len(self.chunks)} chunks cannot have {self.bytes} bytes together")
        return self

    def chunk_bytes(self, number: int) -> int:
        """The bytes of a chunk; only the last may be shorter."""
        return min(CHUNK_BYTES, self.bytes - number * CHUNK_BYTES)


class Release(BaseModel):
    """A Gallery or Model as it was pushed; immutable."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    format_supported: ClassVar[int] = 1

    format_version: int = 1
    name: str
    kind: Literal["gallery", "model"]
    created: str
    deepfood_version: str = __version__
    #: The Model, or the Model of the gallery.
    model_name: str
    model_fingerprint: str
    files: dict[FileName, StoredFile]
    #: The list of its photos: a line each, SHA-256 and bytes.
    photos: StoredFile | None = None
    photo_count: Annotated[int, Field(ge=0)] = 0
    photo_bytes: Annotated[int, Field(ge=0)] = 0

    @property
    def file_bytes(self) -> int:
        """Bytes of its files, without photos."""
        return sum(one.bytes for one in self.files.values())

    @property
    def content(self) -> str:
        """64 hex digits, equal for releases with the same contents."""
        hashes = {name: one.sha256 for name, one in self.files.items()}
        about = [hashes, self.photos and self.photos.sha256]
        return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()

    @classmethod
    def parse(cls, text: bytes, place: str) -> Self:
        """Raises StorageError where it is damaged, ArtifactFormatError where it is newer."""
        try:
            version = json.loads(text)["format_version"]
            if isinstance(version, int) and version > cls.format_supported:
                raise ArtifactFormatError(
                    f"{place} has format version {version}, and deepfood {__version__} reads up to "
                    f"{cls.format_supported}: upgrade deepfood"
                )
            return cls.model_validate_json(text)
        except (ValueError, KeyError, TypeError) as error:  # ValidationError is a ValueError
            raise StorageError(f"{place} is damaged: {_first(error)}; push again") from error


class Latest(BaseModel):
    """The latest release, and the one before, for `rollback`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    release: str
    before: str | None = None

    @classmethod
    def parse(cls, text: bytes, place: str) -> Self:
        try:
            latest = cls.model_validate_json(text)
            for name in filter(None, (latest.release, latest.before)):
                check_name(name)
        except (ValidationError, SettingError) as error:
            raise StorageError(f"{place} is damaged: promote a release") from error
        return latest


def photo_lines(photos: dict[str, int]) -> bytes:
    """The list of photos as text, from their bytes by SHA-256."""
    return "".join(f"{sha256} {size}\n" for sha256, size in sorted(photos.items())).encode()


def parse_photo_lines(text: bytes, place: str) -> dict[str, int]:
    """SHA-256 and bytes of each photo. Raises StorageError for a list that is damaged."""
    photos = {}
    for line in text.decode("ascii", "replace").splitlines():
        found = re.fullmatch("([0-9a-f]{64}) ([0-9]{1,15})", line)
        if not found:
            raise damaged_list(place)
        photos[found[1]] = int(found[2])
    return photos


def damaged_list(place: str) -> StorageError:
    return StorageError(f"{place}: its list of photos is damaged: push again")


def _first(error: Exception) -> str:
    if isinstance(error, ValidationError):
        one = error.errors(include_url=False)[0]
        return f"{'.'.join(map(str, one['loc']))}: {one['msg']}"
    return repr(error)
