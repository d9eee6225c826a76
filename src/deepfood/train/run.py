"""`deepfood train` without its command line: from a dataset's splits to a Model."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from deepfood.artifacts import MANIFEST, kind_of
from deepfood.counted import counted
from deepfood.data.leakage import leak_notes
from deepfood.data.splits import Splits
from deepfood.errors import ArtifactBusyError, ArtifactFormatError, raising_disk_full
from deepfood.evaluate.gate import BeforeAfter
from deepfood.locks import held
from deepfood.model import ModelManifest
from deepfood.photo import Limits
from deepfood.train import checkpoint
from deepfood.train.backbone import create_backbone, fill, preprocess_of, without_classifier
from deepfood.train.dataset import PhotoDataset
from deepfood.train.hardware import start_hardware
from deepfood.train.learner import Learner
from deepfood.train.loop import Training
from deepfood.train.losses import Loss
from deepfood.train.picture_cache import open_caches
from deepfood.train.recipe import Recipe
from deepfood.train.state import EpochRecord, TrainingState
from deepfood.train.tensorboard import Board
from deepfood.train.weights import NO_WEIGHTS, WeightsSource, find_weights
from deepfood.train.write_model import write_trained

#: The metrics in an epoch's line, in this order.
_FIGURES = ("loss", "val loss", "top-1", "top-3", "precision@1", "mAP@R", "recall@5", "recall@10")


@dataclass(frozen=True)
class Task:
    """What to train, on what, and how; `out` is the Model's folder, `cache` keeps downloads.

    `pictures_bytes` is how much of `cache` decoded pictures of photos may take, for all datasets.
    `device` is auto, cpu, cuda or mps. `checkpoint_s` are the seconds between checkpoints in an
    epoch.
    """

    splits: Splits
    out: Path
    backbone: str
    weights: str
    recipe: Recipe
    limits: Limits
    cache: Path
    pictures_bytes: int
    workers: int
    device: str = "auto"
    checkpoint_s: float = 300.0
    fresh: bool = False
    even_if_worse: bool = False
    quiet: bool = False


@dataclass(frozen=True)
class Trained:
    """The result. `manifest` is None in processes that do not write.

    `compared` are the gate's figures on `judging_photos` validation photos, before and after; None
    for random weights. `refused` is the reason if no Model was written: a worse one is not, without
    `even_if_worse`.
    """

    manifest: ModelManifest | None
    compared: dict[str, BeforeAfter] | None
    refused: str | None
    records: list[EpochRecord]
    best_epoch: int
    stopped_early: bool
    broken: dict[str, str]
    seconds: float
    judging_photos: int


OnMessage = Callable[[str], None]
OnEpoch = Callable[[EpochRecord, bool], None]


def epoch_line(record: EpochRecord, epochs: int, best: bool) -> str:
    """An epoch's metrics in a line for the user."""
    figures = "  ".join(f"{name} {record[name]:.3f}" for name in _FIGURES)
    seconds = f"{record['seconds']:.0f} s"
    return f"epoch {record['epoch']:.0f}/{epochs}  {figures}  {seconds}{'  best' if best else ''}"


def train_model(
    task: Task,
    *,
    on_message: OnMessage = lambda line: None,
    on_epoch: OnEpoch = lambda record, best: None,
) -> Trained:
    """Train and write a Model into `task.out`; an interrupted training resumes.

    `on_message` gets lines for the user, `on_epoch` each epoch's record and whether it is the best
    so far: in the first process only. Under torchrun, every process calls this. Raises
    DeepfoodError.
    """
    started = time.monotonic()
    with open_training(task, on_message) as training:
        first, at = training.hardware.first, training.progress
        # Before training, so that the user can stop it.
        leaks = leak_notes(task.splits, task.limits, quiet=task.quiet) if first else []
        for note in leaks:
            on_message(f"note: {note}")
        with Board.open(training.checkpoints.folder, first, at.records) as board:

            def each_epoch(record: EpochRecord, best: bool) -> None:
                board.write(record)
                on_epoch(record, best)

            training.run(each_epoch)
        broken, learned = training.gather_broken(), training.gather_learned()
        manifest = compared = refused = None
        if first:
            judgement = training.compared(task.splits.labels)
            compared = judgement.figures if judgement else None
            worse = judgement.worse() if judgement else ""
            notes = [*task.splits.notes, *leaks]
            if judgement:
                notes.append(training.val_rows.note)
                if few := judgement.unjudged():
                    notes.append(few)
            if worse and not task.even_if_worse:
                refused = (
                    f"it is worse on the validation photos than before training: {worse}; no "
                    "Model was written: train for more epochs or with another --lr (the same "
                    "command with --even-if-worse writes this one)"
                )
            else:
                notes += [f"worse than before training: {worse}"] if worse else []
                if judgement and judgement.lost and not worse:
                    notes.append(judgement.losses())
                manifest = write_trained(
                    *(task.out, training, task.backbone), broken, learned, compared, notes
                )
        training.hardware.accelerator.wait_for_everyone()
    seconds = time.monotonic() - started
    return Trained(
        manifest,
        compared,
        refused,
        at.records,
        at.best_epoch,
        training.stopped_early,
        broken,
        round(seconds, 3),
        len(training.val_rows.judging),
    )


