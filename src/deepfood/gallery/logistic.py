"""Logistic curves from scores to probabilities, and measures of how good these are."""

from typing import Annotated, Self

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

#: L2 penalty on the slopes of standardised scores: keeps them finite for separable data.
_RIDGE = 1e-3
BINS = 15


class Logistic(BaseModel):
    """Probability = 1 / (1 + exp(-(slopes . scores + offset))), monotone in each score.

    Platt, "Probabilistic Outputs for Support Vector Machines" (1999), with one score or more.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    slopes: tuple[Annotated[float, Field(ge=0, allow_inf_nan=False)], ...]
    offset: Annotated[float, Field(allow_inf_nan=False)]

    def __call__(self, scores: npt.ArrayLike) -> Floats:
        """Probabilities, float64 [n] in 0 to 1, of scores [n, number of slopes]."""
        return _sigmoid(np.asarray(scores, np.float64) @ np.array(self.slopes) + self.offset)

    @classmethod
    def fit(cls, scores: Floats, right: Bools) -> Self:
        """Maximum likelihood with Platt's smoothed targets; `scores` [n, d] finite, `right` [n].

        n >= 1. A score that would lower the probability is left out: its slope is 0.
        """
        count = int(right.sum())
        target = np.where(right, (count + 1) / (count + 2), 1 / (len(right) - count + 2))
        mean, spread = scores.mean(axis=0), scores.std(axis=0)
        used = spread > 1e-9
        spread = np.where(used, spread, 1)
        standard = (scores - mean) / spread
        while True:
            slopes = np.zeros(scores.shape[1])
            *slopes[used], offset = _newton(standard[:, used], target)
            if (slopes >= 0).all():
                break
            used = used & (slopes > 0)
        slopes = slopes / spread
        return cls(slopes=tuple(slopes.tolist()), offset=float(offset - slopes @ mean))


def _newton(scores: Floats, target: Floats) -> Floats:
    """The slopes and, last, the offset that minimise the cross-entropy, by Newton's method.

    With step halving, after Lin, Lin and Weng, "A Note on Platt's Probabilistic Outputs" (2007).
    """
    inputs = np.column_stack([scores, np.ones(len(scores))])
    ridge = np.array([_RIDGE] * scores.shape[1] + [0.0])
    weights = np.zeros(len(ridge))
    weights[-1] = np.log(target.mean() / (1 - target.mean()))

    def loss(weights: Floats) -> float:
        logits = inputs @ weights
        return float((np.logaddexp(0, logits) - target * logits).sum() + ridge @ weights**2 / 2)

    now = loss(weights)
    for _ in range(100):  # pragma: no branch - Newton's method ends after about ten
        p = _sigmoid(inputs @ weights)
        gradient = inputs.T @ (p - target) + ridge * weights
        curvature = (inputs * (p * (1 - p))[:, np.newaxis]).T @ inputs + np.diag(ridge)
        step = np.linalg.solve(curvature + 1e-12 * np.eye(len(ridge)), gradient)
        scale = 1.0
        while (after := loss(weights - scale * step)) > now and scale > 1e-10:
            scale /= 2
        if now - after < 1e-10 * (1 + now):
            break
        weights, now = weights - scale * step, after
    return weights


def _sigmoid(logits: Floats) -> Floats:
    return 0.5 * (1 + np.tanh(logits / 2))


def bin_of(probabilities: Floats, bins: int = BINS) -> npt.NDArray[np.int64]:
    """Which of so many bins of equal width each probability lies in, from 0: int64 [n]."""
    return np.minimum((probabilities * bins).astype(np.int64), bins - 1)


def calibration_error(probabilities: Floats, right: Bools, bins: int = BINS) -> float:
    """Expected calibration error, 0 to 1, over bins of equal width.

    As in Guo et al., "On Calibration of Modern Neural Networks" (2017).
    """
    gaps = np.bincount(bin_of(probabilities, bins), probabilities - right, bins)
    return float(np.abs(gaps).sum() / len(right))


def auroc(positive: Floats, negative: Floats) -> float:
    """The share of (positive, negative) pairs where the positive one is larger; ties count half.

    By ranks (Mann and Whitney, 1947); NaN where either is empty.
    """
    if not len(positive) or not len(negative):
        return float("nan")
    below = np.sort(negative)
    lower = np.searchsorted(below, positive, "left")
    upper = np.searchsorted(below, positive, "right")
    return float((lower + upper).sum() / (2 * len(positive) * len(negative)))
