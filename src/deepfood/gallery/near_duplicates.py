"""Near-duplicates in a gallery: the same picture, scaled, cropped or saved again."""

from collections import defaultdict

import numpy as np

from deepfood.errors import QueryError
from deepfood.gallery.photo import Photo
from deepfood.gallery.protocol import Compared, EveryPhoto
from deepfood.gallery.queries import group
from deepfood.index.contract import Progress
from deepfood.index.vectors import Rows

#: Up to this many photos every pair is compared; beyond, each photo with its nearest ones.
EXACT_UP_TO = 50_000
_BLOCK_ROWS = 1024
#: Neighbours considered in a large gallery; a photo with more copies is joined through some.
_NEIGHBOURS = 16


def duplicate_groups(
    index: Compared, every: EveryPhoto, threshold: float, progress: Progress
) -> list[list[tuple[Photo, float]]]:
    """Groups of near-duplicates among all photos of a gallery; `index` has their vectors.

    The largest photo of a group comes first; each other has its cosine similarity to it, at least
    `threshold`: no chain of small changes makes a group. Raises what `near_duplicates` raises.
    """
    photos, vectors, rows = every
    by_row = dict(zip(rows.tolist(), photos, strict=True))
    groups = []
    for members in near_duplicates(index, rows, threshold, progress):
        found = sorted(
            ((by_row[row], row) for row in members.tolist()),
            key=lambda one: (-one[0].width * one[0].height, one[0].file),
        )
        taken = vectors.take(np.array([row for _, row in found], np.int64))
        taken /= np.linalg.norm(taken, axis=1, keepdims=True)
        for places in group(taken, threshold):
            scores = np.minimum(np.vecdot(taken[places], taken[places[0]]), 1)
            if len(places) > 1:
                groups.append(
                    [(found[at][0], float(s)) for at, s in zip(places, scores, strict=True)]
                )
    return groups


def near_duplicates(
    index: Compared, rows: Rows, threshold: float, progress: Progress
) -> list[Rows]:
    """Groups of rows, int64, that a chain of pairs as similar as `threshold` joins.

    Groups of two or more, by their first row; `rows` are those that hold photos. Exact up to
    EXACT_UP_TO photos, in memory for a few blocks of vectors; beyond, as good as the index's
    recall. Calls `progress(m)` after every m photos. Raises QueryError for a `threshold` beyond -1
    to 1.
    """
    if not -1 <= threshold <= 1:
        raise QueryError(f"threshold {threshold}: a cosine similarity is -1 to 1")
    parents = list(range(len(rows)))
    if len(rows) <= EXACT_UP_TO:
        _join_all_pairs(index, rows, threshold, parents, progress)
    else:
        _join_neighbours(index, rows, threshold, parents, progress)
    groups: dict[int, list[int]] = defaultdict(list)
    for place in range(len(rows)):
        groups[_root(parents, place)].append(place)
    return [rows[members] for members in groups.values() if len(members) > 1]


def _join_all_pairs(
    index: Compared, rows: Rows, threshold: float, parents: list[int], progress: Progress
) -> None:
    for start in range(0, len(rows), _BLOCK_ROWS):
        block = index.vectors.take(rows[start : start + _BLOCK_ROWS])
        for other in range(start, len(rows), _BLOCK_ROWS):
            others = index.vectors.take(rows[other : other + _BLOCK_ROWS])
            alike = block @ others.T >= threshold
            # Joined photos are skipped, as a folder of copies of one photo would take hours.
            roots = np.array([_root(parents, other + j) for j in range(len(others))])
            for i in np.flatnonzero(alike.any(axis=1)):
                own = _root(parents, start + int(i))
                for j in np.flatnonzero(alike[i] & (roots != own)):
                    _join(parents, start + int(i), other + int(j))
        progress(len(block))


def _join_neighbours(
    index: Compared, rows: Rows, threshold: float, parents: list[int], progress: Progress
) -> None:
    allowed = np.zeros(len(index.vectors), np.bool_)
    allowed[rows] = True
    for place, row in enumerate(rows):
        query = index.vectors.take(rows[place : place + 1])[0]
        query /= np.linalg.norm(query)
        found, scores = index.search(query, _NEIGHBOURS, None if allowed.all() else allowed)
        for other in np.searchsorted(rows, found[(scores >= threshold) & (found != row)]):
            _join(parents, place, int(other))
        progress(1)


def _root(parents: list[int], place: int) -> int:
    while parents[place] != place:
        parents[place] = parents[parents[place]]
        place = parents[place]
    return place


def _join(parents: list[int], one: int, other: int) -> None:
    one, other = sorted((_root(parents, one), _root(parents, other)))
    parents[other] = one
