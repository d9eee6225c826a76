"""Averaged weights: an exponential moving average over a training's steps (Polyak, 1992)."""

from copy import deepcopy
from typing import Generic, TypeVar

import torch
from torch import nn

#: Early averages decay faster: by `1 - steps ** -2/3`, as in timm.
_WARM_UP = 2 / 3

Module = TypeVar("Module", bound=nn.Module)


class Averages(Generic[Module]):
    """`module` is a moving average of `learned`, its weights and buffers, with `decay` per step.

    The tensors of both must stay the same objects on the same device; only values may change.
    """

    def __init__(self, learned: Module, decay: float) -> None:
        self.module = deepcopy(learned).eval()
        self.decay = decay
        pairs = list(
            zip(self.module.state_dict().values(), learned.state_dict().values(), strict=True)
        )
        floats = [pair for pair in pairs if pair[0].is_floating_point()]
        counts = [pair for pair in pairs if not pair[0].is_floating_point()]
        self._averages, self._learned = [one for one, _ in floats], [one for _, one in floats]
        self._counts, self._counted = [one for one, _ in counts], [one for _, one in counts]

    @torch.no_grad()
    def update(self, steps: int) -> None:
        """Update after step number `steps`, from 1; the first step is taken as it is."""
        decay = min(self.decay, 1 - steps**-_WARM_UP)
        torch._foreach_lerp_(self._averages, self._learned, 1 - decay)
        if self._counts:
            torch._foreach_copy_(self._counts, self._counted)
