"""Checkpoints: everything needed to resume training with identical results.

`last` is the newest state, `best` the weights and metrics of the best epoch so far, `given` the
metrics before training. Each is replaced atomically, so that a crash or a full disk leaves the
previous one.
"""

import hashlib
import io
import shutil
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from deepfood import __version__
from deepfood.artifacts import write_atomically
from deepfood.data.splits import Splits
from deepfood.errors import TrainingError
from deepfood.photo import Preprocess
from deepfood.train.recipe import Recipe

TRAINING = "training"
LAST, BEST, GIVEN = "last.pt", "best.pt", "given.pt"
TENSORBOARD = "tensorboard"

#: What checkpoints contain; a training of another format cannot be resumed.
_FORMAT = 2

Identity = dict[str, str | int | float | bool | None]


def identity(
    splits: Splits, backbone: str, weights: str, preprocess: Preprocess, recipe: Recipe
) -> Identity:
    """What must be unchanged for training to resume."""
    listing = hashlib.sha256()
    for name, photos in (("train", splits.train), ("val", splits.val)):
        for photo in photos:
            listing.update(f"{name}\t{photo.stored}\t{photo.label}\n".encode())
    return {
        "backbone": backbone,
        "weights": weights,
        "dataset": f"{len(splits.train)} + {len(splits.val)} photos, {listing.hexdigest()[:12]}",
        "image size": preprocess.size,
        **{f"recipe's {name}": value for name, value in recipe.model_dump(mode="json").items()},
    }


@dataclass(frozen=True)
class Checkpoints:
    """The checkpoints of one training in `folder`, written at least every `every_s` seconds."""

    folder: Path
    identity: Identity
    every_s: float

    def save(self, name: str, state: dict[str, Any]) -> None:
        """Replace one. Raises DiskFullError; the old one is kept."""
        save(self.folder / name, {"identity": self.identity, **state})

    def load(self, name: str) -> dict[str, Any] | None:
        """One of them, on the CPU; None if it does not exist. Raises TrainingError."""
        return load(self.folder / name, self.identity)


def save(path: Path, state: dict[str, Any]) -> None:
    """Write a checkpoint, durable when this returns. Raises DiskFullError; the old one is kept."""
    contents = io.BytesIO()
    torch.save({"format": _FORMAT, **state}, contents)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, contents.getvalue())


def load(path: Path, wanted: Identity) -> dict[str, Any] | None:
    """The checkpoint at `path`, on the CPU; None if it does not exist.

    Raises TrainingError if it is damaged, of another format or from another training.
    """
    if not path.is_file():
        return None
    try:
        # torch does not verify the checksums in its files.
        with zipfile.ZipFile(path) as archive:
            if (broken := archive.testzip()) is not None:
                raise ValueError(f"{broken} differs from its CRC-32")
        state = torch.load(path, map_location="cpu", weights_only=True)
        found: Identity = state["identity"]
    except Exception as error:  # damaged files raise many types of error
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise TrainingError(
            f"checkpoint {path} is damaged ({reason}): start again with --fresh"
        ) from error
    if (format_found := state.get("format", 1)) != _FORMAT:
        raise TrainingError(
            f"checkpoint {path} has format {format_found}, and deepfood {__version__} resumes "
            f"format {_FORMAT}: start again with --fresh"
        )
    for name in {**wanted, **found}:
        if wanted.get(name) != found.get(name):
            raise TrainingError(
                f"checkpoint {path} is of another training: its {name} is {found.get(name)!r}, and "
                f"now it is {wanted.get(name)!r}; give another --out, or start again with --fresh"
            )
    return dict(state)


def forget(folder: Path) -> None:
    """Remove what an earlier training left in `folder`."""
    for name in (LAST, BEST, GIVEN):
        (folder / name).unlink(missing_ok=True)
    shutil.rmtree(folder / TENSORBOARD, ignore_errors=True)
