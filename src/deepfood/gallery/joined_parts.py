"""Photos by themselves and by their parts in one answer: a photo is as similar as the best."""

from collections.abc import Callable

import numpy as np

from deepfood.gallery.cursor import Scores
from deepfood.index.contract import best
from deepfood.index.vectors import Rows

#: By how much a part must be nearer than the whole to a vector that was in half precision.
ROUNDED = 2e-3

#: The photos that the nearest parts are on, best first, -1 for one that does not count, and the
#: similarities of these parts; fewer than asked for where there are no more.
NearestParts = Callable[[int], tuple[Rows, Scores]]


def joined(
    photos: Rows, scores: Scores, count: int, nearest_parts: NearestParts
) -> tuple[Rows, Scores]:
    """The `count` best photos, by themselves or by one of their parts, best first.

    `photos` and `scores` are the `count` best by themselves, all where there are fewer.
    """
    least = scores[-1] if len(photos) == count else -np.inf
    most = count
    while True:  # twice as many, until no further part can bring a photo among the best
        owners, of_parts = nearest_parts(most)
        known = owners >= 0
        is_last = len(owners) < most or of_parts[-1] < least
        if is_last or len(np.unique(owners[known])) >= count:
            break
        most *= 2
    photos = np.concatenate([photos, owners[known]])
    scores = np.concatenate([scores, of_parts[known]])
    order = np.argsort(-scores, kind="stable")
    photos, first = np.unique(photos[order], return_index=True)
    return best(count, photos, scores[order][first])
