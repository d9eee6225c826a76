"""Out-of-distribution detection: can answers tell that a dish is not in the gallery?

Each query is asked twice: as it is, and with all photos of its own label left out of the gallery.
The score is that of the service: the best similarity and the winner's share of the
vote, in one logistic curve. AUROC and the false positive rate at 95 % true positives as in
Hendrycks and Gimpel, "A Baseline for Detecting Misclassified and Out-of-Distribution Examples in
Neural Networks" (2017).
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from deepfood.evaluate.confidence import NOTHING, Figure, resample
from deepfood.evaluate.metrics import Floats, Retrieval
from deepfood.evaluate.reliability import cross_fitted
from deepfood.gallery.logistic import Bools, Logistic, auroc

_TRUE_POSITIVES = 0.95


@dataclass(frozen=True)
class Novelty:
    """`known` and `left_out`, float64 [q]: how sure it is that the gallery has the dish.

    With and without the own label in the gallery, 0 to 1, from a curve fitted without the query.
    `auroc`: how often a known dish scores above one that is not there (0.5 by chance, 1 always);
    `false_positives`: the share of absent dishes taken for known, where 95 % of the known are.
    `strangers_auroc` is the same for queries whose label the gallery really lacks, None without.
    """

    known: Floats
    left_out: Floats
    auroc: Figure
    false_positives: Figure
    strangers_auroc: Figure | None


def novelty(retrieval: Retrieval, strangers: Retrieval, *, seed: int) -> Novelty:
    """From the neighbours of queries with their label present, and of `strangers` without.

    Queries that have no right photo, or no other, don't count.
    """
    usable = np.isfinite(retrieval.metrics["mAP"]) & np.isfinite(retrieval.left_out).all(axis=1)
    evidence = np.stack([retrieval.in_gallery[usable], retrieval.left_out[usable]], axis=1)
    there = np.broadcast_to([True, False], evidence.shape[:2])
    sure = cross_fitted(evidence, there, seed=seed)
    sure = sure[np.isfinite(sure).all(axis=1)]
    known, left_out = sure[:, 0], sure[:, 1]

    def paired(statistic: Callable[[Floats, Floats], float]) -> Figure:
        return resample(lambda rows: statistic(known[rows], left_out[rows]), len(known), seed=seed)

    return Novelty(
        known,
        left_out,
        auroc=paired(auroc),
        false_positives=paired(false_positives),
        strangers_auroc=_strangers_auroc(evidence, there, strangers.in_gallery, seed),
    )


def _strangers_auroc(known: Floats, there: Bools, strangers: Floats, seed: int) -> Figure | None:
    if not len(strangers):
        return None
    if not len(known):
        return NOTHING
    curve = Logistic.fit(known.reshape(-1, 2), there.reshape(-1))
    above, below = curve(known[:, 0]), curve(strangers)
    return resample(
        lambda rows, others: auroc(above[rows], below[others]), len(above), len(below), seed=seed
    )


def false_positives(positive: Floats, negative: Floats) -> float:
    """The share of `negative` at or above the level that 95 % of `positive` reach; NaN if empty."""
    if not len(positive) or not len(negative):
        return float("nan")
    allowed_below = int(len(positive) * (1 - _TRUE_POSITIVES) + 1e-9)
    return float((negative >= np.sort(positive)[allowed_below]).mean())
