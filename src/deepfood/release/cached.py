"""The cache of releases: each in its own folder, complete, immutable, shared by processes."""

import hashlib
import logging
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar

from deepfood.artifacts import MANIFEST, read_file, sync_folder, write_atomically
from deepfood.config import Settings
from deepfood.errors import (
    ArtifactError,
    DiskFullError,
    SettingError,
    StorageError,
    raising_disk_full,
)
from deepfood.locks import held
from deepfood.release.fetch import same_file
from deepfood.release.objects import LATEST, Release, check_name, parse_address
from deepfood.release.pull import Origin, changed_since, fill
from deepfood.release.shelf import Shelf

_log = logging.getLogger(__name__)

#: Time limit for asking S3 for the latest release if one is cached already.
_WARM_RETRY_S = 3.0
#: A release that is not the latest is deleted if it was not opened for this long.
_UNUSED_S = 3600.0
#: Faults that another release may not have.
_FAILURES = (ArtifactError, StorageError, DiskFullError)
_INSTEAD = "%s; continuing with release %s, the last good one"

Opened = TypeVar("Opened")


class CachedReleases:
    """The cached release of `s3://bucket/prefix[@RELEASE]`, and its fallbacks.

    Each is a folder without photos. One process pulls it, others wait.
    """

    def __init__(self, address: str, settings: Settings, *, quiet: bool = False) -> None:
        url, self.name = parse_address(address)
        shelf = Shelf.open(url, settings)
        self._url = shelf.bucket.url
        self._room = _folder_for(shelf, settings)
        self._quiet = quiet
        self._before: str | None = None
        if self.name is None and self.last_good() is not None:
            retry_s = min(_WARM_RETRY_S, settings.s3_retry_s)
            settings = settings.model_copy(update={"s3_retry_s": retry_s})
        self._shelf = Shelf.open(url, settings)

    def resolve(self) -> Path:
        """The named or the latest release, pulled if needed.

        Raises SettingError, StorageError, ArtifactFormatError, DiskFullError.
        """
        if self.name is not None:
            return self._pulled(self.name)
        latest = self._shelf.promoted()
        self._before = latest.before
        return self._pulled(latest.release)

    def fallbacks(self) -> Iterator[Path]:
        """What to open instead of the latest: the last good one, then the release before."""
        last = self.last_good()
        if last is not None:
            yield last
        if self._before is not None and (last is None or last.name != self._before):
            try:
                before = self._pulled(self._before)
            except _FAILURES as error:
                _log.warning("%s", error)
            else:
                yield before

    def mark_good(self, folder: Path) -> None:
        """Record that a release could be opened, as a fallback for later ones."""
        if self.name is None and self.last_good() != folder:
            write_atomically(self._room / LATEST, folder.name.encode())

    def last_good(self) -> Path | None:
        """The release that was marked last, if it exists and its files have the right sizes."""
        try:
            name = check_name(read_file(self._room / LATEST).decode("ascii", "replace"))
        except (OSError, SettingError):
            return None
        return self._room / name if self._is_there(name) else None

    def compared(self, release: Release) -> Path:
        """The folder of a release, pulled if needed, and again if any byte differs."""
        folder = self._pulled(release.name)
        origin = Origin.of(folder)
        if origin is None or origin.release != release or any(changed_since(folder, release)):
            with self._only_one():
                self._remove(folder)
            folder = self._pulled(release.name)
        return folder

    def _only_one(self) -> AbstractContextManager[None]:
        return held(self._room / ".lock")

    def _is_there(self, name: str) -> bool:
        """Whether the cache has a release, by a quick check; `compared` reads all of it.

        The check covers the recorded origin, the sizes of its files, and its manifests.
        """
        folder = self._room / name
        origin = Origin.of(folder)
        if origin is None or (origin.url, origin.release.name) != (self._url, name):
            return False
        try:
            return all(
                (folder / file).stat().st_size == stored.bytes
                and (Path(file).name != MANIFEST or same_file(folder / file, stored))
                for file, stored in origin.release.files.items()
            )
        except OSError:
            return False

    def _remove(self, folder: Path) -> None:
        """Remove it, under the lock. Processes that have it open keep its files."""
        with TemporaryDirectory(dir=self._room) as away, suppress(FileNotFoundError):
            folder.rename(Path(away, folder.name))

    def _pulled(self, name: str) -> Path:
        folder = self._room / name
        if not self._is_there(name):
            with self._only_one():
                if not self._is_there(name):  # another process may have been first
                    self._remove(folder)  # damaged, or another's
                    staging = self._room / f".{name}.pulling"
                    release = self._shelf.read(name)
                    present = self.last_good() or staging
                    fill(self._shelf, release, staging, present, photos=False, quiet=self._quiet)
                    staging.rename(folder)
                    sync_folder(self._room)
                    _drop_unused(self._room, {folder, present})
        os.utime(folder)
        return folder


def open_cached(
    address: str, settings: Settings, opening: Callable[[Path], Opened], *, quiet: bool = False
) -> Opened:
    """Call `opening` with the folder of the named or the latest release.

    If the latest cannot be pulled or opened, the last good one is opened instead, with a warning in
    the log. Raises SettingError, StorageError, ArtifactError or DiskFullError.
    """
    releases = CachedReleases(address, settings, quiet=quiet)
    try:
        folder = releases.resolve()
        opened = opening(folder)
    except _FAILURES as error:
        if releases.name is not None:
            raise
        for folder in releases.fallbacks():
            with suppress(*_FAILURES):
                opened = opening(folder)
                _log.warning(_INSTEAD, error, folder.name)
                break
        else:
            raise
    releases.mark_good(folder)
    return opened


def cached(address: str, settings: Settings, *, quiet: bool = False) -> Path:
    """The folder of the named or the latest release, whether it can be opened or not.

    If S3 is not available, that of the last good one, with a warning. Raises as `open_cached` does.
    """
    releases = CachedReleases(address, settings, quiet=quiet)
    try:
        return releases.resolve()
    except StorageError as error:
        last = releases.last_good()
        if releases.name is not None or last is None:
            raise
        _log.warning(_INSTEAD, error, last.name)
        return last


def _folder_for(shelf: Shelf, settings: Settings) -> Path:
    """The folder for the releases of one prefix."""
    named = hashlib.sha256(f"{settings.s3_endpoint} {shelf.bucket.url}".encode()).hexdigest()
    room = settings.cache.expanduser() / "releases" / named[:16]
    with raising_disk_full(room):
        room.mkdir(parents=True, exist_ok=True)
    return room


def _drop_unused(room: Path, used: set[Path]) -> None:
    """Delete unused releases, under the lock. Processes that have them open keep their files."""
    for path in room.iterdir():
        unused = time.time() - path.stat().st_mtime > _UNUSED_S
        if path.is_dir() and path not in used and unused:
            shutil.rmtree(path, ignore_errors=True)
