"""Unpack an untrusted .tar, .tar.gz or .zip: nothing outside the folder, no links, limited size.

The limits apply to the bytes actually written; the archive's headers are not trusted.
"""

import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import IO

from deepfood.counted import counted
from deepfood.errors import DownloadError, raising_disk_full
from deepfood.progress import bar

#: The most an archive may hold; Food-101 has 101,000 photos in 5 GB, iFood-2019 159,000 in 3 GB.
MAX_BYTES = 64 * 2**30
MAX_FILES = 2_000_000

_CHUNK_BYTES = 2**18

#: A member's name, a way to open its contents, and how far in the archive it is, in bytes.
_Member = tuple[str, Callable[[], IO[bytes]], int]


def unpack(
    archive: Path,
    folder: Path,
    *,
    what: str,
    max_bytes: int = MAX_BYTES,
    max_files: int = MAX_FILES,
    quiet: bool = False,
) -> None:
    """Unpack `archive` as `folder`, which appears in one rename or not at all.

    Leftovers of an interrupted run are deleted. Raises DownloadError for an archive that is
    damaged, exceeds the limits, or holds a name or kind of file that no dataset needs
    (outside the folder, a link, a device, encrypted, the same name twice); and DiskFullError.
    """
    staging = folder.with_name(f".{folder.name}.unpacking")
    with raising_disk_full(folder):
        shutil.rmtree(staging, ignore_errors=True)
        staging.mkdir(parents=True)
        try:
            _unpack(archive, staging, what, max_bytes, max_files, quiet)
        except (FileExistsError, NotADirectoryError) as error:
            name = Path(error.filename).relative_to(staging).as_posix()
            raise DownloadError(
                f"{what} holds {name!r} twice, or as a file and as a folder"
            ) from error
        except (tarfile.TarError, zipfile.BadZipFile, zlib.error, EOFError) as error:
            raise DownloadError(f"{what} is not a complete archive: {error}") from error
        staging.rename(folder)


def _unpack(
    archive: Path, staging: Path, what: str, max_bytes: int, max_files: int, quiet: bool
) -> None:
    left, files = max_bytes, 0
    size = archive.stat().st_size
    members = _zip_members if zipfile.is_zipfile(archive) else _tar_members
    with bar(f"unpacking {what}", "B", size, quiet=quiet, unit_scale=True) as progress:
        for name, open_member, position in members(archive, what):
            path = staging / _safe(name, what)
            files += 1
            if files > max_files:
                raise DownloadError(f"{what} holds more than {counted(max_files, 'file')}")
            path.parent.mkdir(parents=True, exist_ok=True)
            with open_member() as source, path.open("xb") as target:
                while chunk := source.read(_CHUNK_BYTES):
                    left -= len(chunk)
                    if left < 0:
                        raise DownloadError(f"{what} unpacks to more than {max_bytes:,} bytes")
                    target.write(chunk)
            progress.update(position - progress.n)
        progress.update(size - progress.n)


def _tar_members(archive: Path, what: str) -> Iterator[_Member]:
    with archive.open("rb") as raw, tarfile.open(fileobj=raw, mode="r:*") as tar:
        for member in tar:
            if member.isdir():
                continue
            # A sparse file may claim any size without having the bytes.
            if not member.isreg() or member.issparse():
                raise DownloadError(f"{what} holds {member.name!r}, which is not a regular file")

            def open_member(member: tarfile.TarInfo = member) -> IO[bytes]:
                contents = tar.extractfile(member)
                assert contents is not None  # it is a regular file
                return contents

            yield member.name, open_member, raw.tell()


def _zip_members(archive: Path, what: str) -> Iterator[_Member]:
    with zipfile.ZipFile(archive) as packed:
        read = 0
        for member in packed.infolist():
            if member.is_dir():
                continue
            kind = stat.S_IFMT(member.external_attr >> 16)
            if kind not in (0, stat.S_IFREG) or member.flag_bits & 1:
                raise DownloadError(
                    f"{what} holds {member.filename!r}, which is encrypted or not a regular file"
                )
            read += member.compress_size

            def open_member(member: zipfile.ZipInfo = member) -> IO[bytes]:
                try:
                    return packed.open(member)
                except (NotImplementedError, RuntimeError) as error:
                    raise zipfile.BadZipFile(str(error)) from error

            yield member.filename, open_member, read


def _safe(name: str, what: str) -> PurePosixPath:
    """The name as a path that stays inside the folder on every system. Raises DownloadError."""
    path = PurePosixPath(name)
    inside = path.parts and ".." not in path.parts and not path.is_absolute()
    if not inside or set(name) & set("\\:\0"):
        raise DownloadError(f"{what} holds {name!r}, which leads out of the folder: refused")
    return path
