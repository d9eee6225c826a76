"""Retrieval and classification metrics, one number per query, for paired comparisons.

Every query ranks the whole gallery by cosine similarity. Definitions: precision@k, recall@k (the
share of queries with a right photo among the k nearest, as the metric-learning literature uses the
word), mAP and nDCG as in Manning et al., "Introduction to Information Retrieval", chapter 8; mAP@R
as in Musgrave et al., "A Metric Learning Reality Check" (2020); the weighted vote of the neighbours
as in Wu et al., "Unsupervised Feature Learning via Non-Parametric Instance Discrimination" (2018).
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from deepfood.gallery.averaging import Averaging
from deepfood.gallery.vote import VOTERS, vote, vote_share

Floats = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]
Vectors = npt.NDArray[np.float32]

#: The k of precision@k, nDCG@k and of the neighbours that vote: what the web page shows.
K = 9
RECALL_AT = (1, 5, 10)
#: The metrics for comparing two Models; the first decides if none gets worse.
JUDGED = ("mAP", "precision@1", f"precision@{K}", "recall@5", "top-1", "top-3")

#: Similarities in memory at once, 64 MB; bounds the number of queries per block.
_CHUNK_SCORES = 2**24
#: Bootstrap counts in memory at once, 32 MB.
_CHUNK_COUNTS = 2**22


@dataclass(frozen=True)
class Retrieval:
    """Metrics of each query by name, float64 [q], NaN where the gallery has no right photo.

    `guesses` int64 [q, 3] are the labels that the neighbours vote for, the likeliest first (-1
    where they know fewer); `nearest` int64 [q, min(k, n)] the gallery rows of the k nearest,
    `scores` float64, of the same shape, their similarities (-inf for the query's own row, which
    fills up a gallery of no more than k photos); `shares` float64, of the same shape, of each its
    label's share of the vote of the VOTERS nearest. `in_gallery` float64 [q, 2] the evidence that
    the query's dish is there: the best similarity, and the largest share of the vote; `left_out`
    the same with all photos of the query's label left out, NaN where there are no others.
    """

    metrics: dict[str, Floats]
    guesses: Labels
    nearest: npt.NDArray[np.int64]
    scores: Floats
    shares: Floats
    in_gallery: Floats
    left_out: Floats

    def means(self, among: npt.NDArray[np.bool] | slice = slice(None)) -> dict[str, float]:
        """The mean of each metric over the queries that have a right photo; NaN where none has.

        `among` bool [q] are the queries that count, all by default.
        """
        asked = {name: values[among] for name, values in self.metrics.items()}
        return {
            name: float(np.nanmean(values)) if np.isfinite(values).any() else float("nan")
            for name, values in asked.items()
        }


def measure(
    queries: Vectors,
    query_labels: Labels,
    gallery: Vectors,
    gallery_labels: Labels,
    *,
    k: int = K,
    own_rows: npt.NDArray[np.int64] | None = None,
    averaging: Averaging | None = None,
) -> Retrieval:
    """Rank `gallery`, float32 [n, dim], for every one of `queries`, float32 [q, dim], unit vectors.

    Labels are int64, [q] and [n]; -1 is none and never right. Equal similarities rank by row.
    `own_rows` int64 [q], where the queries are photos of the gallery, is the row of each, which is
    left out of its ranking (-1 for none). `averaging` is that of a gallery that is tuned.
    """
    count, size = len(queries), len(gallery)
    first = min(k, size)
    names = ["precision@1", f"precision@{k}", *(f"recall@{r}" for r in RECALL_AT)]
    names += ["mAP", "mAP@R", f"nDCG@{k}"]
    values = np.full((count, len(names)), np.nan)
    nearest = np.empty((count, first), np.int64)
    scores = np.empty((count, first))
    shares = np.empty((count, first))
    in_gallery, left_out = np.full((count, 2), np.nan), np.full((count, 2), np.nan)
    gain = 1 / np.log2(np.arange(2, first + 2))
    chunk = max(1, _CHUNK_SCORES // max(1, size))
    for start in range(0, count, chunk):
        similarity = queries[start : start + chunk] @ gallery.T
        for query, cosines in enumerate(similarity, start):
            own = -1 if own_rows is None else int(own_rows[query])
            if own >= 0:
                cosines[own] = -np.inf  # ranked last, and cut off below
            alike = averaging.rescored(cosines, gallery) if averaging else cosines
            ranking = rank(alike)
            nearest[query] = ranking[:first]
            scores[query] = alike[nearest[query]]
            label = query_labels[query]
            ranked = gallery_labels[ranking[: size - (own >= 0)]]
            voters = ranking[: min(VOTERS, len(ranked))]
            shares[query], in_gallery[query] = _evidence(
                gallery_labels[nearest[query]], gallery_labels[voters], alike[voters]
            )
            others = ranking[np.flatnonzero(ranked != label)[:VOTERS]]
            if averaging:  # without the label, the others have other neighbours
                cosines[gallery_labels == label] = -np.inf
                alike = averaging.rescored(cosines, gallery)
                others = rank(alike)[: min(VOTERS, np.count_nonzero(np.isfinite(alike)))]
            if len(others):
                _, left_out[query] = _evidence(
                    gallery_labels[others], gallery_labels[others], alike[others]
                )
            if label >= 0:
                values[query] = _judge(np.flatnonzero(ranked == label) + 1, k, gain)
    guesses = vote(gallery_labels[nearest], scores)
    metrics = {name: values[:, column] for column, name in enumerate(names)}
    metrics["top-1"] = (guesses[:, 0] == query_labels).astype(np.float64)
    metrics["top-3"] = (guesses == query_labels[:, np.newaxis]).any(axis=1).astype(np.float64)
    for name in ("top-1", "top-3"):
        metrics[name][np.isnan(metrics["mAP"])] = np.nan
    return Retrieval(metrics, guesses, nearest, scores, shares, in_gallery, left_out)


def _evidence(
    labels: Labels, voters: Labels, scores: npt.NDArray[np.float32]
) -> tuple[Floats, Floats]:
    """The shares of the vote of some `labels`, [m]; the best similarity and the largest share."""
    if not len(voters):
        return np.zeros(len(labels)), np.full(2, np.nan)
    asked = np.concatenate([labels, voters])[np.newaxis]
    shares = vote_share(asked, voters[np.newaxis], scores[np.newaxis].astype(np.float64))[0]
    best = np.array([scores[0], shares[len(labels) :].max()], np.float64)
    return shares[: len(labels)], best


def rank(similarity: npt.NDArray[np.float32]) -> npt.NDArray[np.int64]:
    """Rows by falling similarity, float32 [n] without NaN, equal ones by row: int64 [n].

    A stable argsort, several times faster: numpy sorts plain integers with the processor's vector
    instructions, so each similarity and its row become one integer. The bits of a float32 order as
    the number does, negative ones the other way round.
    """
    bits = (similarity + np.float32(0)).view(np.uint32)  # + 0 makes -0.0 the 0.0 that it equals
    falling = np.where(bits >> 31, bits, bits ^ np.uint32(0x7FFFFFFF))
    keys = falling.astype(np.uint64) << np.uint64(32)
    keys |= np.arange(len(keys), dtype=np.uint64)
    keys.sort()
    return (keys & np.uint64(0xFFFFFFFF)).astype(np.int64)


def _judge(right: npt.NDArray[np.int64], k: int, gain: Floats) -> list[float]:
    """The metrics of one query, in the order of `measure`'s names.

    `right` are the places of the right photos in the ranking, rising, from 1; `gain` float64
    [min(k, n)] what a right photo in each of the first places counts for nDCG.
    """
    wanted = len(right)
    if not wanted:
        return [np.nan] * (len(RECALL_AT) + 5)
    precision = np.arange(1, wanted + 1) / right
    shown = right[right <= len(gain)]
    return [
        float(right[0] == 1),
        len(shown) / k,
        *(float(right[0] <= r) for r in RECALL_AT),
        precision.mean(),
        precision[right <= wanted].sum() / wanted,
        gain[shown - 1].sum() / gain[:wanted].sum(),
    ]


def confidence_interval(
    values: Floats, *, seed: int = 0, resamples: int = 1000, level: float = 0.95
) -> tuple[float, float]:
    """Bootstrap percentile interval of the mean of `values` (NaN left out), resampling queries.

    Efron and Tibshirani, "An Introduction to the Bootstrap", chapter 13. NaN where none is left.
    """
    values = values[np.isfinite(values)]
    if not len(values):
        return float("nan"), float("nan")
    means = bootstrap_means(values[:, np.newaxis], seed=seed, resamples=resamples)[:, 0]
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def bootstrap_means(values: Floats, *, seed: int = 0, resamples: int = 1000) -> Floats:
    """Means of `values`, float64 [n, m] without NaN, in resamples of its rows: [resamples, m]."""
    count = len(values)
    rng = np.random.default_rng(seed)
    means = []
    chunk = max(1, _CHUNK_COUNTS // count)
    for start in range(0, resamples, chunk):
        rows = min(chunk, resamples - start)
        drawn = rng.integers(0, count, (rows, count)) + count * np.arange(rows)[:, np.newaxis]
        times = np.bincount(drawn.ravel(), minlength=rows * count).reshape(rows, count)
        means.append(times @ values / count)
    return np.concatenate(means)
