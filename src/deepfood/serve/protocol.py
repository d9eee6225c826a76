"""HTTP/1.1 as uvicorn speaks it, to clients that may be slow or too many."""

import asyncio

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from deepfood.config import Settings
from deepfood.serve import measure
from deepfood.serve.door import Door

#: Seconds for requests under way once the service stops to listen.
GRACE_S = 10


class Config(uvicorn.Config):
    """uvicorn's configuration for our settings. It is pickled, to reach worker processes."""

    def __init__(self, app: object, settings: Settings) -> None:
        super().__init__(
            app,  # type: ignore[arg-type]
            factory=isinstance(app, str),
            workers=settings.workers,
            http=Protocol,
            ws="none",
            log_config=None,  # logs.py says how
            access_log=False,
            server_header=False,
            proxy_headers=bool(settings.trusted_proxies),
            forwarded_allow_ips=settings.trusted_proxies.split(),
            timeout_graceful_shutdown=GRACE_S,
            # uvicorn kills a worker that is silent for so long, also while it still imports what it
            # needs; with its 5 s, none ever starts on a machine that is busy enough.
            timeout_worker_healthcheck=60,
        )
        self.body_timeout_s = settings.body_timeout_s
        self.max_connections = settings.max_connections
        self.drain_s = settings.drain_s


class _TurnedAway:
    """What uvicorn asks of a request that has been answered; what still comes of it is dropped."""

    response_started = response_complete = True
    more_body = False

    def __init__(self) -> None:
        self.message_event = asyncio.Event()


_TURNED_AWAY = _TurnedAway()

#: A client that takes less of its answer within `body_timeout_s` is taken for one that never will.
_LEAST_TAKEN = 16 * 1024


class Protocol(HttpToolsProtocol):
    """One connection, closed when a request does not come in within `body_timeout_s`.

    uvicorn waits for ever for the rest of a request, so that a few hundred clients that send a byte
    now and then would take all connections. The time runs from a connection's start, and then from
    the first byte after a request, until the request's last byte; no matter whether it has been
    answered, for what comes after an early answer is read too, and thrown away.

    A client that does not read its answer would hold its connection for ever as well, since even
    closing waits until all is sent. So it is cut off where next to nothing is taken for as long.
    """

    config: Config
    _clock: asyncio.TimerHandle | None = None
    _sending: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > self.config.max_connections:
            measure.REFUSED.labels("connections").inc()
            self._end(b"503 Service Unavailable", b"Retry-After: 1\r\n")
        else:
            self._start()

    def data_received(self, data: bytes) -> None:
        if self._clock is None:
            self._start()
        super().data_received(data)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        if self._clock is None:  # it came in one piece with the end of another
            self._start()

    def on_headers_complete(self) -> None:
        door: Door = self.app_state["door"]
        at_work = self.cycle is not None and not self.cycle.response_complete
        if at_work or door.lets_in(self.parser.get_method()):
            super().on_headers_complete()
            return
        kept = door.keeps and self.parser.should_keep_alive()
        self.cycle = _TURNED_AWAY  # type: ignore[assignment]
        self.transport.write(door.refusal(self.url, self.headers, kept=kept))
        if not kept:
            self.transport.close()
        self.on_response_complete()

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._stop()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop()
        self._watch(0)
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._watch(self.transport.get_write_buffer_size())

    def resume_writing(self) -> None:
        super().resume_writing()
        self._watch(self.transport.get_write_buffer_size())

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._watch(self.transport.get_write_buffer_size())

    def _watch(self, unsent: int) -> None:
        """See that a client takes what is unsent of its answers, from now on."""
        if self._sending is not None:
            self._sending.cancel()
            self._sending = None
        if unsent:
            wait_s = self.config.body_timeout_s
            self._sending = self.loop.call_later(wait_s, self._not_taken, unsent)

    def _not_taken(self, before: int) -> None:
        unsent = self.transport.get_write_buffer_size()
        if before - unsent < min(before, _LEAST_TAKEN):
            measure.REFUSED.labels("unread").inc()
            self.transport.abort()
        else:
            self._watch(unsent)

    def _start(self) -> None:
        self._clock = self.loop.call_later(self.config.body_timeout_s, self._late)

    def _stop(self) -> None:
        if self._clock is not None:
            self._clock.cancel()
            self._clock = None

    def _late(self) -> None:
        cycle = self.cycle  # the request whose head came last
        if self.pipeline or (cycle and not cycle.more_body and not cycle.response_complete):
            self._start()  # it is we who have another to answer first
        elif cycle is None or not cycle.response_started:
            self._end(b"408 Request Timeout")
        else:
            self.transport.close()

    def _end(self, status: bytes, headers: bytes = b"") -> None:
        self.transport.write(
            b"HTTP/1.1 %b\r\n%bContent-Length: 0\r\nConnection: close\r\n\r\n" % (status, headers)
        )
        self.transport.close()
