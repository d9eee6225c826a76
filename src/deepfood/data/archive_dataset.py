"""Datasets published as one archive: downloaded, unpacked, and completed by SOURCE.md.

DIR/SOURCE.md      the dataset's source and terms, written last: it marks a complete dataset
DIR/.fetching/     unfinished work of an interrupted run, which the next run resumes
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
class ArchiveDataset:
    """A dataset to fetch. `title` is for messages and SOURCE.md's first line, `about` for the rest.

    `inner` lists archives inside the archive; each is unpacked into a folder of its name.
    """

    title: str
    about: str
    archive: str
    inner: tuple[str, ...] = ()

    @property
    def heading(self) -> str:
        return f"# {self.title}, fetched by deepfood"


def get_archive_dataset(
    to: Path, one: ArchiveDataset, fetch: Callable[[Path], Path], *, quiet: bool
) -> Path:
    """Fetch the dataset into `to` and return `to`; a complete one is left alone.

    `fetch` downloads the archive to the given path. Raises DatasetError (`to` holds something
    else, or cannot be written), DownloadError or DiskFullError.
    """
    try:
        with raising_disk_full(to):
            if _heading(to) == one.heading:
                return to
            _refuse_other_folders(to, one)
            with _only_one(to, one) as work:
                _download_and_unpack(to, one, fetch, work, quiet)
            shutil.rmtree(work)
    except OSError as error:
        raise DatasetError(f"{to} cannot be written: {error.strerror or error}") from error
    return to


def _download_and_unpack(
    to: Path, one: ArchiveDataset, fetch: Callable[[Path], Path], work: Path, quiet: bool
) -> None:
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
        raise DownloadError(
            f"the archive of {one.title} has an unexpected layout: {error}"
        ) from error
    if splits == {None}:
        raise DownloadError(f"the archive of {one.title} has an unexpected layout: no splits")
    write_atomically(to / SOURCE, f"{one.heading}\n\n{one.about}".encode())


def _only_folder(folder: Path) -> Path:
    """The single folder that holds everything in an archive, or else `folder` itself."""
    entries = list(folder.iterdir())
    return entries[0] if len(entries) == 1 and entries[0].is_dir() else folder


def _heading(to: Path) -> str | None:
    try:
        with (to / SOURCE).open(encoding="utf-8", errors="replace") as file:
            return file.readline(200).rstrip()
    except (FileNotFoundError, NotADirectoryError):
        return None


def _refuse_other_folders(to: Path, one: ArchiveDataset) -> None:
    mark = to / _WORK / _MARK
    if not to.exists() or (mark.is_file() and mark.read_text("utf-8") == one.heading):
        return
    if not to.is_dir() or any(entry.name != _WORK for entry in to.iterdir()):
        raise DatasetError(
            f"{to} holds something other than {one.title}, and was left unchanged: name a new or "
            "empty folder"
        )


@contextmanager
def _only_one(to: Path, one: ArchiveDataset) -> Iterator[Path]:
    """The folder for unfinished work, locked for this process."""
    work = to / _WORK
    work.mkdir(parents=True, exist_ok=True)
    (work / _MARK).write_text(one.heading, "utf-8")
    busy = DatasetError(f"another process is fetching into {to}: wait for it to finish")
    with held(work / "lock", busy):
        yield work
