"""Artifacts: a folder with `manifest.json`, which lists every file with its size and SHA-256.

The manifest is the commit point: files are written first, under names no reader looks at, then
the manifest replaces its predecessor in one atomic rename. A crash at any moment leaves the old
artifact or the new one, never a mixture.

The manifest's last field is the SHA-256 of all bytes before it: one that was altered is never
believed. Format 1 had no such field; such manifests are read, and written as format 2 (those of
galleries only to upgrade them).
"""

import errno
import hashlib
import os
import stat
from collections.abc import Container, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from io import BufferedReader
from pathlib import Path, PurePosixPath
from typing import IO, Annotated, ClassVar, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from deepfood import __version__
from deepfood.beside import beside
from deepfood.errors import (
    ArtifactCorruptError,
    ArtifactError,
    ArtifactFormatError,
    ArtifactMissingError,
    SettingError,
    nearest,
    raising_disk_full,
)

MANIFEST = "manifest.json"
#: Unfinished work of a build, which the next build goes on with.
BUILDING = "building"

#: Opening checks the contents of artifacts up to this size; beyond it only sizes, to open in time.
#: `deepfood verify` always reads every byte.
CHECK_ON_OPEN_BYTES = 256 * 2**20

#: What `read_file` reads at most; the largest manifests, of Models with many labels, are far below.
SMALL_BYTES = 64 * 2**20

#: From this format on, this is how a manifest ends.
_CHECKED_FROM = 2
_END = b',\n  "checksum": "%s"\n}\n'
_END_BYTES = len(_END % bytes(64))

#: A pipe is opened without waiting for who writes it; and bytes are bytes, on Windows too.
_NO_WAIT = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)


def _inside(name: str) -> str:
    """A file name in a manifest is a relative path that stays inside the artifact's folder."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or not path.parts or set(name) & set("\\\0"):
        raise ValueError(f"{name!r} points outside the artifact")
    return name


#: The name of a file of an artifact, which cannot leave the artifact's folder.
FileName = Annotated[str, AfterValidator(_inside)]


class FileRecord(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    bytes: Annotated[int, Field(ge=0)]
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]

    @classmethod
    def of(cls, path: Path) -> Self:
        return cls(bytes=path.stat().st_size, sha256=sha256_of_file(path))

    def fault(self, path: Path, *, contents: bool) -> str | None:
        """How the file at `path` differs, or None; `contents` reads every byte.

        Raises FileNotFoundError where there is none, or none any more.
        """
        if not path.is_file():
            return "is missing"
        if (size := path.stat().st_size) != self.bytes:
            return f"has {size} bytes, and the manifest says {self.bytes}"
        if contents and sha256_of_file(path) != self.sha256:
            return "differs from its SHA-256 in the manifest"
        return None


class Manifest(BaseModel):
    """The manifest of an artifact. Model and Gallery add their own fields."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    kind_wanted: ClassVar[str]
    format_supported: ClassVar[int] = 2

    kind: str
    format_version: Annotated[int, Field(ge=1)] = 2
    deepfood_version: str = __version__
    created: str = Field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))
    files: dict[FileName, FileRecord]

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read and check `folder/manifest.json`.

        Raises ArtifactMissingError, ArtifactFormatError (another kind, or a newer format) or
        ArtifactCorruptError (not JSON, or fields missing or malformed).
        """
        return cls.parse(_read_manifest(folder, cls.kind_wanted), folder)

    @classmethod
    def parse(cls, text: bytes, folder: Path | str) -> Self:
        """The manifest of the artifact in `folder`. Raises as `read` does."""
        head, body = _checked(text, folder)
        if head.kind != cls.kind_wanted:
            raise ArtifactFormatError(f"{folder} is a {head.kind}, not a {cls.kind_wanted}")
        if head.format_version > cls.format_supported:
            raise ArtifactFormatError(
                f"{folder} has format version {head.format_version}, and deepfood {__version__} "
                f"reads up to {cls.format_supported}: upgrade deepfood"
            )
        try:
            return cls.model_validate_json(body)
        except ValidationError as error:
            raise _damaged(folder, _first(error)) from error

    @property
    def text(self) -> bytes:
        """The manifest as its file has it."""
        now = self.model_copy(update={"format_version": self.format_supported})
        return with_checksum(now.model_dump_json(indent=2).encode())

    def write(self, folder: Path) -> None:
        """Commit: atomically replace `folder/manifest.json`, durable before it returns."""
        write_atomically(folder / MANIFEST, self.text)

    def problems(
        self, folder: Path, *, contents: bool, files: Container[str] | None = None
    ) -> Iterator[str]:
        """One line for each listed file that is missing or differs; `contents` reads every byte.

        With `files`, only those among them are looked at.
        """
        for name, record in self.files.items():
            if files is not None and name not in files:
                continue
            try:
                fault = record.fault(folder / name, contents=contents)
            except FileNotFoundError:  # pragma: no cover - another took its place meanwhile
                fault = "is missing"
            except OSError as error:
                fault = f"cannot be read: {error.strerror}"
            if fault:
                yield f"{name} {fault}"

    def check_on_open(self, folder: Path, *, contents: bool = True) -> None:
        """Raise ArtifactMissingError or ArtifactCorruptError for the first problem found.

        Without `contents`, or where there is too much to read, it goes by the files' sizes.
        """
        small = sum(record.bytes for record in self.files.values()) <= CHECK_ON_OPEN_BYTES
        self._check(folder, contents=contents and small)

    def check_every_byte(self, folder: Path, files: Container[str] | None = None) -> None:
        """As `check_on_open`, however much there is: for who makes something new of the files.

        With `files`, only those among them are read.
        """
        self._check(folder, contents=True, files=files)

    def _check(self, folder: Path, *, contents: bool, files: Container[str] | None = None) -> None:
        for problem in self.problems(folder, contents=contents, files=files):
            error = ArtifactMissingError if problem.endswith("missing") else ArtifactCorruptError
            raise error(f"{folder} is damaged: {problem}; restore it from a copy or make it again")


class _Head(BaseModel):
    """The fields that decide whether the rest can be read."""

    kind: str
    format_version: Annotated[int, Field(ge=1)]


def kind_of(folder: Path) -> str:
    """What kind of artifact the folder is. Raises ArtifactMissingError or ArtifactCorruptError."""
    return _checked(_read_manifest(folder, "artifact"), folder)[0].kind


def with_checksum(text: bytes) -> bytes:
    """A manifest, as a JSON object that ends in a line of its own, with its checksum."""
    body = text.rstrip().removesuffix(b"\n}")
    return body + _END % hashlib.sha256(body).hexdigest().encode()


def _checked(text: bytes, folder: Path | str) -> tuple[_Head, bytes]:
    """A manifest's head, and all of it without its checksum, which fits."""
    body = text[:-_END_BYTES] + b"\n}"
    fits = text == with_checksum(body)
    if fits:
        text = body
    try:
        head = _Head.model_validate_json(text)
    except ValidationError as error:
        raise _damaged(folder, _first(error)) from error
    if head.format_version >= _CHECKED_FROM and not fits:
        raise _damaged(folder, "its bytes do not have its checksum")
    return head, text


