"""Judge an answer by the neighbours: is the dish in the gallery, which is it, and how sure?"""

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
from deepfood.gallery.word_calibration import WordCalibration

#: `match`: the dish is in the gallery; `maybe`: perhaps; `none`: the gallery has nothing like it.
Verdict = Literal["match", "maybe", "none"]

_LABELLED = IsKnown("label", True)


@dataclass(frozen=True)
class LabelGuess:
    label: str
    probability: float


@dataclass(frozen=True)
class Answer:
    """The hits, and conclusions about the query photo, which are None without a calibration.

    `in_gallery` is the probability that the gallery has the dish. The probabilities of the hits and
    of the label hold if it has.
    """

    hits: list[Hit]
    verdict: Verdict | None = None
    in_gallery: float | None = None
    label: LabelGuess | None = None


def nearest_labelled(
    gallery: SearchedGallery, query: Vector, without: Sequence[str] = ()
) -> list[Hit]:
    """The photos that vote on a unit vector, float32 [dim]: the VOTERS nearest ones with a label.

    A calibration is fitted on the same ones, so its probabilities hold however few photos have one.
    Photos vote as wholes, as a label is that of all of a photo.
    """
    return gallery.find(query, VOTERS, where=_LABELLED, without=without, whole=True).hits


def judge_words(
    hits: Sequence[Hit],
    best: float,
    calibration: WordCalibration,
    *,
    written: Verdict = "none",
    match_probability: float,
    none_probability: float,
) -> Answer:
    """As `judge`, for words alone; `best` is the similarity of the nearest photo of the gallery.

    `written` is what the texts of the photos say. Where the gallery has nothing that looks as the
    words say, only hits that have some of the words are left: the nearest could be any. Hits that
    have a probability keep it.
    """
    in_gallery = float(calibration.in_gallery([best]))
    verdict: Verdict = "maybe"
    if in_gallery < none_probability:
        verdict, hits = written, [hit for hit in hits if hit.matched]
    elif in_gallery >= match_probability or written == "match":
        verdict = "match"
    known = []
    for hit in hits:
        sure = float(calibration.hit([hit.score])) if hit.probability is None else hit.probability
        word: SameDish = "likely" if sure >= match_probability else "perhaps"
        if sure < none_probability:
            word = "unlikely"
        known.append(replace(hit, probability=sure, same_dish=word))
    return Answer(known, verdict, in_gallery)


def judge(
    hits: Sequence[Hit],
    voters: Sequence[Hit],
    calibration: Calibration,
    *,
    match_probability: float,
    none_probability: float,
) -> Answer:
    """Give the hits their probabilities, guess the label and decide on the verdict.

    `voters` are the photos of `nearest_labelled`; without any, nothing is guessed. The verdict is
    `none` if the gallery has the dish with less than `none_probability`, else `match` if the label
    or a voter is right with at least `match_probability`, else `maybe`.
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
        if not hit.photo.label or hit.box:
            return None  # the label is not that of a part
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
