"""Where photos are: a Root is a folder on this machine, or a prefix of an S3 bucket.

A photo is identified by its Root and its `file`, the path or key below that, with `/`. Code that
lists, reads or checks photos uses the Root and does not know its kind:

- `Folder` reads files; links and `../` never lead out of it.
- `BucketRoot` (bucket.py) reads objects, whose keys are text and never become paths.

Another kind of storage is another subclass.
"""

import errno
import os
import stat
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from functools import cache
from pathlib import Path
from typing import IO, ClassVar, NoReturn
from urllib.parse import unquote_to_bytes

from deepfood.data.passed_over import Tally, why_not_file, why_not_folder
from deepfood.errors import DatasetError, PhotoError, PhotoMissingError, is_own_limit

#: Called with a photo's size in bytes before it is read; raises PhotoError to refuse it.
CheckBytes = Callable[[int], object]

#: The beginning of the reason for a file that exists and cannot be read.
UNREADABLE_FILE = "the file cannot be read"


class Root(ABC):
    """A place that holds photos. `str(root)` is its name in a gallery's manifest."""

    #: How many reads should be in flight beside the photos that are being processed.
    reads_ahead: ClassVar[int] = 0

    @property
    @abstractmethod
    def name(self) -> str:
        """Its last part, for display."""

    @abstractmethod
    def where(self, file: str) -> str:
        """A file's full name, for display."""

    @abstractmethod
    def stamp(self, file: str) -> tuple[int, int]:
        """Size in bytes and modification time in ns; (-1, -1) if the file is not accessible."""

    @abstractmethod
    def present(self, files: Iterable[str]) -> list[bool]:
        """Whether each file exists below the root and is a regular file."""

    @abstractmethod
    def read(self, file: str, check_bytes: CheckBytes) -> bytes:
        """A photo's bytes. Raises PhotoError: PhotoMissingError where there is none."""

    @abstractmethod
    def head(self, file: str, count: int) -> bytes:
        """Its first `count` bytes. Raises PhotoError."""

    @abstractmethod
    def is_dir(self, below: str) -> bool: ...

    @abstractmethod
    def is_file(self, below: str) -> bool: ...

    @abstractmethod
    def names(self, below: str) -> list[str]:
        """Names of the files and folders in a folder; none where it cannot be read."""

    @abstractmethod
    def inside(self, path: str) -> str | None:
        """The file that an absolute path or URL names; None if it is not below this Root."""

    @abstractmethod
    def sub_folders(self) -> list[str]:
        """Names of the folders in it that are searched for photos. Raises DatasetError."""

    @abstractmethod
    def photos(self, below: str, passed_over: Tally) -> Iterator[str]:
        """Photos in a folder and its folders, by name ending, relative to it.

        Everything else is counted in `passed_over`. Raises DatasetError.
        """

    @abstractmethod
    def text(self, file: str) -> AbstractContextManager[IO[str]]:
        """A UTF-8 text file, opened as `csv` wants it. Raises OSError."""

    @abstractmethod
    def below(self, folder: str) -> "Root":
        """A folder in it as a Root."""

    @abstractmethod
    def kept_in(self, folder: Path) -> "Root":
        """The same Root, for reading its photos many times.

        Photos that are slow to read are cached below `folder`, and verified on use.
        """

    def knowing(self, stamps: dict[str, tuple[int, int]]) -> "Root":
        """The same Root with the stamps of all files that are used, so that nothing is listed."""
        return self

    @abstractmethod
    def resolve(self) -> "Root":
        """The same Root under an absolute name."""


def path_inside(root: Path, file: str) -> Path | None:
    """`root / file` with links resolved, or None where that leaves `root`."""
    try:
        path = (root / file).resolve()
    except (OSError, ValueError, RuntimeError):  # a NUL in the name, or a loop of links
        return None
    return path if path.is_relative_to(root.resolve()) else None


def _refused(error: OSError | ValueError) -> NoReturn:
    """Raise PhotoError, but OSError for too many open files, which is no fault of the photo."""
    if isinstance(error, OSError) and is_own_limit(error):
        raise error
    why = error.strerror if isinstance(error, OSError) and error.strerror else error
    raise PhotoError(f"{UNREADABLE_FILE}: {why}") from error


_FILE_URL = "file://"


def stamp_ns(nanoseconds: int) -> int:
    """A time as 64 bits, as catalogues store it; times before 1677 and after 2262 wrap around.

    Stamps are only compared for equality, so this does no harm.
    """
    return (nanoseconds + 2**63) % 2**64 - 2**63


