"""Annoy (Spotify): a forest of random projection trees, euclidean; what the original used.

On unit vectors the euclidean order is the cosine order.
"""

from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from deepfood.counted import counted
from deepfood.errors import ArtifactCorruptError
from deepfood.extras import missing_extra
from deepfood.index.contract import Index, IndexSpec, Kind, Progress
from deepfood.index.vectors import Rows, VectorFile, Vectors

_CHUNK = 1024


class AnnoyIndex(Index):
    kind: ClassVar[Kind] = "annoy"
    suffix: ClassVar[str | None] = "annoy"

    def __init__(self, vectors: VectorFile, forest: Any, search_k: int) -> None:
        super().__init__(vectors, covered=forest.get_n_items())
        self._forest = forest
        self._search_k = search_k

    @classmethod
    def build(cls, vectors: VectorFile, path: Path, spec: IndexSpec, progress: Progress) -> None:
        forest = _new_forest(vectors.dimension)
        forest.set_seed(0)  # the same vectors give the same file
        for start in range(0, len(vectors), _CHUNK):
            rows = np.arange(start, min(start + _CHUNK, len(vectors)))
            for row, vector in zip(rows.tolist(), vectors.take(rows), strict=True):
                forest.add_item(row, vector)
            progress(len(rows))
        forest.build(spec.annoy_trees, n_jobs=-1)
        forest.save(str(path))

    @classmethod
    def open(cls, vectors: VectorFile, path: Path, spec: IndexSpec, covered: int) -> Self:
        forest = _new_forest(vectors.dimension)
        try:
            forest.load(str(path))
        except OSError as error:
            raise ArtifactCorruptError(f"{path} cannot be opened: {error}") from error
        if forest.get_n_items() != covered or covered > len(vectors):
            raise ArtifactCorruptError(
                f"{path} holds {counted(forest.get_n_items(), 'vector')}: expected {covered} of "
                f"the gallery's {len(vectors)}"
            )
        return cls(vectors, forest, spec.annoy_search_k)

    def extended(self, vectors: VectorFile) -> Self:
        return type(self)(vectors, self._forest, self._search_k)

    def candidates(self, query: Vectors, count: int) -> Rows:
        # -1 stands for trees * count
        search_k = max(self._search_k, count) if self._search_k > 0 else -1
        return np.asarray(self._forest.get_nns_by_vector(query, count, search_k), np.int64)


def _new_forest(dimension: int) -> Any:
    try:
        from annoy import AnnoyIndex as Forest
    except ImportError:
        raise missing_extra(
            "the annoy index is not installed, and needs a C++ compiler", "annoy"
        ) from None
    return Forest(dimension, "euclidean")
