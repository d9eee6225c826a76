"""Numbers that a device computes, read when it has computed them and not before."""

from collections import deque
from collections.abc import Iterator
from typing import Any

import torch

#: Numbers that a GPU may still owe: the host hands it the next steps meanwhile.
_OWED = 2


class LateNumbers:
    """Scalars in order; `len` is how many are still to come."""

    def __init__(self, device: torch.device) -> None:
        self._on_gpu = device.type == "cuda"
        self._coming: deque[tuple[torch.Tensor, Any]] = deque()

    def __len__(self) -> int:
        return len(self._coming)

    def add(self, number: torch.Tensor) -> None:
        done: Any = None
        if self._on_gpu:
            number = number.to("cpu", non_blocking=True)
            done = torch.cuda.current_stream().record_event()
        self._coming.append((number, done))

    def come(self, *, all_of_them: bool) -> Iterator[float]:
        """Those that have come by now; a GPU is waited for where it owes too many."""
        owed = 0 if all_of_them or not self._on_gpu else _OWED
        while len(self._coming) > owed:
            number, done = self._coming.popleft()
            if done is not None:
                done.synchronize()
            yield float(number)
