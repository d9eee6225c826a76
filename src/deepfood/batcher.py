"""Dynamic batching: items that threads submit while a device is busy are run as one batch."""

import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

#: Batches under way at once: one is copied to the device while another is computed.
_AT_ONCE = 2


class Batcher(Generic[Item, Result]):
    """`batcher(item)` returns `work([item])[0]`; many threads may call it at once.

    A thread that finds the device free runs all waiting items, oldest first and at most `most`;
    nobody waits for more items to arrive. An error of `work` is raised in each of its callers.
    """

    def __init__(self, work: Callable[[list[Item]], Sequence[Result]], most: int) -> None:
        self._work = work
        self._most = most
        self._waiting: deque[tuple[Item, Future[Result]]] = deque()
        self._taking = threading.Lock()
        self._free = threading.Semaphore(_AT_ONCE)

    @property
    def waiting(self) -> int:
        """The number of items that wait for the device."""
        return len(self._waiting)

    def __call__(self, item: Item) -> Result:
        """Raises what `work` raises."""
        own: Future[Result] = Future()
        self._waiting.append((item, own))
        while not own.done():
            with self._free:
                batch = [] if own.done() else self._next_batch()
                if batch:
                    self._run(batch)
            if not batch:  # another thread has taken it
                break
        return own.result()

    def _next_batch(self) -> list[tuple[Item, Future[Result]]]:
        with self._taking:
            count = min(self._most, len(self._waiting))
            return [self._waiting.popleft() for _ in range(count)]

    def _run(self, batch: list[tuple[Item, Future[Result]]]) -> None:
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
