"""Small pictures of a dataset's photos, decoded once and kept on disk, memory-mapped.

A picture is stored with the SHA-256 of its photo's file, so that a changed photo is decoded again,
and with its own checksum. Several trainings may share a cache, as they write the same bytes.

    FOLDER/KEY/            the key: which photos, and how their pictures are made
      squeezed.u8          uint8 [photos, side, side, 3]; a hole where there is none yet
      squeezed.about       one _ABOUT a photo
      plain.u8, plain.about
"""

import hashlib
import os
import shutil
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt
import PIL

from deepfood.data.photos import PhotoSource
from deepfood.photo import Pixels, Preprocess

Sizes = npt.NDArray[np.int64]

_ABOUT = np.dtype([("sha256", np.uint8, 32), ("width", "<u4"), ("height", "<u4"), ("crc32", "<u4")])
#: The largest share of the disk's free space that is used.
_SHARE_OF_FREE = 0.5


class PictureCache:
    """Pictures uint8 [side, side, 3] by their photo's place in the dataset, 0 to `count` - 1.

    `known` bool [count] tells which pictures exist and were verified in this process; only those
    may be read from `pictures` uint8 [count, side, side, 3] and `sizes` int64 [count, 2], width and
    height of the photos. `room` is how many pictures may be kept: the first ones.
    """

    def __init__(self, path: Path, count: int, side: int, room: int) -> None:
        """The files are `path` with suffixes. Raises OSError where they cannot be written."""
        self.room = min(room, count)
        self.known = np.zeros(count, np.bool_)
        self.sizes: Sizes = np.zeros((count, 2), np.int64)
        self._bytes = side * side * 3
        self._lock = threading.Lock()
        data, about = path.with_suffix(".u8"), path.with_suffix(".about")
        self._data = _sized(data, count * self._bytes)
        self._about = _sized(about, count * _ABOUT.itemsize)
        self.pictures: Pixels = np.memmap(data, np.uint8, mode="r", shape=(count, side, side, 3))
        self._entries = np.memmap(about, _ABOUT, mode="r", shape=(count,))

    def holds(self, place: int, digest: bytes) -> bool:
        """Whether the picture at `place` exists, is intact, and is of a file with this SHA-256."""
        if place >= self.room:
            return False
        about = self._entries[place]
        if about["sha256"].tobytes() != digest:
            return False
        if zlib.crc32(self.pictures[place].data) != about["crc32"]:
            return False
        self._note(place, int(about["width"]), int(about["height"]))
        return True

    def keep(self, place: int, digest: bytes, picture: Pixels, size: tuple[int, int]) -> None:
        """Store the picture of a photo of `size`, width and height; a full disk stops caching."""
        picture = np.ascontiguousarray(picture)
        about = np.zeros((), _ABOUT)
        about["sha256"] = np.frombuffer(digest, np.uint8)
        about["width"], about["height"] = size
        about["crc32"] = zlib.crc32(picture.data)
        with self._lock:
            if place >= self.room:
                return
            try:  # write() reports a full disk as an error; the map would raise a signal
                _write(self._data, place * self._bytes, picture.data)
                _write(self._about, place * _ABOUT.itemsize, about.tobytes())
            except OSError:
                self.room = 0
                return
        self._note(place, *size)

    def close(self) -> None:
        """Stop writing; known pictures can still be read."""
        with self._lock:
            self.room = 0
            self._data.close()
            self._about.close()

    def _note(self, place: int, width: int, height: int) -> None:
        self.sizes[place] = width, height
        self.known[place] = True


@dataclass(frozen=True)
class Caches:
    """The caches of a dataset: `squeezed` for training, `plain` as an Embedder sees photos."""

    squeezed: PictureCache | None = None
    plain: PictureCache | None = None


def picture_side(preprocess: Preprocess) -> int:
    """Pixels a side of a squeezed picture: what a Model's photos are resized to before the crop."""
    return round(preprocess.size / preprocess.crop)


@contextmanager
def open_caches(
    folder: Path, source: PhotoSource, preprocess: Preprocess, max_bytes: int
) -> Iterator[Caches]:
    """The caches of the photos of `source` for Models of this kind, below `folder`.

    All caches there take at most `max_bytes`; the least recently used are removed. This one may
    have room for the first photos only, or for none.
    """
    sides = {"squeezed": picture_side(preprocess), "plain": preprocess.size}
    # Another version of Pillow may decode differently.
    made = f"{preprocess.model_dump_json(exclude={'mean', 'std'})} {PIL.__version__}"
    names = [str(source.root), *(file.file for file in source.files)]
    key = hashlib.sha256("\n".join([made, *names]).encode("utf-8", "surrogatepass")).hexdigest()
    own, count = folder / key[:20], len(source.files)
    bytes_each = sum(3 * side**2 for side in sides.values())
    opened: dict[str, PictureCache] = {}
    with suppress(OSError):  # the cache is optional: a read-only folder only costs time
        folder.mkdir(parents=True, exist_ok=True)
        room = _make_room(folder, own, count * bytes_each, max_bytes) // bytes_each
        if room:
            own.mkdir(exist_ok=True)
            os.utime(own)
            for name, side in sides.items():
                opened[name] = PictureCache(own / name, count, side, room)
    try:
        yield Caches(**opened)
    finally:
        for cache in opened.values():
            cache.close()


def _make_room(folder: Path, own: Path, wanted: int, max_bytes: int) -> int:
    """Remove other caches as needed. Returns the bytes that `own` may take."""
    others = {path: _taken(path) for path in folder.iterdir() if path.is_dir() and path != own}
    wanted = min(wanted, max_bytes)
    for path in sorted(others, key=lambda path: path.stat().st_mtime):
        if sum(others.values()) + wanted <= max_bytes:
            break
        shutil.rmtree(path, ignore_errors=True)  # processes that have it open can continue
        del others[path]
    free = int(shutil.disk_usage(folder).free * _SHARE_OF_FREE)
    return min(wanted, (_taken(own) if own.is_dir() else 0) + free)


def _taken(folder: Path) -> int:
    """Bytes on disk, without holes of sparse files."""
    total = 0
    for path in folder.iterdir():
        with suppress(OSError):
            about = path.stat()
            total += getattr(about, "st_blocks", about.st_size // 512) * 512
    return total


def _sized(path: Path, size: int) -> BinaryIO:
    """Open the file for reading and writing, `size` bytes long; replace one of another size."""
    if path.is_file() and path.stat().st_size not in (0, size):
        path.unlink()  # do not truncate: another process may have mapped it
    path.touch()  # not "w", which would truncate a file that another process has just created
    file = path.open("r+b", buffering=0)
    if path.stat().st_size != size:
        file.truncate(size)
    return file


def _write(file: BinaryIO, offset: int, data: bytes | memoryview) -> None:
    view = memoryview(data).cast("B")
    file.seek(offset)
    while view:
        view = view[file.write(view) :]
