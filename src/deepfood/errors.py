"""Every error that deepfood raises on purpose; those that a client meets are `deepfood_client`'s.

DeepfoodError                    what a user can act on; one line, exit status 2
├── SettingError                 a setting or flag has a value that cannot be used
├── DatasetError                 a photo folder, CSV or data source is not what it should be
│   ├── DownloadError            the source could not be fetched whole
│   └── UndeclaredError          no attribute of that name has been declared
├── PhotoError                   bytes that do not become a picture
│   ├── PhotoUnsupportedError    not an image, or a format deepfood does not read
│   ├── PhotoMissingError        no such file where the photos are
│   ├── PhotoBrokenError         an image that is empty, cut off or damaged
│   └── PhotoTooLargeError       more bytes or pixels than the limits allow
├── ArtifactError                a Model or Gallery folder that cannot be used
│   ├── ArtifactMissingError     nothing there, or a file of it is gone
│   ├── ArtifactCorruptError     contents differ from the manifest
│   ├── ArtifactFormatError      written by a newer deepfood, or of another kind
│   ├── ArtifactBusyError        another process is writing it
│   └── ModelMismatchError       the gallery was made with another Model
├── QueryError                   a search that cannot be answered as asked
│   ├── FilterError              a filter that cannot be parsed, or not applied to this gallery
│   ├── PhotoNotFoundError       no photo with that id (or its file is gone or changed)
│   ├── PhotoExistsError         the gallery has the photo, and only a new one was to be added
│   └── NoHeatMapError           this Model's network cannot show where photos are alike
├── TrainingError                training cannot start from what it was given, or cannot go on
├── DeployError                  the cloud refused a deployment, or it went wrong there
├── StorageError                 S3 (or a local folder in its place) refuses, fails or is away
│   └── StorageMissingError      there is nothing with that key
├── EngineError                  the distributed engine is away, slow, or refuses
├── DiskFullError                no space left where the work is written
├── MissingExtraError            an optional part is not installed
├── PortTakenError               the address to serve on is in use
└── ServiceError                 a client got no answer from a server, or none that it can use
    ├── ServiceBusyError         the server asks to come back later, and did after each retry
    └── KeyRefusedError          a change was asked for without a key, or with a wrong one
"""

import difflib
import errno
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from deepfood_client.errors import (
    DatasetError,
    DeepfoodError,
    KeyRefusedError,
    PhotoError,
    PhotoExistsError,
    PhotoNotFoundError,
    PhotoTooLargeError,
    PhotoUnsupportedError,
    QueryError,
    ServiceBusyError,
    ServiceError,
    UndeclaredError,
)

__all__ = [
    "ArtifactBusyError",
    "ArtifactCorruptError",
    "ArtifactError",
    "ArtifactFormatError",
    "ArtifactMissingError",
    "DatasetError",
    "DeepfoodError",
    "DeployError",
    "DiskFullError",
    "DownloadError",
    "EngineError",
    "FilterError",
    "KeyRefusedError",
    "MissingExtraError",
    "ModelMismatchError",
    "NoHeatMapError",
    "PhotoBrokenError",
    "PhotoError",
    "PhotoExistsError",
    "PhotoMissingError",
    "PhotoNotFoundError",
    "PhotoTooLargeError",
    "PhotoUnsupportedError",
    "PortTakenError",
    "QueryError",
    "ServiceBusyError",
    "ServiceError",
    "SettingError",
    "StorageError",
    "StorageMissingError",
    "TrainingError",
    "UndeclaredError",
    "in_one_line",
    "nearest",
    "raising_disk_full",
    "system_error_text",
    "unusable_database",
]


class SettingError(DeepfoodError):
    pass


class DownloadError(DatasetError):
    """`status` is the HTTP status that refused the file, where one did."""

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


class PhotoMissingError(PhotoError):
    pass


class PhotoBrokenError(PhotoError):
    pass


class ArtifactError(DeepfoodError):
    pass


class ArtifactMissingError(ArtifactError):
    pass


class ArtifactCorruptError(ArtifactError):
    pass


class ArtifactFormatError(ArtifactError):
    pass


class ArtifactBusyError(ArtifactError):
    pass


class ModelMismatchError(ArtifactError):
    pass


class FilterError(QueryError):
    """`position` is the character at fault, counted from 1, where it is one."""

    def __init__(self, message: str, position: int | None = None) -> None:
        super().__init__(message, "where")
        self.position = position


class NoHeatMapError(QueryError):
    pass


class NoTextTowerError(QueryError):
    pass


class TrainingError(DeepfoodError):
    pass


class DeployError(DeepfoodError):
    pass


class StorageError(DeepfoodError):
    pass


class StorageMissingError(StorageError):
    pass


class EngineError(DeepfoodError):
    pass


class DiskFullError(DeepfoodError):
    pass


