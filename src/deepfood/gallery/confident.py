"""Confident learning: which labels are likely wrong, from the votes of the neighbours.

After Northcutt, Jiang and Chuang, "Confident Learning: Estimating Uncertainty in Dataset Labels"
(2021). The probabilities out of sample are the shares of the vote (vote.py) of a photo's labelled
neighbours, itself left out. The confident joint says how many labels are wrong, and the
self-confidence which: the share of the vote for a photo's own label.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from deepfood.gallery.vote import Floats, Labels, vote_share

_CHUNK_ROWS = 4096


@dataclass(frozen=True)
class Votes:
    """What the neighbours of each photo vote for, arrays [n].

    `own` is the share of its label (0 without one), `other` the label with the greatest share
    beside it, -1 for none, and `other_share` that share. `agreeing` of `voters` neighbours have the
    label `other`. `confident` is the label that is at least as likely as usual for its own photos,
    -1 for none; `second_share` the greatest share beside `own` and `other`.
    """

    own: Floats
    other: Labels
    other_share: Floats
    second_share: Floats
    agreeing: Labels
    voters: Labels
    confident: Labels

    @property
    def margin(self) -> Floats:
        """The normalised margin, -1 to 1: the less, the more likely the label is wrong."""
        return self.own - self.other_share


def count_votes(given: Labels, voters: Labels, scores: Floats) -> Votes:
    """The votes for photos with the labels `given`, int64 [n], -1 for none.

    `voters` int64 [n, k] and `scores` float [n, k] are the labels and similarities of the labelled
    neighbours, as for `vote`.
    """
    count = len(given)
    own, other_share, second_share = np.zeros(count), np.zeros(count), np.zeros(count)
    other, agreeing = np.full(count, -1), np.zeros(count, np.int64)
    for rows, shares in _shares(voters, scores):
        labels, mine = voters[rows], given[rows]
        is_own = labels == mine[:, np.newaxis]
        own[rows] = np.where(is_own, shares, 0).max(axis=1, initial=0)
        beside = np.where(is_own, 0, shares)
        most = beside.argmax(axis=1)[:, np.newaxis]
        share = np.take_along_axis(beside, most, axis=1)[:, 0]
        label = np.where(share > 0, np.take_along_axis(labels, most, axis=1)[:, 0], -1)
        same = labels == label[:, np.newaxis]
        other[rows], other_share[rows] = label, share
        agreeing[rows] = np.where(label >= 0, (same & (shares > 0)).sum(axis=1), 0)
        second_share[rows] = np.where(same, 0, beside).max(axis=1, initial=0)
    there = ((voters >= 0) & np.isfinite(scores)).sum(axis=1)
    confident = _confident(given, own, there > 0, voters, scores)
    return Votes(own, other, other_share, second_share, agreeing, there, confident)


def _confident(
    given: Labels, own: Floats, judged: np.ndarray, voters: Labels, scores: Floats
) -> Labels:
    """The most likely label among those whose share reaches their threshold.

    The threshold of a label is its mean share among the photos that have it, as in the paper.
    """
    confident = np.full(len(given), -1)
    known = judged & (given >= 0)
    if not known.any():
        return confident
    labels = int(max(given.max(), voters.max(initial=-1))) + 1
    photos = np.bincount(given[known], minlength=labels)
    sums = np.bincount(given[known], own[known], minlength=labels)
    thresholds = np.where(photos > 0, sums / np.maximum(photos, 1), np.inf)
    for rows, shares in _shares(voters, scores):
        likely = (shares > 0) & (shares >= thresholds[voters[rows]])
        among = np.where(likely, shares, -1)
        most = among.argmax(axis=1)[:, np.newaxis]
        label = np.take_along_axis(voters[rows], most, axis=1)[:, 0]
        confident[rows] = np.where(likely.any(axis=1), label, -1)
    return confident


def _shares(voters: Labels, scores: Floats) -> Iterator[tuple[slice, Floats]]:
    """For some photos at a time, the share of the vote for the label of each of their voters."""
    for start in range(0, len(voters) if voters.shape[1] else 0, _CHUNK_ROWS):
        rows = slice(start, start + _CHUNK_ROWS)
        yield rows, vote_share(voters[rows], voters[rows], scores[rows])
