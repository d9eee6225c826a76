"""An HTTP proxy on 127.0.0.1 before a real S3 server, with which a test lets things go wrong."""

import http.client
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from http_thread import QuietHandler, QuietServer, http_server


@dataclass
class Proxy:
    """What goes wrong: each fault counts down, and every request is noted as (method, path)."""

    url: str = ""
    requests: list[tuple[str, str]] = field(default_factory=list)
    #: The next answers to requests that `fails` picks: a status and S3's error code.
    answers: list[tuple[int, str]] = field(default_factory=list)
    fails: Callable[[str, str], bool] = lambda _method, _path: True
    for_ever: bool = False
    delay_s: float = 0.0
    hangs: int = 0  # so many requests get no answer
    cuts: int = 0  # so many answers end in the middle
    before: Callable[[str, str], object] = lambda _method, _path: None


@contextmanager
def s3_proxy(server_url: str) -> Iterator[Proxy]:
    state = Proxy()
    ended = threading.Event()
    upstream = urlsplit(server_url)

    class Handler(QuietHandler):
        protocol_version = "HTTP/1.1"

        def handle_one(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            state.requests.append((self.command, self.path))
            state.before(self.command, self.path)
            time.sleep(state.delay_s)
            if state.hangs:
                state.hangs -= 1
                ended.wait(20)
                self.close_connection = True
                return
            if state.answers and state.fails(self.command, self.path):
                status, code = state.answers[0]
                if not state.for_ever:
                    state.answers.pop(0)
                text = f"<Error><Code>{code}</Code><Message>no</Message></Error>".encode()
                self.answer(status, {}, text)
                return
            connection = http.client.HTTPConnection(upstream.netloc, timeout=20)
            try:
                # The Host header stays as the client signed it.
                connection.request(self.command, self.path, body, dict(self.headers))
                got = connection.getresponse()
                headers = dict(got.getheaders())
                self.answer(got.status, headers, got.read())
            except OSError:
                self.close_connection = True
            finally:
                connection.close()

        do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = handle_one

        def answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
            self.send_response(status)
            for name, value in headers.items():
                if name.lower() not in ("transfer-encoding", "connection", "content-length"):
                    self.send_header(name, value)
            length = headers.get("Content-Length", "0") if self.command == "HEAD" else len(body)
            self.send_header("Content-Length", str(length))
            self.end_headers()
            if state.cuts and self.command == "GET" and len(body) > 100:
                state.cuts -= 1
                body = body[: len(body) // 2]
                self.close_connection = True
            self.wfile.write(body)

    with http_server(Handler, QuietServer) as state.url:
        try:
            yield state
        finally:
            ended.set()
