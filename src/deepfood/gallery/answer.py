"""What hits say together: whether the dish is there, which one it is, and how sure that is."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from deepfood.gallery.calibration import Calibration
from deepfood.gallery.entry import Hit
from deepfood.gallery.vote import VOTERS, vote_with_shares

#: `match`: the dish is surely there; `maybe`; `none`: nothing like it is in the gallery.
Verdict = Literal["match", "maybe", "none"]


@dataclass(frozen=True)
class LabelGuess:
    label: str
    probability: float


@dataclass(frozen=True)
class Answer:
    """Hits, and what they say; all but the hits None where the gallery or they cannot tell.

    `in_gallery` is the probability that the gallery has the dish; the hits' and the label's are
    those that they are right if it has.
    """

    hits: list[Hit]
    verdict: Verdict | None = None
    in_gallery: float | None = None
    label: LabelGuess | None = None


def judge(
    hits: Sequence[Hit],
    calibration: Calibration | None,
    *,
    match_probability: float,
    none_probability: float,
) -> Answer:
    """Give the hits their probabilities, guess the label and decide.

    `hits`, the most similar first, should be VOTERS or more: the first of them vote, so that an
    answer does not depend on how many photos were asked for. `none` where the dish is in the
    gallery with less than `none_probability`; else `match` where a hit or the label is right with
    `match_probability` or more.
    """
    names = sorted({hit.photo.label for hit in hits if hit.photo.label})
    voters = [hit for hit in hits[:VOTERS] if hit.photo.label]
    if calibration is None or not voters:
        return Answer(list(hits))
    guesses, shares = vote_with_shares(
        np.array([[names.index(hit.photo.label or "") for hit in voters]]),
        np.array([[hit.score for hit in voters]]),
        VOTERS,
    )
    share = {names[guess]: float(s) for guess, s in zip(guesses[0], shares[0], strict=True) if s}
    winner, most = max(share.items(), key=lambda one: one[1])
    in_gallery = float(calibration.in_gallery([voters[0].score, most]))
    label = LabelGuess(winner, float(calibration.label([most])))
    known = [
        replace(
            hit, probability=float(calibration.hit([hit.score, share.get(hit.photo.label, 0.0)]))
        )
        if hit.photo.label
        else hit
        for hit in hits
    ]
    surest = max([label.probability, *(hit.probability or 0 for hit in known)])
    verdict: Verdict = "match" if surest >= match_probability else "maybe"
    if in_gallery < none_probability:
        verdict = "none"
    return Answer(known, verdict, in_gallery, label)
