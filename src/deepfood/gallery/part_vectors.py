"""The dishes of a photo of several as vectors of their own, so that a query finds each on it.

What is kept depends on the photo and the Model only, so that it can be made again.
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
from PIL import Image

from deepfood.embed import Embedder, Vectors
from deepfood.errors import ArtifactCorruptError, NoHeatMapError
from deepfood.photo import part_pixels
from deepfood.photo_box import Box
from deepfood.plate import PlateFinder, inner

#: The least dish-likeness of a part, and its least similarity to the whole photo: what is less
#: like it is cutlery or a table. Chosen by measuring (docs/performance.md).
_LEAST_SCORE, _LEAST_ALIKE = 0.5, 0.25


@dataclass(frozen=True)
class PhotoParts:
    """The dishes of one photo: a box, and a unit vector for each, float32 [boxes, dimension]."""

    boxes: tuple[Box, ...]
    vectors: Vectors


class PartEmbedder:
    """Finds and embeds the dishes of photos; safe to use from many threads.

    The first call opens the network that finds them.
    """

    def __init__(self, embedder: Embedder) -> None:
        self.embedder = embedder
        self.finder = PlateFinder(embedder.limits, embedder.threads, embedder.precision)

    def check(self) -> None:
        """Raise NoHeatMapError without OpenVINO."""
        try:
            self.finder.check()
        except NoHeatMapError as error:
            raise NoHeatMapError(
                f"{error}; without it no parts of photos are found: build with --no-parts"
            ) from error

    def embed(self, data: bytes, whole: Vectors) -> PhotoParts:
        """The dishes of a photo, at most MOST_PARTS; none where it shows fewer than two.

        `whole` is the vector of the photo, float32 [dimension]. The photo is decoded once, as for a
        search with each dish of a plate. Raises PhotoError, or NoHeatMapError without OpenVINO.
        """
        picture = self.finder.read(data)
        boxes = [one.box for one in self.finder.parts(picture) if one.score >= _LEAST_SCORE]
        if len(boxes) > 1:
            found = self._vectors(picture, [inner(box) for box in boxes])
            alike = np.flatnonzero(found @ whole >= _LEAST_ALIKE)
            if len(alike) > 1:
                return PhotoParts(tuple(boxes[one] for one in alike.tolist()), found[alike])
        return PhotoParts((), np.empty((0, self.embedder.dimension), np.float32))

    def _vectors(self, picture: Image.Image, boxes: Sequence[Box]) -> Vectors:
        """The vectors of boxes, float32 [boxes, dimension]; zero for one without a usable vector.

        The network may see nothing in a part of one colour, and sees enough in the photo, which has
        a vector already.
        """
        found = np.zeros((len(boxes), self.embedder.dimension), np.float32)
        for place, box in enumerate(boxes):
            pixels = part_pixels(picture, self.embedder.preprocess, box)
            with suppress(ArtifactCorruptError):
                found[place] = self.embedder.infer(pixels)
        return found
