"""ASGI middleware that turns searches away while too many wait, before they cost anything."""

import asyncio
import logging
from typing import Any

from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from deepfood.serve import measure
from deepfood.serve.line import FULL, RETRY_AFTER_S, Line
from deepfood.serve.logs import request_id
from deepfood.serve.observe import id_of
from deepfood.serve.problems import problem

_log = logging.getLogger(__name__)

#: Seconds between two lines of the log that say how many were turned away.
_SAY_EVERY_S = 1


class Door:
    """Answer 503 to what would be searched for while the line is full, before its body is read.

    At ten times the load that can be borne nine tenths of all requests end here, and whatever is
    done for them is taken from those that are answered, since all share the same cores. So it
    stands outside of what observes requests, and turns them away without a line, a time or a trace
    of their own: they are counted. `cors` is what CORSMiddleware is told, if anything.
    """

    def __init__(self, app: ASGIApp, cors: dict[str, Any]) -> None:
        self._app = app
        self._refuse: ASGIApp = CORSMiddleware(_refuse, **cors) if cors else _refuse
        self._not_said = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] == "POST":
            line: Line = scope["state"]["computing"]
            if line.is_full:
                self._count()
                await self._refuse(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _count(self) -> None:
        measure.REFUSED.labels("queue").inc()
        if not self._not_said:
            asyncio.get_running_loop().call_later(_SAY_EVERY_S, self._say)
        self._not_said += 1

    def _say(self) -> None:
        _log.warning("the queue is full: %d turned away", self._not_said)
        self._not_said = 0


async def _refuse(scope: Scope, receive: Receive, send: Send) -> None:
    this = id_of(scope)
    request_id.set(this)
    answer = problem(Request(scope), 503, FULL)
    answer.headers["Retry-After"] = str(RETRY_AFTER_S)
    answer.headers["X-Request-ID"] = this
    await answer(scope, receive, send)
