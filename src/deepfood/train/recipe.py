"""A Recipe: every number that training depends on, besides the photos and the backbone.

`original` is what the original project did with ResNet34 on iFood-2019; `deepfood` is the default.
"""

import math
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from deepfood.errors import SettingError
from deepfood.train.losses import PAIRED, LossName

#: Photos of one label that a batch holds, for losses that compare photos with each other.
PHOTOS_A_LABEL = 4

#: Steps an epoch that a larger batch on a GPU must leave.
_LEAST_STEPS = 50

#: The original's learning rates: 1e-4, then 1e-5, then 5e-6, a third of the epochs each.
_PHASES = (1.0, 0.1, 0.05)


class Recipe(BaseModel):
    """How to train. Learning rates are those of a batch as large as `batch`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    loss: LossName
    epochs: Annotated[int, Field(ge=1, le=10_000)]
    #: Photos a step, over all processes.
    batch: Annotated[int, Field(ge=2, le=65_536)]
    #: At most this many on a GPU, see `for_gpu`; 0 for `batch` there too.
    gpu_batch: Annotated[int, Field(ge=0, le=65_536)] = 0
    optimizer: Literal["adam", "adamw"]
    #: For new layers; the backbone's rate is `backbone_lr_share` of it.
    lr: Annotated[float, Field(gt=0, le=10)]
    backbone_lr_share: Annotated[float, Field(ge=0, le=1)]
    #: `phases`: three constant rates. `cosine`: warm-up over the first steps, then down to zero.
    schedule: Literal["phases", "cosine"]
    warmup_share: Annotated[float, Field(ge=0, lt=1)]
    weight_decay: Annotated[float, Field(ge=0, le=1)]
    label_smoothing: Annotated[float, Field(ge=0, lt=1)]
    augmentation: Literal["plain", "strong"]
    #: Smallest share of a photo's area that RandomResizedCrop keeps.
    crop_area: Annotated[float, Field(gt=0, le=1)]
    #: Share of the batches whose photos are mixed by CutMix; losses that compare photos mix none.
    cutmix: Annotated[float, Field(ge=0, le=1)] = 0.0
    #: Sample each label equally often, regardless of its number of photos.
    balanced: bool
    #: Decay a step of the averaged weights that are validated and exported; 0 is none.
    ema_decay: Annotated[float, Field(ge=0, lt=1)]
    precision: Literal["auto", "f32", "bf16"]
    #: Stop after this many epochs without a better one; 0 is never.
    patience: Annotated[int, Field(ge=0)]
    #: Pixels a side in training, as a share of the Model's. Random crops show dishes larger than
    #: they are seen later; fewer pixels compensate for that, and cost less
    #: (Touvron et al., "Fixing the train-test resolution discrepancy", 2019).
    training_pixels: Annotated[float, Field(gt=0, le=1)] = 1.0
    #: Share of a pretrained backbone's stages, from the stem on, that are frozen. They detect edges
    #: and textures, whatever the task, and cost the most.
    frozen_share: Annotated[float, Field(ge=0, lt=1)] = 0.0
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    image_size: Annotated[int, Field(ge=16, le=4096)] | None = None

    def with_changes(self, **changes: Any) -> Self:
        """This recipe with some values changed; None keeps a value. Raises SettingError.

        A given batch size or learning rate also applies on a GPU.
        """
        changes = {name: value for name, value in changes.items() if value is not None}
        if {"batch", "lr"} & changes.keys():
            changes = {"gpu_batch": 0, **changes}
        try:
            return type(self)(**{**self.model_dump(), **changes})
        except ValidationError as error:
            one = error.errors(include_url=False)[0]
            name = ".".join(str(part) for part in one["loc"]).replace("_", "-")
            raise SettingError(f"--{name} {one['input']}: {one['msg']}") from error

    def for_gpu(self, photos: int) -> Self:
        """This recipe with batches that keep a GPU busy, for a dataset of so many photos.

        An epoch keeps _LEAST_STEPS steps at least. The learning rate grows with the square root of
        the batch, as suits Adam (Malladi et al., "On the SDEs and scaling rules for adaptive
        gradient algorithms", 2022), and averages span as many photos as before.
        """
        times = 1
        while 2 * times * self.batch <= min(self.gpu_batch, photos // _LEAST_STEPS):
            times *= 2
        changed = {
            "batch": times * self.batch,
            "lr": self.lr * math.sqrt(times),
            "ema_decay": self.ema_decay**times,
        }
        return self.model_copy(update=changed)

    def training_size(self, size: int) -> int:
        """Pixels a side in training, for a Model of `size`: a multiple of 32."""
        if self.training_pixels == 1:
            return size
        return min(size, max(32, round(size * self.training_pixels / 32) * 32))

    @property
    def sampling(self) -> Literal["shuffled", "balanced", "paired"]:
        """Which photos a batch gets: see sampling.py."""
        if self.loss in PAIRED:
            return "paired"
        return "balanced" if self.balanced else "shuffled"

    def lr_factor(self, step: int, steps: int) -> float:
        """The factor of the learning rates at `step` (from 0) of `steps`."""
        if self.schedule == "phases":
            return _PHASES[min(len(_PHASES) - 1, step * len(_PHASES) // steps)]
        warmup = round(steps * self.warmup_share)
        if step < warmup:
            return (step + 1) / (warmup + 1)
        return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))


ORIGINAL = Recipe(
    name="original",
    loss="softmax",
    epochs=20,
    batch=128,
    optimizer="adam",
    lr=1e-4,
    backbone_lr_share=1.0,
    schedule="phases",
    warmup_share=0.0,
    weight_decay=0.0,
    label_smoothing=0.0,
    augmentation="plain",
    crop_area=0.08,
    balanced=False,
    ema_decay=0.0,
    precision="f32",
    patience=0,
)
DEEPFOOD = Recipe(
    name="deepfood",
    loss="cosine-margin",
    epochs=20,
    batch=32,
    gpu_batch=256,
    optimizer="adamw",
    lr=3e-3,
    backbone_lr_share=0.3,
    schedule="cosine",
    warmup_share=0.1,
    weight_decay=0.05,
    label_smoothing=0.1,
    augmentation="strong",
    crop_area=0.3,
    cutmix=0.5,
    balanced=True,
    ema_decay=0.995,
    precision="auto",
    patience=5,
    training_pixels=0.857,
    frozen_share=0.5,
)
RECIPES = {recipe.name: recipe for recipe in (DEEPFOOD, ORIGINAL)}


def recipe_named(name: str) -> Recipe:
    if name not in RECIPES:
        raise SettingError(f"there is no recipe {name!r}: known are {', '.join(RECIPES)}")
    return RECIPES[name]
