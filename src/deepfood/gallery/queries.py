"""Queries as functions over vectors: several examples, unwanted ones, variety, groups."""

from collections.abc import Callable, Iterable, Sequence, Sized
from typing import Any, TypeVar, cast

import numpy as np
import numpy.typing as npt

from deepfood.embed import Vector, Vectors
from deepfood.errors import QueryError
from deepfood.gallery.averaging import Averaging
from deepfood.gallery.notes import Note, end_note
from deepfood.gallery.protocol import FindOptions, SearchedManifest
from deepfood.index import Mask

Order = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Hits = TypeVar("Hits", bound=Sized)

#: A vector, float32 [dim] of length 1, and its weight.
Example = tuple[Vector, float]

#: What is unwanted counts half as much as what is wanted. Rocchio chose a quarter for text; a photo
#: that a user marks as unwanted is stronger evidence than a document that is not relevant.
UNWANTED_WEIGHT = 0.5
#: Cosine similarity from which two photos count as the same picture (docs/filters.md).
NEAR_DUPLICATE = 0.9

#: Hits that are considered for each one shown with variety or groups, and the most in all.
_POOL = 5
_LARGEST_POOL = 2000
#: Hits that are looked at first where there are several queries.
_FIRST_POOL = 200


def combine(wanted: Sequence[Example], unwanted: Iterable[Sequence[Example]] = ()) -> Vectors:
    """The query by several examples, as vectors, float32 [dim] or [queries, dim].

    What is wanted is one vector, the mean by weights; a single example is its own, bit for bit.
    Less UNWANTED_WEIGHT times an unwanted example and its weight, this is a query (J. J. Rocchio,
    Relevance feedback in information retrieval, 1971). Each unwanted example gives one, and a photo
    is as similar as to the query to which it is least similar (`similarity`): the mean of unwanted
    examples that contradict each other would be like none of them.

    Similarities to the unwanted examples of a group are compared as they are, and those of two
    groups, such as photos and words, are not: the longest query of each group has length 1. Raises
    QueryError where nothing is wanted, or the examples cancel out.
    """
    if not wanted:
        raise QueryError("the query has no photo that is wanted: give one at least", "photo")
    groups = [some for some in unwanted if some]
    if len(wanted) == 1 and not groups:
        return np.asarray(wanted[0][0], np.float32)
    vectors = np.array([vector for vector, _ in wanted], np.float64)
    weights = np.array([weight for _, weight in wanted], np.float64)
    mean = np.average(vectors, axis=0, weights=weights / weights.max())
    if not groups:
        alone: Vectors = _scaled([mean], [1.0])[0]
        return alone
    queries = []
    for some in groups:
        largest = [max(1.0, weight) for _, weight in some]  # no number becomes too large
        less = [
            mean / scale - UNWANTED_WEIGHT * (weight / scale) * vector
            for (vector, weight), scale in zip(some, largest, strict=True)
        ]
        queries.append(_scaled(less, largest))
    stacked: Vectors = np.concatenate(queries)
    return stacked[0] if len(stacked) == 1 else stacked


def _scaled(queries: Sequence[Floats], scales: Sequence[float]) -> Vectors:
    """The queries times their scales, all divided by the same number: the longest has length 1."""
    lengths = np.linalg.norm(queries, axis=1)
    if lengths.min() < 1e-6:
        raise QueryError(
            "the photos of the query cancel each other out: change one of them", "photo"
        )
    shares = np.array(scales) / max(scales)
    scaled = np.array(queries) * shares[:, np.newaxis]
    return np.asarray(scaled / (lengths * shares).max(), np.float32)


def similarity(query: Vectors, vectors: Vectors) -> Vectors:
    """The similarity, float32 [n], -1 to 1, of unit vectors [n, dim] to a query of `combine`.

    It is the cosine; where there are several queries, the least of the products with them.
    """
    each = [np.vecdot(vectors, one) for one in np.atleast_2d(query)]
    return np.asarray(np.clip(np.min(each, axis=0), -1, 1), np.float32)


