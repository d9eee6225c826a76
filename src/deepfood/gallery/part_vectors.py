"""The dishes of a photo of several as vectors of their own, so that a query finds each on it.

What is kept depends on the photo and the Model only, so that it can be made again.
"""

from dataclasses import dataclass

import numpy as np

from deepfood.embed import Embedder, Vectors
from deepfood.errors import NoHeatMapError
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
        self.finder = PlateFinder(
            embedder.model, embedder.limits, embedder.threads, embedder.precision
        )

    def check(self) -> None:
        """Raise NoHeatMapError for a Model without a feature map."""
        try:
            self.finder.check()
        except NoHeatMapError as error:
            raise NoHeatMapError(
                f"{error}; so it finds no parts of photos: build the gallery with --no-parts"
            ) from error

    def embed(self, data: bytes) -> PhotoParts:
        """The dishes of a photo, at most MOST_PARTS; none where it shows fewer than two.

        Each is embedded as a search with its box embeds it. Raises PhotoError, or NoHeatMapError
        for a Model without a feature map.
        """
        embed = self.embedder.embed
        found = self.finder.parts(self.finder.read(data))
        boxes = [part.box for part in found if part.score >= _LEAST_SCORE]
        if len(boxes) > 1:
            whole = embed(data)
            vectors = np.array([embed(data, inner(box)) for box in boxes])
            alike = np.flatnonzero(vectors @ whole >= _LEAST_ALIKE).tolist()
            if len(alike) > 1:
                return PhotoParts(tuple(boxes[one] for one in alike), vectors[alike])
        return PhotoParts((), np.empty((0, self.embedder.dimension), np.float32))
