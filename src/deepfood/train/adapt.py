"""`deepfood adapt`: a head on the embeddings of a frozen Model, in seconds on a CPU.

The head's size and strength are chosen by cross-validation on the training photos. Its gain is
measured once, on validation photos that neither the choice nor the head has seen.
"""

import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from deepfood import __version__
from deepfood.artifacts import MANIFEST, kind_of
from deepfood.counted import counted
from deepfood.data.leakage import leak_notes
from deepfood.data.photo_file import photo_id
from deepfood.data.splits import Splits
from deepfood.embed import Embedder
from deepfood.errors import DatasetError, SettingError
from deepfood.evaluate.gate import DECISIVE, BeforeAfter, Judgement, LostLabel, answers_of, judge
from deepfood.evaluate.metrics import measure
from deepfood.local.embedding_cache import Embedded, embed_dataset
from deepfood.model import Model
from deepfood.model.artifact import ONNX
from deepfood.train.cross_validate import CrossValidation, choose_head
from deepfood.train.head import Labels, Vectors, apply_head, fit_head
from deepfood.train.losses import LossName
from deepfood.train.with_head import write_with_head

#: A head must be this many standard errors above chance.
_ERRORS = 2


@dataclass(frozen=True)
class AdaptReport:
    """The result of `adapt`. `refused` is the reason if no Model was written, otherwise None.

    `compared` are the gate's figures on the validation photos, `lost` the labels that lost.
    """

    loss: LossName
    cross_validation: CrossValidation
    train_photos: int
    val_photos: int
    labels: tuple[str, ...]
    compared: dict[str, BeforeAfter]
    lost: tuple[LostLabel, ...]
    refused: str | None
    notes: tuple[str, ...] = field(default=())


def adapt(
    splits: Splits,
    base: Embedder,
    out: Path,
    cache: Path,
    *,
    loss: LossName = "supcon",
    seed: int = 0,
    even_if_worse: bool = False,
    quiet: bool = False,
) -> AdaptReport:
    """Fit a head to the training photos of `splits`, and write `base` with it as a Model to `out`.

    A Model that is worse in any metric on held-out photos is not written: see
    `AdaptReport.refused`. `even_if_worse` chooses the head by mAP alone and writes it in any case;
    the notes name what is worse. Embeddings are kept below the folder `cache`. Raises DatasetError,
    SettingError or DiskFullError.
    """
    check_out(out, base.model)
    embedded = embed_dataset(
        splits.source, base, cache, files=(*splits.train, *splits.val), quiet=quiet
    )
    train, val = embedded.select(splits.train), embedded.select(splits.val)
    names, labels = _number_labels(train)
    val_labels = np.array([_number(names, photo.label) for photo in val.files], np.int64)
    if len(names) < 2 or not (val_labels >= 0).any():
        raise DatasetError(
            f"{splits.source.root}: too few photos are left to train and validate with; "
            f"{len(embedded.skipped)} are unusable, the first is "
            f"{embedded.skipped[0].file}: {embedded.skipped[0].reason}"
        )
    tried = choose_head(
        train.vectors,
        labels,
        loss,
        seed=seed,
        threads=base.threads,
        even_if_worse=even_if_worse,
        quiet=quiet,
    )
    before_threads = torch.get_num_threads()
    torch.set_num_threads(1)  # its matrix products are too small for several threads
    try:
        weights = fit_head(train.vectors, labels, tried.best.choice, loss, seed=seed)
    finally:
        torch.set_num_threads(before_threads)
    heads = (
        (val.vectors, train.vectors),
        (
            apply_head(val.vectors, weights),
            apply_head(train.vectors, weights),
        ),
    )
    before, after = (
        answers_of(measure(queries, val_labels, gallery, labels), val_labels, labels)
        for queries, gallery in heads
    )
    judgement = judge(before, after, val_labels, names, seed=seed)
    worse = _regression(tried, judgement)
    report = AdaptReport(
        loss=loss,
        cross_validation=tried,
        train_photos=len(train.files),
        val_photos=len(val.files),
        labels=names,
        compared=judgement.figures,
        lost=judgement.lost,
        refused=None if even_if_worse else _refusal(worse),
        notes=(
            *splits.notes,
            *leak_notes(splits, base.limits, quiet=quiet),
            *_notes(embedded, val, base.model, judgement),
            *([worse] if worse and even_if_worse else []),
        ),
    )
    if report.refused is None:
        _write(out, base.model, weights, report, train, seed)
    return report


def check_out(out: Path, base: Model) -> None:
    """Raise SettingError if `out` cannot become a Model folder, before any work."""
    if out.resolve() == base.folder.resolve():
        raise SettingError(f"--out {out} is the base Model itself: give another folder")
    there = next(path for path in (out, *out.absolute().parents) if path.exists())
    if not there.is_dir():
        raise SettingError(f"--out {out}: {there} is not a folder")
    if not os.access(there, os.W_OK):  # pragma: no cover - tests are root, who may write anywhere
        raise SettingError(f"--out {out}: {there} cannot be written")
    # An unfinished Model has the file that write_model writes first.
    names = {path.name for path in out.iterdir()} if out.is_dir() else set()
    if names and not (kind_of(out) == "model" if MANIFEST in names else ONNX in names):
        raise SettingError(f"--out {out} is neither empty nor a Model: give a new folder")


