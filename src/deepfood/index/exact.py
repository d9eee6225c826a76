"""Exact search: one scan over all vectors. Perfect recall, nothing to build."""

from pathlib import Path
from typing import ClassVar, Self

import numpy as np

from deepfood.index.contract import Index, IndexSpec, Kind, Progress
from deepfood.index.vectors import Rows, VectorFile, Vectors


class ExactIndex(Index):
    """Covers no row: everything is its tail."""

    kind: ClassVar[Kind] = "exact"

    def __init__(self, vectors: VectorFile) -> None:
        super().__init__(vectors, covered=0)

    @classmethod
    def build(cls, vectors: VectorFile, path: Path, spec: IndexSpec, progress: Progress) -> None:
        progress(len(vectors))

    @classmethod
    def open(cls, vectors: VectorFile, path: Path, spec: IndexSpec, covered: int) -> Self:
        return cls(vectors)

    def extended(self, vectors: VectorFile) -> Self:
        return type(self)(vectors)

    def candidates(self, query: Vectors, count: int) -> Rows:
        return np.empty(0, np.int64)
