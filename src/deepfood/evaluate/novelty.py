"""Can the best similarity tell that a dish is not in the gallery? Out-of-distribution detection.

Each query is asked twice: as it is, and with all photos of its own label left out of the gallery.
AUROC and the false positive rate at 95 % true positives as in Hendrycks and Gimpel, "A Baseline for
Detecting Misclassified and Out-of-Distribution Examples in Neural Networks" (2017).
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from deepfood.evaluate.metrics import Floats, Retrieval
from deepfood.evaluate.spread import Figure, resample

_TRUE_POSITIVES = 0.95


@dataclass(frozen=True)
class Novelty:
    """`known` and `left_out`, float64 [q]: the best similarity with and without the own label.

    `auroc`: how often a known dish scores above one that is not there (0.5 by chance, 1 always);
    `false_positives`: the share of absent dishes taken for known, where 95 % of the known are.
    `strangers_auroc` is the same for queries whose label the gallery really lacks, None without.
    """

    known: Floats
    left_out: Floats
    auroc: Figure
    false_positives: Figure
    strangers_auroc: Figure | None


def novelty(retrieval: Retrieval, strangers: Floats, *, seed: int) -> Novelty:
    """From the neighbours of queries with their label present; `strangers` float64 [s] the best
    similarities of those without. Queries that have no right photo, or no other, don't count.
    """
    usable = np.isfinite(retrieval.metrics["mAP"]) & np.isfinite(retrieval.best_other)
    known, left_out = retrieval.scores[usable, :1].reshape(-1), retrieval.best_other[usable]

    def paired(statistic: Callable[[Floats, Floats], float]) -> Figure:
        return resample(lambda rows: statistic(known[rows], left_out[rows]), len(known), seed=seed)

    return Novelty(
        known,
        left_out,
        auroc=paired(auroc),
        false_positives=paired(false_positives),
        strangers_auroc=resample(
            lambda rows, others: auroc(known[rows], strangers[others]),
            *(len(known), len(strangers)),
            seed=seed,
        )
        if len(strangers)
        else None,
    )


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


def false_positives(positive: Floats, negative: Floats) -> float:
    """The share of `negative` at or above the level that 95 % of `positive` reach; NaN if empty."""
    if not len(positive) or not len(negative):
        return float("nan")
    allowed_below = int(len(positive) * (1 - _TRUE_POSITIVES) + 1e-9)
    return float((negative >= np.sort(positive)[allowed_below]).mean())
