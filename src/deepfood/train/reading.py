"""Read pictures into batches, in threads; each photo is decoded once, if it fits into the cache.

Once all pictures of a part are cached, reading is one copy from a memory-mapped file, which
releases the GIL, so that reading threads do not slow down the training thread.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch

from deepfood.data.read_ahead import in_order
from deepfood.photo import Pixels
from deepfood.train.picture_cache import PictureCache, Sizes
from deepfood.train.sampling import Rows

#: Photos per task: few, so that all threads work on the next batch.
_PART = 16
#: Tasks to read ahead per thread, beyond the next batch.
_AHEAD = 2


@dataclass(frozen=True)
class Filled:
    """A buffer of n pictures uint8 [n, side, side, 3], filled by threads.

    `rows` int64 [n] are the photos of these pictures, `sizes` int64 [n, 2] their widths and
    heights.
    """

    rows: Rows
    pictures: torch.Tensor
    sizes: Sizes


def room_for(rows: Rows, side: int, *, pinned: bool) -> Filled:
    """A buffer for the pictures of `rows`; with `pinned`, in page-locked memory."""
    shape = (len(rows), side, side, 3)
    pictures = torch.empty(shape, dtype=torch.uint8, pin_memory=pinned)
    return Filled(rows.copy(), pictures, np.zeros((len(rows), 2), np.int64))


def filled(
    rooms: Iterable[Filled], fill: Callable[[Filled, int, slice], None], workers: int
) -> Iterator[Filled]:
    """The buffers in order, each after `fill(room, number, part)` was called on all of its parts.

    `number` is the buffer's index in `rooms`.
    """

    def parts() -> Iterator[tuple[Filled, int, slice]]:
        for number, room in enumerate(rooms):
            for low in range(0, len(room.rows), _PART):
                yield room, number, slice(low, low + _PART)

    def work(part: tuple[Filled, int, slice]) -> Filled | None:
        fill(*part)
        room, _, places = part
        return room if places.stop >= len(room.rows) else None

    with ThreadPoolExecutor(workers, thread_name_prefix="photos") as pool:
        try:
            for whole in in_order(pool, work, parts(), ahead=_AHEAD * workers + _PART):
                if whole is not None:
                    yield whole
        finally:  # a consumer that stops must not wait for tasks that read ahead
            pool.shutdown(wait=False, cancel_futures=True)


class PictureReader:
    """One picture uint8 [side, side, 3] of each photo, from the cache or from its file.

    `read` returns the bytes of a row's file, `make` their picture and the photo's width and height;
    `places` int64 [n] are the rows' places in the cache.
    """

    def __init__(
        self,
        read: Callable[[int], bytes],
        make: Callable[[bytes], tuple[Pixels, tuple[int, int]]],
        places: Rows,
        cache: PictureCache | None,
    ) -> None:
        self._read, self._make, self._places, self._cache = read, make, places, cache

    def fill(self, room: Filled, part: slice) -> bool:
        """Fill a part of the room at once; False where not all of its pictures are known yet."""
        if self._cache is None:
            return False
        places = self._places[room.rows[part]]
        if not self._cache.known[places].all():
            return False
        # `clip` copies straight into `out`; all places are within bounds.
        np.take(self._cache.pictures, places, 0, room.pictures[part].numpy(), mode="clip")
        room.sizes[part] = self._cache.sizes[places]
        return True

    def fill_one(self, room: Filled, at: int) -> bytes | None:
        """Fill one place of the room; the SHA-256 of the file, if it was read.

        Raises PhotoError.
        """
        place, out = int(self._places[room.rows[at]]), room.pictures[at].numpy()
        cache = self._cache
        if cache is not None and cache.known[place]:
            out[:], room.sizes[at] = cache.pictures[place], cache.sizes[place]
            return None
        data = self._read(int(room.rows[at]))
        digest = hashlib.sha256(data).digest()
        if cache is not None and cache.holds(place, digest):
            out[:], room.sizes[at] = cache.pictures[place], cache.sizes[place]
            return digest
        out[:], size = self._make(data)
        room.sizes[at] = size
        if cache is not None:
            cache.keep(place, digest, out, size)
        return digest
