"""Find the dishes on a photo of a table: boxes, from a feature map.

They are those of the Model that ships, whatever the gallery's Model: a network that was fine-tuned
to tell dishes apart finds fewer of them on a table, and a ViT has no map (docs/performance.md).

One inference of the whole photo, larger than that Model's own size, gives the map. The
dish-likeness of a cell comes from the photo alone: cells are cut in two by their similarity
(normalized cut: Shi and Malik, "Normalized Cuts and Image Segmentation", 2000; on features of a
network: Wang et al., "Self-Supervised Transformers for Unsupervised Object Discovery Using
Normalized Cut", CVPR 2022), and a table's texture excites fewer features than a dish. Boxes are the
windows that are most dish-like inside and least so around, thinned by non-maximum suppression.

What a box shows is not decided here: whoever searches embeds each box as a photo of its own, which
is far more accurate than a window's part of the map (docs/performance.md).
"""

import threading
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from PIL import Image

from deepfood.errors import NoHeatMapError
from deepfood.heatmap import Floats, Trunk
from deepfood.model import open_model
from deepfood.photo import Limits, Pixels, read_small
from deepfood.photo_box import Box

#: Parts of a photo, at most.
MOST_PARTS = 8
#: A box that is searched with is narrower by this share on each side than the dish that it shows:
#: a dish is round. It brings 0.04 of the labels (docs/performance.md).
INSET = 0.08
#: The least `score` of a part: four of five dishes have more, and hardly any piece of table.
LEAST_SCORE = 0.36

#: The longer side in pixels of the picture of which boxes are taken: enough for the smallest.
_LONGEST = 1600
#: Cells along the width and height of the feature map of wide, upright and nearly square photos:
#: 640 x 480 pixels, 480 x 640 and 576 x 576.
_FRAMES = ((20, 15), (15, 20), (18, 18))
#: How many times a photo is enlarged for it, at most.
_MOST_ENLARGED = 3
#: Sides of windows, as shares of the shorter side of the map, and their width by their height.
_SIDES = (0.2, 0.26, 0.34, 0.44, 0.57, 0.74)
_RATIOS = (0.75, 1.0, 1.33)
#: The fewest cells along a side of a window, and of a map that can show several dishes.
_LEAST_CELLS = 2
#: The width of the surroundings that a window is compared with, in its shorter side.
_AROUND = 0.2
#: Small windows are worth a little more: a large one also covers two dishes side by side.
_FOR_SMALL = 0.1
#: Two boxes are of one dish from this intersection over union on, or if this share of the smaller
#: one is in the other.
_SAME_IOU, _SAME_WITHIN = 0.2, 0.4
#: The share of the cut in a cell's dish-likeness; the rest is the strength of its features.
_OF_CUT = 0.65
_ITERATIONS = 8

#: Red, green and blue, 0 to 1.
Colour = tuple[float, float, float]
_Cells = npt.NDArray[np.int64]
_Bools = npt.NDArray[np.bool_]
_Scores = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Part:
    """A box that may show a dish, and how much more dish-like it is than its surroundings."""

    box: Box
    score: float


def inner(box: Box, share: float = INSET) -> Box:
    """The box without this share of it on each side."""
    left = 1 - 2 * share
    return Box(
        box.x + share * box.width, box.y + share * box.height, left * box.width, left * box.height
    )


