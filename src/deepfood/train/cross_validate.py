"""Choose a head's hyperparameters by cross-validation, on training photos only.

Folds are stratified by label. The photos of one fold are queries, the others are the gallery that
the head is fitted to, as with a user's gallery and later queries. The best head has the highest mAP
among those that make no metric significantly worse: a head that pulls the photos of a label
together can lose correct results that there were before.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch

from deepfood.errors import DatasetError
from deepfood.evaluate.metrics import JUDGED, K, bootstrap_means
from deepfood.gallery.vote import VOTERS, vote
from deepfood.progress import bar
from deepfood.train.head import Discriminant, Hyperparameters, Labels, Vectors, apply_head, fit_head
from deepfood.train.losses import LossName

Floats = npt.NDArray[np.float64]

FOLDS = 5
#: The most photos used in cross-validation, drawn evenly from the labels.
MAX_PHOTOS = 5000

SHRINKAGES = (0.1, 0.3, 1.0, 3.0, 10.0)
#: Never 0: all photos of a label would become one point, ranked at random.
RESIDUALS = (0.5, 1.0, 1.5, 2.0, 3.0)
SIZES = (64, 128, 256, 512, 1024, 2048)
STEPS = (0.0, 3e-4, 1e-3)
#: How much mAP may be given up for a smaller embedding, which is cheaper to store and search.
_SIZE_TOLERANCE = 0.002


@dataclass(frozen=True)
class Candidate:
    """A head that was tried. `figures` are means over all queries, by metric in JUDGED.

    `fall` is by how much a metric is significantly below that of the unchanged embeddings, by the
    95 % interval of the difference; 0 if none is.
    """

    choice: Hyperparameters
    figures: dict[str, float]
    fall: float

    @property
    def mean_ap(self) -> float:
        return self.figures["mAP"]


@dataclass(frozen=True)
class CrossValidation:
    """The candidates, tried on `photos` training photos.

    `base` are the metrics of the unchanged embeddings on the same queries and galleries. `chance`
    is the precision@1 of a random ranking, and `chance_error` its standard error.
    """

    folds: int
    photos: int
    base: dict[str, float]
    chance: float
    chance_error: float
    best: Candidate
    trials: tuple[Candidate, ...]


@dataclass(frozen=True)
class _Fold:
    queries: Vectors
    query_labels: Labels
    gallery: Vectors
    gallery_labels: Labels
    #: `gallery_labels` are numbered from 0 without gaps, as a fold may lack a label.
    fitted_labels: Labels
    statistics: Discriminant


def choose_head(
    vectors: Vectors,
    labels: Labels,
    loss: LossName,
    *,
    seed: int,
    threads: int = 1,
    even_if_worse: bool = False,
    quiet: bool = False,
) -> CrossValidation:
    """Search heads for unit vectors float32 [n, dim] with labels int64 [n], by coordinate search.

    `threads` processor cores are used, without effect on the result. `even_if_worse` considers mAP
    only. Raises DatasetError where no label has two photos.
    """
    rng = np.random.default_rng(seed)
    kept = sample_evenly(labels, MAX_PHOTOS, rng)
    vectors, labels = vectors[kept], labels[kept]
    number_of = deal(labels, FOLDS, rng)
    count = int(number_of.max()) + 1
    if count < 2:
        raise DatasetError(
            "no label has two training photos, so no head can be tried: three or more photos of a "
            "label are needed, one of them to validate on"
        )
    dimension = vectors.shape[1]
    sizes = sorted({size for size in SIZES if size < dimension} | {dimension})
    total = (2 * len(SHRINKAGES) + len(RESIDUALS) + len(sizes) + len(STEPS)) * count
    with (
        # One fold per core: splitting such small products over cores would be slower.
        ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool,
        bar("choosing a head", " fits", total, quiet=quiet) as progress,
    ):
        folds = list(pool.map(lambda one: _fold(vectors, labels, number_of == one), range(count)))
        base = np.concatenate(
            [
                query_metrics(one.queries, one.query_labels, one.gallery, one.gallery_labels)
                for one in folds
            ]
        )
        trials: dict[Hyperparameters, Candidate] = {}

        def try_heads(choices: list[Hyperparameters]) -> Candidate:
            """The best candidate, the first among equals."""
            new = [choice for choice in choices if choice not in trials]
            jobs = {
                choice: [pool.submit(_try, fold, choice, loss, seed) for fold in folds]
                for choice in new
            }
            progress.update(count * (len(choices) - len(new)))
            for choice, parts in jobs.items():
                values = []
                for part in parts:
                    values.append(part.result())
                    progress.update()
                trials[choice] = _trial(choice, np.concatenate(values), base, seed)
            return max((trials[choice] for choice in choices), key=rating)

        def rating(trial: Candidate) -> tuple[float, float]:
            return (0.0 if even_if_worse else -trial.fall, trial.mean_ap)

        best = _search(try_heads, rating, sizes)
    # precision@1 under a random ranking.
    shares = np.concatenate([_shares(fold) for fold in folds])
    shares = shares[shares > 0]
    return CrossValidation(
        folds=count,
        photos=len(labels),
        base=_means(base),
        chance=float(shares.mean()),
        chance_error=float(np.sqrt((shares * (1 - shares)).sum()) / len(shares)),
        best=best,
        trials=tuple(trials.values()),
    )


def _search(
    try_heads: Callable[[list[Hyperparameters]], Candidate],
    rating: Callable[[Candidate], tuple[float, float]],
    sizes: list[int],
) -> Candidate:
    """Coordinate search: optimize one hyperparameter after the other, not the full grid."""
    middle = max([size for size in sizes if size <= 256], default=sizes[0])
    best = try_heads([Hyperparameters(value, RESIDUALS[1], middle) for value in SHRINKAGES])
    best = try_heads([replace(best.choice, residual=value) for value in RESIDUALS])
    best = try_heads([replace(best.choice, shrinkage=value) for value in SHRINKAGES])
    sized = [try_heads([replace(best.choice, size=size)]) for size in sizes]
    kept, highest = max(map(rating, sized))
    best = next(
        trial
        for trial in sized
        if rating(trial)[0] == kept and trial.mean_ap >= highest - _SIZE_TOLERANCE
    )
    return try_heads([replace(best.choice, step=value) for value in STEPS])


def deal(labels: Labels, folds: int, rng: np.random.Generator) -> Labels:
    """The fold of each photo, int64 [n], stratified by label.

    There are at most `folds`, and no more than the most frequent label has photos. The only photo
    of a label is in none, -1, as no right answer exists for it.
    """
    number_of = np.full(len(labels), -1)
    following = 0
    for label in np.unique(labels):
        rows = rng.permutation(np.flatnonzero(labels == label))
        if len(rows) > 1:
            # Each label starts at the fold after the last one, so that folds have equal sizes.
            number_of[rows] = (following + np.arange(len(rows))) % folds
            following += len(rows)
    used, numbers = np.unique(number_of[number_of >= 0], return_inverse=True)
    number_of[number_of >= 0] = numbers
    return number_of if len(used) > 1 else np.full(len(labels), -1)


def sample_evenly(labels: Labels, most: int, rng: np.random.Generator) -> Labels:
    """At most `most` rows, sorted, as evenly over labels as possible; all if they fit."""
    if len(labels) <= most:
        return np.arange(len(labels))
    turn = np.empty(len(labels), np.int64)  # the photo's rank within its label
    for label in np.unique(labels):
        rows = rng.permutation(np.flatnonzero(labels == label))
        turn[rows] = np.arange(len(rows))
    order = np.lexsort((rng.random(len(labels)), turn))
    return np.sort(order[:most])


def query_metrics(
    queries: Vectors, query_labels: Labels, gallery: Vectors, gallery_labels: Labels
) -> Floats:
    """The metrics of each query in the order of JUDGED, float64 [q, 6].

    NaN where the gallery has no right photo. The same as in `evaluate.metrics.measure`, without
    the other metrics, as this runs a hundred times.
    """
    similarity = (torch.from_numpy(queries) @ torch.from_numpy(gallery).T).numpy()
    ranking = np.argsort(-similarity, axis=1, kind="stable")
    right = gallery_labels[ranking] == query_labels[:, np.newaxis]
    precision = np.cumsum(right, axis=1) / np.arange(1, right.shape[1] + 1)
    wanted = right.sum(axis=1)
    voters = ranking[:, :VOTERS]
    scores = np.take_along_axis(similarity, voters, axis=1)
    guesses = vote(gallery_labels[voters], scores.astype(np.float64))
    of_guesses = guesses == query_labels[:, np.newaxis]
    found = {
        "mAP": (precision * right).sum(axis=1) / np.maximum(wanted, 1),
        "precision@1": right[:, 0],
        f"precision@{K}": right[:, :K].sum(axis=1) / K,
        "recall@5": right[:, :5].any(axis=1),
        "top-1": of_guesses[:, 0],
        "top-3": of_guesses.any(axis=1),
    }
    values = np.column_stack([found[name] for name in JUDGED]).astype(np.float64)
    values[wanted == 0] = np.nan
    return values


def _trial(choice: Hyperparameters, values: Floats, base: Floats, seed: int) -> Candidate:
    """`values` and `base` float64 [q, 6] are of the same queries."""
    differences = (values - base)[np.isfinite(base).all(axis=1)]
    highest = np.quantile(bootstrap_means(differences, seed=seed), 0.975, axis=0)
    return Candidate(choice, _means(values), max(0.0, *(-highest).tolist()))


def _means(values: Floats) -> dict[str, float]:
    return dict(zip(JUDGED, np.nanmean(values, axis=0).tolist(), strict=True))


def _shares(fold: _Fold) -> Floats:
    """The share of each query's label among the photos of its gallery: float64 [q]."""
    size = 1 + max(fold.query_labels.max(), fold.gallery_labels.max())
    counts = np.bincount(fold.gallery_labels, minlength=size)
    return counts[fold.query_labels] / len(fold.gallery_labels)


def _fold(vectors: Vectors, labels: Labels, asked: npt.NDArray[np.bool]) -> _Fold:
    gallery, gallery_labels = vectors[~asked], labels[~asked]
    fitted = np.unique(gallery_labels, return_inverse=True)[1]
    return _Fold(
        vectors[asked],
        labels[asked],
        gallery,
        gallery_labels,
        fitted,
        Discriminant(gallery, fitted),
    )


def _try(fold: _Fold, choice: Hyperparameters, loss: LossName, seed: int) -> Floats:
    weights = fit_head(
        fold.gallery, fold.fitted_labels, choice, loss, seed=seed, statistics=fold.statistics
    )
    return query_metrics(
        apply_head(fold.queries, weights),
        fold.query_labels,
        apply_head(fold.gallery, weights),
        fold.gallery_labels,
    )
