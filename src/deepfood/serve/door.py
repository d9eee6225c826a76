"""Where searches are turned away while too many wait, before they cost anything."""

import asyncio
import logging
from collections.abc import Collection

from starlette.requests import Request

from deepfood.serve import measure
from deepfood.serve.drain import Drain
from deepfood.serve.guard import EXPOSED, HEADERS
from deepfood.serve.line import FULL, RETRY_AFTER_S, Line
from deepfood.serve.observe import id_of
from deepfood.serve.problems import problem, wants_page

_log = logging.getLogger(__name__)

#: Seconds between two lines of the log that say how many were turned away.
_SAY_EVERY_S = 1
_NO_ID, _ID = b'"request_id":""', b'"request_id":"%b"'


class Door:
    """Says 503 to what would be searched for while `line` is full, when its head has come.

    At ten times the load that can be borne nine tenths of all requests end here, and whatever is
    done for them is taken from those that are answered, since all share the same cores. So the
    protocol asks it before there is a request for the application, and such requests have no line
    in the log, time or trace of their own: they are counted.
    """

    def __init__(self, line: Line, drain: Drain, origins: Collection[str]) -> None:
        self._line = line
        self._drain = drain
        self._origins = {origin.encode() for origin in origins}
        self._coming = 0
        self._not_said = 0

    def lets_in(self, method: bytes) -> bool:
        """Whether the application is to hear of a request with this method."""
        if method != b"POST":
            return True
        if self._line.room <= self._coming:
            return False
        # Of a crowd whose heads are read in one turn of the event loop none is in the line yet. It
        # is in the next turn, if its body is there; and if not, it keeps nobody out.
        self._coming += 1
        asyncio.get_running_loop().call_soon(self._came)
        return True

    def _came(self) -> None:
        self._coming -= 1

    @property
    def keeps(self) -> bool:
        """Whether a client may use its connection again."""
        return not self._drain.under_way

    def refusal(self, path: bytes, headers: list[tuple[bytes, bytes]], *, kept: bool) -> bytes:
        """The whole answer to a request with these headers, named in small letters; counts it."""
        self._count()
        given = dict(headers)
        this = id_of(given.get(b"x-request-id", b"").decode("latin-1")).encode()
        accept = given.get(b"accept", b"").decode("latin-1")
        head, body = _PAGE if wants_page(accept, path.decode("latin-1")) else _JSON
        body = body.replace(_NO_ID, _ID % this)
        more = b"" if kept else b"connection: close\r\n"
        origin = given.get(b"origin")
        if origin and self._origins & {origin, b"*"}:
            if b"*" in self._origins:
                more += b"access-control-allow-origin: *\r\n"
            else:
                more += b"access-control-allow-origin: %b\r\nvary: Origin\r\n" % origin
            more += b"access-control-expose-headers: %b\r\n" % ", ".join(EXPOSED).encode()
        parts = (head, this, len(body), more, body)
        return b"%bx-request-id: %b\r\ncontent-length: %d\r\n%b\r\n%b" % parts

    def _count(self) -> None:
        measure.REFUSED.labels("queue").inc()
        if not self._not_said:
            asyncio.get_running_loop().call_later(_SAY_EVERY_S, self._say)
        self._not_said += 1

    def _say(self) -> None:
        _log.warning("the queue is full: %d turned away", self._not_said)
        self._not_said = 0


def _told(accept: bytes) -> tuple[bytes, bytes]:
    """Head and body of what is told to who accepts that, as all problems are; it lacks an id."""
    answer = problem(
        Request({"type": "http", "path": "/", "headers": [(b"accept", accept)]}), 503, FULL
    )
    answer.headers["Retry-After"] = str(RETRY_AFTER_S)
    del answer.headers["Content-Length"]
    lines = [b"%b: %b\r\n" % one for one in (*answer.raw_headers, *HEADERS)]
    return b"HTTP/1.1 503 Service Unavailable\r\n" + b"".join(lines), bytes(answer.body)


_JSON, _PAGE = _told(b"*/*"), _told(b"text/html")
