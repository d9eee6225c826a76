"""Compare a Model before and after a change, on the same photos."""

from collections.abc import Mapping
from dataclasses import dataclass

from deepfood.evaluate.confidence import paired
from deepfood.evaluate.metrics import JUDGED, Floats, measure
from deepfood.train.head import Labels, Vectors


@dataclass(frozen=True)
class BeforeAfter:
    """A metric's means, and the 95 % bootstrap interval of the paired difference."""

    before: float
    after: float
    difference: float
    interval: tuple[float, float]

    @property
    def is_significant(self) -> bool:
        """Whether the interval excludes 0."""
        return self.interval[0] > 0 or self.interval[1] < 0


def compare(
    before: tuple[Vectors, Vectors],
    after: tuple[Vectors, Vectors],
    query_labels: Labels,
    gallery_labels: Labels,
    *,
    seed: int,
    own_rows: Labels | None = None,
) -> dict[str, BeforeAfter]:
    """Compare two embeddings, each (queries, gallery), of the same photos: by metric in JUDGED."""
    found = [
        measure(queries, query_labels, gallery, gallery_labels, own_rows=own_rows).metrics
        for queries, gallery in (before, after)
    ]
    return compare_metrics(*found, seed=seed)


def compare_metrics(
    before: Mapping[str, Floats], after: Mapping[str, Floats], *, seed: int
) -> dict[str, BeforeAfter]:
    """Compare metrics of the same queries, float64 [q] each, NaN for none: by metric in JUDGED."""
    found = {name: paired(before[name], after[name], seed=seed) for name in JUDGED}
    return {
        name: BeforeAfter(one.first, one.second, one.by.value, (one.by.low, one.by.high))
        for name, one in found.items()
        if one is not None
    }


def regressions(compared: Mapping[str, BeforeAfter]) -> str:
    """The metrics that got worse, with their values; the first of JUDGED for any drop."""
    return ", ".join(
        f"{name} {one.after:.3f} (before: {one.before:.3f})"
        for name, one in compared.items()
        if one.difference < 0 and (name == JUDGED[0] or one.is_significant)
    )
