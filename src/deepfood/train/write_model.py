"""Write a Model from a finished training: the best epoch's weights, record and card."""

import hashlib
from collections import Counter
from collections.abc import Container, Mapping, Sequence
from copy import deepcopy
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import timm
import torch

from deepfood import __version__
from deepfood.counted import counted
from deepfood.data.photo_file import photo_id
from deepfood.errors import PhotoError
from deepfood.evaluate.gate import BeforeAfter
from deepfood.model import ModelManifest
from deepfood.model.export import export_model
from deepfood.train.dataset import PhotoDataset
from deepfood.train.loop import Training

#: Figures of the card, in this order.
_SHOWN = ("precision@1", "mAP@R", "recall@5", "top-1", "top-3")


def write_trained(
    out: Path,
    training: Training,
    backbone: str,
    broken: dict[str, str],
    learned: Mapping[str, str],
    compared: Mapping[str, BeforeAfter] | None,
    notes: Sequence[str],
) -> ModelManifest:
    """Export the best epoch of `training` into `out`. Raises DiskFullError.

    `broken` are the unreadable photos, by file, and why; `learned` the photos trained on, and their
    SHA-256; `compared` the metrics before and after, if known; `notes` lines about the data.
    """
    hashes, gone = _hashes(training.train, broken, learned)
    learner = deepcopy(training.state.learner).cpu()
    learner.load_state_dict(training.best_weights())
    layout: Any = torch.contiguous_format
    network = learner.backbone.to(memory_format=layout)
    record = training_record(training, backbone, broken, compared, [*notes, *gone])
    labels, origin = training_labels(training), training.state.origin
    return export_model(
        network,
        out,
        card(out.resolve().name, origin.licence, record),
        preprocess=training.train.preprocess,
        name=out.resolve().name,
        backbone=backbone,
        labels=labels,
        training=record,
        trained_on=map(photo_id, hashes),
        source=f"trained by deepfood from {origin.source}",
        licence=f"pretrained weights: {origin.licence}; training photos: their owners'",
    )


def _hashes(
    train: PhotoDataset, broken: Container[str], learned: Mapping[str, str]
) -> tuple[list[str], list[str]]:
    """SHA-256 of all photos trained on, and a note on those that are gone.

    `learned` lacks those that another process used before training was killed, so that these are
    read again.
    """
    hashes, gone = list(learned.values()), []
    for row, file in enumerate(train.files):
        if file.stored in learned or file.stored in broken:
            continue
        try:
            hashes.append(hashlib.sha256(train.read(row)).hexdigest())
        except PhotoError:
            gone.append(file.stored)
    if not gone:
        return hashes, []
    note = (
        f"training photos that are gone, {gone[0]} among them: {len(gone)}; whether they were "
        "learned from is not known, and their ids are not among those trained on"
    )
    return hashes, [note]


def training_labels(training: Training) -> tuple[str, ...]:
    """The labels trained on, in the order of the classifier."""
    names = {
        int(place): file.label or ""
        for place, file in zip(training.train.labels, training.train.files, strict=True)
    }
    return tuple(names[place] for place in sorted(names))


def training_record(
    training: Training,
    backbone: str,
    broken: dict[str, str],
    compared: Mapping[str, BeforeAfter] | None,
    notes: Sequence[str],
) -> dict[str, Any]:
    """The manifest's `training`: what is needed to interpret the metrics and to train again."""
    at, recipe, train = training.progress, training.recipe, training.train
    counts = Counter(train.labels.tolist())
    best = at.records[at.best_epoch - 1]
    return {
        "command": "train",
        "backbone": backbone,
        "weights": training.state.origin.source,
        "recipe": recipe.model_dump(mode="json"),
        "seed": recipe.seed,
        "dataset": {
            "folder": train.source.root.name,
            "train_photos": len(train),
            "val_photos": len(training.val),
            "choosing_photos": len(training.val_rows.choosing),
            "judging_photos": len(training.val_rows.judging),
            "labels": len(counts),
            "fewest_photos_a_label": min(counts.values()),
            "most_photos_a_label": max(counts.values()),
            "val_gallery_photos": len(training.gallery),
        },
        "metrics": {name: value for name, value in best.items() if name != "seconds"},
        "compared": {
            name: {**asdict(one), "interval": one.interval and list(one.interval)}
            for name, one in (compared or {}).items()
        },
        "epochs": at.records,
        "best_epoch": at.best_epoch,
        "stopped_early": training.stopped_early,
        "seconds": round(at.seconds, 1),
        "hardware": training.hardware.describe(),
        "versions": {
            "deepfood": __version__,
            "torch": torch.__version__,
            "timm": timm.__version__,
        },
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "broken_photos": broken,
        "notes": list(notes),
    }


def card(name: str, licence: str, record: dict[str, Any]) -> str:
    """The Model's README.md, in Markdown."""
    recipe, data, metrics = record["recipe"], record["dataset"], record["metrics"]
    figures = "\n".join(f"| {one} | {metrics[one]:.3f} |" for one in _SHOWN)
    notes = "".join(f"- {note}\n" for note in record["notes"]) or "- none\n"
    return f"""# {name}

A deepfood Model: it turns a photo into a unit vector, so that similar dishes are near.

- backbone: `{record["backbone"]}`, trained from {record["weights"]}
- recipe: `{recipe["name"]}`, loss {recipe["loss"]}, best of {counted(record["epochs"], "epoch")}: \
{record["best_epoch"]}, seed {record["seed"]}
- photos: {data["train_photos"]:,} of {counted(data["labels"], "label")} from `{data["folder"]}`, \
{data["fewest_photos_a_label"]:,} to {data["most_photos_a_label"]:,} a label; \
{data["val_photos"]:,} others to validate on
- hardware and time: {record["hardware"]}, {record["seconds"]:,.0f} s
- made with: {", ".join(f"{what} {which}" for what, which in record["versions"].items())}

## Figures on the validation photos

The epoch was chosen by {data["choosing_photos"]:,} of them, and these are their figures, so that \
they flatter it a little. Retrieval is against \
{data["val_gallery_photos"]:,} of the training photos.

| metric | value |
|---|---|
{figures}

{_card_of_comparison(record["compared"], data["judging_photos"])}## Notes on the data

{notes}
## Licence

The pretrained weights: {licence}. The owners of the training photos decide
what their photos may be used for: a Model may be bound by the terms of its training photos.
"""


def _card_of_comparison(compared: dict[str, Any], photos: int) -> str:
    if not compared:
        return ""
    rows = "\n".join(
        f"| {name} | {one['before']:.3f} | {one['after']:.3f} | {BeforeAfter(**one).change} |"
        for name, one in compared.items()
    )
    return f"""{photos:,} validation photos before and after, top-3 by the vote of the nearest:

| metric | before | after | difference (95 % interval) |
|---|---|---|---|
{rows}

"""