def _number_labels(photos: Embedded) -> tuple[tuple[str, ...], Labels]:
    names, numbers = np.unique(
        np.array([photo.label for photo in photos.files]), return_inverse=True
    )
    return tuple(str(name) for name in names), numbers.astype(np.int64)


def _number(names: tuple[str, ...], label: str | None) -> int:
    return names.index(label) if label in names else -1


def _refusal(worse: str | None) -> str | None:
    way_out = "no Model was written (--even-if-worse decides by mAP alone, and writes in any case)"
    return worse and f"{worse}; {way_out}"


def _regression(tried: CrossValidation, judgement: Judgement) -> str | None:
    if fallen := judgement.worse():
        return f"the adapted Model is worse on the validation photos: {fallen}"
    best, base = tried.best.figures, tried.base
    if best["mAP"] < base["mAP"]:
        return (
            f"the best head is worse in cross-validation: mAP {best['mAP']:.3f} (before: "
            f"{base['mAP']:.3f})"
        )
    # mAP alone is not enough: it also rises if only the gallery's photos cluster by label.
    if best["precision@1"] < tried.chance + _ERRORS * tried.chance_error:
        return (
            f"in cross-validation the nearest photo has the right label for "
            f"{best['precision@1']:.0%} of {counted(tried.photos, 'photo')}, hardly more than the "
            f"{tried.chance:.0%} of chance: the labels cannot be seen in the photos, or there are "
            "too few photos"
        )
    return None


def _notes(
    embedded: Embedded,
    val: Embedded,
    base: Model,
    judgement: Judgement,
) -> list[str]:
    notes = [f"{one.file} left out: {one.reason}" for one in embedded.skipped]
    seen = sum(photo_id(sha256) in base.trained_on for sha256 in val.sha256)
    if seen:
        notes.append(
            f"{seen} of the {counted(val.files, 'validation photo')} were in the training of the "
            "base Model, so that its metrics are too high"
        )
    if judgement.lost and not judgement.worse():  # what says that names them, too
        notes.append(judgement.losses())
    if few := judgement.unjudged():
        notes.append(few)
    if not judgement.figures[DECISIVE].is_significant:
        notes.append(
            f"{counted(val.files, 'validation photo is', 'validation photos are')} too few to be "
            f"certain of the difference in {DECISIVE}"
        )
    return notes


def _write(
    out: Path, base: Model, weights: Vectors, report: AdaptReport, train: Embedded, seed: int
) -> None:
    write_with_head(
        out,
        base,
        weights,
        _card(base, report),
        made="adapted",
        trained_on=(photo_id(sha256) for sha256 in train.sha256),
        labels=report.labels,
        training=_record(base, report, seed),
    )


def _record(base: Model, report: AdaptReport, seed: int) -> dict[str, Any]:
    tried = report.cross_validation
    record = {
        "method": "adapt",
        "base": {
            "name": base.manifest.name,
            "fingerprint": base.fingerprint,
            "training": base.manifest.training,
        },
        "loss": report.loss,
        "seed": seed,
        "photos": {"train": report.train_photos, "val": report.val_photos},
        "cross_validation": asdict(tried),
        "validation": {name: asdict(one) for name, one in report.compared.items()},
        "notes": list(report.notes),
        "versions": {"deepfood": __version__, "torch": str(torch.__version__)},
    }
    plain: dict[str, Any] = json.loads(json.dumps(record))  # tuples as lists, as a manifest has it
    return plain


def _card(base: Model, report: AdaptReport) -> str:
    chosen = report.cross_validation.best.choice
    notes = "".join(f"- {note}\n" for note in report.notes) or "- none\n"
    rows = "\n".join(
        f"| {name} | {one.before:.3f} | {one.after:.3f} | {one.change} |"
        for name, one in report.compared.items()
    )
    return f"""# {base.manifest.name}, adapted

A head of {chosen.size} numbers on {base.manifest.name}, fitted by `deepfood adapt` to
{counted(report.train_photos, "photo")} of {counted(report.labels, "label")}, and measured on
{counted(report.val_photos, "validation photo")} of the same source, with the training photos as
gallery.

| | before | after | difference (95 % interval) |
|---|---|---|---|
{rows}

Loss: {report.loss}. Shrinkage {chosen.shrinkage:g}, residual {chosen.residual:g}, step
{chosen.step:g}: chosen by cross-validation in {report.cross_validation.folds} folds of the training
photos. The ids of the photos it was trained on are in `trained_on.txt`; measured on these it looks
better than it is. It knows the labels in `manifest.json`; photos of other dishes are still told
apart by what looks alike, at a lower weight than before.{_words_of(base)}

## Notes on the data

{notes}
Licence: {base.manifest.licence}, as {base.manifest.name}. What its photos and labels allow is for
their owner to say.
"""


def _words_of(base: Model) -> str:
    if base.manifest.text_tower is None:
        return ""
    return """

Words get the same head as photos. It was fitted to photos alone, and nothing here measured
words."""
