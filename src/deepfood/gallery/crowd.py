"""What a question shows, from the votes of sessions that may be wrong, or lie.

A session votes that hits of a question are right or wrong. It votes so truly with some probability,
its trust, as in Dawid and Skene, "Maximum Likelihood Estimation of Observer Error-Rates Using the
EM Algorithm" (1979). They take the truth from the votes themselves, so that a majority that lies is
believed. Here trust is measured by what the gallery says without any vote: the labels of the
nearest photos. Sessions that are no better than chance count for nothing.
"""

from dataclasses import dataclass

import numpy as np

from deepfood.embed import Vectors
from deepfood.gallery.calibration import SAME_PHOTO
from deepfood.gallery.logistic import Bools
from deepfood.gallery.vote import VOTERS, Floats, Labels, vote_share

#: The probability that a photo's own label is right, before any vote.
_GIVEN = 0.95
#: The weights of the neighbours' vote against all labels alike that are tried, and on how many
#: photos.
_WEIGHTS, _MOST_JUDGED = np.linspace(0.05, 0.95, 19), 2000
#: The values that are tried for trust, and the most that a session can have.
_TRUSTS, _MOST_TRUST = np.linspace(0.05, 0.95, 19), 0.9
#: What is known of all sessions together counts as so many votes of each.
_PRIOR_VOTES = 6.0
#: How far one session can move what is believed of a question or photo: from even to 19 to 1.
_MOST_ODDS = float(np.log(19))
_ROUNDS = 4
_CHUNK_ROWS = 1024


@dataclass(frozen=True)
class CastVotes:
    """Votes of sessions on pairs of question and photo, all by number, int64 [v]; `right` [v]."""

    session: Labels
    question: Labels
    photo: Labels
    right: Bools

    def select(self, which: Bools) -> "CastVotes":
        return CastVotes(
            self.session[which], self.question[which], self.photo[which], self.right[which]
        )


def neighbour_beliefs(queries: Vectors, photos: Vectors, labels: Labels, count: int) -> Floats:
    """The probability of each of `count` labels by the nearest photos, float64 [q, count].

    `queries` float32 [q, dim] and `photos` [n, dim] are unit vectors, `labels` int64 [n] from 0. A
    query that is among the photos does not vote for itself. How sure the neighbours are follows
    from how well they know the photos' own labels.
    """
    drawn = np.random.default_rng(0).permutation(len(photos))[:_MOST_JUDGED]
    own = _shares(photos[drawn], photos, labels, count)
    share = own[np.arange(len(drawn)), labels[drawn]][:, np.newaxis]
    likelihood = np.log(share * _WEIGHTS + (1 - _WEIGHTS) / count).sum(axis=0)
    weight = _WEIGHTS[likelihood.argmax()]
    return np.asarray(weight * _shares(queries, photos, labels, count) + (1 - weight) / count)


def _shares(queries: Vectors, photos: Vectors, labels: Labels, count: int) -> Floats:
    """The shares of the neighbours' vote; all 0 where a query has no neighbour but itself."""
    found = np.empty((len(queries), count))
    every = np.arange(count)[np.newaxis]
    for start in range(0, len(queries), _CHUNK_ROWS):
        rows = slice(start, start + _CHUNK_ROWS)
        alike = queries[rows] @ photos.T
        alike[alike > SAME_PHOTO] = -np.inf
        nearest = np.argpartition(-alike, min(VOTERS, len(photos)) - 1, axis=1)[:, :VOTERS]
        scores = np.take_along_axis(alike, nearest, axis=1).astype(np.float64)
        asked = np.broadcast_to(every, (len(alike), count))
        found[rows] = vote_share(asked, labels[nearest], scores)
    return found


def with_labels(beliefs: Floats, labels: Labels) -> Floats:
    """The beliefs about photos, float64 [n, count], with their own labels, -1 for none."""
    found = beliefs.copy()
    rows = np.flatnonzero(labels >= 0)
    found[rows] *= 1 - _GIVEN
    found[rows, labels[rows]] += _GIVEN
    return found


def trust_of(votes: CastVotes, questions: Floats, photos: Floats, sessions: int) -> Floats:
    """How often each session votes truly, float64 [sessions], from 0.5, which counts for nothing.

    `questions` and `photos`, float64 [.., labels], are the beliefs before any vote. A session with
    few votes is taken to be like the others. If they all together are no better than chance, none
    is trusted.
    """
    match = np.einsum("vc,vc->v", questions[votes.question], photos[votes.photo])
    true = np.where(votes.right, match, 1 - match)
    likelihood = np.stack(
        [
            np.bincount(votes.session, np.log(true * one + (1 - true) * (1 - one)), sessions)
            for one in _TRUSTS
        ],
        axis=1,
    )
    count = np.bincount(votes.session, minlength=sessions)
    # All sessions count alike, so that one with very many votes does not speak for the others.
    weight = np.minimum(1, _PRIOR_VOTES / np.maximum(count, 1))
    usual = _mean_trust(np.log(_TRUSTS * (1 - _TRUSTS)) + weight @ likelihood)
    if usual <= 0.5:  # who seems to be right among liars is so by luck
        return np.full(sessions, 0.5)
    prior = _PRIOR_VOTES * (usual * np.log(_TRUSTS) + (1 - usual) * np.log(1 - _TRUSTS))
    return np.clip(_mean_trust(likelihood + prior), 0.5, _MOST_TRUST)


def _mean_trust(log_density: Floats) -> Floats:
    density = np.exp(log_density - log_density.max(axis=-1, keepdims=True))
    return np.asarray((density @ _TRUSTS) / density.sum(axis=-1))


def infer_labels(
    votes: CastVotes, questions: Floats, photos: Floats, trust: Floats
) -> tuple[Floats, Floats]:
    """What is believed of questions and photos after the votes, by mean-field inference."""
    odds = np.log(trust / (1 - trust))[votes.session] * np.where(votes.right, 1.0, -1.0)
    asked, found = questions, photos
    for _ in range(_ROUNDS):
        asked = _update(questions, votes.question, found[votes.photo], odds, votes.session)
        found = _update(photos, votes.photo, asked[votes.question], odds, votes.session)
    return asked, found


def _update(prior: Floats, thing: Labels, other: Floats, odds: Floats, session: Labels) -> Floats:
    """The beliefs about things, each with some votes; `other` [v, labels] is the vote's partner."""
    if not len(thing):
        return prior
    order = np.lexsort((session, thing))
    thing, session = thing[order], session[order]
    pairs = _starts((thing[1:] != thing[:-1]) | (session[1:] != session[:-1]))
    told = np.add.reduceat(odds[order, np.newaxis] * other[order], pairs, axis=0)
    thing = thing[pairs]
    things = _starts(thing[1:] != thing[:-1])
    log = np.log(prior)
    bounded = np.clip(told, -_MOST_ODDS, _MOST_ODDS)
    log[thing[things]] += np.add.reduceat(bounded, things, axis=0)
    found = np.exp(log - log.max(axis=1, keepdims=True))
    return np.asarray(found / found.sum(axis=1, keepdims=True))


def _starts(changes: Bools) -> Labels:
    return np.flatnonzero(np.concatenate([[True], changes]))
