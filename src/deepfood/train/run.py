"""`deepfood train` without its command line: from a dataset's splits to a Model."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout

from deepfood.artifacts import MANIFEST, kind_of
from deepfood.data.splits import Splits
from deepfood.errors import ArtifactBusyError, ArtifactFormatError, disk_full_named
from deepfood.model import ModelManifest
from deepfood.photo import Limits
from deepfood.train import checkpoint
from deepfood.train.backbone import create_backbone, fill, preprocess_of, without_classifier
from deepfood.train.finish import write_trained
from deepfood.train.hardware import start_hardware
from deepfood.train.learner import Learner
from deepfood.train.loop import EpochRecord, Training
from deepfood.train.losses import Loss
from deepfood.train.photos import Photos
from deepfood.train.recipe import Recipe
from deepfood.train.tensorboard import Board
from deepfood.train.weights import Weights, find_weights


@dataclass(frozen=True)
class Trained:
    """What came out. `manifest` is None in the processes that do not write."""

    manifest: ModelManifest | None
    records: list[EpochRecord]
    best_epoch: int
    stopped_early: bool
    broken: dict[str, str]
    seconds: float


Say = Callable[[str], None]


def train_model(
    splits: Splits,
    out: Path,
    *,
    backbone: str,
    weights: str,
    recipe: Recipe,
    limits: Limits,
    cache: Path,
    device: str = "auto",
    workers: int,
    checkpoint_s: float = 300.0,
    fresh: bool = False,
    notes: Sequence[str] = (),
    say: Say = lambda line: None,
    on_epoch: Callable[[EpochRecord, bool], None] = lambda record, best: None,
    quiet: bool = False,
) -> Trained:
    """Train on `splits` and write a Model into the folder `out`; stopped, it goes on.

    `notes` are lines about the dataset that the Model's record keeps; `say` gets lines for the
    user and `on_epoch` each epoch's record, in the first process only. Under torchrun every
    process calls this. Raises DeepfoodError.
    """
    started = time.monotonic()
    if (out / MANIFEST).is_file() and kind_of(out) != "model":
        raise ArtifactFormatError(f"{out} is a {kind_of(out)}: give another folder with --out")
    hardware = start_hardware(recipe, device)
    hardware.share(recipe.batch)  # fails early where the batch cannot be divided
    folder = out / checkpoint.TRAINING
    lock = _lock(folder) if hardware.first else None
    try:
        network = create_backbone(backbone)
        preprocess = preprocess_of(network, recipe.image_size)
        who = checkpoint.identity(splits, backbone, weights, preprocess, recipe)
        if hardware.first and fresh:
            checkpoint.forget(folder)
        hardware.accelerator.wait_for_everyone()
        train, val = (
            Photos(splits.source, files, splits.labels, preprocess, limits, workers=workers)
            for files in (splits.train, splits.val)
        )
        about: Any = network.pretrained_cfg
        with hardware.accelerator.main_process_first():  # who fetches, so that the others find it
            found = find_weights(backbone, about, weights, cache)
        torch.manual_seed(recipe.seed)
        if found is not None:
            fill(network, backbone, found)
        else:
            network = create_backbone(backbone)  # again, now that the seed is set
        dimension = without_classifier(network)
        loss = Loss(
            recipe.loss,
            len(splits.labels),
            dimension,
            label_smoothing=recipe.label_smoothing,
        )
        learner = Learner(network, loss, preprocess, bf16=hardware.bf16)
        training = Training(
            learner,
            train,
            val,
            recipe,
            hardware,
            folder,
            who,
            checkpoint_s=checkpoint_s,
            quiet=quiet,
        )
        tell = say if hardware.first else (lambda line: None)
        _announce(tell, training, found, resumed=training.resume(), dimension=dimension)
        with Board.open(folder, hardware.first, training.progress.epoch) as board:

            def each_epoch(record: EpochRecord, best: bool) -> None:
                board.write(record)
                on_epoch(record, best)

            training.run(each_epoch)
        broken = _gathered(hardware.accelerator, {**val.broken, **train.broken})
        train.broken.update(broken)
        manifest = None
        if hardware.first:
            manifest = write_trained(
                out, training, backbone=backbone, weights=found, notes=(*splits.notes, *notes)
            )
        hardware.accelerator.wait_for_everyone()
    finally:
        if lock is not None:
            lock.release()
    at = training.progress
    return Trained(
        manifest,
        at.records,
        at.best_epoch,
        training.stopped_early,
        broken,
        time.monotonic() - started,
    )


def _announce(
    say: Say, training: Training, found: Weights | None, *, resumed: bool, dimension: int
) -> None:
    at, hardware = training.progress, training.hardware
    say(
        f"{len(training.train):,} photos of {len(set(training.train.labels.tolist()))} labels to "
        f"train on, {len(training.val):,} to validate on; recipe {training.recipe.name}, "
        f"{dimension} numbers a photo, weights {found.source if found else 'none'}; "
        f"{hardware.describe()}"
    )
    if len(training.gallery) < len(training.train):
        say(
            f"validation photos are ranked against {len(training.gallery):,} of the training "
            "photos, a sample"
        )
    if resumed and training.finished:
        say("this training is finished; --fresh would train again")
    elif resumed:
        say(f"going on at epoch {at.epoch + 1}, step {at.step + 1}; --fresh would start again")


def _lock(folder: Path) -> FileLock:
    with disk_full_named(folder):
        folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / "lock", timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise ArtifactBusyError(f"{folder} is being trained by another process") from None
    return lock


def _gathered(accelerator: Any, broken: dict[str, str]) -> dict[str, str]:
    """What all processes found broken."""
    from accelerate.utils import gather_object

    found: list[dict[str, str]] = gather_object([broken])
    return {file: reason for one in found for file, reason in sorted(one.items())}
