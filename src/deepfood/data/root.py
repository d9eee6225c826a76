"""Where photos are: a Root is a folder on this machine, or a prefix of an S3 bucket.

A photo is told by its Root and its `file`, the path or key below that, with `/`. Whoever lists,
reads or checks photos asks their Root, and does not know which kind it is:

- `Folder` here reads files; links and `../` never lead out of it.
- `BucketRoot` (bucket.py) reads objects, whose keys are text and never become paths.

A further place that bytes can come from is one more Root.
"""

import os
import stat
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from functools import cache
from pathlib import Path, PurePosixPath
from typing import IO, ClassVar

from deepfood.errors import DatasetError, PhotoError, PhotoMissingError
from deepfood.photo import SUFFIXES

#: Called with a photo's size in bytes before it is read; raises PhotoError to refuse it.
CheckBytes = Callable[[int], object]


class Root(ABC):
    """A place that photos are below. `str(root)` is what a gallery's manifest calls it."""

    #: How many reads are worth having under way beside the photos that are worked on.
    reads_ahead: ClassVar[int] = 0

    @property
    @abstractmethod
    def name(self) -> str:
        """Its last part, to show."""

    @abstractmethod
    def where(self, file: str) -> str:
        """A file's full name, to show."""

    @abstractmethod
    def stamp(self, file: str) -> tuple[int, int]:
        """Size in bytes and time of change in ns; (-1, -1) where the file cannot be seen."""

    @abstractmethod
    def present(self, files: Iterable[str]) -> list[bool]:
        """Whether each file is there, below the root, and one that can be read."""

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
        """The file that an absolute path or URL names, or None where that lies elsewhere."""

    @abstractmethod
    def sub_folders(self) -> list[str]:
        """Names of the folders in it, hidden ones left out. Raises DatasetError."""

    @abstractmethod
    def photos(self, below: str = "") -> Iterator[str]:
        """Photos in a folder and its folders, by name ending, relative to it, hidden ones left out.

        Raises DatasetError.
        """

    @abstractmethod
    def text(self, file: str) -> AbstractContextManager[IO[str]]:
        """A UTF-8 text file, opened as `csv` wants it. Raises OSError."""

    @abstractmethod
    def below(self, folder: str) -> "Root":
        """A folder in it as a Root."""

    @abstractmethod
    def kept_in(self, folder: Path) -> "Root":
        """The same place, for who reads its photos many times.

        What takes long to read is kept below `folder`, and checked when it is used.
        """

    def knowing(self, stamps: dict[str, tuple[int, int]]) -> "Root":
        """The same place, for who works on these files only and was told their stamps."""
        return self

    @abstractmethod
    def resolve(self) -> "Root":
        """The same place, called so that it is found from any working folder."""


def is_photo_name(name: str) -> bool:
    """Whether a file is taken for a photo, by its name."""
    return PurePosixPath(name).suffix.lower() in SUFFIXES and not name.startswith(".")


def path_inside(root: Path, file: str) -> Path | None:
    """`root / file` with links resolved, or None where that leaves `root`."""
    try:
        path = (root / file).resolve()
    except (OSError, ValueError, RuntimeError):  # a NUL in the name, or a loop of links
        return None
    return path if path.is_relative_to(root.resolve()) else None


class Folder(Root):
    """A folder on this machine."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __str__(self) -> str:
        return str(self.path)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Folder) and self.path == other.path

    def __hash__(self) -> int:
        return hash(self.path)

    @property
    def name(self) -> str:
        return self.path.name

    def where(self, file: str) -> str:
        return str(self.path / file)

    def stamp(self, file: str) -> tuple[int, int]:
        try:
            found = (self.path / file).stat()
        except (OSError, ValueError):
            return -1, -1
        return found.st_size, found.st_mtime_ns

    def present(self, files: Iterable[str]) -> list[bool]:
        # Resolving every path anew would cost half a minute for 100,000 photos; folders are few.
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
            raise PhotoError(f"the file cannot be read: {error.strerror or error}") from error

    def head(self, file: str, count: int) -> bytes:
        try:
            with (self.path / file).open("rb") as opened:
                return opened.read(count)
        except (OSError, ValueError) as error:
            raise PhotoError(f"the file cannot be read: {error}") from error

    def usable(self, file: str) -> Path:
        """The path of a regular file inside the folder. Raises PhotoMissingError."""
        path = path_inside(self.path, file)
        if path is None:
            raise PhotoMissingError(f"the file lies outside {self.path}")
        if not path.exists():
            raise PhotoMissingError("there is no such file")
        if not path.is_file():  # a named pipe would keep us waiting for ever
            raise PhotoMissingError("it is no regular file")
        return path

    def is_dir(self, below: str) -> bool:
        return (self.path / below).is_dir()

    def is_file(self, below: str) -> bool:
        return (self.path / below).is_file()

    def names(self, below: str) -> list[str]:
        try:
            return [entry.name for entry in os.scandir(self.path / below)]
        except (OSError, ValueError):
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
                if entry.is_dir() and not entry.name.startswith(".")
            ]
        except OSError as error:
            raise DatasetError(f"{self.path} cannot be read: {error.strerror}") from error

    def photos(self, below: str = "") -> Iterator[str]:
        def unreadable(error: OSError) -> None:
            raise DatasetError(f"{error.filename} cannot be read: {error.strerror}") from error

        folder = self.path / below
        for here, folders, names in os.walk(folder, onerror=unreadable):
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            for name in names:
                if is_photo_name(name):
                    yield Path(here, name).relative_to(folder).as_posix()

    def text(self, file: str) -> AbstractContextManager[IO[str]]:
        return (self.path / file).open(encoding="utf-8-sig", newline="")

    def below(self, folder: str) -> "Folder":
        return Folder(self.path / folder)

    def kept_in(self, folder: Path) -> "Folder":
        return self

    def resolve(self) -> "Folder":
        return Folder(self.path.resolve())
