"""The contract of every index, asserted for all of them by `tests/index/test_contract.py`.

An index proposes candidate rows; `Index.search` scores them by their exact cosine similarity from
the vectors themselves. So every kind gives the same scores and the same order for the same rows,
and they differ in one thing only: which rows they find (recall) and how fast.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field

from deepfood.errors import QueryError

Vectors = npt.NDArray[np.float32]
Rows = npt.NDArray[np.int64]
Kind = Literal["exact", "annoy", "hnsw"]
Progress = Callable[[int], object]


#: Below this many vectors an exact scan answers fast enough that an index does not pay.
EXACT_BELOW = 20_000


class IndexSpec(BaseModel):
    """Which index, and every number that shapes it; kept in the gallery's manifest."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Kind | Literal["auto"] = "auto"
    annoy_trees: Annotated[int, Field(ge=1)] = 5
    annoy_search_k: Annotated[int, Field(ge=-1)] = -1
    hnsw_m: Annotated[int, Field(ge=2)] = 16
    hnsw_ef_construction: Annotated[int, Field(ge=1)] = 80
    hnsw_ef_search: Annotated[int, Field(ge=1)] = 200

    def for_count(self, vectors: int) -> "IndexSpec":
        """With `auto` replaced: the fastest kind that keeps recall@9 at 0.99 for so many vectors.

        The measurements behind it are in docs/performance.md.
        """
        if self.kind != "auto":
            return self
        return self.model_copy(update={"kind": "exact" if vectors < EXACT_BELOW else "hnsw"})


class Index(ABC):
    """One way to find near vectors. `search` may be called from many threads at once."""

    kind: ClassVar[Kind]
    #: Name of the index's file, or None where the vectors are all it needs.
    file: ClassVar[str | None] = None

    def __init__(self, vectors: Vectors) -> None:
        self.vectors = vectors

    @classmethod
    @abstractmethod
    def build(cls, vectors: Vectors, folder: Path, spec: IndexSpec, progress: Progress) -> None:
        """Write the index of unit vectors, float32 [n, dim], as `folder / cls.file`.

        Calls `progress(m)` after every m vectors.
        """

    @classmethod
    @abstractmethod
    def open(cls, vectors: Vectors, folder: Path, spec: IndexSpec) -> "Index":
        """Open what `build` wrote, by memory mapping where the library can."""

    @abstractmethod
    def candidates(self, query: npt.NDArray[np.float32], k: int, effort: int) -> Rows:
        """Rows that may be nearest, distinct, any order; fewer than k only if it found no more.

        `effort` is 1 for the usual search, and larger to look further.
        """

    def search(self, query: npt.NDArray[np.float32], k: int) -> tuple[Rows, Vectors]:
        """The k nearest rows (all, where there are fewer) and their cosine similarities.

        `query` is a unit vector, float32 [dim]. Returns int64 [min(k, n)] and float32 of the same
        length in -1 to 1, the most similar first, equal ones by row. Raises QueryError for k < 1 or
        a query of the wrong shape or not finite.
        """
        if k < 1:
            raise QueryError(f"k = {k}: ask for at least 1 photo")
        count, dimension = self.vectors.shape
        if query.shape != (dimension,) or not np.isfinite(query).all():
            raise QueryError(
                f"the query has shape {query.shape}: expected {dimension} finite numbers"
            )
        k = min(k, count)
        rows = self._enough_candidates(query, k)
        scores = np.clip(np.vecdot(self.vectors[rows], query), -1, 1)
        best = np.lexsort((rows, -scores))[:k]
        return rows[best], scores[best]

    def _enough_candidates(self, query: npt.NDArray[np.float32], k: int) -> Rows:
        """At least k rows: look further while the index finds too few, at last everywhere."""
        effort = 1
        while effort <= 64:
            rows = self.candidates(query, k, effort)
            if len(rows) >= k:
                return rows
            effort *= 8
        return np.arange(len(self.vectors), dtype=np.int64)
