"""A dataset's photos as batches of small pictures.

An unreadable photo is recorded, and replaced by another of its label.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image

from deepfood.counted import counted
from deepfood.data.photos import PhotoFile, PhotoSource
from deepfood.errors import DatasetError, PhotoError
from deepfood.photo import Limits, Pixels, Preprocess, read_picture, read_pixels
from deepfood.train.picture_cache import Caches, picture_side
from deepfood.train.reading import Filled, PictureReader, filled, room_for
from deepfood.train.recipe import Recipe
from deepfood.train.sampling import Rows, photo_rng, view_rng
from deepfood.train.views import Views, draw, plan

#: Replacements to try for a broken photo before the dataset is considered unreadable.
_STAND_INS = 20

_FILTERS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}


@dataclass(frozen=True)
class Batch:
    """n photos of a step: `pictures` uint8 [n, side, side, 3] and their `views` (augmentation).

    `labels` int64 [n]. A picture is a whole photo squeezed into a square; `crop` undoes that.
    """

    pictures: torch.Tensor
    views: Views
    labels: torch.Tensor


class PhotoDataset:
    """Labelled photos to read; `labels` int64 [n] are indexes into `names`.

    `broken` maps files that could not be read to the reasons, `learned` files that were used for
    training to the SHA-256 of their first use. With `pinned`, batches are in page-locked memory.
    """

    def __init__(
        self,
        source: PhotoSource,
        files: Sequence[PhotoFile],
        names: Sequence[str],
        preprocess: Preprocess,
        limits: Limits,
        caches: Caches,
        *,
        workers: int,
        pinned: bool = False,
    ) -> None:
        place = {name: row for row, name in enumerate(names)}
        self.source = source
        self.files = tuple(files)
        self.labels: Rows = np.array([place[file.label or ""] for file in files], np.int64)
        self.preprocess = preprocess
        self.limits = limits
        self.workers = workers
        self.pinned = pinned
        self.broken: dict[str, str] = {}
        self.learned: dict[str, str] = {}
        places = {file.file: at for at, file in enumerate(source.files)}
        rows: Rows = np.array([places[file.file] for file in files], np.int64)
        self._squeezed = PictureReader(self.read, self._squeeze, rows, caches.squeezed)
        self._plain = PictureReader(self.read, self._plain_picture, rows, caches.plain)

    def __len__(self) -> int:
        return len(self.files)

    def read(self, row: int) -> bytes:
        """The bytes of a photo's file. Raises PhotoError."""
        return self.source.root.read(self.files[row].file, self.limits.check_bytes)

    def training_batches(
        self, table: Rows, recipe: Recipe, epoch: int, *, start: int, columns: slice
    ) -> Iterator[Batch]:
        """The batches from step `start` on.

        `columns` of each row of `table` belong to this process. Raises DatasetError if no photo can
        be read any more.
        """
        width = table.shape[1]
        own = range(width)[columns]

        def fill(room: Filled, number: int, part: slice) -> None:
            if not self._squeezed.fill(room, part):
                for at in range(len(room.rows))[part]:
                    position = (start + number) * width + own[at]
                    self._fill_one(room, at, photo_rng(recipe.seed, epoch, position))

        side = picture_side(self.preprocess)
        rooms = (room_for(rows[columns], side, pinned=self.pinned) for rows in table[start:])
        for step, room in enumerate(filled(rooms, fill, self.workers), start):
            drawn = draw(view_rng(recipe.seed, epoch, step), width)[columns]
            views = plan(drawn, room.sizes, side, recipe)
            yield Batch(room.pictures, views, torch.from_numpy(self.labels[room.rows]))

    def plain_batches(self, rows: Rows, batch: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Pixels uint8 [b, size, size, 3] for an Embedder, and bool [b]: whether each was read."""

        def fill(room: Filled, number: int, part: slice) -> None:
            if self._plain.fill(room, part):
                return
            for at in range(len(room.rows))[part]:
                try:
                    self._plain.fill_one(room, at)
                except PhotoError as error:
                    self.broken[self.files[room.rows[at]].stored] = str(error)
                    room.pictures[at] = 0
                    room.rows[at] = -1

        parts = (rows[low : low + batch] for low in range(0, len(rows), batch))
        rooms = (room_for(part, self.preprocess.size, pinned=self.pinned) for part in parts)
        for room in filled(rooms, fill, self.workers):
            yield room.pictures, torch.from_numpy(room.rows >= 0)

    def _fill_one(self, room: Filled, at: int, rng: np.random.Generator) -> None:
        """Read the picture for one position of the buffer, or that of a replacement."""
        wanted = room.rows[at]
        for attempt in range(_STAND_INS):
            file = self.files[room.rows[at]].stored
            try:
                digest = self._squeezed.fill_one(room, at)
            except PhotoError as error:
                self.broken[file] = str(error)
            else:
                if digest is not None:
                    self.learned.setdefault(file, digest.hex())
                return
            own = np.flatnonzero(self.labels == self.labels[wanted])
            # Other photos of the label first, then those of any label.
            room.rows[at] = (
                rng.choice(own) if attempt < _STAND_INS // 2 else rng.integers(len(self))
            )
        first = self.files[wanted].stored
        raise DatasetError(
            f"{len(self.broken)} of {counted(len(self), 'training photo')} in {self.source.root} "
            f"cannot be read, among them {first}: {self.broken[first]}"
        )

    def _squeeze(self, data: bytes) -> tuple[Pixels, tuple[int, int]]:
        """The whole photo as a square picture, regardless of its aspect ratio."""
        side = picture_side(self.preprocess)
        image = read_picture(data, side, self.limits)
        square = image.resize((side, side), _FILTERS[self.preprocess.interpolation])
        return np.asarray(square), image.size

    def _plain_picture(self, data: bytes) -> tuple[Pixels, tuple[int, int]]:
        pixels = read_pixels(data, self.preprocess, self.limits)
        return pixels, (pixels.shape[1], pixels.shape[0])
