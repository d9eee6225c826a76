"""Is a probability what it says? Of the hits called 80 % sure, about 80 % must be right.

Works on (probability, right) pairs, wherever the probabilities come from. Brier score: Brier,
"Verification of forecasts expressed in terms of probability" (1950); the bins and the expected
calibration error: Guo et al., "On Calibration of Modern Neural Networks" (2017).
"""

from dataclasses import dataclass

import numpy as np

from deepfood.gallery.logistic import BINS, Bools, Floats, Logistic, bin_of, calibration_error

_FOLDS = 5


@dataclass(frozen=True)
class Bin:
    """Pairs whose probability lies in `low` to `high`: how many, what they said, what came true."""

    low: float
    high: float
    count: int
    probability: float
    right: float


@dataclass(frozen=True)
class Reliability:
    """`ece` 0 to 1 is the mean gap between said and true over the pairs; `brier` 0 to 1."""

    bins: tuple[Bin, ...]
    ece: float
    brier: float


def reliability(probability: Floats, right: Bools, *, bins: int = BINS) -> Reliability:
    """Judge probabilities, float64 [n] in 0 to 1, by what was right, bool [n].

    Bins are equally wide, empty ones left out. NaN figures where there are no pairs.
    """
    if not len(probability):
        return Reliability((), float("nan"), float("nan"))
    which = bin_of(probability, bins)
    found = []
    for number in np.unique(which):
        here = which == number
        found.append(
            Bin(
                number / bins,
                (number + 1) / bins,
                int(here.sum()),
                float(probability[here].mean()),
                float(right[here].mean()),
            )
        )
    return Reliability(
        tuple(found),
        ece=calibration_error(probability, right, bins),
        brier=float(np.mean((probability - right) ** 2)),
    )


def cross_fitted(evidence: Floats, right: Bools, *, seed: int) -> Floats:
    """The probability that each case is right, from a curve fitted without its query: [q, k].

    `evidence` float64 [q, k, d] is what the curve looks at and `right` bool [q, k] what was right
    in the k cases of each query; one that is not finite is none and gets NaN. Queries are dealt at
    random into five parts, and each part gets its probabilities from the curve of the other four:
    the curve that serving uses, were it fitted on these.
    """
    probability = np.full(right.shape, np.nan)
    part = np.random.default_rng(seed).permutation(len(right)) % _FOLDS
    there = np.isfinite(evidence).all(axis=2)
    for number in range(_FOLDS):
        ours = (part == number)[:, np.newaxis] & there
        others = (part != number)[:, np.newaxis] & there
        if ours.any() and others.any():
            probability[ours] = Logistic.fit(evidence[others], right[others])(evidence[ours])
    return probability
