"""The random numbers of augmentation: crop, changes and erased box of each photo of a step.

One generator per step draws a row of numbers per photo, so that a photo's augmentation depends on
seed, epoch and position only, not on the process or device.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt
import torch

from deepfood.train.recipe import Recipe

Numbers = npt.NDArray[np.float64]

#: The range of aspect ratios of RandomResizedCrop, as in torchvision.
_RATIO = (3 / 4, 4 / 3)
#: How often a crop is drawn until one fits into the photo.
_TRIES = 10
#: Changes applied to each photo: RandAugment's N.
_CHANGES = 2
_ERASE_CHANCE, _ERASE_AREA, _ERASE_RATIO = 0.25, (0.02, 0.2), (0.3, 1 / 0.3)

#: The kinds of change, in the order in which photos are sorted. Colours matter for food, so none
#: inverts, solarizes or posterizes.
KINDS = (
    *("none", "brightness", "contrast", "saturation", "hue", "autocontrast"),
    *("sharpness", "equalize", "turn", "shear"),
)
#: Random numbers per photo.
_A_CHANGE = 3
_COLUMNS = 2 * _TRIES + 3 + _CHANGES * _A_CHANGE + 5


@dataclass(frozen=True)
class Transform:
    """One change per photo. `rows` int64 [n] are the photos, sorted by kind of change.

    Those of KINDS[i] are `rows[bounds[i]:bounds[i + 1]]`; `amounts` float32 [n, 2] are in the same
    order, -1 to 1, the second for a second axis.
    """

    rows: torch.Tensor
    bounds: tuple[int, ...]
    amounts: torch.Tensor


@dataclass(frozen=True)
class Views:
    """The augmentation of n photos. `crops` and `erased` float32 [n, 4]: left, top, right, bottom.

    Crops are whole pixels of the square picture, left beyond right for a mirror image; erased boxes
    are shares of the view; empty ones erase nothing.
    """

    crops: torch.Tensor
    changes: tuple[Transform, ...]
    erased: torch.Tensor | None

    def moved(self, move: Callable[[torch.Tensor], torch.Tensor]) -> Self:
        """The same with `move` applied to each tensor."""
        changes = tuple(
            Transform(move(one.rows), one.bounds, move(one.amounts)) for one in self.changes
        )
        erased = None if self.erased is None else move(self.erased)
        return type(self)(move(self.crops), changes, erased)


def draw(rng: np.random.Generator, count: int) -> Numbers:
    """The numbers of `count` photos, float64 [count, ...], evenly from 0 to 1."""
    return rng.random((count, _COLUMNS))


def plan(drawn: Numbers, sizes: npt.NDArray[np.int64], side: int, recipe: Recipe) -> Views:
    """The Views of photos with these rows of numbers; `sizes` [n, 2] are their widths and heights.

    The pictures are squares of `side` pixels, regardless of the photos' shapes.

    `plain` is RandomResizedCrop (Szegedy et al., 2015) and a mirror image half of the time, as in
    the original; `strong` adds RandAugment (Cubuk et al., 2019) and random erasing (Zhong et al.,
    2017).
    """
    tries, (left, top, flip), rest = (
        drawn[:, : 2 * _TRIES],
        drawn[:, 2 * _TRIES : 2 * _TRIES + 3].T,
        drawn[:, 2 * _TRIES + 3 :],
    )
    wide, high = _crop_sizes(tries, sizes, recipe.crop_area)
    wide, high = (np.maximum(1, np.rint(share * side)) for share in (wide, high))
    left, top = np.floor(left * (side - wide + 1)), np.floor(top * (side - high + 1))
    left, right = np.where(flip < 0.5, [left + wide, left], [left, left + wide])
    crops = _tensor(np.stack([left, top, right, top + high], 1))
    if recipe.augmentation == "plain":
        return Views(crops, (), None)
    changes = tuple(_change(rest[:, at * _A_CHANGE :]) for at in range(_CHANGES))
    return Views(crops, changes, _tensor(_erased(rest[:, _CHANGES * _A_CHANGE :])))


def _crop_sizes(
    tries: Numbers, sizes: npt.NDArray[np.int64], smallest: float
) -> tuple[Numbers, Numbers]:
    """Widths and heights [n] as shares: the first try that fits, else the largest possible."""
    aspect = (sizes[:, 0] / sizes[:, 1])[:, None]
    area = smallest + tries[:, :_TRIES] * (1 - smallest)
    ratio = _between(tries[:, _TRIES:], _RATIO)
    wide, high = np.sqrt(area * ratio / aspect), np.sqrt(area * aspect / ratio)
    fits = (wide <= 1) & (high <= 1)
    first = fits.argmax(1)[:, None]
    none = ~fits.any(1)
    widest = np.minimum(1, _RATIO[1] / aspect[:, 0])
    highest = np.minimum(1, aspect[:, 0] / _RATIO[0])
    return (
        np.where(none, widest, np.take_along_axis(wide, first, 1)[:, 0]),
        np.where(none, highest, np.take_along_axis(high, first, 1)[:, 0]),
    )


def _change(drawn: Numbers) -> Transform:
    kinds = (drawn[:, 0] * len(KINDS)).astype(np.int64)
    rows = np.argsort(kinds, kind="stable")
    bounds = np.searchsorted(kinds[rows], np.arange(len(KINDS) + 1))
    amounts = 2 * drawn[rows, 1:_A_CHANGE] - 1
    return Transform(torch.from_numpy(rows), tuple(bounds.tolist()), _tensor(amounts))


def _erased(drawn: Numbers) -> Numbers:
    chance, area, ratio, left, top = drawn[:, :5].T
    area = (chance < _ERASE_CHANCE) * (_ERASE_AREA[0] + area * (_ERASE_AREA[1] - _ERASE_AREA[0]))
    ratio = _between(ratio, _ERASE_RATIO)
    wide, high = np.minimum(1, np.sqrt(area * ratio)), np.minimum(1, np.sqrt(area / ratio))
    left, top = left * (1 - wide), top * (1 - high)
    return np.stack([left, top, left + wide, top + high], 1)


def _between(drawn: Numbers, ends: tuple[float, float]) -> Numbers:
    """Evenly on a logarithmic scale."""
    low, high = np.log(ends)
    between: Numbers = np.exp(low + drawn * (high - low))
    return between


def _tensor(values: Numbers) -> torch.Tensor:
    return torch.from_numpy(values.astype(np.float32))
