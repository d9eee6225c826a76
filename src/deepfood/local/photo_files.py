"""Where a photo's bytes are, and the folder of those that were added, kept by their content.

`place_of` alone says where: reading, verifying, repairing and embedding again all ask it. A photo
that was added lies in the gallery's own folder, every other one below the photos' root, on this
machine or in a bucket. A gallery that was pulled may have every photo in its own folder; the others
have stayed in the bucket that the file `photos-at` names, by their content too. Wherever bytes come
from, they count only with the photo's SHA-256.

A file is written before its catalogue row is committed, and deleted after its row is gone. So that
a crash in between leaves no file without a row, `unfinished` names those that it might concern.
"""

import hashlib
import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import cached_property
from pathlib import Path

from deepfood.artifacts import read_file, sync_folder
from deepfood.data.locate import root_named
from deepfood.data.root import Folder, Root
from deepfood.errors import raising_disk_full
from deepfood.gallery.photo import Photo
from deepfood.local.store import Store

PHOTOS = "photos"

#: In a gallery that was pulled: the prefix that its photos are below, empty where they are nowhere.
PHOTOS_AT = "photos-at"

_UNFINISHED = "unfinished"
_SHA256_DIGITS = 64

#: Photos written at once: the file system then makes several durable in one go, ten times as many
#: a second as one after the other.
_WRITERS = 16


def place_of(photo: Photo, files: "PhotoFiles", photos_root: Root) -> tuple[Root, str]:
    """What a photo lies below, and its file there."""
    file = files.file(photo.sha256)
    if files.is_pulled:
        if files.path(photo.sha256).is_file():
            return files.root, file
        if files.remote is not None:
            return files.remote, file
    return (files.root, file) if photo.added else (photos_root, photo.file)


def reads_ahead(files: "PhotoFiles", photos_root: Root) -> int:
    """How many reads are worth having under way, wherever `place_of` says that photos lie."""
    remote = files.remote if files.is_pulled else None
    return (remote or photos_root).reads_ahead


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

    @cached_property
    def remote(self) -> Root | None:
        """Where photos of a gallery that was pulled have stayed, None for nowhere."""
        text = read_file(self._photos_at).decode(errors="replace")
        return root_named(text) if text else None

    def file(self, sha256: str) -> str:
        """A photo's path below `root`."""
        return f"{sha256[:2]}/{sha256}"

    def path(self, sha256: str) -> Path:
        return self.folder / self.file(sha256)

    def begin(self, hashes: Iterable[str]) -> None:
        """Note photos whose files and rows are about to come or to go; `finish` ends it."""
        with raising_disk_full(self.folder):
            self.folder.mkdir(exist_ok=True)
            self._unfinished.write_text("".join(f"{one}\n" for one in hashes), encoding="ascii")

    def write(self, contents: Iterable[bytes]) -> None:
        """Write photos, durable on return. Raises DiskFullError; what was written then stays."""
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
        """Write one photo; the folders that must be synced for it to stay."""
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
        """`finish` what a killed writer began.

        Raises ArtifactCorruptError where a file has no row, and the catalogue has been damaged: it
        is perhaps one whose row was lost.
        """
        if not self._unfinished.exists():
            return
        noted = [one for one in self.unfinished() if len(one) == _SHA256_DIGITS]
        if any(self.path(one).exists() and not store.keeps(one) for one in noted):
            store.check_rows()
        self.finish(store)

    def finish(self, store: Store) -> None:
        """Delete the files of what `begin` noted that have no row."""
        try:
            lines = read_file(self._unfinished).decode("ascii", "replace").split()
        except FileNotFoundError:
            return
        for sha256 in lines:
            path = self.path(sha256)
            path.with_name(f".{path.name}.new").unlink(missing_ok=True)
            # A line may be cut off, by a crash while it was written; no file of it is there yet.
            if len(sha256) == _SHA256_DIGITS and not store.keeps(sha256):
                path.unlink(missing_ok=True)
        self._unfinished.unlink()

    def unfinished(self) -> set[str]:
        """Names of files that a writer has begun to write or to delete: they may have no row."""
        try:
            noted = read_file(self._unfinished).decode("ascii", "replace").split()
        except FileNotFoundError:
            return set()
        return {*noted, *(f".{name}.new" for name in noted)}

    def all(self) -> Iterator[Path]:
        """Every file that is there, by name, whether it belongs there or not."""
        found = sorted(self.folder.rglob("*"))
        return (path for path in found if path != self._unfinished and not path.is_dir())
