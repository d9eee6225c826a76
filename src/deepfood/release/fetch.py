"""Fetch the files and photos of a release into a folder, except those that exist locally."""

import hashlib
import os
import threading
from pathlib import Path
from typing import Any

from deepfood.artifacts import open_file
from deepfood.errors import StorageError, is_own_limit
from deepfood.local.photo_files import PhotoFiles
from deepfood.progress import bar
from deepfood.release.objects import CHUNK_BYTES, Release, StoredFile, blob_key
from deepfood.release.parallel import Transfers
from deepfood.storage import Bucket


class Fetcher:
    """Fills the folder `staging`. Chunks that it or `present` has, by hash, are not downloaded."""

    def __init__(self, bucket: Bucket, staging: Path, present: Path) -> None:
        self._bucket = bucket
        self._staging = staging
        self._present = present
        self._lock = threading.Lock()
        self.received_bytes = 0
        self.received_blobs = 0

    def fetch(self, release: Release, photos: dict[str, int], *, quiet: bool) -> None:
        """Fetch everything. Raises StorageError, also for bytes with a wrong hash."""
        total = release.file_bytes + sum(photos.values())
        with (
            bar("pulling", "B", total, quiet=quiet, unit_scale=True, unit_divisor=1024) as progress,
            Transfers() as parallel,
        ):
            for name, stored in release.files.items():
                path = self._staging / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.touch()
                os.truncate(path, stored.bytes)
                for number in range(len(stored.chunks)):
                    parallel.run(self._chunk, name, stored, number, progress)
            for sha256, size in photos.items():
                parallel.run(self._photo, sha256, size, progress)
        for name, stored in release.files.items():
            path = self._staging / name
            if not same_file(path, stored):
                raise StorageError(f"{name} of release {release.name} is damaged: push it again")
            with path.open("rb") as file:
                os.fsync(file.fileno())

    def _chunk(self, name: str, stored: StoredFile, number: int, progress: Any) -> None:
        wanted, size = stored.chunks[number], stored.chunk_bytes(number)
        start = number * CHUNK_BYTES
        staged = self._staging / name
        if not _has(staged, start, size, wanted):
            data = _read(self._present / name, start, size)
            if hashlib.sha256(data).hexdigest() != wanted:
                data = self._blob(wanted, size)
            with staged.open("r+b") as file:
                file.seek(start)
                file.write(data)
        progress.update(size)

    def _photo(self, sha256: str, size: int, progress: Any) -> None:
        path = PhotoFiles(self._staging).path(sha256)
        if not _has(path, 0, size, sha256):
            data = _read(PhotoFiles(self._present).path(sha256), 0, size)
            if hashlib.sha256(data).hexdigest() != sha256:
                data = self._blob(sha256, size)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        progress.update(size)

    def _blob(self, sha256: str, size: int) -> bytes:
        data = read_blob(self._bucket, sha256, size)
        with self._lock:
            self.received_bytes += size
            self.received_blobs += 1
        return data


def read_blob(bucket: Bucket, sha256: str, size: int) -> bytes:
    """A blob, verified by its hash. Raises StorageError."""
    data = bucket.read(blob_key(sha256))
    if len(data) != size or hashlib.sha256(data).hexdigest() != sha256:
        raise StorageError(
            f"{bucket.place(blob_key(sha256))} is damaged: delete it, and push the release again"
        )
    return data


def same_file(path: Path, stored: StoredFile) -> bool:
    """Whether a file equals that of a release, comparing every byte."""
    try:
        with open_file(path) as file:
            same = hashlib.file_digest(file, "sha256").hexdigest() == stored.sha256
            return same and file.tell() == stored.bytes
    except OSError as error:
        if is_own_limit(error):
            raise
        return False


def _has(path: Path, start: int, size: int, sha256: str) -> bool:
    return hashlib.sha256(_read(path, start, size)).hexdigest() == sha256


def _read(path: Path, start: int, size: int) -> bytes:
    try:
        with open_file(path) as file:
            file.seek(start)
            return file.read(size)
    except OSError:
        return b""
