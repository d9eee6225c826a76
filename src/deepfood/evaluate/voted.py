"""Judge two Models by votes: are the hits voted right nearer than those voted wrong?"""

import numpy as np

from deepfood.embed import Vectors
from deepfood.evaluate.confidence import group_rows, paired
from deepfood.evaluate.gate import FEWEST, BeforeAfter
from deepfood.evaluate.metrics import Floats
from deepfood.gallery.crowd import CastVotes
from deepfood.gallery.logistic import auroc


def order_by_session(votes: CastVotes, questions: Vectors, photos: Vectors) -> Floats:
    """How well the hits of each session's questions are in order, float64 [sessions].

    The probability that a hit voted right is nearer than one voted wrong, to the same question: the
    AUROC of each question, and the mean over those of a session; NaN for a session without both.
    `questions` and `photos` are unit vectors, float32 [.., dim].
    """
    nearness = np.einsum("vd,vd->v", questions[votes.question], photos[votes.photo])
    sessions = int(votes.session.max(initial=-1)) + 1
    found = np.full(sessions, np.nan)
    for session, own in group_rows(votes.session).items():
        orders = []
        for rows in group_rows(votes.question[own]).values():
            right, near = votes.right[own][rows], nearness[own][rows]
            if right.any() and not right.all():
                orders.append(auroc(near[right], near[~right]))
        if orders:
            found[session] = np.mean(orders)
    return found


def judge_by_votes(before: Floats, after: Floats, *, seed: int) -> tuple[BeforeAfter, int] | None:
    """Compare `order_by_session` of two Models, and how many sessions do so; None where none can.

    Each session counts once. With few sessions there is no interval.
    """
    one = paired(before, after, seed=seed)
    if one is None:
        return None
    sessions = int(np.isfinite(before + after).sum())
    interval = (one.by.low, one.by.high) if sessions >= FEWEST else None
    return BeforeAfter(one.first, one.second, one.by.value, interval), sessions