def best_of_all(
    search: Callable[[Vectors, int], tuple[Hits, Vectors]],
    vectors_of: Callable[[Hits], Vectors],
    query: Vectors,
    count: int,
    averaging: Averaging | None = None,
) -> tuple[Hits, Vectors]:
    """Hits among which the `count` best for a query of `combine` are, and their similarity.

    `search(vector, n)` returns the n nearest to one vector, best first, and their scores;
    `vectors_of` the vectors of hits, float32 [n, dim]. For several queries, the photos nearest to
    their mean are looked at until no further photo can be among the best: none is more similar to
    all queries than to their mean. At most _LARGEST_POOL are, or `count`. The hits for one query
    may be averaged; they are not in the order of the scores then.
    """
    if averaging is not None:
        candidates = averaging.candidates
        hits, scores = search(query, max(count, candidates))
        vectors = vectors_of(cast("Any", hits)[:candidates])
        if len(vectors) < min(candidates, len(scores)):  # a photo was removed in between
            return hits, scores
        means = averaging.averaged(scores[:candidates], vectors)
        return hits, np.concatenate([means, scores[candidates:]])
    if query.ndim == 1:
        return search(query, count)
    mean = query.mean(axis=0, dtype=np.float64)
    length = float(np.linalg.norm(mean))
    if length < 1e-6:
        mean, length = query[0].astype(np.float64), 1.0
    towards = np.asarray(mean / length, np.float32)
    pool, largest = max(count, _FIRST_POOL), max(count, _LARGEST_POOL)
    while True:
        hits, scores = search(towards, pool)
        alike = similarity(query, vectors_of(hits))
        if len(hits) < pool or pool >= largest:
            return hits, alike
        worst = np.partition(alike, -count)[-count]
        if worst >= length * float(scores[-1]):
            return hits, alike
        pool = min(4 * pool, largest)


def averaging_of(
    manifest: SearchedManifest, query: Vectors, options: FindOptions
) -> Averaging | None:
    """How the answer is averaged; None unless the gallery is tuned, and the query one vector."""
    if manifest.tuned is None or query.ndim > 1 or options.get("untuned", False):
        return None
    return manifest.tuned.averaging


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


def notes_of_end(
    options: FindOptions, considered: int, total: int, *, more: bool
) -> tuple[Note, ...]:
    """A note where pages of near-duplicates end before all photos have been shown."""
    is_paged = options.get("group_duplicates", False) and not options.get("diversity", 0.0)
    return (end_note(considered),) if is_paged and not more and considered < total else ()


def check_question(k: int, options: FindOptions) -> None:
    """Raise QueryError for k < 1, and for pages of a varied answer."""
    if k < 1:
        raise QueryError(f"k = {k}: ask for at least 1 photo", "k")
    if options.get("cursor") is not None and options.get("diversity", 0.0):
        raise QueryError("a varied answer has no further pages: ask for a larger k", "cursor")


def varied(
    search: Callable[[int], tuple[Hits, Vectors]],
    vectors_of: Callable[[Hits], Vectors],
    k: int,
    options: FindOptions,
    seen: int = 0,
    is_later: Callable[[Hits, Vectors], Mask] | None = None,
) -> tuple[list[list[int]], Hits, Vectors, bool]:
    """Groups of places among the hits, the most similar first; the hits and their scores.

    `search(n)` returns the n nearest, best first, and their scores, float32 [n]; `vectors_of` their
    vectors, float32 [n, dim]. The first of a group represents it. Variety decides which groups are
    shown, not their order. The last value is whether more groups follow: on the next page are those
    whose first hit `is_later`, a mask of the hits, after `seen` groups. Groups beyond the nearest
    2,000 hits are on no page, which `notes_of_end` says.
    """
    diversity, grouped = options.get("diversity", 0.0), options.get("group_duplicates", False)
    pool = (seen + k) * _POOL
    while True:
        pool = min(pool, max(_LARGEST_POOL, k))
        hits, scores = search(pool)
        vectors = vectors_of(hits)
        groups = group(vectors, NEAR_DUPLICATE) if grouped else [[i] for i in range(len(hits))]
        if is_later is not None:
            later = is_later(hits, scores)
            groups = [members for members in groups if later[members[0]]]
        enough = len(groups) >= k * _POOL if diversity else len(groups) > k
        if enough or len(hits) < pool or pool >= _LARGEST_POOL:
            break
        pool *= 4
    firsts = [members[0] for members in groups]
    chosen = diversify(vectors[firsts], scores[firsts], k, diversity)
    more = grouped and not diversity and len(groups) > k
    return [groups[i] for i in np.sort(chosen)], hits, scores, more
