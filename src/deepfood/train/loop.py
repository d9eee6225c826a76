"""The training loop: steps, epochs, validation, checkpoints.

What a step computes follows from seed, epoch and step alone (photos, their augmentation, dropout),
so training that was killed anywhere and started again ends with the same numbers.
"""

import time
from collections.abc import Callable
from copy import deepcopy
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from timm.utils.model_ema import ModelEmaV3

from deepfood.errors import TrainingError
from deepfood.evaluate.metrics import Floats
from deepfood.progress import bar
from deepfood.train import checkpoint
from deepfood.train.checkpoint import BEST, GIVEN, LAST, Identity
from deepfood.train.compared import Comparison, compare_figures
from deepfood.train.hardware import Hardware
from deepfood.train.learner import Learner, create_optimizer, set_lr
from deepfood.train.mix import cutmix
from deepfood.train.photos import Photos
from deepfood.train.recipe import Recipe
from deepfood.train.sampling import epoch_table, step_rng
from deepfood.train.validate import BEST_BY, gallery_rows, validate
from deepfood.train.weights import Origin

#: Figures of one epoch by name: `epoch` from 1, `loss`, `lr`, `seconds`, and those of validate().
EpochRecord = dict[str, float]
OnEpoch = Callable[[EpochRecord, bool], None]


@dataclass
class Progress:
    """Where training stands; all of it is in a checkpoint.

    `epoch` and `step` are the next to do, from 0; the sums are of this epoch so far; `updates` are
    the optimizer's steps since the start; `broken` are the photos that could not be read, and why;
    `learned` those that were learned from, and their SHA-256.
    """

    epoch: int = 0
    step: int = 0
    updates: int = 0
    loss_sum: float = 0.0
    seconds: float = 0.0
    best_epoch: int = 0
    best: float = -1.0
    records: list[EpochRecord] = field(default_factory=list)
    broken: dict[str, str] = field(default_factory=dict)
    learned: dict[str, str] = field(default_factory=dict)


