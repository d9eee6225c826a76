"""Calibration of probabilities: of hits with a probability of 80 %, about 80 % should be right.

Works on (probability, right) pairs of any origin. Brier score: Brier,
"Verification of forecasts expressed in terms of probability" (1950); the bins and the expected
calibration error: Guo et al., "On Calibration of Modern Neural Networks" (2017).
"""

from dataclasses import dataclass

import numpy as np

from deepfood.gallery.logistic import BINS, Bools, Floats, Logistic, bin_of, calibration_error

_FOLDS = 5


@dataclass(frozen=True)
class Bin:
    """Pairs with a probability in `low` to `high`: count, mean probability, and share right."""

    low: float
    high: float
    count: int
    probability: float
    right: float


@dataclass(frozen=True)
class Reliability:
    """`ece` is the expected calibration error, 0 to 1; `brier` the Brier score, 0 to 1."""

    bins: tuple[Bin, ...]
    ece: float
    brier: float


def reliability(probability: Floats, right: Bools, *, bins: int = BINS) -> Reliability:
    """Evaluate probabilities, float64 [n] in 0 to 1, against outcomes, bool [n].

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

    `evidence` float64 [q, k, d] is the input of the curve, `right` bool [q, k] the outcome of the
    k cases of each query; cases that are not finite get NaN. Five-fold cross-fitting: queries are
    split at random into five parts, and each part gets its probabilities from a curve fitted on
    the other four.
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
