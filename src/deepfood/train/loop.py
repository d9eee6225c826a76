"""The training loop: steps, epochs, validation, checkpoints.

What a step computes (photos, augmentation, dropout) depends on seed, epoch and step only, so that
training that was killed and resumed ends with the same numbers.
"""

import math
import time
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import torch

from deepfood.counted import counted
from deepfood.errors import TrainingError
from deepfood.evaluate.gate import Judgement, judge
from deepfood.evaluate.metrics import Floats
from deepfood.progress import bar
from deepfood.train.async_scalars import AsyncScalars
from deepfood.train.checkpoint import BEST, GIVEN, LAST, Checkpoints
from deepfood.train.dataset import PhotoDataset
from deepfood.train.feed import feed
from deepfood.train.gradients import Arguments, gradients
from deepfood.train.hardware import Hardware
from deepfood.train.learner import set_lr
from deepfood.train.mix import cutmix
from deepfood.train.recipe import Recipe
from deepfood.train.sampling import epoch_table, step_rng, step_seed
from deepfood.train.state import EpochRecord, Progress, TrainingState
from deepfood.train.validate import BEST_BY, ValidationRows, gallery_rows, validate

OnEpoch = Callable[[EpochRecord, bool], None]


@dataclass
class Training:
    """One training: construct it, `resume` it, `run` it. Every process has one.

    `on_message` gets lines for the user; without `quiet` a progress bar is shown.
    """

    state: TrainingState
    train: PhotoDataset
    val: PhotoDataset
    recipe: Recipe
    hardware: Hardware
    checkpoints: Checkpoints
    on_message: Callable[[str], None]
    quiet: bool

    def __post_init__(self) -> None:
        self.gallery = gallery_rows(self.train.labels, self.recipe.seed)
        self.val_rows = ValidationRows.of(self.val.files, self.recipe.seed)
        self.losses = AsyncScalars(self.hardware.device)

    @property
    def progress(self) -> Progress:
        return self.state.progress

    @property
    def finished(self) -> bool:
        at, recipe = self.progress, self.recipe
        return at.epoch >= recipe.epochs or self.stopped_early

    @property
    def stopped_early(self) -> bool:
        at, patience = self.progress, self.recipe.patience
        return bool(patience and at.best_epoch and at.epoch - at.best_epoch >= patience)

    def resume(self, state: dict[str, Any]) -> None:
        """Resume from a state that `Checkpoints.load` returned."""
        self.state.load(state)
        self.train.broken.update(self.progress.broken)
        self.train.learned.update(self.progress.learned)

    def run(self, on_epoch: OnEpoch) -> None:
        """Train to the end; `on_epoch` gets each epoch's record, and whether it is the best so far.

        Raises TrainingError for a loss that is not finite, DiskFullError, DatasetError.
        """
        while not self.finished:
            started = time.monotonic()
            self.train_epoch(started)
            self._end_epoch(started, on_epoch)
        self.hardware.accelerator.wait_for_everyone()

    def train_epoch(self, started: float) -> None:
        """The rest of this epoch's steps, without its validation; `started` is time.monotonic()."""
        at, recipe, hardware = self.progress, self.recipe, self.hardware
        table = epoch_table(self.train.labels, recipe.batch, recipe.sampling, recipe.seed, at.epoch)
        batches = self.train.training_batches(
            table, recipe, at.epoch, start=at.step, columns=hardware.share(recipe.batch)
        )
        size = recipe.training_size(self.train.preprocess.size)
        self.state.parallel.train()
        saved = time.monotonic()
        with bar(
            f"epoch {at.epoch + 1}/{recipe.epochs}",
            " photos",
            table.size,
            done=at.step * recipe.batch,
            quiet=self.quiet or not hardware.first,
        ) as shown:
            for pixels, labels in feed(batches, self.train.preprocess, size, hardware.device):
                self.losses.add(self._step(pixels, labels, len(table)))
                at.step += 1
                self._count_losses()
                shown.update(recipe.batch)
                mean = at.loss_sum / max(1, at.step - len(self.losses))
                shown.set_postfix_str(f"loss {mean:.3f}", refresh=False)
                if time.monotonic() - saved > self.checkpoints.every_s and at.step < len(table):
                    self._count_losses(all_of_them=True)
                    self._save(time.monotonic() - started)
                    saved = time.monotonic()
            self._count_losses(all_of_them=True)

    def gather_broken(self) -> dict[str, str]:
        """The photos that any process could not read, and why; all processes must call it."""
        return _gathered({**self.val.broken, **self.train.broken})

    def gather_learned(self) -> dict[str, str]:
        """The photos that any process learned from, and their SHA-256; all must call it."""
        return _gathered(self.train.learned)

    def best_weights(self) -> dict[str, torch.Tensor]:
        """The state dict of the best epoch's Learner, on the CPU."""
        state = self.checkpoints.load(BEST)
        if state is None:
            raise TrainingError(
                f"{self.checkpoints.folder / BEST} is gone: start again with --fresh"
            )
        weights: dict[str, torch.Tensor] = state["learner"]
        return weights

    def _step(self, pixels: torch.Tensor, labels: torch.Tensor, steps: int) -> torch.Tensor:
        """One step on a batch. The mean loss over all processes, which a GPU may still compute."""
        at, recipe, hardware = self.progress, self.recipe, self.hardware
        set_lr(self.state.optimizer, recipe.lr_factor(at.updates, steps * recipe.epochs))
        batch: Arguments = [pixels, labels]
        rng = step_rng(recipe.seed, at.updates, hardware.rank)
        if recipe.sampling != "paired" and rng.random() < recipe.cutmix:
            mixed, pasted, share = cutmix(pixels, labels, rng)
            batch = [mixed, labels, pasted, share]
        loss = None
        while loss is None:
            # Dropout and the like draw from torch's generator: a seed for each step and process.
            torch.manual_seed(step_seed(recipe.seed, at.updates, hardware.rank))
            self.state.optimizer.zero_grad(set_to_none=True)
            try:
                loss = gradients(
                    self.state.parallel, batch, hardware.accelerator.backward, parts=at.parts
                )
            except torch.OutOfMemoryError:
                self._halve(len(labels))
        self.state.optimizer.step()
        at.updates += 1
        if self.state.averaged is not None:
            self.state.averaged.update(at.updates)
        mean: torch.Tensor = hardware.accelerator.reduce(loss, "mean")
        return mean

    def _halve(self, photos: int) -> None:
        """Compute batches in twice as many parts, since the GPU's memory is full."""
        parts = 2 * self.progress.parts
        if self.hardware.processes > 1 or parts > photos // 2:
            raise TrainingError(
                f"the GPU's memory is too small for {counted(photos, 'photo')} of "
                f"{self.train.preprocess.size} pixels: give a smaller --batch or --image-size"
            )
        self.progress.parts = parts
        torch.cuda.empty_cache()
        self.on_message(
            f"the GPU's memory is full: batches of {photos} are computed in {parts} parts from "
            "now on"
        )

    def _count_losses(self, *, all_of_them: bool = False) -> None:
        """Sum the losses that are available. Raises TrainingError for one that is not finite."""
        at = self.progress
        for mean in self.losses.ready(all_of_them=all_of_them):
            if not math.isfinite(mean):
                instead = " or give --precision f32" if self.hardware.bf16 else ""
                raise TrainingError(
                    f"the loss is {mean} at epoch {at.epoch + 1}, step "
                    f"{at.step - len(self.losses)}: lower --lr (it is {self.recipe.lr:g}){instead} "
                    "and start again with --fresh; the last good checkpoint is kept in "
                    f"{self.checkpoints.folder}"
                )
            at.loss_sum += mean

    def _end_epoch(self, started: float, on_epoch: OnEpoch) -> None:
        at = self.progress
        self._share_buffers()
        metrics, figures = self._validate()
        record: EpochRecord = {
            "epoch": at.epoch + 1,
            "loss": at.loss_sum / max(1, at.step),
            "lr": self.state.optimizer.param_groups[-1]["lr"],
            **metrics,
        }
        at.seconds += time.monotonic() - started
        record["seconds"] = round(at.seconds - sum(r["seconds"] for r in at.records), 3)
        at.records.append(record)
        best = record[BEST_BY] > at.best or not at.best_epoch
        at.epoch, at.step, at.loss_sum = at.epoch + 1, 0, 0.0
        if best:
            at.best, at.best_epoch = record[BEST_BY], at.epoch
            if self.hardware.first:
                weights = deepcopy(self.state.judged).cpu().state_dict()
                self._save_judged(BEST, figures, learner=weights)
        self._save(0.0)
        if self.hardware.first:
            on_epoch(record, best)

    def record_baseline(self) -> None:
        """Record the metrics before training; all processes must call it."""
        _, figures = self._validate()
        if self.hardware.first:
            self._save_judged(GIVEN, figures)

    def compared(self, names: Sequence[str]) -> Judgement | None:
        """The best epoch compared with the network before training; None for random weights.

        They are compared on the validation photos that did not choose the epoch, if those are
        enough. `names` are those of the labels.
        """
        given = self.checkpoints.load(GIVEN)
        best = self.checkpoints.load(BEST)
        if given is None or best is None:
            return None
        rows = self.val_rows.judging
        before, after = (
            {name: values.numpy()[rows] for name, values in state["figures"].items()}
            for state in (given, best)
        )
        return judge(before, after, self.val.labels[rows], names, seed=self.recipe.seed)

    def _validate(self) -> tuple[dict[str, float], dict[str, Floats]]:
        return validate(
            self.state.judged,
            self.train,
            self.val,
            self.gallery,
            self.val_rows.choosing,
            self.hardware,
            batch=self.recipe.batch,
        )

    def _save_judged(self, name: str, figures: dict[str, Floats], **more: Any) -> None:
        tensors = {one: torch.from_numpy(values) for one, values in figures.items()}
        self.checkpoints.save(name, {"figures": tensors, **more})

    def _share_buffers(self) -> None:
        """Copy the buffers (the norms' statistics) of the first process to all others."""
        from accelerate.utils import broadcast

        if self.hardware.processes > 1:
            for buffer in self.state.judged.buffers():
                buffer.copy_(broadcast(buffer))

    def _save(self, seconds: float) -> None:
        if not self.hardware.first:
            return
        state = self.state.as_dict()
        state["progress"] = {
            **state["progress"],
            "seconds": self.progress.seconds + seconds,
            "broken": {**self.train.broken, **self.val.broken},
            "learned": dict(self.train.learned),
        }
        self.checkpoints.save(LAST, state)


def _gathered(own: dict[str, str]) -> dict[str, str]:
    """The dicts of all processes as one, sorted by name."""
    from accelerate.utils import gather_object

    found: list[dict[str, str]] = gather_object([own])
    return dict(sorted((name, reason) for one in found for name, reason in one.items()))
