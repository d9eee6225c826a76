"""A dataset's photos as batches of pixels, read ahead in threads (Pillow lets go of the GIL).

A photo that cannot be read is no crash: it is written down, and another of its label stands in.
"""

import hashlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt
from PIL import Image

from deepfood.data.photos import PhotoFile, PhotoSource
from deepfood.data.read_ahead import in_order
from deepfood.errors import DatasetError, PhotoError
from deepfood.photo import Limits, Pixels, Preprocess, read_picture, read_pixels
from deepfood.train.augment import augment
from deepfood.train.recipe import Recipe
from deepfood.train.sampling import Rows, photo_rng

#: Batches that are read before they are wanted.
_AHEAD_BATCHES = 3
#: Photos that may stand in for a broken one before the dataset counts as broken.
_STAND_INS = 20


class Photos:
    """Labelled photos, ready to be read: `labels` int64 [n] are their places in `names`.

    `broken` are the photos that could not be read so far, by file, and why; `learned` those that
    were given out to learn from, and their SHA-256 when they first were.
    """

    def __init__(
        self,
        source: PhotoSource,
        files: Sequence[PhotoFile],
        names: Sequence[str],
        preprocess: Preprocess,
        limits: Limits,
        *,
        workers: int,
    ) -> None:
        place = {name: row for row, name in enumerate(names)}
        self.source = source
        self.files = tuple(files)
        self.labels: Rows = np.array([place[file.label or ""] for file in files], np.int64)
        self.preprocess = preprocess
        self.limits = limits
        self.workers = workers
        self.broken: dict[str, str] = {}
        self.learned: dict[str, str] = {}

    def __len__(self) -> int:
        return len(self.files)

    def read(self, row: int) -> bytes:
        """The bytes of a photo's file. Raises PhotoError."""
        return self.source.root.read(self.files[row].file, self.limits.check_bytes)

    def training_batches(
        self, table: Rows, recipe: Recipe, epoch: int, *, start: int, columns: slice
    ) -> Iterator[tuple[npt.NDArray[np.uint8], Rows]]:
        """Augmented pixels uint8 [b, size, size, 3] and labels int64 [b] of each step from `start`.

        `columns` are the places in a row of `table` that this process takes. Raises DatasetError
        where no photo can be read any more.
        """
        width = table.shape[1]
        places = [
            (step * width + column, int(table[step, column]))
            for step in range(start, len(table))
            for column in range(width)[columns]
        ]

        def one(place: tuple[int, int]) -> tuple[Pixels, int]:
            rng = photo_rng(recipe.seed, epoch, place[0])
            picture, row = self._picture(place[1], rng)
            return augment(picture, self.preprocess, recipe, rng), int(self.labels[row])

        size = len(range(width)[columns])
        with ThreadPoolExecutor(self.workers, thread_name_prefix="photos") as pool:
            pixels: list[Pixels] = []
            labels: list[int] = []
            try:
                for view, label in in_order(pool, one, places, ahead=_AHEAD_BATCHES * size):
                    pixels.append(view)
                    labels.append(label)
                    if len(pixels) == size:
                        yield np.stack(pixels), np.array(labels, np.int64)
                        pixels, labels = [], []
            finally:  # whoever stops asking must not wait for what was read ahead
                pool.shutdown(wait=False, cancel_futures=True)

    def plain_batches(
        self, rows: Sequence[int], batch: int
    ) -> Iterator[tuple[npt.NDArray[np.uint8], npt.NDArray[np.bool_]]]:
        """Pixels uint8 [b, size, size, 3] as an Embedder sees them, and bool [b]: was it read?"""
        blank = np.zeros((self.preprocess.size, self.preprocess.size, 3), np.uint8)

        def one(row: int) -> Pixels | None:
            try:
                return read_pixels(self.read(row), self.preprocess, self.limits)
            except PhotoError as error:
                self.broken[self.files[row].stored] = str(error)
                return None

        with ThreadPoolExecutor(self.workers, thread_name_prefix="photos") as pool:
            waiting: list[Pixels | None] = []
            try:
                for position, pixels in enumerate(
                    in_order(pool, one, rows, ahead=_AHEAD_BATCHES * batch), start=1
                ):
                    waiting.append(pixels)
                    if len(waiting) == batch or position == len(rows):
                        usable = np.array([seen is not None for seen in waiting])
                        yield np.stack([blank if p is None else p for p in waiting]), usable
                        waiting = []
            finally:
                pool.shutdown(wait=False, cancel_futures=True)

    def _picture(self, row: int, rng: np.random.Generator) -> tuple[Image.Image, int]:
        """The photo at `row`, or one that stands in for it, and whose row it is."""
        # Twice as many pixels as are wanted, so that a crop of a quarter of the area is sharp.
        shorter = 2 * self.preprocess.size
        wanted = row
        for attempt in range(_STAND_INS):
            file = self.files[row].stored
            try:
                data = self.read(row)
                picture = read_picture(data, shorter, self.limits)
            except PhotoError as error:
                self.broken[file] = str(error)
            else:
                if file not in self.learned:
                    self.learned[file] = hashlib.sha256(data).hexdigest()
                return picture, row
            own = np.flatnonzero(self.labels == self.labels[wanted])
            # The label's other photos first; where they are broken too, anyone's.
            row = (
                int(rng.choice(own)) if attempt < _STAND_INS // 2 else int(rng.integers(len(self)))
            )
        first = self.files[wanted].stored
        raise DatasetError(
            f"{len(self.broken)} of {len(self)} training photos in {self.source.root} cannot be "
            f"read, among them {first}: {self.broken[first]}"
        )
