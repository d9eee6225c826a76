"""Figures of each class, worst first, and the pairs of labels most often confused."""

from dataclasses import dataclass

import numpy as np

from deepfood.evaluate.confidence import Figure, group_rows, mean_figures, share
from deepfood.evaluate.metrics import Floats, Labels, Retrieval
from deepfood.evaluate.trial import Trial


@dataclass(frozen=True)
class ClassFigures:
    """The figures of one label: its photos in the gallery, its queries, and their results.

    `guessed_as` is the wrong label most often predicted for its queries, if any.
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
    """For `count` queries of `label`, a `share` of all its queries, `guess` was predicted."""

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


def most_confused(trial: Trial, retrieval: Retrieval, count: int) -> Labels:
    """At most `count` labels with the most confusions, sorted."""
    guesses = retrieval.guesses[:, 0]
    wrong = (guesses >= 0) & (guesses != trial.query_labels)
    either = np.concatenate([trial.query_labels[wrong], guesses[wrong]])
    times = np.bincount(either, minlength=len(trial.names))
    return np.sort(np.argsort(-times, kind="stable")[:count])


def confusion_matrix(trial: Trial, retrieval: Retrieval, labels: Labels) -> Floats:
    """The share of the queries of each of `labels` (row) predicted as each (column).

    float64 [l, l]; a row of zeros where a label has no queries. Restricted to `labels`, as there
    may be tens of thousands in total.
    """
    guesses = retrieval.guesses[:, 0]
    place = np.full(len(trial.names) + 1, -1)  # the last for a guess of -1
    place[labels] = np.arange(len(labels))
    row, column = place[trial.query_labels], place[guesses]
    counts = np.zeros((len(labels), len(labels)))
    shown = (row >= 0) & (column >= 0)
    np.add.at(counts, (row[shown], column[shown]), 1)
    asked = np.bincount(row[row >= 0], minlength=len(labels))
    return counts / np.maximum(1, asked)[:, np.newaxis]


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
