"""Concurrent transfers, a bounded number in memory; the first error ends all."""

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Self

#: Concurrent transfers; each holds one chunk.
AT_ONCE = 16


class Transfers:
    """Runs functions in threads. Leaving the context waits for all, and raises errors."""

    def __init__(self, at_once: int = AT_ONCE) -> None:
        self._pool = ThreadPoolExecutor(at_once, "transfer")
        self._room = threading.Semaphore(at_once * 2)
        self._error: BaseException | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        self._pool.shutdown(wait=True, cancel_futures=kind is not None or self._error is not None)
        if kind is None and self._error is not None:
            raise self._error

    def run(self, work: Callable[..., object], *arguments: Any) -> None:
        """Start `work` as soon as there is room. Raises the first error of earlier work."""
        self._room.acquire()
        if self._error is not None:
            raise self._error
        self._pool.submit(work, *arguments).add_done_callback(self._done)

    def _done(self, future: Future[object]) -> None:
        if not future.cancelled() and (error := future.exception()) and self._error is None:
            self._error = error
        self._room.release()
