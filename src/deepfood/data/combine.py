"""Combine datasets into one folder: photos named by their ids, and a table that describes them.

    DIR/photos/<id>.jpg    id: the first 20 hex digits of the file's SHA-256, deepfood's photo id
    DIR/photos.csv         photo, label, name, split, source, original; written last

An id depends on the photo alone, not on what else is combined. The file name's suffix follows from
the content (.jpg, .png ...), not from the original's name. A photo is a hard link to the original
where the file system allows it, else a copy.
"""

import contextlib
import csv
import hashlib
import io
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from deepfood.artifacts import write_atomically
from deepfood.counted import counted
from deepfood.data.each_photo import Unreadable, each_photo
from deepfood.data.photo_file import PhotoFile, photo_id
from deepfood.data.photos import CATALOGUE, list_photos
from deepfood.data.root import Folder, Root
from deepfood.errors import DatasetError, raising_disk_full
from deepfood.locks import held
from deepfood.photo import Limits, read_header
from deepfood.storage import AWS, S3Options

COLUMNS = ("photo", "label", "name", "split", "source", "original")

_PHOTOS = "photos"
_LOCK = ".combine.lock"

_ENDINGS = {
    "image/jpeg": ".jpg",
    "image/png": ".png",
    "image/webp": ".webp",
    "image/gif": ".gif",
    "image/bmp": ".bmp",
    "image/tiff": ".tif",
    "image/heic": ".heic",
    "image/avif": ".avif",
}


@dataclass(frozen=True)
class Original:
    """Where a photo comes from: the source as the user named it, and the photo's path in it."""

    source: str
    file: PhotoFile


@dataclass(frozen=True)
class Conflict:
    """The same bytes twice with different labels or splits; `kept` came first and counts."""

    kept: Original
    dropped: Original


@dataclass(frozen=True)
class Combined:
    """The result. `copies` counts duplicates by content, `unlisted` photos of an earlier run."""

    photos: int
    copies: int
    conflicts: tuple[Conflict, ...]
    unreadable: tuple[tuple[str, Unreadable], ...]
    unlisted: int


def combine(
    sources: Sequence[Path | str],
    to: Path,
    limits: Limits,
    s3: S3Options = AWS,
    *,
    quiet: bool = False,
) -> Combined:
    """Combine all `sources` into `to`; a second run does only what is left to do.

    If several sources have the same bytes, the first counts. Raises DatasetError (a source without
    photos, `to` holds something else, or lies in a source) or DiskFullError.
    """
    listed = [(str(source), list_photos(source, s3)) for source in sources]
    for name, source in listed:
        if isinstance(source.root, Folder) and to.resolve().is_relative_to(source.root.path):
            raise DatasetError(f"{to} lies in {name}, one of its sources: name another folder")
    _refuse_other_folders(to)
    originals = [Original(name, file) for name, source in listed for file in source.files]
    photos = [(source.root, file) for _, source in listed for file in source.files]
    kept: dict[str, Original] = {}
    unreadable: list[tuple[str, Unreadable]] = []
    conflicts: list[Conflict] = []
    copies = 0
    with _writing(to):
        (to / _PHOTOS).mkdir(exist_ok=True)
        results = each_photo(
            "combining",
            photos,
            limits,
            lambda data: (_name(data, limits), data),
            quiet=quiet,
        )
        for original, (root, _), result in zip(originals, photos, results, strict=True):
            if isinstance(result, Unreadable):
                unreadable.append((original.source, result))
                continue
            name, data = result
            first = kept.setdefault(name, original)
            if first is original:
                _place(root, original.file.file, data, to / name)
            else:
                copies += 1
                if (first.file.label, first.file.split) != (
                    original.file.label,
                    original.file.split,
                ):
                    conflicts.append(Conflict(first, original))
        if not kept:
            source_name, first_bad = unreadable[0]
            raise DatasetError(
                f"none of the {counted(unreadable, 'photo')} is usable; the first, "
                f"{first_bad.file.stored} of {source_name}: {first_bad.reason}"
            )
        _write_table(to, kept)
        there = {f"{_PHOTOS}/{entry.name}" for entry in os.scandir(to / _PHOTOS)}
    return Combined(len(kept), copies, tuple(conflicts), tuple(unreadable), len(there - set(kept)))


def _name(data: bytes, limits: Limits) -> str:
    """A photo's path below the combined dataset. Raises PhotoError."""
    ending = _ENDINGS[read_header(data, limits).media_type]
    return f"{_PHOTOS}/{photo_id(hashlib.sha256(data).hexdigest())}{ending}"


def _place(root: Root, file: str, data: bytes, target: Path) -> None:
    """Make `target` a link to the photo, or a copy; a complete one is left alone."""
    with raising_disk_full(target):
        if target.is_file() and target.stat().st_size == len(data):
            return
        target.unlink(missing_ok=True)  # left empty by a power failure
        if isinstance(root, Folder):
            with contextlib.suppress(OSError):  # another disk, or one without hard links
                target.hardlink_to(root.usable(file))
                return
        beside = target.with_name(f".{target.name}.new")
        beside.write_bytes(data)
        beside.replace(target)


def _write_table(to: Path, kept: dict[str, Original]) -> None:
    table = io.StringIO()
    rows = csv.writer(table, lineterminator="\n")
    rows.writerow(COLUMNS)
    for name, original in sorted(kept.items()):
        file = original.file
        cells = (name, file.label, file.name, file.split, original.source, file.stored)
        rows.writerow([cell or "" for cell in cells])
    contents = table.getvalue().encode("utf-8", "backslashreplace")
    if not (to / CATALOGUE).is_file() or (to / CATALOGUE).read_bytes() != contents:
        write_atomically(to / CATALOGUE, contents)


def _refuse_other_folders(to: Path) -> None:
    """Never write into a folder that holds something else."""
    if to.exists() and not to.is_dir():
        raise DatasetError(f"{to} is a file: name a folder")
    if not to.is_dir():
        return
    names = {entry.name for entry in to.iterdir()}
    if _LOCK not in names and names:
        raise DatasetError(
            f"{to} holds something other than a combined dataset ({min(names)}): name a new folder"
        )


@contextlib.contextmanager
def _writing(to: Path) -> Iterator[None]:
    """Hold the folder's lock; its file also marks the folder as made by deepfood."""
    busy = DatasetError(f"another process is combining into {to}: wait for it to finish")
    with contextlib.ExitStack() as stack:
        try:
            with raising_disk_full(to):
                to.mkdir(parents=True, exist_ok=True)
                stack.enter_context(held(to / _LOCK, busy))
        except OSError as error:
            raise DatasetError(f"{to} cannot be written: {error.strerror or error}") from error
        yield
    (to / _LOCK).touch()  # releasing may remove it
