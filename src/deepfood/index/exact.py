"""Exact search: one scan over all vectors. Perfect recall, nothing to build."""

from pathlib import Path
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from deepfood.index.contract import Index, IndexSpec, Kind, Progress, Rows, Vectors


class ExactIndex(Index):
    kind: ClassVar[Kind] = "exact"

    @classmethod
    def build(cls, vectors: Vectors, folder: Path, spec: IndexSpec, progress: Progress) -> None:
        progress(len(vectors))

    @classmethod
    def open(cls, vectors: Vectors, folder: Path, spec: IndexSpec) -> "ExactIndex":
        return cls(vectors)

    def candidates(self, query: npt.NDArray[np.float32], k: int, effort: int) -> Rows:
        # vecdot, not @: that starts BLAS's threads, which spin on for 100 ms after each search, on
        # the cores that the next photo needs.
        scores = np.vecdot(self.vectors, query)
        if k >= len(scores):
            return np.arange(len(scores), dtype=np.int64)
        # Everything as good as the k-th best, so that ties are broken by row and not by chance.
        kth = np.partition(scores, -k)[-k]
        return np.flatnonzero(scores >= kth).astype(np.int64)
