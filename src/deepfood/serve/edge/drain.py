"""Draining: after SIGTERM a process reports not ready, answers for a while, and then stops."""

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
    """`under_way`: this process got SIGTERM, and still answers."""

    def __init__(self) -> None:
        self.under_way = False


@contextmanager
def draining(drain: Drain, drain_s: float) -> Iterator[None]:
    """On SIGTERM, start `drain`, and pass the signal to the server `drain_s` seconds later.

    A second SIGTERM has no effect: with a process group, workers get it from their parent too.
    SIGINT still ends the process at once. Enter this once the server has set
    its own handler.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # signals are not for this server
        return
    loop = asyncio.get_running_loop()
    server_handler = signal.getsignal(signal.SIGTERM)

    def end(number: int, frame: FrameType | None) -> None:
        if callable(server_handler):  # pragma: no branch - uvicorn has set its own
            server_handler(number, frame)

    def begin(number: int, frame: FrameType | None) -> None:
        if drain.under_way:
            return
        drain.under_way = True
        if drain_s:
            _log.info("SIGTERM: answering for %g more seconds, and no longer ready", drain_s)
            loop.call_soon_threadsafe(loop.call_later, drain_s, end, number, None)
        else:
            end(number, frame)

    signal.signal(signal.SIGTERM, begin)
    yield


class CloseWhileDraining:
    """ASGI middleware that closes connections after their answer, while this process drains."""

    def __init__(self, app: ASGIApp, drain: Drain) -> None:
        self._app = app
        self._drain = drain

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_closing(message: Message) -> None:
            if message["type"] == "http.response.start" and self._drain.under_way:
                MutableHeaders(scope=message)["Connection"] = "close"
            await send(message)

        await self._app(scope, receive, send_closing if scope["type"] == "http" else send)
