"""Admission control: searches beyond a full queue are refused before they cost much."""

import asyncio
import logging
from collections.abc import Collection

from starlette.requests import Request

from deepfood.serve.edge.drain import Drain
from deepfood.serve.edge.guard import EXPOSED, HEADERS
from deepfood.serve.edge.problem import problem, wants_page
from deepfood.serve.edge.queue import FULL, RETRY_AFTER_S, WorkQueue
from deepfood.serve.telemetry import metrics
from deepfood.serve.telemetry.observe import id_of

_log = logging.getLogger(__name__)

#: Seconds between two log lines that count refusals.
_LOG_EVERY_S = 1
_NO_ID, _ID = b'"request_id":""', b'"request_id":"%b"'


class Door:
    """Refuses searches with 503 while `queue` is full, as soon as their headers are read.

    At ten times the load that the service can handle, nine tenths of all requests end here, and
    refusing them takes time from the others on the same cores. So the protocol asks before the
    application gets a request. Refused requests have no log line or trace of their own; they are
    counted.
    """

    def __init__(self, queue: WorkQueue, drain: Drain, origins: Collection[str]) -> None:
        self._queue = queue
        self._drain = drain
        self._origins = {origin.encode() for origin in origins}
        self._arriving = 0
        self._unlogged = 0

    def admits(self, method: bytes) -> bool:
        """Whether a request with this method goes on to the application."""
        if method != b"POST":
            return True
        if self._queue.room <= self._arriving:
            return False
        # Requests whose headers are read in one turn of the event loop are not in the queue yet.
        # They join it in the next turn if their bodies are there; else they keep nobody out.
        self._arriving += 1
        asyncio.get_running_loop().call_soon(self._arrived)
        return True

    def _arrived(self) -> None:
        self._arriving -= 1

    @property
    def keeps_connections(self) -> bool:
        """Whether connections are kept alive."""
        return not self._drain.under_way

    def refusal(self, path: bytes, headers: list[tuple[bytes, bytes]], *, kept: bool) -> bytes:
        """Count a refusal, and return its response. `headers` have names in lower case."""
        self._count()
        sent = dict(headers)
        request_id = id_of(sent.get(b"x-request-id", b"").decode("latin-1")).encode()
        accept = sent.get(b"accept", b"").decode("latin-1")
        head, body = _PAGE if wants_page(accept, path.decode("latin-1")) else _JSON
        body = body.replace(_NO_ID, _ID % request_id)
        more = b"" if kept else b"connection: close\r\n"
        origin = sent.get(b"origin")
        if origin and self._origins & {origin, b"*"}:
            if b"*" in self._origins:
                more += b"access-control-allow-origin: *\r\n"
            else:
                more += b"access-control-allow-origin: %b\r\nvary: Origin\r\n" % origin
            more += b"access-control-expose-headers: %b\r\n" % ", ".join(EXPOSED).encode()
        parts = (head, request_id, len(body), more, body)
        return b"%bx-request-id: %b\r\ncontent-length: %d\r\n%b\r\n%b" % parts

    def _count(self) -> None:
        metrics.REFUSED.labels("queue").inc()
        if not self._unlogged:
            asyncio.get_running_loop().call_later(_LOG_EVERY_S, self._log_count)
        self._unlogged += 1

    def _log_count(self) -> None:
        _log.warning("the queue is full: %d turned away", self._unlogged)
        self._unlogged = 0


def _prebuilt_503(accept: bytes) -> tuple[bytes, bytes]:
    """Head and body of a 503 for an Accept header, without a request id."""
    answer = problem(
        Request({"type": "http", "path": "/", "headers": [(b"accept", accept)]}), 503, FULL
    )
    answer.headers["Retry-After"] = str(RETRY_AFTER_S)
    del answer.headers["Content-Length"]
    lines = [b"%b: %b\r\n" % one for one in (*answer.raw_headers, *HEADERS)]
    return b"HTTP/1.1 503 Service Unavailable\r\n" + b"".join(lines), bytes(answer.body)


_JSON, _PAGE = _prebuilt_503(b"*/*"), _prebuilt_503(b"text/html")
