"""Calls of many threads, done together: what waits when a device is free becomes one batch."""

import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

#: Batches under way at once: one is brought to the device while it works on another.
_AT_ONCE = 2


class Gatherer(Generic[Item, Result]):
    """`gatherer(item)` is `work([item])[0]`, from any number of threads.

    Whoever finds the device free does all that waits, `most` items at most and those first that
    came first, and nobody waits for more to come. What `work` raises, each of its callers gets.
    """

    def __init__(self, work: Callable[[list[Item]], Sequence[Result]], most: int) -> None:
        self._work = work
        self._most = most
        self._waiting: deque[tuple[Item, Future[Result]]] = deque()
        self._taking = threading.Lock()
        self._free = threading.Semaphore(_AT_ONCE)

    @property
    def waiting(self) -> int:
        """How many items wait for the device."""
        return len(self._waiting)

    def __call__(self, item: Item) -> Result:
        """Raises what `work` raises."""
        own: Future[Result] = Future()
        self._waiting.append((item, own))
        while not own.done():
            with self._free:
                batch = [] if own.done() else self._take()
                if batch:
                    self._do(batch)
            if not batch:  # somebody else has it
                break
        return own.result()

    def _take(self) -> list[tuple[Item, Future[Result]]]:
        with self._taking:
            count = min(self._most, len(self._waiting))
            return [self._waiting.popleft() for _ in range(count)]

    def _do(self, batch: list[tuple[Item, Future[Result]]]) -> None:
        try:
            results = self._work([item for item, _ in batch])
            for (_, future), result in zip(batch, results, strict=True):
                future.set_result(result)
        except BaseException as error:
            for _, future in batch:
                if not future.done():
                    future.set_exception(error)
            if not isinstance(error, Exception):
                raise