class MissingExtraError(DeepfoodError):
    pass


class PortTakenError(DeepfoodError):
    pass


_NO_SPACE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
#: SQLite also reports "disk I/O error" for a failed read.
_NO_SPACE_IN_SQLITE = {"SQLITE_FULL"} | {
    f"SQLITE_IOERR_{what}" for what in ("WRITE", "FSYNC", "DIR_FSYNC", "TRUNCATE", "SHMSIZE")
}
#: faiss and Annoy report it in their message only.
_NO_SPACE_TEXTS = ("disk is full", "No space left on device", "File too large")


@contextmanager
def raising_disk_full(where: Path) -> Iterator[None]:
    """Turn any "no space left" error into a DiskFullError that names `where`."""
    try:
        yield
    except Exception as error:
        if _is_no_space(error) or (error.__cause__ and _is_no_space(error.__cause__)):
            raise DiskFullError(
                f"no space left on the disk of {where}: free some and run the same command again; "
                "what was finished is kept"
            ) from error
        raise


def _is_no_space(error: BaseException) -> bool:
    if isinstance(error, sqlite3.Error):
        return getattr(error, "sqlite_errorname", None) in _NO_SPACE_IN_SQLITE
    if isinstance(error, OSError) and error.errno in _NO_SPACE:
        return True
    return any(text in str(error) for text in _NO_SPACE_TEXTS)


#: Codes of SQLite for a file that this user may not read, or that the disk cannot deliver.
_NOT_OURS = frozenset(
    {
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_PERM,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_IOERR,
    }
)


def unusable_database(
    path: Path, error: sqlite3.DatabaseError, damage: str, way_out: str
) -> ArtifactError:
    """The error for a file that SQLite cannot use; `damage` and `way_out` are for a damaged one.

    ArtifactCorruptError, but not for a file that this user may not read: it may be intact.
    """
    why = in_one_line(error)
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return ArtifactBusyError(f"another process is writing {path} ({why}): try again")
    if code in _NOT_OURS:
        return ArtifactError(
            f"{path} cannot be opened ({why}): is it yours to read and write, "
            "and may so many files be open (ulimit -n)?"
        )
    return ArtifactCorruptError(f"{path} {damage} ({why}): {way_out}")


def in_one_line(error: sqlite3.Error) -> str:
    """The message of an error in one line: those about a damaged schema quote its SQL."""
    return " ".join(str(error).split())


_WAYS_OUT = {
    errno.EACCES: "this user may not do that there: give it the right, or name another place",
    errno.EPERM: "this user may not do that there: give it the right, or name another place",
    errno.EROFS: "the disk is read-only: name another place, or mount it for writing",
    errno.EMFILE: "too many files are open at once: raise the limit (ulimit -n)",
    errno.ENFILE: "too many files are open on this machine: raise the limit (sysctl fs.file-max)",
    errno.EIO: "the disk could not read or write that: look into the system's log, and replace it",
    errno.EISDIR: "it is a folder, and should be a file: move it away",
    errno.ENOTDIR: "a part of this path is a file, and should be a folder",
    errno.EBUSY: "it is in use by the system, perhaps as a mount point: name a folder below it",
    errno.ENAMETOOLONG: "the system allows no such long names: choose a shorter one",
}


#: Limits of this process or machine, which are no fault of the file.
_OWN_LIMITS = (errno.EMFILE, errno.ENFILE)


def is_own_limit(error: OSError) -> bool:
    """Whether too many files are open, so that nothing is known about this one."""
    return error.errno in _OWN_LIMITS


def own_limit_behind(error: BaseException) -> OSError | None:
    """The limit that a library's error comes from, by its chain or message; else None."""
    behind: BaseException | None = error
    while behind is not None:
        for code in _OWN_LIMITS:
            if os.strerror(code) in str(behind):
                return OSError(code, os.strerror(code))
        behind = behind.__cause__ or behind.__context__
    return None


def system_error_text(error: OSError, *, named: bool = True) -> str:
    """One line: the path (if `named`), what the system refused, and the way out."""
    text = error.strerror or str(error) or type(error).__name__
    if error.errno in _NO_SPACE:
        text += ": free some space, and run the same command again"
    elif error.errno in _WAYS_OUT:
        text += f": {_WAYS_OUT[error.errno]}"
    if named and isinstance(error.filename, str | bytes):
        return f"{os.fsdecode(error.filename)}: {text}"
    return text


def nearest(path: Path) -> str:
    """For a missing path: the part of it that exists, and a similar name there."""
    path = path.absolute()
    above = next(parent for parent in path.parents if parent.exists())
    missing = path.relative_to(above).parts[0]
    try:
        like = difflib.get_close_matches(missing, [one.name for one in above.iterdir()], 1)
    except OSError:
        like = []
    there = f"there is {above / like[0]}" if like else f"there is only {above}"
    return f"{there}; check its name"
