"""A search with all that can be asked of it: a filter, variety, groups, pages."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from deepfood.errors import QueryError
from deepfood.gallery.cursor import Cursor, asked, page
from deepfood.gallery.filters import Filter
from deepfood.gallery.gallery import Gallery, Hit
from deepfood.gallery.queries import NEAR_DUPLICATE, diversify, group

#: Hits looked at for each one shown, where variety or groups are wanted; and the most at all.
_POOL = 5
_LARGEST_POOL = 2000


@dataclass(frozen=True)
class Found:
    """Hits, the best first, and of each its near-duplicates (empty unless asked for).

    `notes` say what a filter left out; `next` is the cursor of the next page, None on the last.
    """

    hits: list[Hit]
    alike: list[list[Hit]]
    notes: tuple[str, ...]
    next: str | None


def find(
    gallery: Gallery,
    query: npt.NDArray[np.float32],
    k: int,
    *,
    where: Filter | None = None,
    diverse: float = 0.0,
    grouped: bool = False,
    after: str | None = None,
) -> Found:
    """The k photos nearest to a unit vector, float32 [dim], that pass the filter `where`.

    `diverse` of 0 to 1 trades similarity for variety; `grouped` shows near-duplicates as one;
    `after` is the `next` of the page before. Raises QueryError, also for pages of a varied or
    grouped answer, whose order is not that of the scores.
    """
    if k < 1:
        raise QueryError(f"k = {k}: ask for at least 1 photo")
    by_score = not grouped and diverse == 0
    if after is not None and not by_score:
        raise QueryError("a varied or grouped answer has no further pages: ask for a larger k")
    rows = len(gallery.index.vectors)
    key = asked(query, str(where or ""))
    cursor = Cursor.parse(after, key, gallery.manifest.generation) if after else None
    selection = where.select(gallery.attributes, rows) if where else None
    allowed = selection.mask if selection else None
    if cursor is not None and cursor.rows < rows:
        allowed = np.ones(rows, np.bool_) if allowed is None else allowed
        allowed[cursor.rows :] = False
    notes = selection.notes if selection else ()

    def search(count: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
        return gallery.index.search(query, count, allowed)

    if by_score:
        best, scores, more = page(search, k, cursor)
        following = None
        seen = (cursor.seen if cursor else 0) + k
        if more:
            last = Cursor(
                gallery.manifest.generation,
                cursor.rows if cursor else rows,
                float(scores[-1]),
                int(best[-1]),
                seen,
            )
            following = last.text(key)
        hits = _hits(gallery, best, scores)
        return Found(hits, [[] for _ in hits], notes, following)

    pool = k * _POOL
    while True:
        pool = min(pool, max(_LARGEST_POOL, k))
        best, scores = search(pool)
        vectors = gallery.index.vectors.take(best)
        groups = group(vectors, NEAR_DUPLICATE) if grouped else [[i] for i in range(len(best))]
        if (
            len(groups) >= k * (_POOL if diverse else 1)
            or len(best) < pool
            or pool >= _LARGEST_POOL
        ):
            break
        pool *= 4
    firsts = [members[0] for members in groups]
    order = diversify(vectors[firsts], scores[firsts], k, diverse)
    shown = [_hits(gallery, best[groups[i]], scores[groups[i]]) for i in order]
    return Found([one[0] for one in shown], [one[1:] for one in shown], notes, None)


def _hits(
    gallery: Gallery, rows: npt.NDArray[np.int64], scores: npt.NDArray[np.float32]
) -> list[Hit]:
    return [
        Hit(gallery.store.at(int(row)), float(score))
        for row, score in zip(rows, scores, strict=True)
    ]
