"""A bounded queue before a small thread pool; it drops work whose client has left."""

import asyncio
import contextvars
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Self, TypeVar

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request

from deepfood.serve.telemetry import metrics

T = TypeVar("T")

#: Seconds after which a refused client may try again; a full queue is gone by then.
RETRY_AFTER_S = 1
FULL = "the service is busy: try again in a moment"


class WorkQueue:
    """`threads` do the work of requests, and up to `max_queued` more requests wait.

    Waiting work is dropped when its client disconnects, or `timeout_s` after it joined the queue.
    Threads cannot be stopped, so work that has begun runs to its end and counts until then. With
    `finishes`, the client waits for the result of such work, however long it takes.
    """

    def __init__(
        self,
        name: str,
        threads: int,
        max_queued: int,
        timeout_s: float,
        *,
        finishes: bool = False,
    ) -> None:
        self._pool = ThreadPoolExecutor(threads, name)
        self._gauge = metrics.IN_QUEUE.labels(name)
        self._places = threads + max_queued
        self._timeout_s = timeout_s
        self._finishes = finishes
        self._taken = 0
        self._counting = threading.Lock()  # work ends in its own thread

    @property
    def room(self) -> int:
        """How many more requests fit."""
        return self._places - self._taken

    async def run(self, request: Request, function: Callable[..., T], *arguments: object) -> T:
        """Call `function` in a thread, for the client of `request`, whose body has been read.

        Raises HTTPException 503 where the queue is full or the time was spent waiting in it, 504
        where it was spent at work, and ClientDisconnect; and what `function` raises.
        """
        if self.room <= 0:
            metrics.REFUSED.labels("queue").inc()
            raise unavailable(FULL)
        self._count(1)
        work = self._pool.submit(contextvars.copy_context().run, function, *arguments)
        work.add_done_callback(self._ended)
        answer = asyncio.wrap_future(work)
        gone = asyncio.ensure_future(_disconnected(request))
        waited_for: set[asyncio.Future[Any]] = {answer, gone}
        try:
            await asyncio.wait(waited_for, timeout=self._timeout_s, return_when="FIRST_COMPLETED")
            if answer.done():
                return answer.result()
            if gone.done():
                gone.result()
            if work.cancel():
                metrics.REFUSED.labels("time").inc()
                raise unavailable(f"no turn came within {self._timeout_s:g} seconds: try again")
            if self._finishes:
                await asyncio.wait(waited_for, return_when="FIRST_COMPLETED")
                if gone.done() and not answer.done():
                    gone.result()
                return answer.result()
            raise HTTPException(504, f"this takes more than {self._timeout_s:g} seconds")
        finally:
            gone.cancel()
            answer.cancel()  # also cancels work that has not begun

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown()

    def _ended(self, _: Future[Any]) -> None:
        self._count(-1)

    def _count(self, change: int) -> None:
        with self._counting:
            self._taken += change
            self._gauge.set(self._taken)


def unavailable(detail: str) -> HTTPException:
    """A 503 with Retry-After."""
    return HTTPException(503, detail, headers={"Retry-After": str(RETRY_AFTER_S)})


async def _disconnected(request: Request) -> None:
    """Wait for the client to disconnect; then raise ClientDisconnect."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
    raise ClientDisconnect
