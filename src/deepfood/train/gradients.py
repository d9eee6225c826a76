"""The gradients of a batch's loss, accumulated over parts to save memory."""

from collections.abc import Callable
from typing import Any

import torch

#: The arguments of a Learner's `forward`: pixels, labels, ...; tensors have one row per photo.
Arguments = list[Any]


def gradients(
    learner: Callable[..., torch.Tensor],
    batch: Arguments,
    backward: Callable[[torch.Tensor], object],
    *,
    parts: int,
) -> torch.Tensor:
    """Add the gradients of the batch's mean loss to the weights', and return that loss.

    With several `parts`, gradients are accumulated: less memory, but norm layers see one part only.
    """
    photos = len(batch[0])
    size = -(-photos // parts)
    losses = []
    for low in range(0, photos, size):
        part = [one[low : low + size] if isinstance(one, torch.Tensor) else one for one in batch]
        loss = learner(*part) * (len(part[0]) / photos)
        backward(loss)
        losses.append(loss.detach())
    return torch.stack(losses).sum()