def _damaged(folder: Path | str, why: str) -> ArtifactCorruptError:
    way_out = _REPAIR if _has_copy(Path(folder)) else "restore it from a copy or make it again"
    return ArtifactCorruptError(f"{folder}/{MANIFEST} is damaged: {why}; {way_out}")


_REPAIR = "run deepfood verify --repair"


def _has_copy(folder: Path) -> bool:
    """Whether it can be repaired: a gallery keeps a copy of its manifest in each generation."""
    return any(folder.glob(f"*/{MANIFEST}"))


def _read_manifest(folder: Path, wanted: str) -> bytes:
    path = folder / MANIFEST
    try:
        return read_file(path)
    except (FileNotFoundError, NotADirectoryError):
        if (folder / BUILDING).is_dir():
            raise ArtifactMissingError(f"{folder} is unfinished: run the build again") from None
        why = f"it is not there; {nearest(folder)}"
        if folder.exists():
            why = f"it has no {MANIFEST}" + (f"; {_REPAIR}" if _has_copy(folder) else "")
        article = "an" if wanted.startswith("a") else "a"
        raise ArtifactMissingError(f"{folder} is not {article} {wanted}: {why}") from None
    except OSError as error:
        why = f"{path} cannot be read: {error.strerror}"
        if error.errno in (errno.EINVAL, errno.EISDIR):  # a pipe or a folder in its place
            raise ArtifactCorruptError(why) from error
        raise ArtifactError(why) from error


def _first(error: ValidationError) -> str:
    one = error.errors(include_url=False)[0]
    where = ".".join(str(part) for part in one["loc"])
    return f"{where}: {one['msg']}" if where else one["msg"]


def sha256_of_file(path: Path) -> str:
    with open_file(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def open_file(path: Path) -> BufferedReader:
    """Open a regular file to read; a pipe or a device is neither waited for nor read.

    Raises OSError.
    """
    handle = os.open(path, os.O_RDONLY | _NO_WAIT)
    try:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise OSError(errno.EINVAL, "it is not a regular file", str(path))
        return os.fdopen(handle, "rb")
    except BaseException:
        os.close(handle)
        raise


def read_file(path: Path, limit_bytes: int = SMALL_BYTES) -> bytes:
    """The contents of a regular file of `limit_bytes` at most. Raises OSError."""
    with open_file(path) as file:
        if os.fstat(file.fileno()).st_size > limit_bytes:
            raise OSError(errno.EINVAL, f"it has more than {limit_bytes} bytes", str(path))
        return file.read()


def write_atomically(path: Path, contents: bytes) -> None:
    """Replace `path` by a file of these contents, durable on return. Raises DiskFullError."""
    with replacing(path) as file:
        file.write(contents)


@contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """A file to write, which takes the place of `path` once the block has ended well.

    It is written beside `path`, flushed to disk and renamed over it, and the folder is flushed;
    when something fails, `path` stays as it was. Raises DiskFullError.
    """
    with raising_disk_full(path), beside(path) as new:
        with new.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        new.replace(path)
        sync_folder(path.parent)


def write_result(path: Path, contents: bytes) -> None:
    """`write_atomically` a file that the user named. Raises SettingError, DiskFullError."""
    check_can_write(path)
    try:
        write_atomically(path, contents)
    except OSError as error:
        raise SettingError(f"{path} cannot be written: {error.strerror}") from error


def check_can_write(path: Path) -> None:
    """Raise SettingError before the work rather than after it."""
    folder = path.parent
    if path.is_dir():
        why = "it is a folder, name a file"
    elif not folder.is_dir():
        why = f"there is no folder {folder}"
    elif not os.access(folder, os.W_OK):
        why = f"the folder {folder} is not yours to write to"
    else:
        return
    raise SettingError(f"{path} cannot be written: {why}")


def sync_folder(folder: Path) -> None:
    """Flush a folder's entries, so that a rename in it survives a power cut."""
    if os.name == "nt":  # folders cannot be opened there, and renames are journalled
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
