"""Augmentation: a photo, seen differently each time.

Every random number comes from the caller's generator, never from a global one, so that a photo's
look depends on seed, epoch and position only. (torchvision's own transforms draw from torch's one
global generator, which threads would share; its functions, which draw nothing, do the work.)
"""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from PIL import Image
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as change

from deepfood.photo import Pixels, Preprocess
from deepfood.train.recipe import Recipe

#: What a crop is resized with.
_FILTERS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}
#: Widths to heights that RandomResizedCrop draws from, as in torchvision.
_RATIO = (3 / 4, 4 / 3)
#: Changes to each photo in a row, and how strong at most: RandAugment's N and M, M as a share.
_CHANGES, _STRENGTH = 2, 0.5
_ERASE_CHANCE, _ERASE_AREA = 0.25, (0.02, 0.2)


def augment(
    picture: Image.Image, preprocess: Preprocess, recipe: Recipe, rng: np.random.Generator
) -> Pixels:
    """A random view of an RGB picture: uint8 [size, size, 3], `recipe.training_size` pixels a side.

    `plain` is RandomResizedCrop (Szegedy et al., 2015) and a mirror image half of the time, as in
    the original; `strong` adds RandAugment (Cubuk et al., 2019) and random erasing (Zhong et al.,
    2017).
    """
    size = recipe.training_size(preprocess.size)
    box = _crop_box(picture.size, recipe.crop_area, rng)
    view = picture.resize((size, size), _FILTERS[preprocess.interpolation], box=box)
    if rng.random() < 0.5:
        view = view.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    if recipe.augmentation == "plain":
        return np.asarray(view)
    grey = [round(255 * value) for value in preprocess.mean]
    for which in rng.integers(0, len(_OPERATIONS), _CHANGES):
        view = _OPERATIONS[which](view, rng, grey)
    pixels = np.array(view)
    if rng.random() < _ERASE_CHANCE:
        _erase(pixels, grey, rng)
    return pixels


def _crop_box(
    wide_high: tuple[int, int], smallest: float, rng: np.random.Generator
) -> tuple[int, int, int, int]:
    """A box of `smallest` to all of the area; the middle where none of ten draws fits."""
    width, height = wide_high
    for _ in range(10):
        area = width * height * rng.uniform(smallest, 1)
        ratio = np.exp(rng.uniform(*np.log(_RATIO)))
        wide, high = round(np.sqrt(area * ratio)), round(np.sqrt(area / ratio))
        if 0 < wide <= width and 0 < high <= height:
            left = int(rng.integers(0, width - wide + 1))
            top = int(rng.integers(0, height - high + 1))
            return left, top, left + wide, top + high
    wide = min(width, max(1, round(height * _RATIO[1])))
    high = min(height, max(1, round(width / _RATIO[0])))
    left, top = (width - wide) // 2, (height - high) // 2
    return left, top, left + wide, top + high


Operation = Callable[[Image.Image, np.random.Generator, list[int]], Image.Image]


def _factor(rng: np.random.Generator) -> float:
    """1 is no change; as often more as less."""
    return float(1 + rng.uniform(-0.9, 0.9) * _STRENGTH)


def _turn(view: Image.Image, rng: np.random.Generator, fill: list[int]) -> Image.Image:
    angle = rng.uniform(-30, 30) * _STRENGTH * 2
    turned: Image.Image = change.rotate(
        view, angle, interpolation=InterpolationMode.BILINEAR, fill=fill
    )
    return turned


def _shear(view: Image.Image, rng: np.random.Generator, fill: list[int]) -> Image.Image:
    shear = (rng.uniform(-17, 17, 2) * _STRENGTH * 2).tolist()
    sheared: Image.Image = change.affine(
        view,
        angle=0.0,
        translate=[0, 0],
        scale=1.0,
        shear=shear,
        interpolation=InterpolationMode.BILINEAR,
        fill=fill,
    )
    return sheared


#: Food keeps its colours' meaning, so nothing inverts, solarises or posterises them here.
_OPERATIONS: tuple[Operation, ...] = (
    lambda view, rng, fill: view,
    lambda view, rng, fill: change.adjust_brightness(view, _factor(rng)),
    lambda view, rng, fill: change.adjust_contrast(view, _factor(rng)),
    lambda view, rng, fill: change.adjust_saturation(view, _factor(rng)),
    lambda view, rng, fill: change.adjust_hue(view, float(rng.uniform(-0.1, 0.1) * _STRENGTH)),
    lambda view, rng, fill: change.adjust_sharpness(view, float(rng.uniform(0, 2))),
    lambda view, rng, fill: change.autocontrast(view),
    lambda view, rng, fill: change.equalize(view),
    _turn,
    _shear,
)


def _erase(pixels: npt.NDArray[np.uint8], fill: list[int], rng: np.random.Generator) -> None:
    side = pixels.shape[0]
    area = side * side * rng.uniform(*_ERASE_AREA)
    ratio = np.exp(rng.uniform(np.log(0.3), np.log(1 / 0.3)))
    wide, high = (
        min(side, max(1, round(v))) for v in (np.sqrt(area * ratio), np.sqrt(area / ratio))
    )
    left, top = rng.integers(0, side - wide + 1), rng.integers(0, side - high + 1)
    pixels[top : top + high, left : left + wide] = fill