class PlateFinder:
    """Boxes of dishes on photos; safe to use from many threads, which take turns.

    The first call opens the network, in addition to the Embedder's.
    """

    def __init__(self, limits: Limits, threads: int, precision: str) -> None:
        self._limits = limits
        self._threads, self._precision = threads, precision
        self._lock = threading.Lock()
        self._opened: tuple[Trunk, Colour] | None = None
        self._why_not: str | None = None

    def read(self, data: bytes) -> Image.Image:
        """A photo as the picture of which parts are taken. Raises PhotoError."""
        return read_small(data, _LONGEST, self._limits)

    def parts(self, picture: Image.Image) -> list[Part]:
        """The dish-like boxes of a picture, at most MOST_PARTS, the most so first.

        There are none where it is too small or too thin to show several dishes. Raises
        NoHeatMapError without OpenVINO.
        """
        with self._lock:
            trunk, mean = self._open()
        pixels, down, across = _framed(picture, trunk.stride, mean)
        with self._lock:
            strength, alike = trunk.cells(pixels)
        alike = alike.reshape(strength.shape * 2)[:down, :across, :down, :across]
        return find_parts(strength[:down, :across], alike.reshape(down * across, -1))

    def check(self) -> None:
        """Raise NoHeatMapError without OpenVINO."""
        with self._lock:
            self._open()

    def _open(self) -> tuple[Trunk, Colour]:
        """The network, and the mean colour of the photos that it has learned from."""
        if self._why_not is not None:
            raise NoHeatMapError(self._why_not)
        if self._opened is None:
            model = open_model()
            try:
                trunk = Trunk(model, self._threads, self._precision)
            except NoHeatMapError as error:
                self._why_not = str(error)
                raise
            self._opened = trunk, model.manifest.preprocess.mean
        return self._opened


def _framed(picture: Image.Image, stride: int, mean: Colour) -> tuple[Pixels, int, int]:
    """The picture with a margin at the right or below, uint8 [h, w, 3], and its own cells.

    Their number along its height and its width. It has the frame in which it is largest. The margin
    has the mean colour, which is zero to the network, as what is beyond.
    """
    scale, cells = max(
        (min(side * stride / own for side, own in zip(frame, picture.size, strict=True)), frame)
        for frame in _FRAMES
    )
    scale = min(scale, _MOST_ENLARGED)
    across, down = (max(1, round(side * scale / stride)) for side in picture.size)
    colour = tuple(round(255 * value) for value in mean)
    framed = Image.new("RGB", (cells[0] * stride, cells[1] * stride), colour)
    size = (across * stride, down * stride)
    framed.paste(picture.resize(size, Image.Resampling.BICUBIC))
    return np.asarray(framed), down, across


def find_parts(strength: Floats, alike: Floats) -> list[Part]:
    """The dish-like boxes of cells as Trunk gives them, the most so first."""
    height, width = strength.shape
    if min(height, width) <= _LEAST_CELLS:
        return []
    windows = _windows(height, width)
    scores = _scores(_dish_likeness(strength, alike), windows)
    windows, scores = windows[scores >= LEAST_SCORE], scores[scores >= LEAST_SCORE]
    shares = windows / np.array([width, height, width, height])
    boxes = np.column_stack([shares[:, :2], shares[:, 2:] - shares[:, :2]])
    kept = thinned(boxes, scores)
    return [Part(Box(*boxes[one].tolist()), float(scores[one])) for one in kept]


def thinned(boxes: _Scores, scores: _Scores) -> list[int]:
    """Which of the boxes, float64 [n, 4], to keep, the best first: one for each dish."""
    kept: list[int] = []
    left = np.argsort(-scores, kind="stable")
    while len(left) and len(kept) < MOST_PARTS:
        kept.append(int(left[0]))
        left = left[1:]
        left = left[~_same(boxes[kept[-1]], boxes[left])]
    return kept


def _same(box: _Scores, others: _Scores) -> _Bools:
    """Whether a box, left, top, width and height, is of the same dish as each of the others."""
    begin = np.maximum(box[:2], others[:, :2])
    end = np.minimum(box[:2] + box[2:], others[:, :2] + others[:, 2:])
    common = np.clip(end - begin, 0, None).prod(axis=1)
    area, areas = box[2:].prod(), others[:, 2:].prod(axis=1)
    within = common / np.minimum(area, areas)
    return np.asarray((common / (area + areas - common) > _SAME_IOU) | (within > _SAME_WITHIN))


