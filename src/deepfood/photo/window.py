"""A part of a resized picture, pixel for pixel, without computing the rest.

Of a strip of 1 x 900 pixels a Model may see a square cut from 256 x 230,400. Pillow can resize a
region alone, but takes its borders as 32-bit floats, which changes some values by one.
"""

from collections.abc import Iterable, Iterator
from typing import NamedTuple, Self

import numpy as np
import numpy.typing as npt
from PIL import Image

from deepfood.photo.flat import not_widened

#: Left, top, right, bottom in pixels.
Part = tuple[int, int, int, int]
Pixels = npt.NDArray[np.uint8]

#: Pillow, which is fast, resizes the whole picture if the result has at most this many pixels, or
#: this many times those that are needed.
_MOST, _MOST_TIMES = 2**21, 16
#: Pillow's weights for bytes are integer multiples of this.
_UNIT = 2.0**-22
#: The filters' support, in pixels of the smaller of the two pictures.
_REACH = {Image.Resampling.BILINEAR: 1, Image.Resampling.BICUBIC: 2}


def part_of_resized(
    found: Iterable[Image.Image],
    size: tuple[int, int],
    resized: tuple[int, int],
    part: Part,
    how: Image.Resampling,
) -> Image.Image:
    """`resize(resized, how).crop(part)` of a picture of `size`, given as bands.

    `how` is bilinear or bicubic. A picture in several bands is resized along its rows first,
    whatever its shape (see `flat.shrink`).
    """
    left, top, right, bottom = part
    narrow: Image.Image | None = None
    y = 0
    for band in not_widened(found, size, right - left):
        if band.height == size[1]:
            return _part(band, resized, part, how)
        across = (left, 0, right, band.height)
        piece = _part(band, (resized[0], band.height), across, how)
        narrow = narrow or Image.new(piece.mode, (right - left, size[1]))
        narrow.paste(piece, (0, y))
        y += band.height
    assert narrow is not None  # a picture has at least one row
    return _part(narrow, (right - left, resized[1]), (0, top, right - left, bottom), how)


def cut(found: Iterable[Image.Image], region: Part) -> Iterator[Image.Image]:
    """The bands of a region of a picture, which is given as bands."""
    left, top, right, bottom = region
    y = 0
    for band in found:
        first, last = max(top - y, 0), min(bottom - y, band.height)
        y += band.height
        if first < last:
            yield band.crop((left, first, right, last))


def _part(
    image: Image.Image, resized: tuple[int, int], part: Part, how: Image.Resampling
) -> Image.Image:
    left, top, right, bottom = part
    wanted = (right - left) * (bottom - top)
    if resized[0] * resized[1] <= max(_MOST, _MOST_TIMES * wanted):
        return image.resize(resized, how).crop(part)
    across = _Weights.of(image.width, resized[0], left, right, how)
    down = _Weights.of(image.height, resized[1], top, bottom, how)
    pixels = np.asarray(image.crop((across.first, down.first, across.last, down.last)))
    passes = [(across, 1), (down, 0)]
    if image.height > image.width and resized[1] < image.height:
        passes.reverse()  # as Pillow does with a tall picture that becomes lower
    for weights, axis in passes:
        pixels = weights.apply(pixels.swapaxes(0, axis)).swapaxes(0, axis)
    return Image.frombytes(image.mode, (right - left, bottom - top), pixels.tobytes())


class _Weights(NamedTuple):
    """The weights of the pixels `first` to `last` for each pixel of a part of a resized line.

    `each` float64 [n, last - first] are integer multiples of _UNIT, computed like Pillow's; None if
    nothing is resized.
    """

    first: int
    last: int
    each: npt.NDArray[np.float64] | None

    @classmethod
    def of(cls, length: int, resized: int, begin: int, end: int, how: Image.Resampling) -> Self:
        """For pixels `begin` to `end` of `length` pixels that are resized to `resized`."""
        if length == resized:
            return cls(begin, end, None)
        scale = length / resized
        wider = max(scale, 1.0)
        reach = _REACH[how] * wider
        centre = (np.arange(begin, end) + 0.5) * scale
        first = np.maximum((centre - reach + 0.5).astype(np.int64), 0)
        last = np.minimum((centre + reach + 0.5).astype(np.int64), length)
        place = np.arange(first[0], last[-1])
        counts = (place >= first[:, None]) & (place < last[:, None])
        at = np.abs((place - centre[:, None] + 0.5) * (1.0 / wider))
        if how == Image.Resampling.BILINEAR:
            weight = np.maximum(1.0 - at, 0.0)
        else:  # Keys' cubic kernel with a = -0.5
            near = (1.5 * at - 2.5) * at * at + 1.0
            far = (((at - 5.0) * at + 8.0) * at - 4.0) * -0.5
            weight = np.where(at < 1.0, near, np.where(at < 2.0, far, 0.0))
        weight = np.where(counts, weight, 0.0)
        weight /= weight.sum(axis=1, keepdims=True)
        each = np.trunc(weight / _UNIT + np.copysign(0.5, weight))
        return cls(int(first[0]), int(last[-1]), each)

    def apply(self, pixels: Pixels) -> Pixels:
        """Pixels [last - first, ...] to [n, ...]: sums of integers, so that they are exact."""
        if self.each is None:
            return pixels
        sums = self.each @ pixels.reshape(len(pixels), -1).astype(np.float64)
        values = np.floor(sums * _UNIT + 0.5).clip(0, 255).astype(np.uint8)
        return values.reshape(len(values), *pixels.shape[1:])
