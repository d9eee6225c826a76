"""Variety and groups among the hits of a search, wherever the gallery is."""

from collections.abc import Callable, Sized
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from deepfood.errors import QueryError
from deepfood.gallery.queries import NEAR_DUPLICATE, diversify, group

Vectors = npt.NDArray[np.float32]
Hits = TypeVar("Hits", bound=Sized)

#: Hits looked at for each one shown, where variety or groups are wanted; and the most at all.
_POOL = 5
_LARGEST_POOL = 2000


def check_question(k: int, cursor: str | None, diversity: float, group_duplicates: bool) -> None:
    """Raise QueryError for k < 1, and for a further page of a choice that is not the nearest."""
    if k < 1:
        raise QueryError(f"k = {k}: ask for at least 1 photo")
    if cursor is not None and (group_duplicates or diversity != 0):
        raise QueryError("a varied or grouped answer has no further pages: ask for a larger k")


def varied(
    search: Callable[[int], tuple[Hits, Vectors]],
    vectors_of: Callable[[Hits], Vectors],
    k: int,
    diversity: float,
    group_duplicates: bool,
) -> tuple[list[list[int]], Hits, Vectors]:
    """Groups of places among the hits, the most similar first; the hits, and their scores.

    `search(n)` gives the n nearest, the best first, and their scores, float32 [n]; `vectors_of`
    their vectors, float32 [n, dim]. The first of a group is shown for it. Variety decides which are
    shown, not in what order.
    """
    pool = k * _POOL
    while True:
        pool = min(pool, max(_LARGEST_POOL, k))
        hits, scores = search(pool)
        vectors = vectors_of(hits)
        groups = (
            group(vectors, NEAR_DUPLICATE) if group_duplicates else [[i] for i in range(len(hits))]
        )
        enough = len(groups) >= k * (_POOL if diversity else 1)
        if enough or len(hits) < pool or pool >= _LARGEST_POOL:
            break
        pool *= 4
    firsts = [members[0] for members in groups]
    chosen = diversify(vectors[firsts], scores[firsts], k, diversity)
    return [groups[i] for i in np.sort(chosen)], hits, scores
