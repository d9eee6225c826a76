"""Read numbers from a device without waiting for it."""

from collections import deque
from collections.abc import Iterator
from typing import Any

import torch

#: Numbers that may be outstanding; the host queues further steps on the GPU meanwhile.
_MAX_PENDING = 2


class AsyncScalars:
    """A queue of scalars; `len` counts those that are outstanding."""

    def __init__(self, device: torch.device) -> None:
        self._on_gpu = device.type == "cuda"
        self._pending: deque[tuple[torch.Tensor, Any]] = deque()

    def __len__(self) -> int:
        return len(self._pending)

    def add(self, number: torch.Tensor) -> None:
        done: Any = None
        if self._on_gpu:  # pragma: no cover - needs an NVIDIA GPU: tests/train/test_gpu.py
            number = number.to("cpu", non_blocking=True)
            done = torch.cuda.current_stream().record_event()
        self._pending.append((number, done))

    def ready(self, *, all_of_them: bool) -> Iterator[float]:
        """The scalars that are available. Waits for the GPU if too many are outstanding."""
        pending = 0 if all_of_them or not self._on_gpu else _MAX_PENDING
        while len(self._pending) > pending:
            number, done = self._pending.popleft()
            if done is not None:  # pragma: no cover - as above
                done.synchronize()
            yield float(number)
