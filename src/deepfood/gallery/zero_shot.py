"""Zero-shot labels: which of some names a photo shows, by a Model's text tower alone.

Each name becomes a prompt, "a photo of soup", and a photo gets the name whose prompt it is most
similar to (Radford et al., "Learning Transferable Visual Models From Natural Language Supervision",
2021). Similarities become probabilities on labelled photos whose label is one of the names:

- `temperature` of a softmax over the names -> the probability of each, if the photo shows one of
  them (Guo et al., "On Calibration of Modern Neural Networks", 2017);
- `in_names`: the best similarity and the best name's probability -> the probability that the photo
  shows one of the names at all, fitted on each photo once as it is, and once with its own name left
  out: as if every second photo showed something else.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from deepfood.counted import counted
from deepfood.data.tables import clean_label
from deepfood.errors import QueryError
from deepfood.gallery.answer import Verdict
from deepfood.gallery.logistic import Bools, Floats, Logistic, auroc, calibration_error
from deepfood.gallery.notes import Note
from deepfood.gallery.values import folded

Labels = npt.NDArray[np.int64]

TEMPLATE = "a photo of {}"
#: Each name is embedded by itself, which takes some 10 to 50 ms.
MAX_NAMES = 2000
MAX_NAME_CHARACTERS = 200
#: More photos do not improve one temperature and a curve of two scores.
MAX_QUERIES = 500
#: With fewer, the probabilities would be chance.
MIN_QUERIES = 50
#: How many names are told of each photo.
GUESSES = 5
#: Inverse temperatures that are tried: from no difference between names to the first one only.
_COLDEST = 1e4


@dataclass(frozen=True)
class LabelNames:
    """Names that a label may be, and the template that makes a prompt of each."""

    names: tuple[str, ...]
    template: str = TEMPLATE

    @classmethod
    def of(cls, names: Sequence[str], template: str = TEMPLATE) -> Self:
        """Check them. Raises QueryError."""
        if template.count("{}") != 1:
            raise QueryError(
                f"template {template[:80]!r}: it needs {{}} once, where the name goes: {TEMPLATE!r}"
            )
        if not 2 <= len(names) <= MAX_NAMES:
            raise QueryError(f"{counted(names, 'name')}: give 2 to {MAX_NAMES:,} to choose from")
        clean = tuple(clean_label(name) or "" for name in names)
        seen: set[str] = set()
        for number, name in enumerate(clean, 1):
            if not name:
                raise QueryError(f"name {number} is empty")
            if len(name.splitlines()) > 1:
                raise QueryError(f"name {number} has several lines")
            if len(name) > MAX_NAME_CHARACTERS:
                raise QueryError(
                    f"name {number} has {len(name):,} characters: {MAX_NAME_CHARACTERS} at most"
                )
            if folded(name) in seen:
                raise QueryError(f"the name {name!r} is given twice")
            seen.add(folded(name))
        return cls(clean, template)

    @property
    def prompts(self) -> list[str]:
        return [self.template.replace("{}", name) for name in self.names]

    def places(self, labels: Sequence[str | None]) -> Labels:
        """The place of each label among the names, int64 [n]; -1 where it is none of them."""
        known = {folded(name): place for place, name in enumerate(self.names)}
        return np.array([known.get(folded(one or ""), -1) for one in labels], np.int64)


@dataclass(frozen=True)
class NameGuess:
    """A name; `score` is the cosine similarity of its prompt and the photo.

    `probability` is that of being right if the photo shows one of the names; None where nothing is
    calibrated.
    """

    label: str
    score: float
    probability: float | None


@dataclass(frozen=True)
class NamesCalibration:
    """How similarities to names become probabilities, and how good these are.

    `accuracy` is the share of `photos` that get their label. `ece`, the expected calibration error
    of the best name's probability, and `auroc`, how well photos are told from those whose name is
    left out, are measured on one half of the photos with the curves of the other.
    """

    temperature: float
    in_names: Logistic
    photos: int
    accuracy: float
    ece: float
    auroc: float

    @property
    def quality(self) -> dict[str, Any]:
        """What is told of it: `photos`, `accuracy`, `ece` and `auroc`."""
        names = ("photos", "accuracy", "ece", "auroc")
        return {name: getattr(self, name) for name in names}

    def shares(self, scores: Floats) -> Floats:
        """The softmax over the names, float64 [n, names], of similarities [n, names]."""
        return _softmax(scores, 1 / self.temperature)


@dataclass(frozen=True)
class LabelAnswer:
    """The names that suit a photo best, the best first, and whether it shows any of them.

    `in_names` is the probability that it does. The verdict is `none` if that is less than
    `none_probability`, else `match` if the best name is right with at least `match_probability`,
    else `maybe`. Both are None without a `calibration`, and `notes` says why there is none.
    """

    guesses: tuple[NameGuess, ...]
    verdict: Verdict | None
    in_names: float | None
    calibration: NamesCalibration | None
    notes: tuple[Note, ...]


def names_in(text: str) -> list[str]:
    """The names in a text, one a line."""
    return [line.strip() for line in text.splitlines() if line.strip()]


def calibrate_names(scores: Floats, own: Labels, *, seed: int = 0) -> NamesCalibration | None:
    """Fit on labelled photos; None where there are fewer than MIN_QUERIES.

    `scores` are their similarities to the prompts, float64 [n, names], and `own` is the place of
    each one's label among the names, int64 [n].
    """
    if len(own) < MIN_QUERIES:
        return None
    fitted, judged = np.array_split(np.random.default_rng(seed).permutation(len(own)), 2)
    half = _fit(scores[fitted], own[fitted])
    every = _fit(scores, own)
    best, right, has = _with_and_without(scores[judged], own[judged], half[0])
    sure = half[1](best)
    return NamesCalibration(
        temperature=1 / every[0],
        in_names=every[1],
        photos=len(own),
        accuracy=float((scores.argmax(axis=1) == own).mean()),
        ece=calibration_error(best[has, 1], right[has]),
        auroc=auroc(sure[has], sure[~has]),
    )


def guess_names(
    scores: Floats,
    names: LabelNames,
    calibration: NamesCalibration | None,
    *,
    match_probability: float,
    none_probability: float,
    notes: tuple[Note, ...] = (),
) -> list[LabelAnswer]:
    """The answer for each photo, from its similarities to the prompts, float64 [n, names]."""
    order = np.argsort(-scores, axis=1, kind="stable")[:, :GUESSES]
    best = [[names.names[place] for place in row] for row in order]
    top = np.take_along_axis(scores, order, axis=1)
    if calibration is None:
        return [
            LabelAnswer(
                tuple(map(NameGuess, labels, row, [None] * len(row))), None, None, None, notes
            )
            for labels, row in zip(best, top.tolist(), strict=True)
        ]
    shares = np.take_along_axis(calibration.shares(scores), order, axis=1)
    there = calibration.in_names(np.column_stack([top[:, 0], shares[:, 0]]))
    answers = []
    for labels, row, share, in_names in zip(
        best, top.tolist(), shares.tolist(), there.tolist(), strict=True
    ):
        verdict: Verdict = "match" if share[0] >= match_probability else "maybe"
        if in_names < none_probability:
            verdict = "none"
        guesses = tuple(map(NameGuess, labels, row, share))
        answers.append(LabelAnswer(guesses, verdict, in_names, calibration, notes))
    return answers


def _fit(scores: Floats, own: Labels) -> tuple[float, Logistic]:
    """The inverse temperature, and the curve of whether the name is there."""
    sharpness = _sharpness(scores, own)
    best, _, has = _with_and_without(scores, own, sharpness)
    return sharpness, Logistic.fit(best, has)


def _with_and_without(scores: Floats, own: Labels, sharpness: float) -> tuple[Floats, Bools, Bools]:
    """Each photo as it is, and then with its own name left out.

    The best similarity and the best name's share, [2n, 2]; whether that name is right, and whether
    the own one is there, [2n].
    """
    without = scores.copy()
    without[np.arange(len(own)), own] = -np.inf
    both = np.vstack([scores, without])
    best = np.column_stack([both.max(axis=1), _softmax(both, sharpness).max(axis=1)])
    has = np.repeat([True, False], len(own))
    return best, has & (both.argmax(axis=1) == np.tile(own, 2)), has


def _sharpness(scores: Floats, own: Labels) -> float:
    """The inverse temperature with the least cross-entropy, by golden-section search.

    The targets are smoothed as Platt's: where every photo is right, no temperature would be cold
    enough.
    """
    count, names = scores.shape
    doubt = 1 / (count + 2)
    mine = scores[np.arange(count), own]
    others = (scores.sum(axis=1) - mine) / (names - 1)
    target = (1 - doubt) * mine + doubt * others

    def loss(log_sharpness: float) -> float:
        sharpness = np.exp(log_sharpness)
        return float((np.logaddexp.reduce(sharpness * scores, axis=1) - sharpness * target).mean())

    low, high = 0.0, float(np.log(_COLDEST))
    golden = (np.sqrt(5) - 1) / 2
    while high - low > 1e-3:
        left, right = high - golden * (high - low), low + golden * (high - low)
        low, high = (low, right) if loss(left) < loss(right) else (left, high)
    return float(np.exp((low + high) / 2))


def _softmax(scores: Floats, sharpness: float) -> Floats:
    weights = np.exp(sharpness * (scores - scores.max(axis=1, keepdims=True)))
    return np.asarray(weights / weights.sum(axis=1, keepdims=True))
