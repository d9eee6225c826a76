"""Push: send missing blobs, then publish the release, then update `latest`."""

import hashlib
import io
import secrets
import threading
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from deepfood.config import Settings
from deepfood.data.locate import PhotoAccess
from deepfood.errors import ArtifactCorruptError, PhotoNotFoundError
from deepfood.gallery import Photo
from deepfood.progress import bar
from deepfood.release.frozen import Frozen, Part, frozen
from deepfood.release.marks import marked
from deepfood.release.objects import (
    BLOBS,
    CHUNK_BYTES,
    Release,
    StoredFile,
    blob_key,
    check_name,
    photo_lines,
)
from deepfood.release.parallel import Transfers
from deepfood.release.shelf import Shelf
from deepfood.storage import Bucket


@dataclass(frozen=True)
class PushReport:
    """`pushed` is False if the latest release has the same contents."""

    release: Release
    pushed: bool
    promoted: bool
    sent_bytes: int
    sent_blobs: int
    #: Names of photos that could not be read, and are not in the release.
    unreadable: list[str]
    seconds: float


def push(
    artifact: Path,
    url: str,
    settings: Settings,
    *,
    name: str | None = None,
    photos: bool = True,
    promote: bool = True,
    quiet: bool = False,
) -> PushReport:
    """Push a Model, or a gallery, which may be changed meanwhile. Resumable.

    Raises SettingError, ArtifactError or StorageError; then no release was created.
    """
    started = time.monotonic()
    shelf = Shelf.open(url, settings, make=True)
    if name is not None:
        check_name(name)
    with (
        frozen(artifact, PhotoAccess.of(settings)) as source,
        marked(shelf.bucket, "push") as mark,
    ):
        wanted = source.photos if photos else []
        total = sum(part.bytes for part in source.parts) + sum(one.bytes for one in wanted)
        with bar(
            "pushing", "B", total, quiet=quiet, unit_scale=True, unit_divisor=1024
        ) as progress:
            sending = _Sending(shelf.bucket, progress)
            release = sending.send(source, wanted, name)
        before = shelf.latest()
        same = before and shelf.read(before.release)
        pushed = not same or same.content != release.content or name not in (None, same.name)
        if same and not pushed:
            release = same
        else:
            mark.check()
            shelf.publish(release)
        if promote:
            shelf.make_latest(release.name, mark)
    seconds = time.monotonic() - started
    sent = sending.sent_bytes, sending.sent_blobs
    return PushReport(release, pushed, promote, *sent, sending.unreadable, seconds)


class _Sending:
    """Sends missing blobs. Their keys are their hashes."""

    def __init__(self, bucket: Bucket, progress: Any) -> None:
        self._bucket = bucket
        self._progress = progress
        self._there = {one.key: one.bytes for one in bucket.list(BLOBS)}
        self._lock = threading.Lock()
        self.sent_bytes = 0
        self.sent_blobs = 0
        self.unreadable: list[str] = []

    def send(self, source: Frozen, photos: list[Photo], name: str | None) -> Release:
        """Send everything. Returns the release, which is not yet visible."""
        travelled: dict[str, int] = {}
        with Transfers() as parallel:
            files = {part.name: self._file(part, parallel) for part in source.parts}
            for photo in photos:
                parallel.run(self._photo, photo, source, travelled)
        # After the photos: only then is it known which of them could be read.
        with Transfers() as parallel:
            lines = photo_lines(travelled)
            listed = self._file(Part("", io.BytesIO(lines), len(lines)), parallel)
        now = datetime.now(UTC)
        # Names sort by time; the rest distinguishes concurrent pushes.
        given = f"{now:%Y%m%dT%H%M%S}.{now.microsecond // 1000:03}Z-{secrets.token_hex(4)}"
        return Release(
            name=name or given,
            kind=source.kind,
            created=now.isoformat(timespec="milliseconds"),
            model_name=source.model_name,
            model_fingerprint=source.model_fingerprint,
            files=files,
            photos=listed if travelled else None,
            photo_count=len(travelled),
            photo_bytes=sum(travelled.values()),
        )

    def _file(self, part: Part, parallel: Transfers) -> StoredFile:
        whole, chunks = hashlib.sha256(), []
        for start in range(0, part.bytes, CHUNK_BYTES):
            data = part.file.read(min(CHUNK_BYTES, part.bytes - start))
            whole.update(data)
            chunks.append(hashlib.sha256(data).hexdigest())
            parallel.run(self._blob, chunks[-1], data)
        if part.file.tell() != part.bytes or whole.hexdigest() != (
            part.sha256 or whole.hexdigest()
        ):
            raise ArtifactCorruptError(
                f"{part.name} differs from the manifest: deepfood verify shows what is wrong"
            )
        return StoredFile(bytes=part.bytes, sha256=whole.hexdigest(), chunks=tuple(chunks))

    def _photo(self, photo: Photo, source: Frozen, travelled: dict[str, int]) -> None:
        if self._is_there(photo.sha256, photo.bytes):
            self._progress.update(photo.bytes)
        else:
            try:
                assert source.read is not None
                data = source.read(photo)
            except PhotoNotFoundError:
                with self._lock:
                    self.unreadable.append(photo.file)
                return
            self._blob(photo.sha256, data, photo.media_type)
        with self._lock:
            travelled[photo.sha256] = photo.bytes

    def _blob(self, sha256: str, data: bytes, media_type: str = "application/octet-stream") -> None:
        if not self._is_there(sha256, len(data)):
            self._bucket.write(blob_key(sha256), data, content_type=media_type)
            with self._lock:
                self._there[blob_key(sha256)] = len(data)
                self.sent_bytes += len(data)
                self.sent_blobs += 1
        self._progress.update(len(data))

    def _is_there(self, sha256: str, size: int) -> bool:
        return self._there.get(blob_key(sha256)) == size
