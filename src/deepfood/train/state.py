"""What a training changes from step to step: weights, their averages, optimizer, progress."""

from dataclasses import asdict
from typing import Any

from deepfood.train.averages import Averages
from deepfood.train.hardware import Hardware
from deepfood.train.learner import Learner, create_optimizer
from deepfood.train.progress import Progress
from deepfood.train.recipe import Recipe
from deepfood.train.weights import Origin


class TrainingState:
    """The Learner on its device, and all that goes on beside it. `as_dict` is for a checkpoint.

    `origin` is where the backbone's weights came from.
    """

    def __init__(
        self, learner: Learner, origin: Origin, recipe: Recipe, hardware: Hardware
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
