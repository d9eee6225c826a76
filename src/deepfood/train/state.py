"""What a training changes from step to step: weights, their averages, optimizer, progress."""

from dataclasses import asdict, dataclass, field
from typing import Any

from deepfood.train.averages import Averages
from deepfood.train.hardware import Hardware
from deepfood.train.learner import Learner, create_optimizer
from deepfood.train.recipe import Recipe
from deepfood.train.weights import WeightsSource

#: Figures of one epoch by name: `epoch` from 1, `loss`, `lr`, `seconds`, and those of validate().
EpochRecord = dict[str, float]


@dataclass
class Progress:
    """The position of a training, which checkpoints contain.

    `epoch` and `step` are the next to do, from 0; the sums are of this epoch so far; `updates` are
    the optimizer's steps since the start; `broken` are the photos that could not be read, and why;
    `learned` those that were learned from, and their SHA-256; `parts` is how many a batch is
    computed in, one after the other.
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
    parts: int = 1


class TrainingState:
    """The Learner on its device, and the rest of the state. `as_dict` is for a checkpoint.

    `origin` is where the backbone's weights came from.
    """

    def __init__(
        self, learner: Learner, origin: WeightsSource, recipe: Recipe, hardware: Hardware
    ) -> None:
        self.learner = learner.to(hardware.device)
        self.origin = origin
        self.optimizer = create_optimizer(self.learner, recipe)
        self.parallel: Any = hardware.accelerator.prepare_model(self.learner)
        # Only now: DDP gives the weights other memory.
        self.averaged = Averages(self.learner, recipe.ema_decay) if recipe.ema_decay else None
        self.progress = Progress()

    @property
    def judged(self) -> Learner:
        """The weights that are validated and exported: averages where the recipe has them."""
        return self.learner if self.averaged is None else self.averaged.module

    def load(self, state: dict[str, Any]) -> None:
        """Take over the state of a checkpoint."""
        self.learner.load_state_dict(state["learner"])
        if self.averaged is not None:
            self.averaged.module.load_state_dict(state["averaged"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.progress = Progress(**state["progress"])

    def as_dict(self) -> dict[str, Any]:
        """All of it, for `load`."""
        state = {
            "origin": asdict(self.origin),
            "progress": vars(self.progress),
            "learner": self.learner.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }
        if self.averaged is not None:
            state["averaged"] = self.averaged.module.state_dict()
        return state
