"""Retrieval and classification metrics, a number a query, so that they can be compared in pairs.

Every query ranks the whole gallery by cosine similarity. Definitions: precision@k, recall@k (the
share of queries with a right photo among the k nearest, as the metric-learning literature uses the
word), mAP and nDCG as in Manning et al., "Introduction to Information Retrieval", chapter 8; mAP@R
as in Musgrave et al., "A Metric Learning Reality Check" (2020); the weighted vote of the neighbours
as in Wu et al., "Unsupervised Feature Learning via Non-Parametric Instance Discrimination" (2018).
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from deepfood.gallery.vote import vote

Floats = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]
Vectors = npt.NDArray[np.float32]

#: The k of precision@k, nDCG@k and of the neighbours that vote: what the web page shows.
K = 9
RECALL_AT = (1, 5, 10)

_CHUNK_QUERIES = 256


@dataclass(frozen=True)
class Retrieval:
    """Metrics of each query by name, float64 [q], NaN where the gallery has no right photo.

    `guesses` int64 [q, 3] are the labels that the neighbours vote for, the likeliest first (-1
    where they know fewer); `nearest` int64 [q, k] the gallery rows of the k nearest, `scores`
    float64 [q, k] their similarities.
    """

    metrics: dict[str, Floats]
    guesses: Labels
    nearest: npt.NDArray[np.int64]
    scores: Floats

    def means(self) -> dict[str, float]:
        """The mean of each metric over the queries that have a right photo; NaN where none has."""
        return {
            name: float(np.nanmean(values)) if np.isfinite(values).any() else float("nan")
            for name, values in self.metrics.items()
        }


def measure(
    queries: Vectors,
    query_labels: Labels,
    gallery: Vectors,
    gallery_labels: Labels,
    *,
    k: int = K,
    own_rows: npt.NDArray[np.int64] | None = None,
) -> Retrieval:
    """Rank `gallery`, float32 [n, dim], for every one of `queries`, float32 [q, dim], unit vectors.

    Labels are int64, [q] and [n]; -1 is none and never right.
    `own_rows` int64 [q], where the queries are photos of the gallery, is the row of each, which is
    left out of its ranking (-1 for none).
    """
    parts = []
    for start in range(0, len(queries), _CHUNK_QUERIES):
        chunk = slice(start, start + _CHUNK_QUERIES)
        own = None if own_rows is None else own_rows[chunk]
        parts.append(_measure(queries[chunk], query_labels[chunk], gallery, gallery_labels, k, own))
    if not parts:
        parts.append(_measure(queries, query_labels, gallery, gallery_labels, k, own_rows))
    return Retrieval(
        metrics={
            name: np.concatenate([part.metrics[name] for part in parts])
            for name in parts[0].metrics
        },
        guesses=np.concatenate([part.guesses for part in parts]),
        nearest=np.concatenate([part.nearest for part in parts]),
        scores=np.concatenate([part.scores for part in parts]),
    )


def _measure(
    queries: Vectors,
    query_labels: Labels,
    gallery: Vectors,
    gallery_labels: Labels,
    k: int,
    own_rows: npt.NDArray[np.int64] | None,
) -> Retrieval:
    similarity = (queries @ gallery.T).astype(np.float64)
    in_ranking = np.full(len(queries), len(gallery))
    if own_rows is not None:
        own = own_rows >= 0
        similarity[own, own_rows[own]] = -np.inf  # ranked last, and cut off by `counted`
        in_ranking = in_ranking - own
    ranking = np.argsort(-similarity, axis=1, kind="stable")
    position = np.arange(1, len(gallery) + 1)
    counted = position <= in_ranking[:, np.newaxis]
    ranked = gallery_labels[ranking]
    right = (ranked == query_labels[:, np.newaxis]) & (ranked >= 0) & counted
    wanted = right.sum(axis=1)
    none = wanted == 0
    divisor = np.where(none, 1, wanted)

    precision = np.cumsum(right, axis=1) / position
    within_r = position <= wanted[:, np.newaxis]
    gain = 1 / np.log2(position + 1)
    best = np.concatenate([[0.0], np.cumsum(gain[:k])])
    first = min(k, len(gallery))
    metrics = {
        "precision@1": right[:, :1].sum(axis=1).astype(np.float64),
        f"precision@{k}": right[:, :first].sum(axis=1) / k,
        **{f"recall@{r}": right[:, :r].any(axis=1).astype(np.float64) for r in RECALL_AT},
        "mAP": (precision * right).sum(axis=1) / divisor,
        "mAP@R": (precision * right * within_r).sum(axis=1) / divisor,
        f"nDCG@{k}": (right * gain)[:, :first].sum(axis=1)
        / np.where(none, 1.0, best[np.minimum(wanted, first)]),
    }
    nearest = ranking[:, :first]
    scores = np.take_along_axis(similarity, nearest, axis=1)
    guesses = vote(gallery_labels[nearest], scores)
    metrics["top-1"] = (guesses[:, 0] == query_labels).astype(np.float64)
    metrics["top-3"] = (guesses == query_labels[:, np.newaxis]).any(axis=1).astype(np.float64)
    for values in metrics.values():
        values[none] = np.nan
    return Retrieval(metrics, guesses, nearest, scores)


def confidence_interval(
    values: Floats, *, seed: int = 0, resamples: int = 1000, level: float = 0.95
) -> tuple[float, float]:
    """Bootstrap percentile interval of the mean of `values` (NaN left out), resampling queries.

    Efron and Tibshirani, "An Introduction to the Bootstrap", chapter 13. NaN where none is left.
    """
    values = values[np.isfinite(values)]
    if not len(values):
        return float("nan"), float("nan")
    rng = np.random.default_rng(seed)
    means = np.array(
        [values[rng.integers(0, len(values), len(values))].mean() for _ in range(resamples)]
    )
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