class Training:
    """One training: construct it, `resume` it, `run` it. Every process has one.

    `who` is what its checkpoints are of, `origin` where the backbone's weights came from.
    """

    def __init__(
        self,
        learner: Learner,
        train: Photos,
        val: Photos,
        recipe: Recipe,
        hardware: Hardware,
        folder: Path,
        who: Identity,
        origin: Origin,
        *,
        checkpoint_s: float,
        quiet: bool,
    ) -> None:
        self.train, self.val = train, val
        self.recipe, self.hardware = recipe, hardware
        self.folder, self.who, self.origin = folder, who, origin
        self.checkpoint_s, self.quiet = checkpoint_s, quiet
        self.learner = learner.to(hardware.device)
        self.averaged: ModelEmaV3 | None = None
        if recipe.ema_decay:
            self.averaged = ModelEmaV3(self.learner, decay=recipe.ema_decay, use_warmup=True)
        self.optimizer = create_optimizer(self.learner, recipe)
        self.parallel: Any = hardware.accelerator.prepare_model(self.learner)
        self.gallery = gallery_rows(train.labels, recipe.seed)
        self.progress = Progress()

    @property
    def judged(self) -> Learner:
        """The weights that are validated and exported: averages where the recipe has them."""
        module: Learner = self.learner if self.averaged is None else self.averaged.module
        return module

    @property
    def finished(self) -> bool:
        at, recipe = self.progress, self.recipe
        return at.epoch >= recipe.epochs or self.stopped_early

    @property
    def stopped_early(self) -> bool:
        at, patience = self.progress, self.recipe.patience
        return bool(patience and at.best_epoch and at.epoch - at.best_epoch >= patience)

    def resume(self, state: dict[str, Any]) -> None:
        """Go on from `state`, which `checkpoint.load` gave."""
        self.learner.load_state_dict(state["learner"])
        if self.averaged is not None:
            self.averaged.module.load_state_dict(state["averaged"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.progress = Progress(**state["progress"])
        self.train.broken.update(self.progress.broken)
        self.train.learned.update(self.progress.learned)

    def run(self, on_epoch: OnEpoch) -> None:
        """Train to the end; `on_epoch` gets each epoch's record, and whether it is the best so far.

        Raises TrainingError for a loss that is no number, DiskFullError, DatasetError.
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
        self.parallel.train()
        saved = time.monotonic()
        with bar(
            f"epoch {at.epoch + 1}/{recipe.epochs}",
            " photos",
            table.size,
            done=at.step * recipe.batch,
            quiet=self.quiet or not hardware.first,
        ) as shown:
            for pixels, labels in batches:
                at.loss_sum += self._step(
                    torch.from_numpy(pixels), torch.from_numpy(labels), len(table)
                )
                at.step += 1
                shown.update(recipe.batch)
                shown.set_postfix_str(f"loss {at.loss_sum / at.step:.3f}", refresh=False)
                if time.monotonic() - saved > self.checkpoint_s and at.step < len(table):
                    self._save(time.monotonic() - started)
                    saved = time.monotonic()

    def gather_broken(self) -> dict[str, str]:
        """The photos that any process could not read, and why; all processes must call it."""
        return _gathered({**self.val.broken, **self.train.broken})

    def gather_learned(self) -> dict[str, str]:
        """The photos that any process learned from, and their SHA-256; all must call it."""
        return _gathered(self.train.learned)

    def best_weights(self) -> dict[str, torch.Tensor]:
        """The state dict of the best epoch's Learner, on the CPU."""
        state = checkpoint.load(self.folder / BEST, self.who)
        if state is None:
            raise TrainingError(f"{self.folder / BEST} is gone: start again with --fresh")
        weights: dict[str, torch.Tensor] = state["learner"]
        return weights

    def _step(self, pixels: torch.Tensor, labels: torch.Tensor, steps: int) -> float:
        at, recipe, device = self.progress, self.recipe, self.hardware.device
        # Dropout and the like draw from torch's generator: one seed for each step and process.
        torch.manual_seed(hash((recipe.seed, at.updates, self.hardware.rank)))
        set_lr(self.optimizer, recipe.lr_factor(at.updates, steps * recipe.epochs))
        batch: tuple[torch.Tensor | float, ...] = (pixels, labels)
        rng = step_rng(recipe.seed, at.updates, self.hardware.rank)
        if recipe.sampling != "paired" and rng.random() < recipe.cutmix:
            mixed, pasted, share = cutmix(pixels, labels, rng)
            batch = (mixed, labels, pasted, share)
        loss = self.parallel(
            *(
                one.to(device, non_blocking=True) if isinstance(one, torch.Tensor) else one
                for one in batch
            )
        )
        self.optimizer.zero_grad(set_to_none=True)
        self.hardware.accelerator.backward(loss)
        self.optimizer.step()
        # Asked only now: a GPU has all of the step to do by then, instead of waiting for the rest.
        mean = float(self.hardware.accelerator.reduce(loss.detach(), "mean"))
        if not -float("inf") < mean < float("inf"):
            raise TrainingError(
                f"the loss is {mean} at epoch {at.epoch + 1}, step {at.step + 1}: lower --lr "
                f"(it is {recipe.lr:g}) and start again with --fresh; the last good "
                f"checkpoint is kept in {self.folder}"
            )
        at.updates += 1
        if self.averaged is not None:
            self.averaged.update(self.learner, step=at.updates)
        return mean

    def _end_epoch(self, started: float, on_epoch: OnEpoch) -> None:
        at = self.progress
        self._share_buffers()
        metrics, figures = self._validate()
        record: EpochRecord = {
            "epoch": at.epoch + 1,
            "loss": at.loss_sum / max(1, at.step),
            "lr": self.optimizer.param_groups[-1]["lr"],
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
                weights = deepcopy(self.judged).cpu().state_dict()
                self._save_judged(BEST, figures, learner=weights)
        self._save(0.0)
        if self.hardware.first:
            on_epoch(record, best)

    def judge_given(self) -> None:
        """Note what the network finds before it is trained; all processes must call it."""
        _, figures = self._validate()
        if self.hardware.first:
            self._save_judged(GIVEN, figures)

    def compared(self) -> dict[str, Comparison] | None:
        """The best epoch beside the network as it was given; None where that knew nothing."""
        given = checkpoint.load(self.folder / GIVEN, self.who)
        best = checkpoint.load(self.folder / BEST, self.who)
        if given is None or best is None:
            return None
        before, after = (
            {name: values.numpy() for name, values in state["figures"].items()}
            for state in (given, best)
        )
        return compare_figures(before, after, seed=self.recipe.seed)

    def _validate(self) -> tuple[dict[str, float], dict[str, Floats]]:
        return validate(
            self.judged, self.train, self.val, self.gallery, self.hardware, batch=self.recipe.batch
        )

    def _save_judged(self, name: str, figures: dict[str, Floats], **more: Any) -> None:
        tensors = {one: torch.from_numpy(values) for one, values in figures.items()}
        state = {"identity": self.who, "figures": tensors, **more}
        checkpoint.save(self.folder / name, state)

    def _share_buffers(self) -> None:
        """What norms have counted in the first process is what is kept, so all judge by it."""
        from accelerate.utils import broadcast

        if self.hardware.processes > 1:
            for buffer in self.judged.buffers():
                buffer.copy_(broadcast(buffer))

    def _save(self, seconds: float) -> None:
        if not self.hardware.first:
            return
        progress = {
            **vars(self.progress),
            "seconds": self.progress.seconds + seconds,
            "broken": {**self.train.broken, **self.val.broken},
            "learned": dict(self.train.learned),
        }
        state = {
            "identity": self.who,
            "origin": asdict(self.origin),
            "progress": progress,
            "learner": self.learner.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }
        if self.averaged is not None:
            state["averaged"] = self.averaged.module.state_dict()
        checkpoint.save(self.folder / LAST, state)


def _gathered(own: dict[str, str]) -> dict[str, str]:
    """What all processes say, in the order of the names."""
    from accelerate.utils import gather_object

    found: list[dict[str, str]] = gather_object([own])
    return dict(sorted((name, said) for one in found for name, said in one.items()))
