"""Made tables: photos of dishes on wood, cloth or plates, and where each of them lies.

The same seed gives the same collage. A build makes them of the gallery's photos, to calibrate what
is said of plates; tests of drawn dishes; `benchmarks/plate_search.py` of photos.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from deepfood.photo_box import Box

#: The least overlap, intersection over union, of a part that was found with the dish that it shows.
TOUCHES = 0.1
#: The sides of a dish, as a share of the collage's shorter side.
SMALLEST, LARGEST = 0.2, 0.6
#: How much of the smaller of two dishes' boxes may be covered by the other.
_OVERLAP = 0.1
#: How often places are drawn for the dishes, and then again for smaller ones: the largest are the
#: smallest from the eleventh time on.
_TRIES, _SHRINKS = 200, 15


@dataclass(frozen=True)
class Dish:
    """A dish of a collage: which of the pieces it is, and its box as shares of the collage."""

    piece: int
    box: Box


@dataclass(frozen=True)
class Collage:
    """An RGB picture, and the dishes on it."""

    image: Image.Image
    dishes: tuple[Dish, ...]


def collage(
    pieces: Sequence[Image.Image], seed: int, size: tuple[int, int] = (640, 480)
) -> Collage:
    """A table of `size`, width and height in pixels, with every piece as a dish, and distractors.

    Pieces are cut to a square or nearly so, rounded and tilted. They overlap a little at most.
    """
    rng = np.random.default_rng(seed)
    image = _ground(rng, size)
    places = _places(rng, len(pieces), size)
    _distract(rng, image)
    on_plates = rng.random() < 0.5
    dishes = []
    for number, (piece, (x, y, side)) in enumerate(zip(pieces, places, strict=True)):
        cut, mask = _cut(rng, piece, side)
        left, top = round(x - cut.width / 2), round(y - cut.height / 2)
        if on_plates:
            _plate(image, (x, y), side)
        image.paste(cut, (left, top), mask)
        edges = mask.getbbox()
        assert edges is not None
        dishes.append(Dish(number, _shares(image, left, top, edges)))
    return Collage(image, tuple(dishes))


def _shares(image: Image.Image, left: int, top: int, edges: tuple[int, int, int, int]) -> Box:
    x0, x1 = (min(max(left + at, 0), image.width) for at in edges[::2])
    y0, y1 = (min(max(top + at, 0), image.height) for at in edges[1::2])
    width, height = image.size
    return Box(x0 / width, y0 / height, (x1 - x0) / width, (y1 - y0) / height)


def _places(
    rng: np.random.Generator, count: int, size: tuple[int, int]
) -> list[tuple[float, float, float]]:
    """The middle and side of each dish in pixels; smaller ones where they do not fit.

    Raises ValueError where even the smallest do not.
    """
    width, height = size
    largest = LARGEST
    for _ in range(_SHRINKS):
        for _ in range(_TRIES):
            sides = rng.uniform(SMALLEST, largest, count) * min(size)
            middles = [
                (rng.uniform(side / 2, width - side / 2), rng.uniform(side / 2, height - side / 2))
                for side in sides
            ]
            found = [(x, y, float(side)) for (x, y), side in zip(middles, sides, strict=True)]
            if all(_apart(one, other) for i, one in enumerate(found) for other in found[:i]):
                return found
        largest = max(SMALLEST, largest * 0.9)
    raise ValueError(f"{count} dishes do not fit on {width} x {height} pixels: ask for fewer")


def _apart(one: tuple[float, float, float], other: tuple[float, float, float]) -> bool:
    common = math.prod(
        max(0.0, (one[2] + other[2]) / 2 - abs(one[axis] - other[axis])) for axis in (0, 1)
    )
    return common <= _OVERLAP * min(one[2], other[2]) ** 2


def _cut(
    rng: np.random.Generator, piece: Image.Image, side: float
) -> tuple[Image.Image, Image.Image]:
    """The piece, rounded and tilted, and the mask of what is seen of it."""
    ratio = float(np.exp(rng.uniform(-0.2, 0.2)))
    size = max(8, round(side * min(1, ratio))), max(8, round(side * min(1, 1 / ratio)))
    scale = max(size[0] / piece.width, size[1] / piece.height)
    across, down = size[0] / scale, size[1] / scale
    left, top = max(0.0, piece.width - across) / 2, max(0.0, piece.height - down) / 2
    cut = piece.convert("RGB").resize(
        size,
        Image.Resampling.BICUBIC,
        (left, top, min(left + across, piece.width), min(top + down, piece.height)),
    )
    mask = Image.new("L", size, 0)
    radius = rng.choice([0.15, 0.3, 0.5]) * min(size)
    ImageDraw.Draw(mask).rounded_rectangle((0, 0, size[0] - 1, size[1] - 1), radius, 255)
    angle = float(rng.uniform(-15, 15))
    how = Image.Resampling.BICUBIC
    return cut.rotate(angle, how, expand=True), mask.rotate(angle, how, expand=True)


def _plate(image: Image.Image, middle: tuple[float, float], side: float) -> None:
    draw = ImageDraw.Draw(image)
    for radius, colour in (
        (0.66, (205, 203, 198)),
        (0.64, (246, 245, 241)),
        (0.5, (236, 235, 230)),
    ):
        reach = radius * side
        x, y = middle
        draw.ellipse((x - reach, y - reach, x + reach, y + reach), fill=colour)


def _ground(rng: np.random.Generator, size: tuple[int, int]) -> Image.Image:
    """Wood, cloth or stone of some colour, with noise."""
    width, height = size
    y, x = np.mgrid[:height, :width].astype(np.float32)
    kind = rng.integers(3)
    if kind == 0:  # wood: boards with a grain along them
        colour = np.array([rng.uniform(90, 190), 0, 0])
        colour[1:] = colour[0] * np.array([0.68, 0.42])
        wave = np.sin(y / rng.uniform(3, 9) + 3 * np.sin(x / rng.uniform(60, 150)))
        boards = (y % (height / rng.integers(3, 7)) < 2) * -2.0
        pattern = 0.09 * wave + 0.2 * boards
    elif kind == 1:  # cloth: checks
        colour = rng.uniform(110, 245, 3)
        check = width / rng.integers(8, 24)
        pattern = 0.12 * (np.sign(np.sin(x / check * np.pi)) + np.sign(np.sin(y / check * np.pi)))
    else:  # stone
        colour = np.full(3, rng.uniform(60, 230)) * rng.uniform(0.95, 1.05, 3)
        coarse = rng.normal(0, 1, (height // 16 + 1, width // 16 + 1)).astype(np.float32)
        how = Image.Resampling.BICUBIC
        pattern = 0.1 * np.asarray(Image.fromarray(coarse).resize(size, how))
    noise = rng.normal(0, 4, (height, width, 1))
    pixels = colour * (1 + pattern[..., np.newaxis]) + noise
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def _distract(rng: np.random.Generator, image: Image.Image) -> None:
    """A fork or knife, a glass from above, a folded napkin; not always each of them."""
    draw = ImageDraw.Draw(image)
    unit = min(image.size)

    def somewhere() -> tuple[float, float]:
        return float(rng.uniform(0, image.width)), float(rng.uniform(0, image.height))

    if rng.random() < 0.6:
        (x, y), side = somewhere(), float(rng.uniform(0.15, 0.3) * unit)
        colour = tuple(rng.integers(120, 255, 3).tolist())
        draw.polygon([(x, y), (x + side, y + side / 5), (x + side * 0.8, y + side)], fill=colour)
    for _ in range(int(rng.integers(0, 3))):
        (x, y), angle = somewhere(), rng.uniform(0, math.pi)
        reach = 0.2 * unit
        end = x + reach * math.cos(angle), y + reach * math.sin(angle)
        draw.line([(x, y), end], (196, 196, 200), max(2, unit // 60))
        draw.ellipse((end[0] - 9, end[1] - 9, end[0] + 9, end[1] + 9), (205, 205, 210))
    if rng.random() < 0.6:
        (x, y), radius = somewhere(), float(rng.uniform(0.05, 0.09) * unit)
        drink = tuple(rng.integers(40, 220, 3).tolist())
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), (222, 228, 232))
        radius *= 0.85
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), drink)
    image.paste(image.filter(ImageFilter.GaussianBlur(0.8)))
