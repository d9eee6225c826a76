"""The weighted vote of the neighbours: a photo's label, and the share of the vote that it got.

As in Wu et al., "Unsupervised Feature Learning via Non-Parametric Instance Discrimination" (2018).
"""

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]

#: The number of nearest labelled photos that vote: as many as the web page shows first.
VOTERS = 9
#: Softmax temperature of the vote, from Wu et al.
VOTE_TEMPERATURE = 0.07


def vote(labels: Labels, scores: Floats, count: int = 3) -> Labels:
    """The `count` labels, int64 [q, count], with the largest weight among the neighbours.

    `labels` int64 [q, k] and `scores` float64 [q, k] are the neighbours' (-1 is no label and casts
    no vote); a neighbour weighs exp(score / VOTE_TEMPERATURE). -1 where there are fewer.
    """
    return vote_with_shares(labels, scores, count)[0]


def vote_with_shares(labels: Labels, scores: Floats, count: int = 3) -> tuple[Labels, Floats]:
    """As `vote`, with the share of each label, float64 [q, count]; 0 where there are fewer."""
    guesses = np.full((len(labels), count), -1)
    shares = np.zeros((len(labels), count))
    for row, (own_labels, own_scores) in enumerate(zip(labels, scores, strict=True)):
        allowed = (own_labels >= 0) & np.isfinite(own_scores)
        if not allowed.any():
            continue
        weights = np.exp((own_scores[allowed] - own_scores[allowed].max()) / VOTE_TEMPERATURE)
        names, which = np.unique(own_labels[allowed], return_inverse=True)
        weight = np.bincount(which, weights)
        order = np.argsort(-weight, kind="stable")[:count]
        guesses[row, : len(order)] = names[order]
        shares[row, : len(order)] = weight[order] / weight.sum()
    return guesses, shares


def vote_share(labels: Labels, voters: Labels, scores: Floats) -> Floats:
    """The share of the vote for each label, int64 [q, m], that `voters` cast: float64 [q, m].

    `voters` int64 [q, k] and `scores` float64 [q, k] are the neighbours', as in `vote`; shares are
    0 where nobody votes.
    """
    votes = (voters >= 0) & np.isfinite(scores)
    most = np.where(votes, scores, -np.inf).max(axis=1, keepdims=True, initial=-np.inf)
    above = np.where(votes, scores, 0) - np.where(np.isfinite(most), most, 0)
    weights = np.where(votes, np.exp(above / VOTE_TEMPERATURE), 0)
    whole = np.maximum(weights.sum(axis=1), np.finfo(np.float64).tiny)
    same = labels[:, :, np.newaxis] == voters[:, np.newaxis, :]
    return np.asarray(np.einsum("qmk,qk->qm", same, weights) / whole[:, np.newaxis])
