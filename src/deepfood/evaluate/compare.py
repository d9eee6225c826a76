"""Compare two Models on the same queries and gallery, by paired tests."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

from deepfood.errors import DatasetError
from deepfood.evaluate.confidence import Difference, difference
from deepfood.evaluate.evaluation import Evaluation
from deepfood.evaluate.metrics import JUDGED, Labels
from deepfood.evaluate.trial import LabelledVectors
from deepfood.model import Model

#: The metric that selects example queries, and the significance level.
DECISIVE = JUDGED[0]
_SURE = 0.05


@dataclass(frozen=True)
class Comparison:
    """`first` and `second` on the same queries and photos, with a Difference per metric."""

    first: Evaluation
    second: Evaluation
    differences: dict[str, Difference]

    def verdict(self) -> str:
        """A sentence: which is better, and in which metrics."""
        judged = {name: self.differences[name] for name in JUDGED if name in self.differences}
        if not judged:
            return "nothing to compare: no query has a right photo"
        sure = {name: one for name, one in judged.items() if one.p < _SURE}
        better = [_with_interval(name, one) for name, one in sure.items() if one.by.value > 0]
        worse = [_with_interval(name, one) for name, one in sure.items() if one.by.value < 0]
        if better and worse:
            return f"B is better in {', '.join(better)}, and worse in {', '.join(worse)}"
        if better or worse:
            return f"{'B' if better else 'A'} is better: {', '.join(better or worse)}"
        first, decisive = next(iter(judged.items()))
        return f"no clear difference between A and B: {_with_interval(first, decisive)}"

    def changed(self, count: int, *, better: bool) -> Labels:
        """At most `count` rows of the queries that B answers most better, or most worse, than A."""
        change = self.second.retrieval.metrics[DECISIVE] - self.first.retrieval.metrics[DECISIVE]
        gain = np.nan_to_num(change if better else -change)
        order = np.argsort(-gain, kind="stable")[:count]
        return order[gain[order] > 0]


def _with_interval(name: str, one: Difference) -> str:
    p = "p < 0.001" if one.p < 0.001 else f"p = {one.p:.3f}"
    return f"{name} {one.by.value:+.3f} [{one.by.low:+.3f}, {one.by.high:+.3f}] ({p})"


def without_seen(
    photos: LabelledVectors, other: LabelledVectors, models: Iterable[Model]
) -> tuple[LabelledVectors, LabelledVectors, list[str]]:
    """The queries in the vectors of both Models, without those that either was trained on.

    Also notes on how many were left out. Raises DatasetError where none remains.
    """
    notes = []
    left = np.ones(len(photos.ids), np.bool_)
    for model in {model.fingerprint: model for model in models}.values():
        seen = np.array([photo_id in model.trained_on for photo_id in photos.ids], np.bool_)
        if count := int(seen.sum()):
            notes.append(
                f"the Model {model.manifest.name} was trained on {count} of the {len(photos.ids)} "
                "query photos: left out"
            )
        left &= ~seen
    if not left.any():
        raise DatasetError(
            f"nothing to compare with: {'; '.join(notes)}; ask with photos that neither Model has "
            "seen, deepfood evaluate GALLERY QUERIES --compare MODEL"
        )
    rows = np.flatnonzero(left)
    return photos.select(rows), other.select(rows), notes


def align(
    photos: LabelledVectors, other: LabelledVectors
) -> tuple[LabelledVectors, LabelledVectors]:
    """The photos that both have, by content, in the order and with the labels of `photos`.

    Raises DatasetError where there are none.
    """
    rows = [row for row, photo_id in enumerate(photos.ids) if photo_id in other.rows]
    if not rows:
        raise DatasetError(
            f"nothing to compare: no photo of {photos.root} is in the other (compared by "
            "content); build both galleries from the same photos"
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
