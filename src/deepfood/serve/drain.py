"""The end of a process that others send requests to: first they are told, then it stops."""

import asyncio
import logging
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_log = logging.getLogger(__name__)


class Drain:
    """Whether this process was told to end, and still answers."""

    under_way = False


@contextmanager
def drained(drain_s: float) -> Iterator[Drain]:
    """Let SIGTERM reach the server `drain_s` later than the Drain that is given.

    A second one changes nothing: where a group is told to end, workers are told by their parent
    too. SIGINT still ends the process at once. Enter it where the server's own handler is set.
    """
    drain = Drain()
    if threading.current_thread() is not threading.main_thread():
        yield drain  # signals are not for this server
        return
    loop = asyncio.get_running_loop()
    ends = signal.getsignal(signal.SIGTERM)

    def end(number: int, frame: FrameType | None) -> None:
        if callable(ends):
            ends(number, frame)

    def told(number: int, frame: FrameType | None) -> None:
        if drain.under_way:
            return
        drain.under_way = True
        if drain_s:
            _log.info("SIGTERM: answering for %g more seconds, and no longer ready", drain_s)
            loop.call_soon_threadsafe(loop.call_later, drain_s, end, number, None)
        else:
            end(number, frame)

    signal.signal(signal.SIGTERM, told)
    yield drain


class LastAnswers:
    """Ask clients for another connection next time, while this process drains."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_last(message: Message) -> None:
            if message["type"] == "http.response.start" and scope["state"]["drain"].under_way:
                MutableHeaders(scope=message)["Connection"] = "close"
            await send(message)

        await self._app(scope, receive, send_last if scope["type"] == "http" else send)
