"""Why two photos are similar: what each region of either contributes to their similarity.

Class activation mapping (Zhou et al., "Learning Deep Features for Discriminative Localization",
CVPR 2016) applied to pairs instead of classes (Stylianou et al., "Visualizing Deep Similarity
Networks", WACV 2019). A photo's embedding is the mean of its positions' embeddings, so its cosine
similarity to another photo is a sum over positions, exactly.
"""

import threading
from dataclasses import dataclass

import numpy as np

from deepfood.errors import NoHeatMapError
from deepfood.heatmap.network import Floats, SplitNetwork
from deepfood.model import Model
from deepfood.photo import Limits, read_pixels
from deepfood.photo_box import Box


@dataclass(frozen=True)
class MatchHeat:
    """The contribution of each cell of `query` and of `hit` to `score`, both float32 [h, w].

    They cover the region `Preprocess.visible_region` of their photo. Each sums to `score`, the
    cosine similarity of the two photos, -1 to 1. Cells below zero count against the match.
    """

    score: float
    query: Floats
    hit: Floats

    @property
    def strongest(self) -> float:
        """The largest absolute contribution of a cell in either photo; above 0."""
        return max(float(np.abs(self.query).max()), float(np.abs(self.hit).max()), 1e-9)


class MatchExplainer:
    """Explains pairs of photos; safe to use from many threads, which take turns.

    The first call opens the network, in float32, in addition to the Embedder's.
    """

    def __init__(self, model: Model, limits: Limits, threads: int) -> None:
        self.preprocess = model.manifest.preprocess
        self.limits = limits
        self._model = model
        self._threads = threads
        self._lock = threading.Lock()
        self._network: SplitNetwork | None = None
        self._why_not: str | None = None

    def explain(self, query: bytes, hit: bytes, box: Box | None = None) -> MatchHeat:
        """Compare two photos' bytes, region by region; `box` is the part of the query that counts.

        Raises PhotoError or NoHeatMapError.
        """
        pixels = [
            read_pixels(data, self.preprocess, self.limits, part)
            for data, part in ((query, box), (hit, None))
        ]
        with self._lock:
            network = self._open()
            parts_query, parts_hit = (network.positions(one) for one in pixels)
        embedding_query, embedding_hit = (
            parts.mean(axis=(0, 1), dtype=np.float64) for parts in (parts_query, parts_hit)
        )
        lengths = np.linalg.norm(embedding_query) * np.linalg.norm(embedding_hit)
        if not np.isfinite(lengths) or lengths == 0:
            raise NoHeatMapError("the Model gives no usable vector for one of the photos")
        heat_query = parts_query @ embedding_hit / (lengths * parts_query[..., 0].size)
        heat_hit = parts_hit @ embedding_query / (lengths * parts_hit[..., 0].size)
        return MatchHeat(
            score=float(embedding_query @ embedding_hit / lengths),
            query=heat_query.astype(np.float32),
            hit=heat_hit.astype(np.float32),
        )

    def _open(self) -> SplitNetwork:
        if self._why_not is not None:
            raise NoHeatMapError(self._why_not)
        if self._network is None:
            try:
                self._network = SplitNetwork(self._model, self._threads)
            except NoHeatMapError as error:
                self._why_not = str(error)
                raise
        return self._network
