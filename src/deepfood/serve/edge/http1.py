"""uvicorn's HTTP/1.1, for clients that may be slow or too many."""

import asyncio

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from deepfood.config import Settings
from deepfood.serve.edge.door import Door
from deepfood.serve.telemetry import metrics

#: Seconds for requests in progress once the service has stopped listening.
GRACE_S = 10


class Config(uvicorn.Config):
    """uvicorn's configuration for our settings. Worker processes get it pickled."""

    def __init__(self, app: object, settings: Settings) -> None:
        super().__init__(
            app,  # type: ignore[arg-type]
            factory=isinstance(app, str),
            workers=settings.workers,
            http=Protocol,
            ws="none",
            log_config=None,  # telemetry/logs.py configures it
            access_log=False,
            server_header=False,
            proxy_headers=bool(settings.trusted_proxies),
            forwarded_allow_ips=settings.trusted_proxies.split(),
            timeout_graceful_shutdown=GRACE_S,
            # uvicorn kills a worker that is silent for so long, even while it still imports its
            # modules; with uvicorn's 5 s, none ever starts on a machine that is busy enough.
            timeout_worker_healthcheck=60,
        )
        self.body_timeout_s = settings.body_timeout_s
        self.max_connections = settings.max_connections
        self.drain_s = settings.drain_s


class RefusedCycle:
    """Stands in for uvicorn's cycle of a request that was refused; uvicorn then drops its body."""

    response_started = response_complete = True
    more_body = False

    def __init__(self) -> None:
        self.message_event = asyncio.Event()


_REFUSED = RefusedCycle()

#: Bytes. A client that reads less of its response within `body_timeout_s` is disconnected.
_LEAST_READ = 16 * 1024


class Protocol(HttpToolsProtocol):
    """One connection, closed when a request does not come in within `body_timeout_s`.

    uvicorn waits for ever for the rest of a request, so a few hundred clients that send a byte now
    and then could take all connections. The timer runs from a connection's start, and later from
    the first byte after a request, until the request's last byte. It also runs for a request that
    was answered early, whose remaining bytes are discarded.

    A client that does not read its response would also hold its connection for ever, since even
    closing waits until everything is sent. So it is disconnected if it reads next to nothing for
    as long.
    """

    config: Config
    _body_timer: asyncio.TimerHandle | None = None
    _send_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > self.config.max_connections:
            metrics.REFUSED.labels("connections").inc()
            self._refuse(b"503 Service Unavailable", b"Retry-After: 1\r\n")
        else:
            self._start_timer()

    def data_received(self, data: bytes) -> None:
        if self._body_timer is None:
            self._start_timer()
        super().data_received(data)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        if self._body_timer is None:  # it came in one packet with the end of another
            self._start_timer()

    def on_headers_complete(self) -> None:
        door: Door = self.app_state["door"]
        at_work = self.cycle is not None and not self.cycle.response_complete
        if at_work or door.admits(self.parser.get_method()):
            super().on_headers_complete()
            return
        kept = door.keeps_connections and self.parser.should_keep_alive()
        self.cycle = _REFUSED  # type: ignore[assignment]
        self.transport.write(door.refusal(self.url, self.headers, kept=kept))
        if not kept:
            self.transport.close()
        self.on_response_complete()

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._stop_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        self._watch_sending(0)
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._watch_sending(self.transport.get_write_buffer_size())

    def resume_writing(self) -> None:
        super().resume_writing()
        self._watch_sending(self.transport.get_write_buffer_size())

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._watch_sending(self.transport.get_write_buffer_size())

    def _watch_sending(self, unsent: int) -> None:
        """From now on, check that the client reads the `unsent` bytes of its answers."""
        if self._send_timer is not None:
            self._send_timer.cancel()
            self._send_timer = None
        if unsent:
            wait_s = self.config.body_timeout_s
            self._send_timer = self.loop.call_later(wait_s, self._check_read, unsent)

    def _check_read(self, before: int) -> None:
        unsent = self.transport.get_write_buffer_size()
        if before - unsent < min(before, _LEAST_READ):
            metrics.REFUSED.labels("unread").inc()
            self.transport.abort()
        else:
            self._watch_sending(unsent)

    def _start_timer(self) -> None:
        self._body_timer = self.loop.call_later(self.config.body_timeout_s, self._time_out)

    def _stop_timer(self) -> None:
        if self._body_timer is not None:
            self._body_timer.cancel()
            self._body_timer = None

    def _time_out(self) -> None:
        cycle = self.cycle  # of the request whose headers came last
        if self.pipeline or (cycle and not cycle.more_body and not cycle.response_complete):
            self._start_timer()  # the server is late: it has another to answer first
        elif cycle is None or not cycle.response_started:
            self._refuse(b"408 Request Timeout")
        else:
            self.transport.close()

    def _refuse(self, status: bytes, headers: bytes = b"") -> None:
        self.transport.write(
            b"HTTP/1.1 %b\r\n%bContent-Length: 0\r\nConnection: close\r\n\r\n" % (status, headers)
        )
        self.transport.close()
