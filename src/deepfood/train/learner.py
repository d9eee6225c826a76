"""The Learner: a backbone and the loss that its embeddings are trained with, one torch module."""

from typing import Any, Self

import torch
from torch import nn

from deepfood.photo import Preprocess
from deepfood.train.backbone import first_stages
from deepfood.train.depthwise import fast_depthwise
from deepfood.train.losses import Loss
from deepfood.train.recipe import Recipe


class Learner(nn.Module):
    """Pixels uint8 [n, size, size, 3] and labels int64 [n] to a loss; `embed` gives the vectors.

    `backbone` maps float32 [n, 3, size, size] to [n, dimension]. With `bf16` it computes under
    autocast; the loss is always float32. The first `frozen_share` of the backbone's stages
    is not trained.
    """

    def __init__(
        self,
        backbone: nn.Module,
        loss: Loss,
        preprocess: Preprocess,
        *,
        bf16: bool,
        frozen_share: float = 0.0,
    ) -> None:
        super().__init__()
        # Convolutions on CPUs and tensor cores are fastest with channels last in memory, the layout
        # of the pixels.
        layout: Any = torch.channels_last
        self.backbone = backbone.to(memory_format=layout)
        self.loss = loss
        self.bf16 = bf16
        self.frozen = first_stages(backbone, frozen_share) if frozen_share else ()
        for name in self.frozen:
            backbone.get_submodule(name).requires_grad_(False)
        # The same operations in the same order as in the Embedder, for the same tensor.
        self.mean: torch.Tensor
        self.std: torch.Tensor
        shape = (1, 3, 1, 1)
        mean = torch.tensor(preprocess.mean, dtype=torch.float32).reshape(shape) * 255
        std = torch.tensor(preprocess.std, dtype=torch.float32).reshape(shape) * 255
        self.register_buffer("mean", mean, persistent=False)
        self.register_buffer("std", std, persistent=False)

    def train(self, mode: bool = True) -> Self:
        """As in torch, but frozen layers stay in evaluation mode, so that their norms are fixed."""
        super().train(mode)
        for name in self.frozen:
            self.backbone.get_submodule(name).eval()
        return self

    def normalise(self, pixels: torch.Tensor) -> torch.Tensor:
        """uint8 [n, size, size, 3] to float32 [n, 3, size, size], the input of the backbone."""
        planes: torch.Tensor = (pixels.permute(0, 3, 1, 2).float() - self.mean) / self.std
        return planes

    def embed(self, pixels: torch.Tensor) -> torch.Tensor:
        """Embeddings float32 [n, dimension], without normalization to length 1."""
        device = pixels.device
        with (
            torch.autocast(device.type, torch.bfloat16, enabled=self.bf16),
            fast_depthwise(device, bf16=self.bf16),
        ):
            embeddings: torch.Tensor = self.backbone(self.normalise(pixels))
        return embeddings.float()

    def forward(
        self,
        pixels: torch.Tensor,
        labels: torch.Tensor,
        pasted: torch.Tensor | None = None,
        share: float = 1.0,
    ) -> torch.Tensor:
        """The loss of a batch, a float32 scalar; `pasted` and `share` are those of `cutmix`."""
        embeddings = self.embed(pixels)
        loss: torch.Tensor = self.loss(embeddings, labels)
        if pasted is not None:
            loss = share * loss + (1 - share) * self.loss(embeddings, pasted)
        return loss


def create_optimizer(learner: Learner, recipe: Recipe) -> torch.optim.Optimizer:
    """Adam or AdamW; each group's `full_lr` is what the schedule multiplies.

    Biases and norms (one dimension) decay nothing, as is usual.
    """
    groups = []
    parts = ((learner.backbone, recipe.lr * recipe.backbone_lr_share), (learner.loss, recipe.lr))
    for part, lr in parts:
        for flat in (False, True):
            own = [p for p in part.parameters() if p.requires_grad and (p.ndim <= 1) == flat]
            if own:
                decay = 0.0 if flat else recipe.weight_decay
                groups.append({"params": own, "lr": lr, "full_lr": lr, "weight_decay": decay})
    kind = torch.optim.AdamW if recipe.optimizer == "adamw" else torch.optim.Adam
    # One kernel for all tensors where available: saves a tenth of a step on a CPU.
    fused = next(learner.parameters()).device.type in ("cpu", "cuda")
    return kind(groups, fused=fused)


def set_lr(optimizer: torch.optim.Optimizer, factor: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = group["full_lr"] * factor
