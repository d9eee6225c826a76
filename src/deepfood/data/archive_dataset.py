"""Datasets that come as one archive: fetched, unpacked, and in place with SOURCE.md last.

DIR/SOURCE.md      says what this is and under which terms; where it is, the dataset is whole
DIR/.fetching/     the unfinished work of a run that was stopped: the next one goes on with it
"""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from deepfood.artifacts import write_atomically
from deepfood.data.archive import unpack
from deepfood.data.photos import list_photos
from deepfood.errors import DatasetError, DownloadError, raising_disk_full
from deepfood.locks import held

SOURCE = "SOURCE.md"

_WORK = ".fetching"
_MARK = "title"


@dataclass(frozen=True)
class Archived:
    """What to fetch: `title` for messages and as SOURCE.md's first line, `about` for its rest.

    `inner` are archives inside the archive, each unpacked into a folder of its name.
    """

    title: str
    about: str
    archive: str
    inner: tuple[str, ...] = ()

    @property
    def heading(self) -> str:
        return f"# {self.title}, fetched by deepfood"


def get_archived(to: Path, one: Archived, fetch: Callable[[Path], Path], *, quiet: bool) -> Path:
    """Make `to` the dataset and return it; whole already, it is left alone.

    `fetch` brings the archive to the path it is given. Raises DatasetError (`to` holds something
    else, or cannot be written), DownloadError or DiskFullError.
    """
    try:
        with raising_disk_full(to):
            if _heading(to) == one.heading:
                return to
            _refuse_other_folders(to, one)
            with _only_one(to, one) as work:
                _bring(to, one, fetch, work, quiet)
            shutil.rmtree(work)
    except OSError as error:
        raise DatasetError(f"{to} cannot be written: {error.strerror or error}") from error
    return to


def _bring(to: Path, one: Archived, fetch: Callable[[Path], Path], work: Path, quiet: bool) -> None:
    ready = work / "ready"
    if not ready.is_dir():
        archive, unpacked = work / one.archive, work / "unpacked"
        if not unpacked.is_dir():
            fetch(archive)
            unpack(archive, unpacked, what=f"the archive of {one.title}", quiet=quiet)
        root = _only_folder(unpacked)
        for name in one.inner:
            if (root / name).is_file():
                inner = root / Path(name).stem
                shutil.rmtree(inner, ignore_errors=True)
                unpack(root / name, inner, what=f"{name} of {one.title}", quiet=quiet)
                (root / name).unlink()
        root.replace(ready)
    for entry in sorted(ready.iterdir()):
        entry.replace(to / entry.name)
    try:
        splits = {photo.split for photo in list_photos(to).files}
    except DatasetError as error:
        raise DownloadError(f"the archive of {one.title} is not laid out as it: {error}") from error
    if splits == {None}:
        raise DownloadError(f"the archive of {one.title} is not laid out as it: it has no splits")
    write_atomically(to / SOURCE, f"{one.heading}\n\n{one.about}".encode())


def _only_folder(folder: Path) -> Path:
    """The one folder that an archive has everything in, or else `folder` itself."""
    entries = list(folder.iterdir())
    return entries[0] if len(entries) == 1 and entries[0].is_dir() else folder


def _heading(to: Path) -> str | None:
    try:
        with (to / SOURCE).open(encoding="utf-8", errors="replace") as file:
            return file.readline(200).rstrip()
    except (FileNotFoundError, NotADirectoryError):
        return None


def _refuse_other_folders(to: Path, one: Archived) -> None:
    mark = to / _WORK / _MARK
    if not to.exists() or (mark.is_file() and mark.read_text("utf-8") == one.heading):
        return
    if not to.is_dir() or any(entry.name != _WORK for entry in to.iterdir()):
        raise DatasetError(
            f"{to} holds something else than {one.title}, and was left as it is: name a new or "
            "empty folder"
        )


@contextmanager
def _only_one(to: Path, one: Archived) -> Iterator[Path]:
    """The folder for unfinished work, marked as ours, held by this process alone."""
    work = to / _WORK
    work.mkdir(parents=True, exist_ok=True)
    (work / _MARK).write_text(one.heading, "utf-8")
    busy = DatasetError(f"another process is fetching into {to}: wait for it to finish")
    with held(work / "lock", busy):
        yield work
