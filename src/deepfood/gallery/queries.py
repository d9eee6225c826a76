"""Queries as functions over vectors: several photos, unwanted ones, variety, groups."""

from collections.abc import Callable, Sized
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from deepfood.embed import Vectors
from deepfood.errors import QueryError
from deepfood.gallery.protocol import FindOptions

Order = npt.NDArray[np.int64]
Hits = TypeVar("Hits", bound=Sized)

#: An unwanted photo counts half as much as a wanted one. Rocchio chose a quarter for text; a photo
#: that a user marks as unwanted is stronger evidence than a document that is not relevant.
UNWANTED_WEIGHT = 0.5
#: Cosine similarity from which two photos count as the same picture (docs/filters.md).
NEAR_DUPLICATE = 0.9

#: Hits that are considered for each one shown with variety or groups, and the most in all.
_POOL = 5
_LARGEST_POOL = 2000


def combine(wanted: Vectors, unwanted: Vectors | None = None) -> Vectors:
    """The unit vector, float32 [dim], of a query by several photos, each a unit vector [n, dim].

    The mean of the wanted ones, less UNWANTED_WEIGHT times the mean of the unwanted ones (J. J.
    Rocchio, Relevance feedback in information retrieval, 1971). A single wanted photo gives its own
    vector, bit for bit. Raises QueryError where nothing is wanted, or the photos cancel out.
    """
    if len(wanted) == 0:
        raise QueryError("the query has no photo that is wanted: give one at least", "photo")
    if len(wanted) == 1 and (unwanted is None or len(unwanted) == 0):
        return np.asarray(wanted[0], np.float32)
    query = wanted.mean(axis=0, dtype=np.float64)
    if unwanted is not None and len(unwanted):
        query -= UNWANTED_WEIGHT * unwanted.mean(axis=0, dtype=np.float64)
    length = float(np.linalg.norm(query))
    if length < 1e-6:
        raise QueryError(
            "the photos of the query cancel each other out: change one of them", "photo"
        )
    return np.asarray(query / length, np.float32)


def diversify(vectors: Vectors, scores: Vectors, k: int, diversity: float) -> Order:
    """Which k of n hits to show, and in what order, so that they differ: int64 [min(k, n)].

    Maximal marginal relevance (J. Carbonell and J. Goldstein, SIGIR 1998): the next hit is the one
    with the largest `(1 - diversity) * score - diversity * (similarity to the nearest one chosen)`.
    `vectors` are unit vectors [n, dim], `scores` [n] theirs to the query; 0 keeps the order of the
    scores, 1 counts variety only. Raises QueryError for a `diversity` beyond 0 to 1.
    """
    if not 0 <= diversity <= 1:
        raise QueryError(
            f"diversity {diversity}: give 0 (most similar) to 1 (most varied)", "diversity"
        )
    chosen: list[int] = []
    nearest = np.full(len(scores), -np.inf)
    open_ = np.ones(len(scores), np.bool_)
    for place in range(min(k, len(scores))):
        worth = (1 - diversity) * scores - (diversity * nearest if place else 0.0)
        if place == 0:  # the first is the most similar one, also where only variety counts
            worth = np.asarray(scores, np.float64)
        best = int(np.argmax(np.where(open_, worth, -np.inf)))
        chosen.append(best)
        open_[best] = False
        nearest = np.maximum(nearest, np.vecdot(vectors, vectors[best]))
    return np.array(chosen, np.int64)


def group(vectors: Vectors, threshold: float = NEAR_DUPLICATE) -> list[list[int]]:
    """Group near-duplicates among hits, unit vectors [n, dim] in order; groups of their places.

    A hit joins the first group whose first hit is at least `threshold` similar, else it starts a
    new one. So every hit resembles the first of its group, and no chain of small changes grows.
    """
    groups: list[list[int]] = []
    for place in range(len(vectors)):
        firsts = [members[0] for members in groups]
        alike = np.flatnonzero(np.vecdot(vectors[firsts], vectors[place]) >= threshold)
        if len(alike):
            groups[int(alike[0])].append(place)
        else:
            groups.append([place])
    return groups


def is_varied(options: FindOptions) -> bool:
    """Whether hits are chosen to differ, and are not simply the nearest."""
    return options.get("group_duplicates", False) or options.get("diversity", 0.0) != 0


def check_question(k: int, options: FindOptions) -> None:
    """Raise QueryError for k < 1, and for pages of a varied or grouped answer."""
    if k < 1:
        raise QueryError(f"k = {k}: ask for at least 1 photo", "k")
    if options.get("cursor") is not None and is_varied(options):
        raise QueryError(
            "a varied or grouped answer has no further pages: ask for a larger k", "cursor"
        )


def varied(
    search: Callable[[int], tuple[Hits, Vectors]],
    vectors_of: Callable[[Hits], Vectors],
    k: int,
    options: FindOptions,
) -> tuple[list[list[int]], Hits, Vectors]:
    """Groups of places among the hits, the most similar first; the hits and their scores.

    `search(n)` returns the n nearest, best first, and their scores, float32 [n]; `vectors_of` their
    vectors, float32 [n, dim]. The first of a group represents it. Variety decides which groups are
    shown, not their order.
    """
    diversity, grouped = options.get("diversity", 0.0), options.get("group_duplicates", False)
    pool = k * _POOL
    while True:
        pool = min(pool, max(_LARGEST_POOL, k))
        hits, scores = search(pool)
        vectors = vectors_of(hits)
        groups = group(vectors, NEAR_DUPLICATE) if grouped else [[i] for i in range(len(hits))]
        enough = len(groups) >= k * (_POOL if diversity else 1)
        if enough or len(hits) < pool or pool >= _LARGEST_POOL:
            break
        pool *= 4
    firsts = [members[0] for members in groups]
    chosen = diversify(vectors[firsts], scores[firsts], k, diversity)
    return [groups[i] for i in np.sort(chosen)], hits, scores
