"""A dataset's photos as batches of pixels, read ahead by processes of their own.

Threads would do on two cores; on sixteen they wait for the GIL, and a GPU for them
(docs/performance.md). The processes are started afresh, not forked, as a fork of one that has
threads of CUDA or of an S3 client may hang.

A photo that cannot be read is no crash: it is written down, and another of its label stands in.
"""

import hashlib
import multiprocessing
import os
import signal
import threading
import warnings
from abc import abstractmethod
from collections.abc import Container, Iterator, Sequence
from multiprocessing.process import BaseProcess
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from deepfood.data.photos import PhotoFile, PhotoSource
from deepfood.errors import DatasetError, DeepfoodError, PhotoError, TrainingError
from deepfood.photo import Limits, Pixels, Preprocess, read_picture, read_pixels
from deepfood.train.augment import augment
from deepfood.train.recipe import Recipe
from deepfood.train.sampling import Rows, photo_rng

#: Photos that may stand in for a broken one before the dataset counts as broken.
_STAND_INS = 20


class Photos:
    """Labelled photos, ready to be read: `labels` int64 [n] are their places in `names`.

    `broken` are the photos that could not be read so far, by file, and why.
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

    def __len__(self) -> int:
        return len(self.files)

    def hashes(self, but: Container[str]) -> Iterator[str]:
        """SHA-256 of the photos' files, but for those whose names are in `but`."""
        for row, file in enumerate(self.files):
            if file.stored not in but:
                yield hashlib.sha256(self.read(row)).hexdigest()

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
        return self._read_ahead(_Views(self, table, recipe, epoch, columns), start, len(table))

    def plain_batches(
        self, rows: Sequence[int], batch: int
    ) -> Iterator[tuple[npt.NDArray[np.uint8], npt.NDArray[np.bool_]]]:
        """Pixels uint8 [b, size, size, 3] as an Embedder sees them, and bool [b]: was it read?"""
        parts = [rows[start : start + batch] for start in range(0, len(rows), batch)]
        return self._read_ahead(_PlainPhotos(self, parts), 0, len(parts))

    def _read_ahead(self, batches: "_Batches", start: int, stop: int) -> Iterator[Any]:
        """`batches[start]` to `batches[stop - 1]`, read by processes while others are worked on."""
        if start >= stop:
            return
        processes = multiprocessing.get_context("forkserver" if os.name == "posix" else "spawn")
        if os.name == "posix":  # what they all import is imported once
            processes.set_forkserver_preload([__name__])
        with warnings.catch_warnings():
            # More processes than cores are the user's choice: a bucket's photos come slowly.
            warnings.filterwarnings("ignore", "This DataLoader will create")
            loader = torch.utils.data.DataLoader(
                batches,
                batch_size=None,  # what is read is a batch already
                sampler=range(start, stop),
                num_workers=min(self.workers, stop - start),
                collate_fn=_as_it_is,
                worker_init_fn=_end_with_the_training,
                multiprocessing_context=processes,
            )
            reading = iter(loader)
        for _ in range(start, stop):
            try:
                read = next(reading)
            except RuntimeError as error:
                if not str(error).startswith("DataLoader worker"):  # its words for one that is gone
                    raise
                raise TrainingError(
                    "a process that reads photos was killed, for lack of memory perhaps: run the "
                    "same command again with fewer --workers, it goes on from its last checkpoint"
                ) from error
            self.broken.update(read.broken)
            if read.failure is not None:
                raise read.failure
            yield read.batch

    def pixels(self, row: int) -> Pixels:
        """A photo as an Embedder sees it: uint8 [size, size, 3]. Raises PhotoError."""
        return read_pixels(self.read(row), self.preprocess, self.limits)

    def picture(self, row: int, rng: np.random.Generator) -> tuple[Image.Image, int]:
        """The photo at `row`, or one that stands in for it, and whose row it is."""
        # Twice as many pixels as are wanted, so that a crop of a quarter of the area is sharp.
        shorter = 2 * self.preprocess.size
        wanted = row
        for attempt in range(_STAND_INS):
            try:
                return read_picture(self.read(row), shorter, self.limits), row
            except PhotoError as error:
                self.broken[self.files[row].stored] = str(error)
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


class _Read(NamedTuple):
    """What a reading process hands over: a batch, or why there is none, and new broken photos."""

    batch: Any
    failure: DeepfoodError | None
    broken: dict[str, str]


class _Batches(torch.utils.data.Dataset[_Read]):
    """Batches by number; each reading process has a copy, `photos` included."""

    def __init__(self, photos: Photos) -> None:
        self.photos = photos

    def __getitem__(self, number: int) -> _Read:
        known = set(self.photos.broken)
        batch, failure = None, None
        try:
            batch = self.read(number)
        except DeepfoodError as error:  # torch would make many lines of it
            failure = error
        found = {file: why for file, why in self.photos.broken.items() if file not in known}
        return _Read(batch, failure, found)

    @abstractmethod
    def read(self, number: int) -> Any: ...


class _Views(_Batches):
    """The training batches of an epoch."""

    def __init__(
        self, photos: Photos, table: Rows, recipe: Recipe, epoch: int, columns: slice
    ) -> None:
        super().__init__(photos)
        self.table, self.recipe, self.epoch = table, recipe, epoch
        self.columns = range(table.shape[1])[columns]

    def read(self, number: int) -> tuple[npt.NDArray[np.uint8], Rows]:
        width = self.table.shape[1]
        views: list[Pixels] = []
        labels: list[int] = []
        for column in self.columns:
            rng = photo_rng(self.recipe.seed, self.epoch, number * width + column)
            picture, row = self.photos.picture(int(self.table[number, column]), rng)
            views.append(augment(picture, self.photos.preprocess, self.recipe, rng))
            labels.append(int(self.photos.labels[row]))
        return np.stack(views), np.array(labels, np.int64)


class _PlainPhotos(_Batches):
    """Batches of these rows, not augmented."""

    def __init__(self, photos: Photos, parts: list[Sequence[int]]) -> None:
        super().__init__(photos)
        self.parts = parts

    def read(self, number: int) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.bool_]]:
        size = self.photos.preprocess.size
        pixels = np.zeros((len(self.parts[number]), size, size, 3), np.uint8)
        usable = np.zeros(len(pixels), np.bool_)
        for place, row in enumerate(self.parts[number]):
            try:
                pixels[place] = self.photos.pixels(row)
                usable[place] = True
            except PhotoError as error:
                self.photos.broken[self.photos.files[row].stored] = str(error)
        return pixels, usable


def _end_with_the_training(_: int) -> None:
    """So that a training that is killed leaves no process behind."""
    training = multiprocessing.parent_process()
    if training is not None:
        threading.Thread(target=_end_after, args=(training,), daemon=True).start()


def _end_after(process: BaseProcess) -> None:
    process.join()
    os.kill(os.getpid(), signal.SIGTERM)


def _as_it_is(read: Any) -> Any:
    """Not as tensors: those go through /dev/shm, of which a container has 64 MB."""
    return read
