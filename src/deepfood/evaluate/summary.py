"""The results of an evaluation as JSON, and as lines of text."""

import math
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from deepfood.counted import counted
from deepfood.evaluate.confidence import Figure
from deepfood.evaluate.evaluation import INDEX_RECALL, Evaluation
from deepfood.evaluate.examine import Examination

_WORST, _CONFUSED = 10, 10


def as_json(found: Examination) -> dict[str, Any]:
    """Everything, ready for JSON; figures that do not exist are None."""
    about = {"gallery": str(found.gallery), **_evaluation(found.evaluation)}
    about["index"] = {"kind": found.index_kind, "recall": asdict(found.index_recall)}
    if found.comparison is not None:
        about["comparison"] = {
            "other": str(found.other),
            "verdict": found.comparison.verdict(),
            "differences": {
                name: asdict(one) for name, one in found.comparison.differences.items()
            },
            "second": _evaluation(found.comparison.second),
        }
    cleaned: dict[str, Any] = _without_nan(about)
    return cleaned


def _evaluation(found: Evaluation) -> dict[str, Any]:
    trial, novelty = found.trial, found.novelty
    return {
        "model": found.model,
        "queries_from": trial.queries_from,
        "photos": len(trial.gallery.ids),
        "labels": len(trial.names),
        "queries": len(trial.queries.ids),
        "judged": found.judged,
        "strangers": len(trial.strangers.ids),
        "k": found.k,
        "notes": list(trial.notes),
        "figures": {name: asdict(figure) for name, figure in found.figures.items()},
        "classes": [asdict(one) for one in found.classes],
        "confused": [asdict(one) for one in found.confused],
        "calibration": {
            "curve": found.curve,
            **asdict(found.calibration),
            "brier": asdict(found.brier),
        },
        "novelty": {
            "auroc": asdict(novelty.auroc),
            "false_positives_at_95": asdict(novelty.false_positives),
            "strangers_auroc": novelty.strangers_auroc and asdict(novelty.strangers_auroc),
        },
    }


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_nan(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def headline(found: Examination) -> list[tuple[str, Figure, Figure | None]]:
    """Name and figure, and the other's figure where two are compared and it has one."""
    others = dict(_headline(found.comparison.second)) if found.comparison else {}
    rows = _headline(found.evaluation)
    index = (f"{INDEX_RECALL} ({found.index_kind})", found.index_recall)
    rows.insert(len(found.evaluation.figures), index)
    return [(name, figure, others.get(name)) for name, figure in rows]


def _headline(found: Evaluation) -> list[tuple[str, Figure]]:
    novelty = found.novelty
    rows = [
        *found.figures.items(),
        (f"calibration ({found.curve}): Brier score", found.brier),
        ("known or new dish: AUROC", novelty.auroc),
        ("known or new dish: false positives at 95 %", novelty.false_positives),
    ]
    if novelty.strangers_auroc:
        rows.append(("labels that the gallery lacks: AUROC", novelty.strangers_auroc))
    return rows


def as_lines(found: Examination) -> Iterator[str]:
    """A short table, followed by the worst labels."""
    first = found.evaluation
    trial = first.trial
    yield (
        f"{found.gallery} with {first.model}: {counted(trial.gallery.ids, 'photo')}, "
        f"{counted(trial.names, 'label')}, index {found.index_kind}"
    )
    yield f"{counted(first.judged, 'query', 'queries')}: {trial.queries_from}"
    for note in trial.notes:
        yield f"note: {note}"
    yield ""
    rows = headline(found)
    width = max(len(name) for name, *_ in rows)
    sides = [first, found.comparison.second] if found.comparison else [first]
    if found.comparison:
        yield _row("", width, ["A", f"B: {found.other}"])
    for name, figure, other in rows:
        yield _row(name, width, [in_words(one) for one in (figure, other) if one])
    errors = [_number(one.calibration.ece) for one in sides]
    yield _row(f"calibration ({first.curve}): expected error", width, errors)
    if found.comparison:
        yield ""
        yield found.comparison.verdict()
    yield ""
    worst = first.classes[:_WORST]
    name_width = max((len(one.label) for one in worst), default=0)
    yield f"worst of {counted(first.classes, 'label')}:"
    for one in worst:
        taken = f", often taken for {one.guessed_as}" if one.guessed_as else ""
        yield (
            f"  {one.label:{name_width}}  mAP {in_words(one.mean_ap)}  "
            f"top-1 {in_words(one.top_1)}  ({counted(one.queries, 'query', 'queries')}{taken})"
        )
    if first.confused:
        yield ""
        yield "most confused:"
        for pair in first.confused[:_CONFUSED]:
            yield (
                f"  {pair.label} taken for {pair.guess}: "
                f"{counted(pair.count, 'query', 'queries')}, {pair.share:.0%}"
            )


def _row(name: str, width: int, columns: list[str]) -> str:
    return f"{name:{width}}  {'  '.join(f'{column:22}' for column in columns)}".rstrip()


def in_words(figure: Figure) -> str:
    """ "0.671 [0.648, 0.694]" """
    if math.isnan(figure.value):
        return "none"
    return f"{figure.value:.3f} [{_number(figure.low)}, {_number(figure.high)}]"


def _number(value: float) -> str:
    return "none" if math.isnan(value) else f"{value:.3f}"
