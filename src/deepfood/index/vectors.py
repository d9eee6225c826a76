"""Unit vectors in a file that only grows: float32, float16, or a byte a number with a row's scale.

How each `Storage` keeps a row x, and how far a cosine similarity can then be off:

- `f32`: as it is; exact.
- `f16`: rounded to 11 bits; at most 0.0005.
- `i8`: scale = max |x| / 127 as float32, then 128 + round(x / scale) in a byte each; typically by
  max |x| / 440 (0.0002 at 1,280 numbers), at most by max |x| * sqrt(dimension) / 254.

Little-endian, rows one after the other, nothing else in the file.
"""

import os
import zlib
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt

from deepfood.errors import (
    ArtifactCorruptError,
    ArtifactError,
    ArtifactMissingError,
    raising_disk_full,
)
from deepfood.index.scan import BYTE_OFFSET, dots, dots_of_rows, flat_index

Storage = Literal["f32", "f16", "i8"]
Vectors = npt.NDArray[np.float32]
Rows = npt.NDArray[np.int64]
Crcs = npt.NDArray[np.uint32]

#: Scattered rows that are gathered at a time: they stay in the processor's cache until scored.
_GATHERED = 256

#: As arrays: with plain numbers numpy takes twice as long for a few scores.
_LEAST, _MOST = np.array(-1, np.float32), np.array(1, np.float32)


class VectorFile:
    """The first `count` rows of a file of vectors, memory-mapped, read-only.

    Safe to use from many threads. The file may grow meanwhile: open it again to see more rows.
    """

    def __init__(self, stored: npt.NDArray[np.void], dimension: int, storage: Storage) -> None:
        # Fields of a plain array: numpy's memmap adds microseconds to every access.
        self._stored = np.asarray(stored)
        self._vectors = self._stored["vector"]
        self._scales = self._stored["scale"] if storage == "i8" else None
        self.dimension = dimension
        self.storage = storage
        self.row_bytes = stored.dtype.itemsize

    @classmethod
    def open(cls, path: Path, dimension: int, storage: Storage, count: int) -> Self:
        """Map `count` rows. Raises ArtifactMissingError; ArtifactCorruptError if it has fewer."""
        row = _checked_row_type(path, dimension, storage, count)
        if count == 0:  # nothing to map
            return cls.empty(dimension, storage)
        try:
            return cls(np.memmap(path, row, mode="r", shape=(count,)), dimension, storage)
        except OSError as error:
            raise ArtifactError(f"{path} cannot be read: {error.strerror}") from error

    @classmethod
    def empty(cls, dimension: int, storage: Storage) -> Self:
        """No rows, of no file."""
        return cls(np.empty(0, _row_type(dimension, storage)), dimension, storage)

    def __len__(self) -> int:
        return len(self._stored)

    def take(self, rows: Rows) -> Vectors:
        """The vectors of some rows, decoded: float32 [len(rows), dimension]."""
        if self._scales is None:
            return self._vectors[rows].astype(np.float32)
        whole = self._vectors[rows].astype(np.float32) - BYTE_OFFSET
        return np.asarray(whole * self._scales[rows, np.newaxis])

    def scores(self, query: Vectors, start: int = 0, stop: int | None = None) -> Vectors:
        """Cosine similarity of `query`, a unit vector float32 [dimension], to rows start to stop.

        Returns float32 [stop - start], in -1 to 1.
        """
        found = dots(self._vectors[start:stop], self.row_bytes, query)
        if self._scales is not None:
            found *= self._scales[start:stop]
        return clipped(found)

    def scores_of(self, rows: Rows, query: Vectors) -> Vectors:
        """Cosine similarity of `query` to some rows, the very numbers of `scores`: float32 [m]."""
        if self.storage == "f32":
            query, rows = np.ascontiguousarray(query, np.float32), np.ascontiguousarray(rows)
            return clipped(dots_of_rows(self._vectors, rows, query))
        if len(rows) > _GATHERED:
            starts = range(0, len(rows), _GATHERED)
            return np.concatenate([self.scores_of(rows[i : i + _GATHERED], query) for i in starts])
        # numpy's take copies all of an array that is not contiguous, as i8's is for its scales.
        apart = self._scales is not None
        gathered = self._vectors[rows] if apart else self._vectors.take(rows, axis=0)
        found = dots(gathered, gathered.strides[0], query)
        if self._scales is not None:
            found *= self._scales[rows]
        return clipped(found)

    def flat(self, count: int) -> Any | None:
        """faiss' flat index over the first `count` rows themselves, no copy of them.

        It gives the very numbers of `scores` before they are kept in -1 to 1, and must not outlive
        this object. None for i8, whose scale a row faiss does not know.
        """
        return None if self.storage == "i8" else flat_index(self._vectors[:count])

    def crc(self, start: int = 0, stop: int | None = None) -> Crcs:
        """CRC-32 of the stored bytes of rows start to stop: uint32 [stop - start]."""
        return _crcs(self._stored[start:stop])


