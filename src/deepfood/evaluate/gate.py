"""The gate: is a Model certainly worse than the one before, on photos that neither has learned?

`adapt`, `train`, `quantize` and `reembed` judge by it. Both Models answer the same queries; each
figure has the bootstrap interval of the paired difference. A Model is certainly worse in a figure
if the whole interval is on the bad side of what is allowed. The intervals hold together with 95 %
certainty (Bonferroni), so that an equal Model is hardly ever worse in one of them.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from deepfood.evaluate.confidence import group_rows, paired, resample, sign_flip_p
from deepfood.evaluate.metrics import Floats, Labels, Retrieval
from deepfood.evaluate.reliability import cross_fitted
from deepfood.gallery.logistic import auroc, calibration_error

NOVELTY, CALIBRATION, WORST = "novelty AUROC", "calibration error", "worst label's mAP"
#: Means over queries; the first decides between Models of which neither is certainly worse.
MEANS = ("mAP", "precision@1", "recall@5", "top-3")
#: Every figure, in the order that they are shown.
FIGURES = (*MEANS, NOVELTY, CALIBRATION, WORST)
DECISIVE = MEANS[0]

#: With fewer queries a curve, or a mean and that of a label, has no interval worth the name.
FEWEST_FOR_CURVES, FEWEST = 30, 10
_UNSURE = 0.05
#: Of each figure's interval, so that all of them hold together with 95 % certainty.
LEVEL = 1 - _UNSURE / len(FIGURES)
#: Flips of signs that test each of so many labels; of more labels in proportion.
_FLIPS, _LABELS = 9_999, 100

#: What is known of each query's answer: float64 [q, ...] by name, NaN for none.
Answers = Mapping[str, Floats]


@dataclass(frozen=True)
class BeforeAfter:
    """A figure of two Models, and the bootstrap interval of the paired difference.

    `interval` is None where too few queries were asked: then nothing is certain.
    """

    before: float
    after: float
    difference: float
    interval: tuple[float, float] | None

    @property
    def is_significant(self) -> bool:
        """Whether the interval excludes 0."""
        return self.interval is not None and (self.interval[0] > 0 or self.interval[1] < 0)

    @property
    def change(self) -> str:
        """The difference and its interval, for people."""
        if self.interval is None:
            return f"{self.difference:+.3f} (too few photos)"
        low, high = self.interval
        return f"{self.difference:+.3f} ({low:+.3f} to {high:+.3f})"


@dataclass(frozen=True)
class LostLabel:
    """A label whose queries are certainly answered worse: their number, and their mAP."""

    label: str
    queries: int
    before: float
    after: float


@dataclass(frozen=True)
class Judgement:
    """`figures` by name, those of FIGURES that can be measured; `lost` the worst loss first.

    Labels are tested together, so that with 95 % certainty none is listed by chance. `one_label`:
    the photos searched have no other label, so that no dish can be new to them.
    """

    figures: dict[str, BeforeAfter]
    lost: tuple[LostLabel, ...]
    one_label: bool = False

    def worse(self, allowed: float = 0.0, *, decisive: str | None = DECISIVE) -> str:
        """The figures that fall by more than `allowed`, and the labels that lost; "" for none.

        A fall must be certain, but for that of `decisive`, where any counts.
        """
        fallen = [
            f"{name} {one.after:.3f} (before: {one.before:.3f})"
            for name, one in self.figures.items()
            if _fell(name, one, allowed, any_fall=name == decisive)
        ]
        return ", ".join(fallen) + (f"; {self.losses()}" if fallen and self.lost else "")

    def unjudged(self) -> str:
        """The figures that the queries cannot measure, as a sentence; "" for none."""
        names = [
            name
            for name in FIGURES
            if (name not in self.figures or self.figures[name].interval is None)
            and not (name == NOVELTY and self.one_label)
        ]
        said = [f"too few photos to judge {', '.join(names)}"] if names else []
        if self.one_label:
            said.append(f"{NOVELTY} cannot be judged, as all photos have the same label")
        return "; ".join(said)

    def losses(self, most: int = 5) -> str:
        """The labels that lost, as a part of a sentence; "" for none."""
        if not self.lost:
            return ""
        shown = ", ".join(
            f"{one.label} (mAP {one.after:.3f}, before {one.before:.3f})"
            for one in self.lost[:most]
        )
        more = f" and {len(self.lost) - most} more" if len(self.lost) > most else ""
        return f"labels that lost: {shown}{more}"


def _fell(name: str, one: BeforeAfter, allowed: float, *, any_fall: bool) -> bool:
    better = -1 if name == CALIBRATION else 1
    if any_fall and better * one.difference < -allowed:
        return True
    return one.interval is not None and max(better * end for end in one.interval) < -allowed


def answers_of(found: Retrieval, query_labels: Labels, gallery_labels: Labels) -> dict[str, Floats]:
    """What the gate must know of the answers; labels as for `measure`."""
    right = gallery_labels[found.nearest] == query_labels[:, np.newaxis]
    return {
        **{name: found.metrics[name] for name in MEANS},
        "evidence": np.stack([found.scores, found.shares], axis=2),
        "right": right.astype(np.float64),
        "in gallery": found.in_gallery,
        "left out": found.left_out,
    }


def judge(
    before: Answers, after: Answers, query_labels: Labels, names: Sequence[str], *, seed: int
) -> Judgement:
    """Compare the answers of two Models to the same queries.

    `query_labels` int64 [q] are numbers of `names`, -1 for none.
    """
    figures = {}
    for name in MEANS:
        one = paired(before[name], after[name], seed=seed, level=LEVEL)
        if one is not None:
            enough = np.isfinite(before[name] + after[name]).sum() >= FEWEST
            interval = (one.by.low, one.by.high) if enough else None
            figures[name] = BeforeAfter(one.first, one.second, one.by.value, interval)
    asked = np.flatnonzero(
        np.isfinite(before["mAP"]) & np.isfinite(after["mAP"]) & (query_labels >= 0)
    )
    if len(asked) >= FEWEST_FOR_CURVES:
        known = [_known(one, asked, seed) for one in (before, after)]
        both = np.isfinite(known).all(axis=(0, 2))
        if both.sum() >= FEWEST_FOR_CURVES:
            figures[NOVELTY] = _resampled(
                [_auroc_of(one[both]) for one in known], int(both.sum()), seed
            )
        hits = [_probabilities(one, asked, seed) for one in (before, after)]
        figures[CALIBRATION] = _resampled([_error_of(*one) for one in hits], len(asked), seed)
    others = np.isfinite([one["left out"][asked] for one in (before, after)])
    numbers, aps = query_labels[asked], [one["mAP"][asked] for one in (before, after)]
    rows = {number: own for number, own in group_rows(numbers).items() if len(own) >= FEWEST}
    if rows:
        figures[WORST] = _resampled(
            [_worst_of(ap, numbers, list(rows)) for ap in aps], len(numbers), seed
        )
    figures = {name: one for name, one in figures.items() if math.isfinite(one.difference)}
    lost = _lost(aps[0], aps[1], rows, names, seed)
    return Judgement(figures, lost, one_label=len(asked) > 0 and not others.any())


def _resampled(
    statistics: Sequence[Callable[[Labels], float]], count: int, seed: int
) -> BeforeAfter:
    """Two statistics of the same rows of `count` queries."""
    first, second = statistics
    by = resample(lambda rows: second(rows) - first(rows), count, seed=seed, level=LEVEL)
    every = np.arange(count)
    return BeforeAfter(first(every), second(every), by.value, (by.low, by.high))


def _known(answers: Answers, asked: Labels, seed: int) -> Floats:
    """How sure it is that the gallery has the dish, with and without its label: [q, 2]."""
    evidence = np.stack([answers["in gallery"][asked], answers["left out"][asked]], axis=1)
    return cross_fitted(evidence, np.broadcast_to([True, False], evidence.shape[:2]), seed=seed)


def _auroc_of(known: Floats) -> Callable[[Labels], float]:
    return lambda rows: auroc(known[rows, 0], known[rows, 1])


def _probabilities(answers: Answers, asked: Labels, seed: int) -> tuple[Floats, Floats]:
    right = answers["right"][asked]
    return cross_fitted(answers["evidence"][asked], right > 0, seed=seed), right


def _error_of(probability: Floats, right: Floats) -> Callable[[Labels], float]:
    def error(rows: Labels) -> float:
        there = np.isfinite(probability[rows])  # each of the queries has a hit
        return calibration_error(probability[rows][there], right[rows][there] > 0)

    return error


def _worst_of(ap: Floats, numbers: Labels, among: Sequence[int]) -> Callable[[Labels], float]:
    """The mean of the label that is found worst; labels without a row are passed over."""
    size = int(numbers.max()) + 1

    def worst(rows: Labels) -> float:
        times = np.bincount(numbers[rows], minlength=size)[among]
        sums = np.bincount(numbers[rows], ap[rows], size)[among]
        return float((sums[times > 0] / times[times > 0]).min()) if times.any() else math.nan

    return worst


def _lost(
    before: Floats, after: Floats, rows: Mapping[int, Labels], names: Sequence[str], seed: int
) -> tuple[LostLabel, ...]:
    """The labels whose fall is certain by a paired permutation test.

    Unlike a bootstrap interval, it holds for the few queries that a label has.
    """
    found = []
    flips = math.ceil(_FLIPS * max(1, len(rows) / _LABELS))
    for number, own in rows.items():
        change = after[own] - before[own]
        if change.mean() < 0 and sign_flip_p(change, seed=seed, flips=flips) <= _UNSURE / len(rows):
            means = float(before[own].mean()), float(after[own].mean())
            found.append(LostLabel(names[number], len(own), *means))
    return tuple(sorted(found, key=lambda one: (one.after - one.before, one.label)))
