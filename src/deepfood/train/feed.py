"""Augmented batches on the training device, prepared ahead of the step."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch

from deepfood.data.read_ahead import in_order
from deepfood.photo import Preprocess
from deepfood.train.augment import augment
from deepfood.train.dataset import Batch

#: Batches that a CPU augments ahead, including the next one.
_AHEAD_BATCHES = 3

#: Pixels uint8 [n, size, size, 3] and labels int64 [n], on the device.
Fed = tuple[torch.Tensor, torch.Tensor]


def feed(
    batches: Iterator[Batch], preprocess: Preprocess, size: int, device: torch.device
) -> Iterator[Fed]:
    """The augmented batches, `size` pixels a side, and their labels.

    A GPU copies and augments the next batch during the current step. On a CPU, threads augment
    ahead, one batch per core, as a step waits for all cores that it uses.
    """

    def move(one: torch.Tensor) -> torch.Tensor:
        return to_device(one, device)

    def seen(batch: Batch) -> Fed:
        views = batch.views.moved(move)
        return augment(move(batch.pictures), views, preprocess, size), move(batch.labels)

    if device.type == "cpu":
        threads = torch.get_num_threads()
        with ThreadPoolExecutor(
            threads, "views", initializer=torch.set_num_threads, initargs=(1,)
        ) as pool:
            try:
                yield from in_order(pool, seen, batches, ahead=_AHEAD_BATCHES)
            finally:
                torch.set_num_threads(threads)  # for new threads; running ones keep their setting
                pool.shutdown(cancel_futures=True)
        return
    if device.type == "cuda":  # pragma: no cover - needs an NVIDIA GPU: tests/train/test_gpu.py
        yield from _one_ahead(batches, seen, device)
    else:  # pragma: no cover - needs a Mac's GPU
        yield from map(seen, batches)


def _one_ahead(  # pragma: no cover - needs an NVIDIA GPU: tests/train/test_gpu.py
    batches: Iterator[Batch], seen: Callable[[Batch], Fed], device: torch.device
) -> Iterator[Fed]:
    """The batches, each copied and augmented on a stream of its own during the step before it."""
    cuda: Any = torch.cuda
    copying = cuda.Stream(device)
    ready: Fed | None = None
    for batch in batches:
        with cuda.stream(copying):
            copied = seen(batch)
            done = copying.record_event()
        if ready is not None:
            yield ready
        now = cuda.current_stream(device)
        now.wait_event(done)
        for one in copied:  # otherwise its memory could be reused while the step still reads it
            one.record_stream(now)
        ready = copied
    if ready is not None:
        yield ready


def to_device(one: torch.Tensor, device: torch.device) -> torch.Tensor:
    """Copy a host tensor to `device`, asynchronously to a GPU."""
    if device.type != "cuda":
        return one.to(device)
    return one.pin_memory().to(device, non_blocking=True)  # pragma: no cover - as above
