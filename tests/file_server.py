"""A real HTTP server on 127.0.0.1 with files that a test can let go wrong."""

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from http_thread import QuietHandler, http_server


@dataclass
class FileServer:
    """What is served, what goes wrong, and every request as (path, headers)."""

    url: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    requests: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)  # of the next answers, then 200
    drops: list[int] = field(default_factory=list)  # the next answers end after so many bytes
    redirects: dict[str, str] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)  # more of them, on files
    ranges: bool = True
    etags: bool = True
    believes_if_range: bool = True
    chunked: bool = False
    at_most: int | None = None  # no range has more bytes, whatever is asked for
    silent: threading.Event | None = None  # answers wait for it

    def ranges_asked(self) -> list[str | None]:
        return [headers.get("Range") for _, headers in self.requests]


@contextmanager
def file_server() -> Iterator[FileServer]:
    state = FileServer()

    class Handler(QuietHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self.close_connection = True
            path = self.path.partition("?")[0]
            state.requests.append((self.path, dict(self.headers)))
            if state.silent:
                state.silent.wait(20)
            status = state.statuses.pop(0) if state.statuses else 200
            body = state.files.get(path)
            if path in state.redirects:
                self.reply(302, {"Location": state.redirects[path], **state.headers}, b"")
            elif status != 200:
                self.reply(status, {}, b"no")
            elif body is None:
                self.reply(404, {}, b"no")
            else:
                self.send_file(body)

        def send_file(self, body: bytes) -> None:
            etag = f'"{hashlib.sha256(body).hexdigest()[:16]}"'
            headers = {"ETag": etag} if state.etags else {}
            headers |= state.headers
            begin, asked = 0, self.headers.get("Range", "")
            same = self.headers.get("If-Range") == etag or not state.believes_if_range
            if state.ranges and asked and same:
                begin = int(asked.removeprefix("bytes=").removesuffix("-"))
                if begin >= len(body):
                    self.reply(416, {"Content-Range": f"bytes */{len(body)}"}, b"")
                    return
                end = min(len(body), begin + (state.at_most or len(body)))
                headers["Content-Range"] = f"bytes {begin}-{end - 1}/{len(body)}"
                body = body[:end]
            self.reply(206 if begin else 200, headers, body[begin:])

        def reply(self, status: int, headers: dict[str, str], body: bytes) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            if state.chunked:
                self.send_header("Transfer-Encoding", "chunked")
            else:
                self.send_header("Content-Length", str(len(body)))
            self.send_header("Connection", "close")
            self.end_headers()
            if status in (200, 206) and state.drops:
                body = body[: state.drops.pop(0)]
            if state.chunked:
                body = b"%x\r\n%s\r\n" % (len(body), body) + (b"0\r\n\r\n" if body else b"")
            self.wfile.write(body)

    with http_server(Handler) as state.url:
        try:
            yield state
        finally:
            if state.silent:
                state.silent.set()
