"""Variety and groups among the hits of an engine, as `deepfood.gallery.find` has them locally."""

import numpy as np
import numpy.typing as npt

from deepfood.gallery.entry import Hit
from deepfood.gallery.queries import NEAR_DUPLICATE, diversify, group
from deepfood.milvus.rows import Rows

Vectors = npt.NDArray[np.float32]

#: Hits looked at for each one shown, and the most at all.
_POOL, _LARGEST_POOL = 5, 2000


def varied(
    rows: Rows, query: Vectors, k: int, where: str, diverse: float, grouped: bool
) -> list[list[Hit]]:
    """Groups of hits in the order to show them; the first of each is shown for it."""
    pool = k * _POOL
    while True:
        pool = min(pool, max(_LARGEST_POOL, k))
        hits = rows.hits(query, pool, where)
        vectors = rows.vectors([hit.photo.id for hit in hits], len(query))
        scores = np.array([hit.score for hit in hits], np.float32)
        groups = group(vectors, NEAR_DUPLICATE) if grouped else [[i] for i in range(len(hits))]
        enough = len(groups) >= k * (_POOL if diverse else 1)
        if enough or len(hits) < pool or pool >= _LARGEST_POOL:
            break
        pool *= 4
    firsts = [members[0] for members in groups]
    order = diversify(vectors[firsts], scores[firsts], k, diverse)
    return [[hits[place] for place in groups[i]] for i in order]
