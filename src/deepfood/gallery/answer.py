"""What a photo's neighbours say: whether its dish is there, which it is, and how sure that is."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from deepfood.embed import Vector
from deepfood.gallery.calibration import Calibration
from deepfood.gallery.filter_tree import IsKnown
from deepfood.gallery.photo import Hit, SameDish
from deepfood.gallery.protocol import SearchedGallery
from deepfood.gallery.vote import VOTERS, vote_share

#: `match`: the dish is surely there; `maybe`; `none`: nothing like it is in the gallery.
Verdict = Literal["match", "maybe", "none"]

_LABELLED = IsKnown("label", True)


@dataclass(frozen=True)
class LabelGuess:
    label: str
    probability: float


@dataclass(frozen=True)
class Answer:
    """Hits, and what is known of the photo asked with; all but the hits None where nothing is.

    `in_gallery` is the probability that the gallery has the dish; the hits' and the label's are
    those that they are right if it has.
    """

    hits: list[Hit]
    verdict: Verdict | None = None
    in_gallery: float | None = None
    label: LabelGuess | None = None


def nearest_labelled(
    gallery: SearchedGallery, query: Vector, without: Sequence[str] = ()
) -> list[Hit]:
    """The photos that vote on a unit vector, float32 [dim]: the VOTERS nearest that have a label.

    A calibration is fitted on the same, so that its probabilities hold however few have one.
    """
    return gallery.find(query, VOTERS, where=_LABELLED, without=without).hits


def judge(
    hits: Sequence[Hit],
    voters: Sequence[Hit],
    calibration: Calibration,
    *,
    match_probability: float,
    none_probability: float,
) -> Answer:
    """Give the hits their probabilities, guess the label and decide.

    `voters` are what `nearest_labelled` gives, whatever was asked for; without any nothing is
    known. `none` where the dish is in the gallery with less than `none_probability`; else `match`
    where the label or a voter is right with `match_probability` or more.
    """
    if not voters:
        return Answer(list(hits))
    names = sorted({hit.photo.label or "" for hit in voters})
    votes = np.array([[names.index(hit.photo.label or "") for hit in voters]])
    every = np.arange(len(names))[np.newaxis]
    shares = vote_share(every, votes, np.array([[hit.score for hit in voters]]))[0]
    share = dict(zip(names, shares.tolist(), strict=True))
    winner, most = max(share.items(), key=lambda one: one[1])
    in_gallery = float(calibration.in_gallery([voters[0].score, most]))
    label = LabelGuess(winner, float(calibration.label([most])))

    def probability(hit: Hit) -> float | None:
        if not hit.photo.label:
            return None
        return float(calibration.hit([hit.score, share.get(hit.photo.label, 0.0)]))

    surest = max([label.probability, *(probability(hit) or 0 for hit in voters)])
    verdict: Verdict = "match" if surest >= match_probability else "maybe"
    if in_gallery < none_probability:
        verdict = "none"

    def in_a_word(sure: float | None) -> SameDish | None:
        if sure is None:
            return None
        if verdict == "none" or sure < none_probability:
            return "unlikely"
        return "likely" if sure >= match_probability else "perhaps"

    known = [
        replace(hit, probability=sure, same_dish=in_a_word(sure))
        for hit in hits
        for sure in [probability(hit)]
    ]
    return Answer(known, verdict, in_gallery, label)
