"""Confidence intervals by bootstrap, and paired tests of differences.

Efron and Tibshirani, "An Introduction to the Bootstrap" (1993), chapters 13 and 15 (the paired
permutation test, here by flipping signs); Wilson, "Probable Inference" (1927), for shares.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from deepfood.evaluate.metrics import Floats, Labels, confidence_interval

RESAMPLES = 1000
_FLIPS = 9_999
LEVEL = 0.95
#: The 2.5 % outside either end of the interval, as a quantile of the normal distribution.
_DEVIATIONS = 1.959964
#: Signs in memory at once, 32 MB.
_CHUNK_SIGNS = 2**22


@dataclass(frozen=True)
class Figure:
    """A value and its 95 % confidence interval; NaN where there is nothing to measure."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Paired:
    """The means of a metric on the same queries; `by` is second minus first."""

    first: float
    second: float
    by: Figure


@dataclass(frozen=True)
class Difference(Paired):
    """`p` is the two-sided p-value of no difference."""

    p: float


NOTHING = Figure(math.nan, math.nan, math.nan)


def mean_figures(metrics: Mapping[str, Floats], *, seed: int) -> dict[str, Figure]:
    """The mean of each metric, float64 [q], over the queries where it is not NaN."""
    figures = {}
    for name, values in metrics.items():
        values = values[np.isfinite(values)]
        if not len(values):
            figures[name] = NOTHING
            continue
        figures[name] = Figure(float(values.mean()), *confidence_interval(values, seed=seed))
    return figures


def resample(
    statistic: Callable[..., float], *sizes: int, seed: int, level: float = LEVEL
) -> Figure:
    """A figure of samples of `sizes` cases; `statistic` gets the row numbers, int64, of each."""
    if not all(sizes):
        return NOTHING
    rng = np.random.default_rng(seed)
    again = np.array(
        [statistic(*(rng.integers(0, size, size) for size in sizes)) for _ in range(RESAMPLES)]
    )
    return Figure(statistic(*(np.arange(size) for size in sizes)), *_interval(again, level))


def share(count: int, of: int) -> Figure:
    """`count` of `of` cases as a share, with Wilson's interval, which also suits few cases."""
    if not of:
        return NOTHING
    value, square = count / of, _DEVIATIONS**2
    middle = (value + square / (2 * of)) / (1 + square / of)
    half = math.sqrt(value * (1 - value) / of + square / (4 * of**2)) * _DEVIATIONS
    half /= 1 + square / of
    return Figure(value, max(0.0, middle - half), min(1.0, middle + half))


def paired(first: Floats, second: Floats, *, seed: int, level: float = LEVEL) -> Paired | None:
    """Compare a metric of the same queries, float64 [q] each; None where no query has both.

    The interval resamples queries.
    """
    both = np.isfinite(first) & np.isfinite(second)
    if not both.any():
        return None
    change = second[both] - first[both]
    by = Figure(float(change.mean()), *confidence_interval(change, seed=seed, level=level))
    return Paired(float(first[both].mean()), float(second[both].mean()), by)


def difference(first: Floats, second: Floats, *, seed: int) -> Difference | None:
    """As `paired`, with a paired permutation test.

    Its p is the share of random exchanges of first and second that differ as much as what was seen.
    """
    means = paired(first, second, seed=seed)
    if means is None:
        return None
    change = second - first
    p = sign_flip_p(change[np.isfinite(change)], seed=seed)
    return Difference(means.first, means.second, means.by, p)


def sign_flip_p(change: Floats, *, seed: int, flips: int = _FLIPS) -> float:
    """The two-sided p-value of `change`, float64 [q], having no direction; exact for few, too.

    At least 1 / (1 + `flips`). Unchanged queries do not affect it, and are left out to save time.
    """
    moved = change[change != 0]
    if not len(moved):
        return 1.0
    rng = np.random.default_rng(seed)
    # Slightly less, so that rounding does not separate equal sums.
    seen = abs(moved.sum()) * (1 - 1e-9)
    chunk = max(1, _CHUNK_SIGNS // len(moved))
    as_much = 0
    for start in range(0, flips, chunk):
        rows = min(chunk, flips - start)
        signs = rng.integers(0, 2, (rows, len(moved)), dtype=np.int8)
        # Signs 0 and 1 stand for -1 and 1.
        sums = 2.0 * (signs @ moved) - moved.sum()
        as_much += int((np.abs(sums) >= seen).sum())
    return (1 + as_much) / (1 + flips)


def _interval(values: Floats, level: float) -> tuple[float, float]:
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def group_rows(labels: Labels) -> dict[int, Labels]:
    """The rows of each label, by label."""
    if not len(labels):
        return {}
    order = np.argsort(labels, kind="stable")
    names, starts = np.unique(labels[order], return_index=True)
    parts = np.split(order, starts[1:])
    return {int(name): rows for name, rows in zip(names, parts, strict=True)}