def text_of(path: Path) -> str:
    """A path as text that can be stored and displayed: a file:// URL if it is not valid Unicode."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return path.absolute().as_uri()
    return str(path)


def path_of(text: str) -> Path:
    """The path that `text_of` made into text."""
    if not text.startswith(_FILE_URL):
        return Path(text)
    return Path(os.fsdecode(unquote_to_bytes(text.removeprefix(_FILE_URL))))


class Folder(Root):
    """A folder on this machine."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __str__(self) -> str:
        return text_of(self.path)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Folder) and self.path == other.path

    def __hash__(self) -> int:
        return hash(self.path)

    @property
    def name(self) -> str:
        return self.path.name

    def where(self, file: str) -> str:
        return text_of(self.path / file)

    def stamp(self, file: str) -> tuple[int, int]:
        try:
            found = (self.path / file).stat()
        except (OSError, ValueError):
            return -1, -1
        return found.st_size, stamp_ns(found.st_mtime_ns)

    def present(self, files: Iterable[str]) -> list[bool]:
        # Resolving every path would take half a minute for 100,000 photos; folders are few.
        is_inside = cache(lambda folder: path_inside(self.path, folder) is not None)
        return [is_inside(file.rpartition("/")[0]) and self._is_file(file) for file in files]

    def _is_file(self, file: str) -> bool:
        """Whether the last part of the path is a file, or a link to one inside the folder."""
        try:
            mode = (self.path / file).lstat().st_mode
        except (OSError, ValueError):
            return False
        if not stat.S_ISLNK(mode):
            return stat.S_ISREG(mode)
        path = path_inside(self.path, file)
        return path is not None and path.is_file()

    def read(self, file: str, check_bytes: CheckBytes) -> bytes:
        path = self.usable(file)
        try:
            check_bytes(path.stat().st_size)
            return path.read_bytes()
        except OSError as error:
            _refused(error)

    def head(self, file: str, count: int) -> bytes:
        try:
            with (self.path / file).open("rb") as opened:
                return opened.read(count)
        except (OSError, ValueError) as error:
            _refused(error)

    def usable(self, file: str) -> Path:
        """The path of a regular file inside the folder. Raises PhotoError."""
        path = path_inside(self.path, file)
        if path is None:
            raise PhotoMissingError(f"the file lies outside {self}")
        try:
            mode = path.stat().st_mode
        except (FileNotFoundError, NotADirectoryError):
            raise PhotoMissingError("there is no such file") from None
        except OSError as error:
            _refused(error)
        if not stat.S_ISREG(mode):  # reading a named pipe would block for ever
            raise PhotoMissingError("it is not a regular file")
        return path

    # os.path, since Path's methods raise where a folder may not be read.

    def is_dir(self, below: str) -> bool:
        return os.path.isdir(self.path / below)  # noqa: PTH112

    def is_file(self, below: str) -> bool:
        return os.path.isfile(self.path / below)  # noqa: PTH113

    def names(self, below: str) -> list[str]:
        try:
            return [entry.name for entry in os.scandir(self.path / below)]
        except (OSError, ValueError) as error:
            if isinstance(error, OSError) and is_own_limit(error):
                raise
            return []

    def inside(self, path: str) -> str | None:
        given = Path(path.replace("\\", "/"))
        if not given.is_absolute():  # on this machine
            return None
        try:
            through_links = given.parent.resolve() / given.name
        except (OSError, ValueError, RuntimeError):
            through_links = given
        for one in (given, through_links):
            for root in (self.path.absolute(), self.path.resolve()):
                if one.is_relative_to(root):
                    return one.relative_to(root).as_posix()
        return None

    def sub_folders(self) -> list[str]:
        try:
            return [
                entry.name
                for entry in os.scandir(self.path)
                if entry.is_dir(follow_symlinks=False) and why_not_folder(entry.name) is None
            ]
        except OSError as error:
            raise DatasetError(f"{self} cannot be read: {error.strerror}") from error

    def photos(self, below: str, passed_over: Tally) -> Iterator[str]:
        top = self.path / below

        def unreadable(error: OSError) -> None:
            where = Path(error.filename)
            # A failing disk must stop the build, which would otherwise drop everything on it.
            if where == top or error.errno not in (errno.EACCES, errno.EPERM, errno.ENOENT):
                raise DatasetError(f"{text_of(where)} cannot be read: {error.strerror}") from error
            passed_over.add(below_top(where), f"folders that cannot be read ({error.strerror})")

        def below_top(path: Path) -> str:
            return path.relative_to(top).as_posix()

        for here, folders, names in os.walk(top, onerror=unreadable):
            searched = []
            for name in sorted(folders):
                reason = why_not_folder(name)
                if reason is None and Path(here, name).is_symlink():
                    reason = "links to folders, which are not followed"
                if reason is None:
                    searched.append(name)
                else:
                    passed_over.add(below_top(Path(here, name)), reason)
            folders[:] = searched
            for name in names:
                reason = why_not_file(name)
                if reason is None:
                    yield below_top(Path(here, name))
                else:
                    passed_over.add(below_top(Path(here, name)), reason)

    def text(self, file: str) -> AbstractContextManager[IO[str]]:
        return (self.path / file).open(encoding="utf-8-sig", newline="")

    def below(self, folder: str) -> "Folder":
        return Folder(self.path / folder)

    def kept_in(self, folder: Path) -> "Folder":
        return self

    def resolve(self) -> "Folder":
        return Folder(self.path.resolve())
