"""A line of work: a few threads, a bounded queue before them, and nothing done for nobody."""

import asyncio
import contextvars
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Self, TypeVar

from fastapi import Request
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from deepfood.serve import measure

T = TypeVar("T")

#: Seconds after which a client that was turned away may try again; a full queue is gone by then.
RETRY_AFTER_S = 1
FULL = "the service is busy: try again in a moment"


class Line:
    """`threads` do the work of requests, and `max_queued` more requests wait for one of them.

    What waits is dropped when its client goes away, or `timeout_s` after it joined the line. What
    a thread has begun it ends, for threads cannot be stopped, and counts until then. With
    `finishes`, whoever asked is told how that ended, however long it takes, and not that it failed.
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
        self._in_line = measure.IN_LINE.labels(name)
        self._places = threads + max_queued
        self._timeout_s = timeout_s
        self._finishes = finishes
        self._taken = 0
        self._counting = threading.Lock()  # work ends in its own thread

    @property
    def room(self) -> int:
        """How many more may come."""
        return self._places - self._taken

    async def run(self, request: Request, function: Callable[..., T], *arguments: object) -> T:
        """What `function` gives for the client of `request`, whose body has been read.

        Raises HTTPException 503 where the line is full or the time was spent waiting in it, 504
        where it was spent at work, and ClientDisconnect; and what `function` raises.
        """
        if self.room <= 0:
            measure.REFUSED.labels("queue").inc()
            raise turned_away(FULL)
        self._count(1)
        work = self._pool.submit(contextvars.copy_context().run, function, *arguments)
        work.add_done_callback(self._ended)
        answer = asyncio.wrap_future(work)
        gone = asyncio.ensure_future(_gone(request))
        waited_for: set[asyncio.Future[Any]] = {answer, gone}
        try:
            await asyncio.wait(waited_for, timeout=self._timeout_s, return_when="FIRST_COMPLETED")
            if answer.done():
                return answer.result()
            if gone.done():
                gone.result()
            if work.cancel():
                measure.REFUSED.labels("time").inc()
                raise turned_away(f"no turn came within {self._timeout_s:g} seconds: try again")
            if self._finishes:
                await asyncio.wait(waited_for, return_when="FIRST_COMPLETED")
                if gone.done() and not answer.done():
                    gone.result()
                return answer.result()
            raise HTTPException(504, f"this takes more than {self._timeout_s:g} seconds")
        finally:
            gone.cancel()
            answer.cancel()  # and with it work that has not begun

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown()

    def _ended(self, _: Future[Any]) -> None:
        self._count(-1)

    def _count(self, change: int) -> None:
        with self._counting:
            self._taken += change
            self._in_line.set(self._taken)


async def compute(request: Request, function: Callable[..., T], *arguments: object) -> T:
    """Run what decodes, embeds or searches, as `Line.run` says."""
    line: Line = request.state.computing
    return await line.run(request, function, *arguments)


async def explain(request: Request, function: Callable[..., T], *arguments: object) -> T:
    """Run what makes heat maps, one at a time."""
    line: Line = request.state.explaining
    return await line.run(request, function, *arguments)


async def read(request: Request, function: Callable[..., T], *arguments: object) -> T:
    """Run what only reads the gallery, beside the searches."""
    line: Line = request.state.reading
    return await line.run(request, function, *arguments)


async def in_turn(request: Request, function: Callable[..., T], *arguments: object) -> T:
    """Run what writes, one after the other in this process."""
    line: Line = request.state.writing
    return await line.run(request, function, *arguments)


def turned_away(detail: str) -> HTTPException:
    return HTTPException(503, detail, headers={"Retry-After": str(RETRY_AFTER_S)})


async def _gone(request: Request) -> None:
    """Wait for the client to go away; then raise ClientDisconnect."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
    raise ClientDisconnect
