"""All figures of one trial: how well its gallery answers its queries."""

from dataclasses import dataclass

import numpy as np

from deepfood.evaluate.classes import ClassFigures, Confusion, class_figures, confusions
from deepfood.evaluate.confidence import NOTHING, Figure, mean_figures
from deepfood.evaluate.metrics import Floats, Retrieval, Vectors, measure
from deepfood.evaluate.novelty import Novelty, novelty
from deepfood.evaluate.reliability import Reliability, cross_fitted, reliability
from deepfood.evaluate.trial import Trial
from deepfood.gallery.averaging import Averaging
from deepfood.gallery.logistic import Bools, Logistic
from deepfood.gallery.protocol import EveryPhoto, SearchedGallery

#: Queries for comparing the index with exact search.
_INDEX_QUERIES = 500
#: Sums of float32 in different orders differ by less.
_ROUNDING = 1e-5
INDEX_RECALL = "index recall"
#: Which curve `probability` comes from.
SERVED, CROSS_FITTED = "as served", "cross-fitted"


@dataclass(frozen=True)
class Evaluation:
    """`figures` by name, of the queries that have a right photo in the gallery (`judged`).

    `probability` float64 [q, k] is the predicted probability that each of the nearest is right, by
    the gallery's curve (SERVED), or by one fitted without the query (CROSS_FITTED).
    """

    model: str
    trial: Trial
    k: int
    retrieval: Retrieval
    figures: dict[str, Figure]
    judged: int
    classes: tuple[ClassFigures, ...]
    confused: tuple[Confusion, ...]
    probability: Floats
    curve: str
    calibration: Reliability
    brier: Figure
    novelty: Novelty


def evaluate_trial(
    trial: Trial,
    model: str,
    *,
    k: int,
    seed: int,
    served: Logistic | None = None,
    averaging: Averaging | None = None,
) -> Evaluation:
    """Ask every query and measure the answers; `model` names what made the vectors.

    `served` is the gallery's own curve for hits, if that is to be evaluated, and `averaging` how
    its answers are averaged, if it is tuned.
    """
    retrieval = measure(
        trial.queries.vectors,
        trial.query_labels,
        trial.gallery.vectors,
        trial.gallery_labels,
        k=k,
        own_rows=trial.own_rows,
        averaging=averaging,
    )
    right = right_hits(trial, retrieval)
    evidence = np.stack([retrieval.scores, retrieval.shares], axis=2)
    if served is None:
        probability = cross_fitted(evidence, right, seed=seed)
    else:
        hit = np.isfinite(retrieval.scores)
        probability = np.full(right.shape, np.nan)
        probability[hit] = served(evidence[hit])
    defined = np.isfinite(probability)
    missed = np.where(defined, (probability - right) ** 2, np.nan)
    asked = defined.any(axis=1)
    return Evaluation(
        model=model,
        trial=trial,
        k=k,
        retrieval=retrieval,
        figures=mean_figures(retrieval.metrics, seed=seed),
        judged=int(np.isfinite(retrieval.metrics["mAP"]).sum()),
        classes=tuple(class_figures(trial, retrieval, k, seed=seed)),
        confused=tuple(confusions(trial, retrieval)),
        probability=probability,
        curve=CROSS_FITTED if served is None else SERVED,
        calibration=reliability(probability[defined], right[defined]),
        brier=mean_figures({"": np.nanmean(missed[asked], axis=1)}, seed=seed)[""],
        novelty=novelty(retrieval, _of_strangers(trial, averaging), seed=seed),
    )


def right_hits(trial: Trial, retrieval: Retrieval) -> Bools:
    """Which of the nearest have the query's label: bool [q, k]."""
    found = trial.gallery_labels[retrieval.nearest] == trial.query_labels[:, np.newaxis]
    return np.asarray(found & np.isfinite(retrieval.scores))


def _of_strangers(trial: Trial, averaging: Averaging | None) -> Retrieval:
    unknown = np.full(len(trial.strangers.ids), -1)
    vectors, labels = trial.gallery.vectors, trial.gallery_labels
    return measure(trial.strangers.vectors, unknown, vectors, labels, averaging=averaging)


def index_recall(
    gallery: SearchedGallery, every: EveryPhoto, trial: Trial, *, k: int, seed: int
) -> Figure:
    """The share of the exact k nearest of all photos that the gallery's own index finds."""
    count = len(trial.queries.vectors)
    drawn = np.random.default_rng(seed).permutation(count)[:_INDEX_QUERIES]
    _, vectors, rows = every
    values = []
    for query in trial.queries.vectors[drawn]:
        values.append(_recall(gallery, vectors.scores(query)[rows], query, k))
    return mean_figures({"": np.array(values)}, seed=seed)[""] if values else NOTHING


def _recall(gallery: SearchedGallery, scores: Vectors, query: Vectors, k: int) -> float:
    """A photo as similar as the exact k-th is as good as that one."""
    k = min(k, len(scores))
    kth = np.partition(scores, -k)[-k]
    found = np.array([hit.score for hit in gallery.search(query, k)])
    return float((found >= kth - _ROUNDING).sum() / k)
