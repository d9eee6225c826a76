"""The contract of every index, asserted for all of them by `tests/index/test_contract.py`.

An index proposes rows; `Index.search` scores them from the stored vectors. So every kind gives the
same scores and the same order for the same rows, and they differ in one thing only: which rows they
find (recall) and how fast. Rows that it does not cover yet, the tail, are always scanned.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, ClassVar, Literal, Self

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field

from deepfood.errors import QueryError
from deepfood.index.vectors import Rows, VectorFile, Vectors

Mask = npt.NDArray[np.bool_]
Kind = Literal["exact", "annoy", "hnsw"]
Progress = Callable[[int], object]

#: Below this many vectors an exact scan answers fast enough that an index does not pay.
EXACT_BELOW = 20_000

#: So many rows are scored in the time that an index takes to find one candidate more.
_ROWS_PER_CANDIDATE = 16


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
    #: How the index's file is named, or None where the vectors are all it needs.
    suffix: ClassVar[str | None] = None

    def __init__(self, vectors: VectorFile, covered: int) -> None:
        self.vectors = vectors
        self.covered = covered

    @classmethod
    @abstractmethod
    def build(cls, vectors: VectorFile, path: Path, spec: IndexSpec, progress: Progress) -> None:
        """Write the index of all of `vectors` as the file `path`.

        Calls `progress(m)` after every m vectors. The same vectors give the same file.
        """

    @classmethod
    def grow(
        cls, old: Path, vectors: VectorFile, path: Path, spec: IndexSpec, progress: Progress
    ) -> None:
        """Write the index of all of `vectors` as `path`, given that of the first of them, `old`.

        Where a kind cannot add to what it has built, it builds again. `old` stays as it is.
        """
        cls.build(vectors, path, spec, progress)

    @classmethod
    @abstractmethod
    def open(cls, vectors: VectorFile, path: Path, spec: IndexSpec, covered: int) -> Self:
        """Open what `build` wrote for the first `covered` rows, by memory mapping.

        Raises ArtifactCorruptError where the file is damaged or of other vectors.
        """

    @abstractmethod
    def extended(self, vectors: VectorFile) -> Self:
        """The same index over a longer file of vectors: it has a longer tail."""

    @abstractmethod
    def candidates(self, query: Vectors, count: int) -> Rows:
        """About `count` of the rows below `covered` that are nearest to `query`, distinct."""

    def search(
        self, query: Vectors, k: int, allowed: Mask | None = None
    ) -> tuple[Rows, Vectors]:
        """The k nearest of the allowed rows (all, where there are fewer) and their similarities.

        `query` is a unit vector, float32 [dim], and `allowed` bool [n]; None allows every row.
        Returns int64 [min(k, allowed)] and float32 of the same length in -1 to 1, the most similar
        first, equal ones by row. Raises QueryError for k < 1, or a query or `allowed` of the wrong
        shape, or a query that is not finite.
        """