def check_rows(path: Path, dimension: int, storage: Storage, count: int) -> None:
    """Raise what `VectorFile.open` does, without mapping the file."""
    _checked_row_type(path, dimension, storage, count)
    if count:
        try:
            path.open("rb").close()
        except OSError as error:
            raise ArtifactError(f"{path} cannot be read: {error.strerror}") from error


def _checked_row_type(
    path: Path, dimension: int, storage: Storage, count: int
) -> np.dtype[np.void]:
    """What a row is, once the file's size is that of `count` of them at least."""
    row = _row_type(dimension, storage)
    try:
        size = path.stat().st_size
    except FileNotFoundError:
        raise ArtifactMissingError(f"{path} is missing") from None
    except OSError as error:
        raise ArtifactError(f"{path} cannot be read: {error.strerror}") from error
    if size < count * row.itemsize:
        raise ArtifactCorruptError(
            f"{path} has {size} bytes, and {count} vectors want {count * row.itemsize}"
        )
    return row


def append_vectors(
    path: Path, dimension: int, storage: Storage, start: int, vectors: Vectors
) -> Crcs:
    """Write vectors, float32 [m, dimension], as rows `start` and up, durable on return.

    The file is created if missing, and whatever stood at `start` and beyond is cut off: what a
    crash left of rows that were never acknowledged. Returns each row's CRC-32, uint32 [m]. Raises
    ArtifactCorruptError where the file has fewer than `start` rows, DiskFullError.
    """
    stored = _encoded(np.ascontiguousarray(vectors, np.float32), dimension, storage)
    at = start * stored.dtype.itemsize
    with raising_disk_full(path.parent), path.open("ab") as file:
        if file.tell() < at:
            raise ArtifactCorruptError(
                f"{path} has {file.tell()} bytes, and {start} vectors want {at}"
            )
        file.truncate(at)
        file.write(stored.tobytes())
        file.flush()
        os.fsync(file.fileno())
    return _crcs(stored)


def _row_type(dimension: int, storage: Storage) -> np.dtype[np.void]:
    if storage == "i8":
        return np.dtype([("scale", "<f4"), ("vector", "u1", (dimension,))])
    return np.dtype([("vector", {"f32": "<f4", "f16": "<f2"}[storage], (dimension,))])


def _encoded(vectors: Vectors, dimension: int, storage: Storage) -> npt.NDArray[np.void]:
    stored = np.empty(len(vectors), _row_type(dimension, storage))
    if storage == "i8":
        scale = np.maximum(np.abs(vectors).max(axis=1, initial=0), 1e-12) / 127
        stored["scale"] = scale
        stored["vector"] = np.rint(vectors / scale[:, np.newaxis]) + BYTE_OFFSET
    else:
        stored["vector"] = vectors
    return stored


def clipped(scores: Vectors) -> Vectors:
    """Rounding can take a row's length above 1."""
    return np.minimum(np.maximum(scores, _LEAST, out=scores), _MOST, out=scores)


def _crcs(stored: npt.NDArray[np.void]) -> Crcs:
    rows = np.ascontiguousarray(stored).view(np.uint8).reshape(len(stored), stored.itemsize)
    return np.fromiter((zlib.crc32(row.data) for row in rows), np.uint32, len(stored))
