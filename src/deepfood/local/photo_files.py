"""Where the bytes of a photo are, and the gallery's folder of added photos, named by content.

`PhotoPlaces` alone decides where. An added photo lies in the gallery's own folder,
every other one below the photos' root, on this machine or in a bucket. A pulled gallery may have
every photo in its own folder; the rest stay in the bucket that the file `photos-at` names, also by
content. Bytes are accepted only if they have the photo's SHA-256.

A file is written before its catalogue row is committed, and deleted after its row is gone. The file
`unfinished` names the photos in between, so that a crash leaves no file without a row.
"""

import hashlib
import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import cached_property
from pathlib import Path

from deepfood.artifacts import read_file, sync_folder
from deepfood.data.locate import PhotoAccess, root_named
from deepfood.data.root import Folder, Root
from deepfood.errors import PhotoError, PhotoNotFoundError, raising_disk_full
from deepfood.gallery.photo import Photo, of_size
from deepfood.local.store import Store

PHOTOS = "photos"

#: In a pulled gallery: the prefix that its photos are below; empty if they are nowhere.
PHOTOS_AT = "photos-at"

_UNFINISHED = "unfinished"
_SHA256_DIGITS = 64

#: Photos written at once. The file system then flushes several together, which is ten times as fast
#: as one after the other.
_WRITERS = 16


class PhotoPlaces:
    """Where the bytes of each photo of one gallery are; `built_from` is in its manifest."""

    def __init__(self, gallery: Path, built_from: str, access: PhotoAccess) -> None:
        self.files = PhotoFiles(gallery)
        self.built_from = built_from
        #: The Root of photos that were not added.
        self.root = access.root(built_from)
        self._s3 = access.s3

    @cached_property
    def _remote(self) -> Root | None:
        """Where the photos of a pulled gallery are; None for nowhere."""
        text = self.files.photos_at
        return root_named(text, self._s3) if text else None

    def place_of(self, photo: Photo) -> tuple[Root, str]:
        """The Root of a photo, and its file below that."""
        file = self.files.file(photo.sha256)
        if self.files.is_pulled:
            if self.files.path(photo.sha256).is_file():
                return self.files.root, file
            if self._remote is not None:
                return self._remote, file
        return (self.files.root, file) if photo.added else (self.root, photo.file)

    def read(self, photo: Photo) -> bytes:
        """The bytes of a photo, if they still are those that were embedded.

        The content is compared with the catalogue, so that nothing but the gallery's photos can be
        read. Raises PhotoNotFoundError where the file is gone or has changed.
        """
        root, file = self.place_of(photo)
        try:
            data = root.read(file, of_size(photo))
        except PhotoError:
            data = b""
        if hashlib.sha256(data).hexdigest() != photo.sha256:
            raise PhotoNotFoundError(
                f"photo {photo.id} is no longer what the gallery was built from: build it again"
            )
        return data

    @property
    def reads_ahead(self) -> int:
        """How many photos are worth reading ahead from where `place_of` finds them."""
        return (self._remote or self.root).reads_ahead


class PhotoFiles:
    """The folder of added photos of one gallery."""

    def __init__(self, gallery: Path) -> None:
        self.folder = gallery / PHOTOS
        self.root = Folder(self.folder)
        self._unfinished = self.folder / _UNFINISHED
        self._photos_at = gallery / PHOTOS_AT

    @cached_property
    def is_pulled(self) -> bool:
        return self._photos_at.is_file()

    @property
    def photos_at(self) -> str:
        """The prefix that the photos of a pulled gallery are below; empty for nowhere."""
        return read_file(self._photos_at).decode(errors="replace") if self.is_pulled else ""

    def file(self, sha256: str) -> str:
        """A photo's path below `root`."""
        return f"{sha256[:2]}/{sha256}"

    def path(self, sha256: str) -> Path:
        return self.folder / self.file(sha256)

    def begin(self, hashes: Iterable[str]) -> None:
        """Note photos that are about to be written or deleted, until `finish`."""
        with raising_disk_full(self.folder):
            self.folder.mkdir(exist_ok=True)
            self._unfinished.write_text("".join(f"{one}\n" for one in hashes), encoding="ascii")

    def write(self, contents: Iterable[bytes]) -> None:
        """Write photos, durable on return. Raises DiskFullError, and keeps what was written."""
        several = list(contents)
        if len(several) == 1:  # threads take longer to start
            with raising_disk_full(self.folder):
                for folder in self._write(several[0]):
                    sync_folder(folder)
            return
        with raising_disk_full(self.folder), ThreadPoolExecutor(_WRITERS) as pool:
            changed = {folder for some in pool.map(self._write, several) for folder in some}
            list(pool.map(sync_folder, changed))

    def _write(self, data: bytes) -> set[Path]:
        """Write one photo. Returns the folders to sync."""
        path = self.path(hashlib.sha256(data).hexdigest())
        changed = {path.parent}
        with suppress(FileExistsError):
            path.parent.mkdir()
            changed.add(self.folder)
        beside = path.with_name(f".{path.name}.new")
        with beside.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
        return changed

    def clean_up(self, store: Store) -> None:
        """`finish` for a killed writer.

        Raises ArtifactCorruptError where a file has no row and the catalogue is damaged: the row
        may have been lost.
        """
        if not self._unfinished.exists():
            return
        noted = [one for one in self.unfinished() if len(one) == _SHA256_DIGITS]
        if any(self.path(one).exists() and not store.has_added(one) for one in noted):
            store.check_rows()
        self.finish(store)

    def finish(self, store: Store) -> None:
        """Delete the noted files that have no row."""
        for sha256 in read_file(self._unfinished).decode("ascii", "replace").split():
            path = self.path(sha256)
            path.with_name(f".{path.name}.new").unlink(missing_ok=True)
            # A crash may have cut off a line; its file does not exist yet.
            if len(sha256) == _SHA256_DIGITS and not store.has_added(sha256):
                path.unlink(missing_ok=True)
        self._unfinished.unlink()

    def unfinished(self) -> set[str]:
        """Names of files that are being written or deleted: they may have no row."""
        try:
            noted = read_file(self._unfinished).decode("ascii", "replace").split()
        except FileNotFoundError:
            return set()
        return {*noted, *(f".{name}.new" for name in noted)}

    def all(self) -> Iterator[Path]:
        """Every file in the folder, by name, whether it belongs there or not."""
        found = sorted(self.folder.rglob("*"))
        return (path for path in found if path != self._unfinished and not path.is_dir())
