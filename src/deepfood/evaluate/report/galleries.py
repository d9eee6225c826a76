"""Queries with their neighbours, as the report shows them: worst first, and some at random."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from deepfood.evaluate.compare import Comparison
from deepfood.evaluate.evaluation import Evaluation, right_hits
from deepfood.evaluate.metrics import Labels
from deepfood.evaluate.report.pictures import Pictures
from deepfood.evaluate.trial import LabelledVectors

SIDE = 112
_MOST_NEIGHBOURS = 9


@dataclass(frozen=True)
class Shown:
    """A photo on the page; `right` is None for the query itself."""

    picture: str | None
    label: str
    file: str
    right: bool | None = None
    score: float = 0.0
    chance: float | None = None


@dataclass(frozen=True)
class Ranking:
    """What one side, A or B or the only one, found for a query; `ap` its average precision."""

    side: str
    ap: float
    guess: str
    hits: tuple[Shown, ...]


@dataclass(frozen=True)
class Asked:
    query: Shown
    answers: tuple[Ranking, ...]


def asked(
    rows: Iterable[int], sides: dict[str, Evaluation], pictures: Pictures
) -> tuple[Asked, ...]:
    """The queries in `rows` with what each of the sides, by name, found for them."""
    return tuple(
        Asked(
            _shown(next(iter(sides.values())).trial.queries, row, pictures),
            tuple(_answer(name, side, row, pictures) for name, side in sides.items()),
        )
        for row in rows
    )


def _shown(photos: LabelledVectors, row: int, pictures: Pictures) -> Shown:
    return Shown(pictures.of(photos, row, SIDE), photos.labels[row], photos.files[row])


def _answer(name: str, side: Evaluation, row: int, pictures: Pictures) -> Ranking:
    found, trial = side.retrieval, side.trial
    right = right_hits(trial, found)[row]
    hits = []
    for place, hit in enumerate(found.nearest[row][:_MOST_NEIGHBOURS].tolist()):
        if not np.isfinite(found.scores[row, place]):
            continue
        chance = float(side.probability[row, place])
        hits.append(
            Shown(
                pictures.of(trial.gallery, hit, SIDE),
                trial.gallery.labels[hit],
                trial.gallery.files[hit],
                bool(right[place]),
                float(found.scores[row, place]),
                None if np.isnan(chance) else chance,
            )
        )
    guess = int(found.guesses[row, 0])
    return Ranking(
        name,
        float(found.metrics["mAP"][row]),
        trial.names[guess] if guess >= 0 else "nothing",
        tuple(hits),
    )


def worst_rows(found: Evaluation, count: int) -> Labels:
    """Queries with the lowest average precision, no label more than twice."""
    ap = found.retrieval.metrics["mAP"]
    order = np.argsort(np.where(np.isnan(ap), np.inf, ap), kind="stable")
    chosen: list[int] = []
    times: dict[int, int] = {}
    for row in order[np.isfinite(ap[order])].tolist():
        label = int(found.trial.query_labels[row])
        times[label] = times.get(label, 0) + 1
        if times[label] <= 2:
            chosen.append(row)
        if len(chosen) == count:
            break
    return np.array(chosen, np.int64)


def random_rows(found: Evaluation, count: int, seed: int) -> Labels:
    drawn = np.random.default_rng(seed).permutation(len(found.trial.queries.ids))[:count]
    return np.sort(drawn)


def changed(
    comparison: Comparison, sides: dict[str, Evaluation], count: int, pictures: Pictures
) -> dict[str, tuple[Asked, ...]]:
    """The queries that B answers most better, and most worse, than A."""
    return {
        "B is better": asked(comparison.changed(count, better=True), sides, pictures),
        "A is better": asked(comparison.changed(count, better=False), sides, pictures),
    }
