"""Single features of the embedding, shown by the photos with the highest values of each.

The original deepfood explored its embedding this way. A value is a photo's number in that dimension
of its unit vector, so values of one photo never exceed 1.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from deepfood.errors import QueryError
from deepfood.gallery import Photo
from deepfood.gallery.protocol import SearchedGallery, SearchedVectors
from deepfood.progress import bar

Numbers = npt.NDArray[np.int64]

#: Extra candidates, as replacements for missing files.
_SPARE = 16
_CHUNK_ROWS = 4096


@dataclass(frozen=True)
class Ranked:
    """A photo with its value of the feature, -1 to 1."""

    photo: Photo
    value: float


@dataclass(frozen=True)
class Feature:
    """One dimension of the embedding, and the photos that have most (or least) of it, in order.

    `mean` and `spread` (standard deviation) are over the whole gallery.
    """

    number: int
    photos: tuple[Ranked, ...]
    mean: float
    spread: float

    @property
    def label(self) -> str | None:
        """The most frequent label of its photos; None where none has one."""
        return self._label[0]

    @property
    def purity(self) -> float:
        """The share of its photos with that label, 0 to 1: how specific it is to one label."""
        return self._label[1] / len(self.photos) if self.photos and self.spread > 0 else 0.0

    @property
    def contrast(self) -> float:
        """How many spreads its photos lie from the gallery's mean; 0 where all are equal."""
        if not self.photos or self.spread == 0:
            return 0.0
        own = sum(one.value for one in self.photos) / len(self.photos)
        return abs(own - self.mean) / self.spread

    @property
    def _label(self) -> tuple[str | None, int]:
        labels = Counter(one.photo.label for one in self.photos if one.photo.label is not None)
        return min(labels.items(), key=lambda item: (-item[1], item[0]), default=(None, 0))

    def as_json(self) -> dict[str, Any]:
        return {
            "feature": self.number,
            "label": self.label,
            "purity": self.purity,
            "contrast": self.contrast,
            "mean": self.mean,
            "spread": self.spread,
            "photos": [
                {
                    "value": one.value,
                    "id": one.photo.id,
                    "file": one.photo.file,
                    "label": one.photo.label,
                    "name": one.photo.name,
                }
                for one in self.photos
            ],
        }


def rank_features(
    gallery: SearchedGallery,
    numbers: Sequence[int],
    top: int,
    *,
    lowest: bool = False,
    usable: Callable[[Photo], bool] = lambda photo: True,
    quiet: bool = True,
) -> list[Feature]:
    """The `top` usable photos of each feature, the highest value first, or the lowest.

    Raises QueryError for a feature that the embedding does not have, and for an empty gallery.
    """
    dimension = gallery.manifest.dimension
    for number in numbers:
        if not 0 <= number < dimension:
            raise QueryError(
                f"there is no feature {number}: this gallery's embedding has 0 to {dimension - 1}"
            )
    photos, vectors, places = gallery.photos()
    if not photos:
        raise QueryError(f"{gallery.place} has no photos, so its features have none")
    columns = np.asarray(numbers, np.int64)
    rows = _extreme_rows(vectors, places, columns, top + _SPARE, lowest=lowest)
    mean, spread = _mean_and_spread(vectors, places, columns)
    features = []
    progress = bar("Looking", "feature", len(numbers), quiet=quiet)
    for place, number in enumerate(numbers):
        ranked: list[Ranked] = []
        for row in rows[:, place]:
            if len(ranked) == top:
                break
            photo = photos[row]
            if usable(photo):
                value = vectors.take(places[row : row + 1])[0, number]
                ranked.append(Ranked(photo, float(value)))
        features.append(Feature(number, tuple(ranked), float(mean[place]), float(spread[place])))
        progress.update()
    progress.close()
    return features


def _extreme_rows(
    vectors: SearchedVectors, places: Numbers, columns: Numbers, count: int, *, lowest: bool
) -> Numbers:
    """Which of `places`, rows of the vectors, have the highest values of each column, or the least.

    In order: int64 [count, c]. One pass over the vectors, which may not fit into memory; equal
    values keep the rows' order.
    """
    best = np.empty((0, len(columns)), np.int64)
    values = np.empty((0, len(columns)), np.float32)
    for start in range(0, len(places), _CHUNK_ROWS):
        chunk = vectors.take(places[start : start + _CHUNK_ROWS])[:, columns]
        here = np.arange(start, start + len(chunk), dtype=np.int64)
        rows = np.concatenate([best, np.broadcast_to(here[:, None], chunk.shape)])
        both = np.concatenate([values, chunk if lowest else -chunk])
        order = np.argsort(both, axis=0, kind="stable")[:count]
        best, values = np.take_along_axis(rows, order, 0), np.take_along_axis(both, order, 0)
    return best


def _mean_and_spread(
    vectors: SearchedVectors, places: Numbers, columns: Numbers
) -> tuple[Any, Any]:
    """Mean and standard deviation of each column over these rows, float64 [c] each."""
    total = np.zeros(len(columns))
    squares = np.zeros(len(columns))
    for start in range(0, len(places), _CHUNK_ROWS):
        chunk = vectors.take(places[start : start + _CHUNK_ROWS])[:, columns].astype(np.float64)
        total += chunk.sum(axis=0)
        squares += (chunk**2).sum(axis=0)
    mean = total / len(places)
    return mean, np.sqrt(np.maximum(squares / len(places) - mean**2, 0))
