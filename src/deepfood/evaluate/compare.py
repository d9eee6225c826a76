"""Two ways to see the same photos: the same queries, the same gallery, paired tests."""

from dataclasses import dataclass, replace

import numpy as np

from deepfood.errors import DatasetError
from deepfood.evaluate.evaluation import Evaluation
from deepfood.evaluate.metrics import Labels
from deepfood.evaluate.spread import Difference, difference
from deepfood.evaluate.trial import Photos

#: The metric that says which is better, and p below which it says so.
DECISIVE = "mAP"
_SURE = 0.05


@dataclass(frozen=True)
class Comparison:
    """`first` and `second` judged on the same queries and photos; a Difference a metric."""

    first: Evaluation
    second: Evaluation
    differences: dict[str, Difference]

    def verdict(self) -> str:
        """Which is better, in words."""
        decisive = self.differences.get(DECISIVE)
        if decisive is None:
            return "nothing to compare: no query has a right photo"
        by, p = decisive.by, "p < 0.001" if decisive.p < 0.001 else f"p = {decisive.p:.3f}"
        said = f"{DECISIVE} {by.value:+.3f} [{by.low:+.3f}, {by.high:+.3f}], {p}"
        if decisive.p >= _SURE:
            return f"no clear difference between A and B: {said}"
        return f"{'B' if by.value > 0 else 'A'} is better: {said}"

    def notes_on_second(self) -> list[str]:
        """What is to be said of B and was not said of A."""
        return [note for note in self.second.trial.notes if note not in self.first.trial.notes]

    def changed(self, count: int, *, better: bool) -> Labels:
        """At most `count` rows of the queries that B answers most better, or most worse, than A."""
        change = self.second.retrieval.metrics[DECISIVE] - self.first.retrieval.metrics[DECISIVE]
        gain = np.nan_to_num(change if better else -change)
        order = np.argsort(-gain, kind="stable")[:count]
        return order[gain[order] > 0]


def align(photos: Photos, other: Photos) -> tuple[Photos, Photos]:
    """What both have, by content, in the order and with the labels of `photos`.

    Raises DatasetError where that is nothing.
    """
    rows = [row for row, photo_id in enumerate(photos.ids) if photo_id in other.rows]
    if not rows:
        raise DatasetError(
            f"nothing to compare: no photo of {photos.root} is in the other (photos are told by "
            "their content); build both galleries from the same photos"
        )
    kept = photos if len(rows) == len(photos.ids) else photos.select(rows)
    there = np.array([other.rows[photo_id] for photo_id in kept.ids], np.int64)
    return kept, replace(kept, vectors=other.vectors[there])


def compare(first: Evaluation, second: Evaluation, *, seed: int) -> Comparison:
    """Test the difference in every metric; both have judged the same queries, in one order."""
    found = {
        name: difference(values, second.retrieval.metrics[name], seed=seed)
        for name, values in first.retrieval.metrics.items()
    }
    return Comparison(first, second, {name: one for name, one in found.items() if one})
