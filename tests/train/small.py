"""A training that takes a second an epoch, for tests and for the processes that they start."""

import hashlib
from pathlib import Path
from typing import Any

import torch

from deepfood.data.photos import list_photos
from deepfood.data.splits import split_photos
from deepfood.photo import Limits
from deepfood.train.loop import Training
from deepfood.train.recipe import DEEPFOOD
from deepfood.train.run import Task

LIMITS = Limits(max_bytes=20 * 2**20, max_pixels=64_000_000)
OF_TASK = (
    *("backbone", "weights", "workers", "checkpoint_s", "fresh", "device", "even_if_worse"),
    "pictures_bytes",
)


def small_task(photos: Path, out: Path, **changes: Any) -> Task:
    """Train on `photos` into `out`; keywords of Recipe and of Task change it."""
    of_task = {name: changes.pop(name) for name in OF_TASK if name in changes}
    recipe = DEEPFOOD.with_changes(**{"epochs": 2, "batch": 8, "image_size": 32, **changes})
    fixed: dict[str, Any] = {
        "backbone": "test_resnet",
        "weights": "none",
        "workers": 2,
        "device": "cpu",
    }
    fixed["pictures_bytes"] = 2**24
    return Task(
        split_photos(list_photos(photos), val_share=0.2),
        out,
        recipe=recipe,
        limits=LIMITS,
        cache=out.parent / "cache",
        quiet=True,
        **{**fixed, **of_task},
    )


def outcome(training: Training) -> dict[str, Any]:
    """Everything that two equal trainings have in common: figures but times, and all weights."""
    digest = hashlib.sha256()
    for module in (training.state.learner, training.state.judged):
        for name, tensor in module.state_dict().items():
            digest.update(name.encode() + tensor.numpy().tobytes())
    records = [
        {name: value for name, value in record.items() if name != "seconds"}
        for record in training.progress.records
    ]
    best = hashlib.sha256()
    for name, tensor in training.best_weights().items():
        best.update(name.encode() + tensor.contiguous().numpy().tobytes())
    at = training.progress
    return {
        "records": records,
        "best": [at.best_epoch, best.hexdigest()],
        "weights": digest.hexdigest(),
        "updates": at.updates,
        "broken": training.gather_broken(),
        "threads": torch.get_num_threads(),
    }
