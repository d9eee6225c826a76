"""Where it goes wrong: figures of each class, worst first, and the pairs most often confused."""

from dataclasses import dataclass

import numpy as np

from deepfood.evaluate.metrics import Labels, Retrieval
from deepfood.evaluate.spread import Figure, group_rows, mean_figures, share
from deepfood.evaluate.trial import Trial


@dataclass(frozen=True)
class ClassFigures:
    """One label: its photos in the gallery, its queries, and how they fared.

    `guessed_as` is the wrong label that its queries were most often taken for, if any.
    """

    label: str
    photos: int
    queries: int
    mean_ap: Figure
    precision_at_1: Figure
    precision_at_k: Figure
    top_1: Figure
    guessed_as: str | None


@dataclass(frozen=True)
class Confusion:
    """`count` queries of `label`, a `share` of all of its queries, were voted to be `guess`."""

    label: str
    guess: str
    count: int
    share: float


def class_figures(trial: Trial, retrieval: Retrieval, k: int, *, seed: int) -> list[ClassFigures]:
    """Every label that has queries, the worst mean average precision first."""
    photos = np.bincount(trial.gallery_labels, minlength=len(trial.names))
    wrong = {one.label: one.guess for one in reversed(confusions(trial, retrieval))}
    found = []
    for number, rows in group_rows(trial.query_labels).items():
        own = {name: values[rows] for name, values in retrieval.metrics.items()}
        own = {name: values[np.isfinite(values)] for name, values in own.items()}
        spread = {name: own[name] for name in ("mAP", f"precision@{k}")}
        means = mean_figures(spread, seed=seed)
        hits = {
            name: share(int(own[name].sum()), len(own[name])) for name in ("precision@1", "top-1")
        }
        label = trial.names[number]
        found.append(
            ClassFigures(
                label,
                photos=int(photos[number]),
                queries=len(rows),
                mean_ap=means["mAP"],
                precision_at_1=hits["precision@1"],
                precision_at_k=means[f"precision@{k}"],
                top_1=hits["top-1"],
                guessed_as=wrong.get(label),
            )
        )
    return sorted(found, key=lambda one: (np.nan_to_num(one.mean_ap.value, nan=2), one.label))


def confusion_matrix(trial: Trial, retrieval: Retrieval) -> Labels:
    """Queries of each label (row) by the label first in the vote (column): int64 [c, c]."""
    count = len(trial.names)
    guesses = retrieval.guesses[:, 0]
    voted = guesses >= 0
    pairs = trial.query_labels[voted] * count + guesses[voted]
    return np.bincount(pairs, minlength=count * count).reshape(count, count)


def confusions(trial: Trial, retrieval: Retrieval) -> list[Confusion]:
    """All pairs of label and wrong guess, the most frequent first, then by name."""
    guesses = retrieval.guesses[:, 0]
    wrong = (guesses >= 0) & (guesses != trial.query_labels)
    pairs = np.column_stack([trial.query_labels[wrong], guesses[wrong]])
    asked = np.bincount(trial.query_labels, minlength=len(trial.names))
    different, counts = np.unique(pairs, axis=0, return_counts=True)
    found = [
        Confusion(trial.names[label], trial.names[guess], int(count), count / asked[label])
        for (label, guess), count in zip(different.tolist(), counts.tolist(), strict=True)
    ]
    return sorted(found, key=lambda one: (-one.count, one.label, one.guess))
