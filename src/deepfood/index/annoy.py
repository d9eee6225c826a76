"""Annoy (Spotify): a forest of random projection trees, euclidean; what the original used.

On unit vectors the euclidean order is the cosine order.
"""

from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

from deepfood.errors import ArtifactCorruptError, MissingExtraError
from deepfood.index.contract import Index, IndexSpec, Kind, Progress, Rows, Vectors


class AnnoyIndex(Index):
    kind: ClassVar[Kind] = "annoy"
    file: ClassVar[str | None] = "index.annoy"

    def __init__(self, vectors: Vectors, forest: Any, trees: int, search_k: int) -> None:
        super().__init__(vectors)
        self._forest = forest
        self._trees = trees
        self._search_k = search_k

    @classmethod
    def build(cls, vectors: Vectors, folder: Path, spec: IndexSpec, progress: Progress) -> None:
        forest = _new_forest(vectors.shape[1])
        forest.set_seed(0)  # the same photos give the same file
        path = folder / str(cls.file)
        for row, vector in enumerate(vectors):
            forest.add_item(row, vector)
            progress(1)
        forest.build(spec.annoy_trees, n_jobs=-1)
        forest.save(str(path))

    @classmethod
    def open(cls, vectors: Vectors, folder: Path, spec: IndexSpec) -> Self:
        forest = _new_forest(vectors.shape[1])
        path = folder / str(cls.file)
        try:
            forest.load(str(path))
        except OSError as error:
            raise ArtifactCorruptError(f"{path} cannot be opened: {error}") from error
        if forest.get_n_items() != len(vectors):
            raise ArtifactCorruptError(
                f"{path} holds {forest.get_n_items()} vectors, and the gallery {len(vectors)}"
            )
        return cls(vectors, forest, spec.annoy_trees, spec.annoy_search_k)

    def candidates(self, query: npt.NDArray[np.float32], k: int, effort: int) -> Rows:
        search_k = self._search_k
        if effort > 1:  # -1 stands for trees * k
            search_k = max(search_k, self._trees * k) * effort
        return np.asarray(self._forest.get_nns_by_vector(query, k, search_k), np.int64)


def _new_forest(dimension: int) -> Any:
    try:
        from annoy import AnnoyIndex as Forest
    except ImportError:
        raise MissingExtraError(
            "the annoy index is not installed: pip install 'deepfood[annoy]' (needs a C++ compiler)"
        ) from None
    return Forest(dimension, "euclidean")
