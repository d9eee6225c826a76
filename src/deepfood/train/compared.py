"""A Model before and after it was worked on, judged by the same photos."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from deepfood.evaluate.metrics import JUDGED, Floats, confidence_interval, measure
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
    found: list[dict[str, Floats]] = [
        measure(queries, query_labels, gallery, gallery_labels, own_rows=own_rows).metrics
        for queries, gallery in (before, after)
    ]
    compared = {}
    for name in JUDGED:
        differences = found[1][name] - found[0][name]
        compared[name] = Comparison(
            before=float(np.nanmean(found[0][name])),
            after=float(np.nanmean(found[1][name])),
            difference=float(np.nanmean(differences)),
            interval=confidence_interval(differences, seed=seed),
        )
    return compared


def what_fell(compared: Mapping[str, Comparison]) -> str:
    """The figures that are worse, with their values: the first of JUDGED if it fell at all."""
    return ", ".join(
        f"{name} {one.after:.3f} (before: {one.before:.3f})"
        for name, one in compared.items()
        if one.difference < 0 and (name == JUDGED[0] or one.certain)
    )
