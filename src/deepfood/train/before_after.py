"""A Model before and after it was worked on, judged by the same photos."""

from collections.abc import Mapping
from dataclasses import dataclass

from deepfood.evaluate.confidence import paired
from deepfood.evaluate.metrics import JUDGED, Floats, measure
from deepfood.train.head import Labels, Vectors


@dataclass(frozen=True)
class Comparison:
    """A metric's means, and the 95 % bootstrap interval of the paired difference."""

    before: float
    after: float
    difference: float
    interval: tuple[float, float]

    @property
    def certain(self) -> bool:
        """Whether the interval leaves no doubt about the sign of the difference."""
        return self.interval[0] > 0 or self.interval[1] < 0


def compare(
    before: tuple[Vectors, Vectors],
    after: tuple[Vectors, Vectors],
    query_labels: Labels,
    gallery_labels: Labels,
    *,
    seed: int,
    own_rows: Labels | None = None,
) -> dict[str, Comparison]:
    """Compare two embeddings, each (queries, gallery), of the same photos: by name of JUDGED."""
    found = [
        measure(queries, query_labels, gallery, gallery_labels, own_rows=own_rows).metrics
        for queries, gallery in (before, after)
    ]
    return compare_figures(*found, seed=seed)


def compare_figures(
    before: Mapping[str, Floats], after: Mapping[str, Floats], *, seed: int
) -> dict[str, Comparison]:
    """Compare figures of the same queries, float64 [q] each, NaN for none: by name of JUDGED."""
    found = {name: paired(before[name], after[name], seed=seed) for name in JUDGED}
    return {
        name: Comparison(one.first, one.second, one.by.value, (one.by.low, one.by.high))
        for name, one in found.items()
        if one is not None
    }


def what_fell(compared: Mapping[str, Comparison]) -> str:
    """The figures that are worse, with their values: the first of JUDGED if it fell at all."""
    return ", ".join(
        f"{name} {one.after:.3f} (before: {one.before:.3f})"
        for name, one in compared.items()
        if one.difference < 0 and (name == JUDGED[0] or one.certain)
    )
