"""The nearest other photos of each photo of a gallery, in bounded memory."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from deepfood.embed import Vector, Vectors
from deepfood.gallery.protocol import Compared
from deepfood.index import Mask
from deepfood.index.contract import Progress
from deepfood.index.vectors import Rows

#: Up to this many photos, each is compared with all others at once; beyond, the index is asked.
EXACT_UP_TO = 20_000
_BLOCK_ROWS = 512
_CHUNK_ROWS = 256


@dataclass(frozen=True)
class Neighbours:
    """Of each photo, the places of its nearest others, int64 [n, k], and the cosine similarities.

    The most similar come first; -1 and -inf where there are fewer.
    """

    places: npt.NDArray[np.int64]
    scores: Vectors

    @classmethod
    def none(cls, count: int, k: int) -> Self:
        return cls(np.full((count, k), -1), np.full((count, k), -np.inf, np.float32))


def nearest_others(
    index: Compared,
    rows: Rows,
    k: int,
    among: Mask,
    progress: Progress,
    *,
    threads: int = 1,
) -> tuple[Neighbours, Neighbours]:
    """The `k` nearest others of each photo: of all photos, and of those `among`, bool [n].

    `rows`, int64 [n], are the rows of the photos in `index`; a place is a position in them. Exact
    up to EXACT_UP_TO photos, whose vectors are held in memory; beyond, as good as the index's
    recall. Calls `progress(m)` after every m photos, and stops where that raises.
    """
    of_all, of_some = Neighbours.none(len(rows), k), Neighbours.none(len(rows), k)
    if not len(rows):
        return of_all, of_some
    if len(rows) <= EXACT_UP_TO:
        _compare_all(index, rows, of_all, of_some, among, progress)
    else:
        _ask_index(index, rows, of_all, of_some, among, progress, threads)
    return of_all, of_all if among.all() else of_some


def _compare_all(
    index: Compared,
    rows: Rows,
    of_all: Neighbours,
    of_some: Neighbours,
    among: Mask,
    progress: Progress,
) -> None:
    vectors = unit(index.vectors.take(rows))
    some = np.flatnonzero(among)
    for start in range(0, len(rows), _BLOCK_ROWS):
        block = slice(start, start + _BLOCK_ROWS)
        scores = vectors[block] @ vectors.T
        own = np.arange(len(scores))
        scores[own, start + own] = -np.inf
        _keep_best(scores, np.arange(len(rows)), of_all, block)
        if 0 < len(some) < len(rows):
            _keep_best(scores[:, some], some, of_some, block)
        progress(len(scores))


def _keep_best(scores: Vectors, places: Rows, kept: Neighbours, block: slice) -> None:
    """Keep the best of each row of `scores`, [b, m], which are those of the photos at `places`."""
    k = min(kept.places.shape[1], len(places))
    top = np.argpartition(-scores, k - 1, axis=1)[:, :k]
    top.sort(axis=1)  # so that of equal ones the first comes first
    best = np.take_along_axis(scores, top, axis=1)
    order = np.argsort(-best, axis=1, kind="stable")
    best = np.take_along_axis(best, order, axis=1)
    found = places[np.take_along_axis(top, order, axis=1)]
    kept.scores[block, :k] = best
    kept.places[block, :k] = np.where(np.isfinite(best), found, -1)


def _ask_index(
    index: Compared,
    rows: Rows,
    of_all: Neighbours,
    of_some: Neighbours,
    among: Mask,
    progress: Progress,
    threads: int,
) -> None:
    place_of = np.full(len(index.vectors), -1)
    place_of[rows] = np.arange(len(rows))
    there = place_of >= 0
    wanted: list[tuple[Neighbours, Mask | None]] = [(of_all, None if there.all() else there)]
    if among.any() and not among.all():
        labelled = np.zeros(len(place_of), np.bool_)
        labelled[rows[among]] = True
        wanted.append((of_some, labelled))

    def ask(start: int) -> int:
        chunk = rows[start : start + _CHUNK_ROWS]
        for place, (row, vector) in enumerate(zip(chunk, _vectors(index, chunk), strict=True)):
            for kept, allowed in wanted:
                k = kept.places.shape[1]
                found, scores = index.search(vector, k + 1, allowed)
                others = found != row
                places, scores = place_of[found[others]][:k], scores[others][:k]
                kept.places[start + place, : len(places)] = places
                kept.scores[start + place, : len(places)] = scores
        return len(chunk)

    for done in _in_threads(ask, range(0, len(rows), _CHUNK_ROWS), threads):
        progress(done)


def _in_threads(work: Callable[[int], int], starts: range, threads: int) -> Iterator[int]:
    with ThreadPoolExecutor(threads, "neighbours") as pool:
        try:
            yield from pool.map(work, starts)
        finally:
            pool.shutdown(cancel_futures=True)


def _vectors(index: Compared, rows: Rows) -> Vector:
    return unit(index.vectors.take(rows))


def unit(vectors: Vectors) -> Vectors:
    """Of length 1: what is kept as i8 is a little longer or shorter."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.maximum(lengths, np.finfo(np.float32).tiny), np.float32)
