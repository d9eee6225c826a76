"""The cache of releases: each in a folder of its own, whole, never changed, shared by processes."""

import hashlib
import logging
import os
import shutil
import time
from pathlib import Path

from filelock import FileLock

from deepfood.artifacts import sync_folder, write_atomically
from deepfood.config import Settings
from deepfood.errors import StorageError, disk_full_named
from deepfood.release.pull import fill
from deepfood.release.record import LATEST, check_name, parse_address
from deepfood.release.shelf import Shelf

_log = logging.getLogger(__name__)

#: How long S3 is asked which release is the latest, where one is at hand already.
_WARM_RETRY_S = 3.0
#: A release that was not opened for so long, and is not the latest, is deleted.
_UNUSED_S = 3600.0


def cached(address: str, settings: Settings, *, quiet: bool = False) -> Path:
    """The folder of `s3://bucket/prefix[@RELEASE]` in the cache, without photos; pulled if need be.

    One process pulls, others wait for it. When S3 is away, the release that was the latest last is
    the answer, and the log says so. Raises SettingError, StorageError, DiskFullError.
    """
    url, name = parse_address(address)
    room = _room(Shelf.open(url, settings), settings)
    if name is not None:
        return _pulled(Shelf.open(url, settings), name, room, quiet=quiet)
    last = _last(room)
    if last is not None:
        retry_s = min(_WARM_RETRY_S, settings.s3_retry_s)
        settings = settings.model_copy(update={"s3_retry_s": retry_s})
    shelf = Shelf.open(url, settings)
    try:
        name = shelf.resolve(None)
        folder = _pulled(shelf, name, room, quiet=quiet)
    except StorageError as error:
        if last is None:
            raise
        _log.warning("%s; going on with release %s, the last that came", error, last.name)
        return last
    if last != folder:
        write_atomically(room / LATEST, name.encode())
    return folder


def _room(shelf: Shelf, settings: Settings) -> Path:
    """Where the releases of one prefix are kept."""
    named = hashlib.sha256(f"{settings.s3_endpoint} {shelf.bucket.url}".encode()).hexdigest()
    room = settings.cache.expanduser() / "releases" / named[:16]
    with disk_full_named(room):
        room.mkdir(parents=True, exist_ok=True)
    return room


def _last(room: Path) -> Path | None:
    try:
        folder = room / check_name((room / LATEST).read_text(encoding="ascii"))
    except FileNotFoundError:
        return None
    return folder if folder.is_dir() else None


def _pulled(shelf: Shelf, name: str, room: Path, *, quiet: bool) -> Path:
    folder = room / name
    if not folder.is_dir():
        with FileLock(room / ".lock"):
            if not folder.is_dir():  # else another process was first
                staging = room / f".{name}.pulling"
                release = shelf.read(name)
                present = _last(room) or staging
                fill(shelf, release, staging, present, photos=False, quiet=quiet)
                staging.rename(folder)
                sync_folder(room)
                _drop_unused(room, {folder, present})
    os.utime(folder)
    return folder


def _drop_unused(room: Path, used: set[Path]) -> None:
    """Under the lock. Who still has a release open keeps its files."""
    for path in room.iterdir():
        unused = time.time() - path.stat().st_mtime > _UNUSED_S
        if path.is_dir() and path not in used and unused:
            shutil.rmtree(path, ignore_errors=True)
