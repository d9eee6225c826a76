"""The contract of every index, asserted for all of them by `tests/index/test_contract.py`.

An index proposes rows; `Index.search` scores them from the stored vectors. So every kind gives the
same scores and the same order for the same rows, and they differ in one thing only: which rows they
find (recall) and how fast. Rows that it does not cover yet, the tail, are always scanned.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, ClassVar, Literal, Self

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field

from deepfood.config import Settings
from deepfood.errors import QueryError
from deepfood.index.vectors import Rows, VectorFile, Vectors

Mask = npt.NDArray[np.bool_]
Kind = Literal["exact", "annoy", "hnsw"]
Progress = Callable[[int], object]

#: Below this many vectors an exact scan answers fast enough that an index does not pay.
EXACT_BELOW = 20_000

#: Rows that are scored in the time in which an index finds one more candidate, and the number of
#: candidates that it looks at in any case.
_ROWS_PER_CANDIDATE, _LEAST_CANDIDATES = 16, 200

#: All rows are scored where more than this share of them is allowed.
_MOST = 0.3

#: So many rows are scored before the best of them are kept, more for a large k.
_SCANNED = 16_384

_NO_ROWS, _NO_SCORES = np.empty(0, np.int64), np.empty(0, np.float32)


#: The defaults of the settings by name, so that each is written in one place.
_DEFAULT = {name: field.default for name, field in Settings.model_fields.items()}


class IndexSpec(BaseModel):
    """Which index, and every number that shapes it; kept in the gallery's manifest."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Kind | Literal["auto"] = "auto"
    annoy_trees: Annotated[int, Field(ge=1)] = _DEFAULT["annoy_trees"]
    annoy_search_k: Annotated[int, Field(ge=-1)] = _DEFAULT["annoy_search_k"]
    hnsw_m: Annotated[int, Field(ge=2)] = _DEFAULT["hnsw_m"]
    hnsw_ef_construction: Annotated[int, Field(ge=1)] = _DEFAULT["hnsw_ef_construction"]
    hnsw_ef_search: Annotated[int, Field(ge=1)] = _DEFAULT["hnsw_ef_search"]

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """The spec in the settings."""
        return cls(
            kind=settings.index,
            annoy_trees=settings.annoy_trees,
            annoy_search_k=settings.annoy_search_k,
            hnsw_m=settings.hnsw_m,
            hnsw_ef_construction=settings.hnsw_ef_construction,
            hnsw_ef_search=settings.hnsw_ef_search,
        )

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

    def nearest(self, query: Vectors, count: int, allowed: Mask | None) -> tuple[Rows, Vectors]:
        """Those of about `count` candidates that are allowed, scored and ordered by `search`."""
        rows = self.candidates(query, count)
        if allowed is not None:
            rows = rows[allowed[rows]]
        return best(count, rows, self.vectors.scores_of(rows, query))

    def search(self, query: Vectors, k: int, allowed: Mask | None = None) -> tuple[Rows, Vectors]:
        """The k nearest of the allowed rows (all, where there are fewer) and their similarities.

        `query` is a unit vector, float32 [dim], and `allowed` bool [n]; None allows every row.
        Returns int64 [min(k, allowed)] and float32 of the same length in -1 to 1, the most similar
        first, equal ones by row. Raises QueryError for k < 1, or a query or `allowed` of the wrong
        shape, or a query that is not finite.
        """
        count, dimension = len(self.vectors), self.vectors.dimension
        if k < 1:
            raise QueryError(f"k = {k}: ask for at least 1 photo", "k")
        query = np.ascontiguousarray(query, np.float32)
        # The square is infinite or NaN where a number is, and is found in half the time.
        if query.shape != (dimension,) or not math.isfinite(query.dot(query)):
            raise QueryError(
                f"the query has shape {query.shape}: expected {dimension} finite numbers"
            )
        if allowed is not None:
            if allowed.shape != (count,):
                raise QueryError(
                    f"allowed has shape {allowed.shape}: expected {count} truth values"
                )
            matching = int(np.count_nonzero(allowed))
            if matching == count:
                allowed = None
            count = matching
        k = min(k, count)
        if k == 0:
            return _NO_ROWS, _NO_SCORES
        found = self._search_index(query, k, allowed, count)
        if found is None:
            return self._scan(query, k, allowed, 0)
        if self.covered == len(self.vectors):
            return found
        return _best_of_both(k, found, self._scan(query, k, allowed, self.covered))

    def _search_index(
        self, query: Vectors, k: int, allowed: Mask | None, count: int
    ) -> tuple[Rows, Vectors] | None:
        """The k nearest of `count` allowed rows, by the index; None where scoring all is faster.

        The index ignores `allowed`, so it is asked for more than k rows: enough to hold k allowed
        ones if the filter is independent of the query. If it is not (pizzas near a photo of sushi)
        and too few come, it is asked for four times as many.
        """
        wanted = k if allowed is None else self._wanted_for(k, count)
        while not self._scan_is_faster(wanted, count):
            rows, scores = self.nearest(query, wanted, allowed)
            if len(rows) >= k:
                return rows[:k], scores[:k]
            wanted *= 4
        return None

    def _wanted_for(self, k: int, count: int) -> int:
        """How many of the nearest rows have k allowed ones among them, if `count` are allowed.

        This holds for a filter that is independent of the query. Where it is not (pizzas near a
        photo of sushi), there are fewer.
        """
        rarity = len(self.vectors) / max(count, 1)
        return math.ceil((k + 3 * math.sqrt(k)) * rarity)

    def _scan_is_faster(self, wanted: int, count: int) -> bool:
        """Whether scoring `count` rows takes no longer than finding `wanted` candidates."""
        candidates = max(_LEAST_CANDIDATES, wanted)
        return candidates * _ROWS_PER_CANDIDATE >= min(count, self.covered)

    def _scan(
        self, query: Vectors, k: int, allowed: Mask | None, start: int
    ) -> tuple[Rows, Vectors]:
        """The k nearest of the allowed rows from `start` on.

        In parts, so that no array is large: the system maps and clears new memory for a large one,
        in each search.
        """
        step, found = max(_SCANNED, 4 * k), (_NO_ROWS, _NO_SCORES)
        for begin in range(start, len(self.vectors), step):
            rows, scores = self._scores_of_part(query, allowed, begin, begin + step)
            if len(found[0]) == k:  # of equal ones, the lower row is there already
                better = scores > found[1][-1]
                rows, scores = rows[better], scores[better]
            found = _best_of_both(k, found, (rows, scores))
        return found

    def _scores_of_part(
        self, query: Vectors, allowed: Mask | None, start: int, stop: int
    ) -> tuple[Rows, Vectors]:
        """The allowed rows from `start` to `stop`, and their similarities."""
        stop = min(stop, len(self.vectors))
        if allowed is None:
            return np.arange(start, stop), self.vectors.scores(query, start, stop)
        rows = np.flatnonzero(allowed[start:stop]) + start
        if len(rows) > _MOST * (stop - start):  # quicker than picking them out
            return rows, self.vectors.scores(query, start, stop)[rows - start]
        return rows, self.vectors.scores_of(rows, query)


def _best_of_both(
    k: int, one: tuple[Rows, Vectors], other: tuple[Rows, Vectors]
) -> tuple[Rows, Vectors]:
    return best(k, np.concatenate([one[0], other[0]]), np.concatenate([one[1], other[1]]))


def best(k: int, rows: Rows, scores: Vectors) -> tuple[Rows, Vectors]:
    """The k with the highest scores, the highest first, equal ones by row."""
    if 0 < k < len(rows) / 4:  # where it takes less time than sorting them all
        # Everything as good as the k-th best, so that ties are broken by row and not by chance.
        some = scores >= np.partition(scores, -k)[-k]
        rows, scores = rows[some], scores[some]
    best = np.lexsort((rows, -scores))[:k]
    return rows[best], scores[best]
