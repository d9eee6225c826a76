"""The gradients of a batch's loss, in as many parts as memory wants."""

from collections.abc import Callable

import torch

#: What a Learner's `forward` takes; tensors have a row a photo.
Arguments = tuple[torch.Tensor | float, ...]


def gradients(
    learner: Callable[..., torch.Tensor],
    batch: Arguments,
    backward: Callable[[torch.Tensor], object],
    *,
    parts: int,
) -> torch.Tensor:
    """Add the gradients of the batch's mean loss to the weights', and return that loss.

    With several `parts` their gradients are summed up: less memory, and norms that see a part only.
    """
    split = [one.chunk(parts) if isinstance(one, torch.Tensor) else (one,) * parts for one in batch]
    photos = sum(len(part) for part in split[0])
    losses = []
    for part in zip(*split, strict=False):  # as many as there are chunks, parts at most
        loss = learner(*part) * (len(part[0]) / photos)
        backward(loss)
        losses.append(loss.detach())
    return torch.stack(losses).sum()