@contextmanager
def open_training(task: Task, on_message: OnMessage = lambda line: None) -> Iterator[Training]:
    """The task's Training, new or resumed, locked against other processes."""
    out, recipe, splits = task.out, task.recipe, task.splits
    if (out / MANIFEST).is_file() and kind_of(out) != "model":
        raise ArtifactFormatError(f"{out} is a {kind_of(out)}: give another folder with --out")
    hardware = start_hardware(recipe, task.device)
    if hardware.device.type == "cuda":  # pragma: no cover - an NVIDIA GPU: tests/train/test_gpu.py
        recipe = recipe.for_gpu(len(splits.train))
    hardware.share(recipe.batch)  # fails early if the batch cannot be divided
    if not hardware.first:
        on_message = _silent
    folder = out / checkpoint.TRAINING
    with _locked(folder, hardware.first), ExitStack() as opened:
        torch.manual_seed(recipe.seed)
        network = create_backbone(task.backbone)
        preprocess = preprocess_of(network, recipe.image_size)
        identity = checkpoint.identity(splits, task.backbone, task.weights, preprocess, recipe)
        checkpoints = checkpoint.Checkpoints(folder, identity, task.checkpoint_s)
        if hardware.first and task.fresh:
            checkpoint.forget(folder)
        state = checkpoints.load(checkpoint.LAST) if hardware.first else None
        state = hardware.from_first(state)
        if state is None:
            # The first process of each machine downloads, the others find its files.
            with hardware.accelerator.local_main_process_first():
                origin = _pretrain(network, task)
        else:
            origin = WeightsSource(**state["origin"])
        dimension = without_classifier(network)
        loss = Loss(
            recipe.loss, len(splits.labels), dimension, label_smoothing=recipe.label_smoothing
        )
        pictures = opened.enter_context(
            open_caches(task.cache / "pictures", splits.source, preprocess, task.pictures_bytes)
        )
        train, val = (
            PhotoDataset(
                splits.source,
                files,
                splits.labels,
                preprocess,
                task.limits,
                pictures,
                workers=task.workers,
                pinned=hardware.device.type == "cuda",
            )
            for files in (splits.train, splits.val)
        )
        learner = Learner(
            network,
            loss,
            preprocess,
            bf16=hardware.bf16,
            # Random weights must all be trained.
            frozen_share=0 if origin == NO_WEIGHTS else recipe.frozen_share,
        )
        training = Training(
            TrainingState(learner, origin, recipe, hardware),
            train,
            val,
            recipe,
            hardware,
            checkpoints,
            on_message=on_message,
            quiet=task.quiet,
        )
        if state is not None:
            training.resume(state)
        elif origin != NO_WEIGHTS:
            training.record_baseline()
        _announce(on_message, training, resumed=state is not None, dimension=dimension)
        yield training


def _pretrain(network: Any, task: Task) -> WeightsSource:
    """Put pretrained weights into `network`, if any are wanted."""
    found = find_weights(task.backbone, network.pretrained_cfg, task.weights, task.cache)
    if found is None:
        return NO_WEIGHTS
    fill(network, task.backbone, found)
    return found.origin


def _announce(on_message: OnMessage, training: Training, *, resumed: bool, dimension: int) -> None:
    at, train = training.progress, training.train
    on_message(
        f"{counted(train, 'photo')} of {counted(set(train.labels.tolist()), 'label')} to train on, "
        f"{len(training.val):,} to validate on; recipe {training.recipe.name}, {dimension:,} "
        f"numbers a photo, from {training.state.origin.source}; {training.hardware.describe()}, "
        f"batches of {training.recipe.batch}"
    )
    on_message(f"note: {training.val_rows.note}")
    if len(training.gallery) < len(train):
        on_message(
            f"each epoch's validation photos are ranked against {len(training.gallery):,} of the "
            "training photos, a sample"
        )
    if resumed and training.finished:
        on_message("this training is complete; --fresh would train again")
    elif resumed:
        on_message(
            f"resuming at epoch {at.epoch + 1}, step {at.step + 1}; --fresh would start again"
        )


def _silent(line: str) -> None:
    """Only the first process reports."""


@contextmanager
def _locked(folder: Path, wanted: bool) -> Iterator[None]:
    if not wanted:
        yield
        return
    with raising_disk_full(folder):
        folder.mkdir(parents=True, exist_ok=True)
    with held(folder / "lock", ArtifactBusyError(f"{folder} is in use by another training")):
        yield
