"""Numbers that a device computes, read when it has computed them and not before."""

from collections import deque
from collections.abc import Iterator
from typing import Any

import torch

#: Numbers that a GPU may still owe: the host hands it the next steps meanwhile.
_MAX_PENDING = 2


class AsyncScalars:
    """Scalars in order; `len` is how many are still to come."""

    def __init__(self, device: torch.device) -> None:
        self._on_gpu = device.type == "cuda"
        self._pending: deque[tuple[torch.Tensor, Any]] = deque()

    def __len__(self) -> int:
        return len(self._pending)

    def add(self, number: torch.Tensor) -> None:
        done: Any = None
        if self._on_gpu:
            number = number.to("cpu", non_blocking=True)
            done = torch.cuda.current_stream().record_event()
        self._pending.append((number, done))

    def ready(self, *, all_of_them: bool) -> Iterator[float]:
        """Those that have come by now; a GPU is waited for where it owes too many."""
        pending = 0 if all_of_them or not self._on_gpu else _MAX_PENDING
        while len(self._pending) > pending:
            number, done = self._pending.popleft()
            if done is not None:
                done.synchronize()
            yield float(number)