def iou(one: Box, other: Box) -> float:
    """Intersection over union of two boxes, 0 to 1."""
    across = min(one.x + one.width, other.x + other.width) - max(one.x, other.x)
    down = min(one.y + one.height, other.y + other.height) - max(one.y, other.y)
    common = max(0.0, across) * max(0.0, down)
    return common / (one.width * one.height + other.width * other.height - common)


@lru_cache(maxsize=32)
def _windows(height: int, width: int) -> _Cells:
    """All windows of a map: int64 [n, 4], left, top, right and bottom in cells.

    The map has more than _LEAST_CELLS on each side, so that every window fits.
    """
    found = set()
    for side in _SIDES:
        for ratio in _RATIOS:
            across = max(_LEAST_CELLS, round(side * min(height, width) * ratio**0.5))
            down = max(_LEAST_CELLS, round(side * min(height, width) / ratio**0.5))
            step = max(1, round(min(across, down) / 5))
            for y in {*range(0, height - down + 1, step), height - down}:
                for x in {*range(0, width - across + 1, step), width - across}:
                    found.add((x, y, x + across, y + down))
    return np.array(sorted(found), np.int64)


def _scores(likeness: _Scores, windows: _Cells) -> _Scores:
    """How much more dish-like each window is than its surroundings: float64 [n].

    What lies beyond the photo is not dish-like.
    """
    height, width = likeness.shape
    sums = np.zeros((height + 1, width + 1))
    sums[1:, 1:] = likeness.cumsum(axis=0).cumsum(axis=1)
    sides = windows[:, 2:] - windows[:, :2]
    reach = np.maximum(1, np.rint(_AROUND * sides.min(axis=1))).astype(np.int64)[:, np.newaxis]
    around = np.column_stack([windows[:, :2] - reach, windows[:, 2:] + reach])
    around = np.clip(around, 0, [width, height, width, height])
    inside, area = _sum(sums, windows), sides.prod(axis=1)
    outside = (_sum(sums, around) - inside) / ((sides + 2 * reach).prod(axis=1) - area)
    share = area / (height * width)
    return np.asarray((inside / area - outside) * share**-_FOR_SMALL)


def _sum(sums: _Scores, windows: _Cells) -> _Scores:
    left, top, right, bottom = windows.T
    return np.asarray(sums[bottom, right] - sums[top, right] - sums[bottom, left] + sums[top, left])


def _dish_likeness(strength: Floats, alike: Floats) -> _Scores:
    """How much each cell is like a dish and unlike the table: float64 [h, w], 0 to 1."""
    cut = _cut_in_two(alike, strength.reshape(-1)).reshape(strength.shape)
    return _OF_CUT * _stretched(cut) + (1 - _OF_CUT) * _stretched(strength)


def _cut_in_two(alike: Floats, guess: Floats) -> Floats:
    """Which side of the normalized cut each of n cells is on, and how far: float32 [n].

    Of D^-1/2 A D^-1/2 the largest eigenvector is known, and the second is the cut. Power iteration
    beside the first, from `guess` [n], gives it nearly, and on the side of the guess.
    """
    likely = np.median(alike[::3])  # of a third of the cells, which is the same nearly
    edges = (alike > likely).astype(np.float32) + np.float32(1e-5)
    root = np.sqrt(edges.sum(axis=1))
    graph = edges / root / root[:, np.newaxis]
    first = root / np.linalg.norm(root)
    second = guess * root
    for _ in range(_ITERATIONS):
        second = second - (second @ first) * first
        second = second / max(float(np.linalg.norm(second)), 1e-9)
        # No BLAS, whose threads would be waited for; eigenvalues below zero are far smaller.
        second = np.einsum("ij,j->i", graph, second)
    return np.asarray(second / root, np.float32)


def _stretched(values: npt.NDArray[np.floating]) -> _Scores:
    """From 0 to 1, but for the lowest and the highest twentieth."""
    low, high = np.percentile(values, [5, 95])
    return np.asarray(np.clip((values - low) / max(high - low, 1e-9), 0, 1), np.float64)
