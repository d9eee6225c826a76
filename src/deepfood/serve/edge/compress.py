"""Compression of text with gzip, for clients that accept it. Pictures are compressed already."""

import re
import zlib

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

#: Shorter texts fit into one packet anyway.
LEAST_BYTES = 1024
_TEXT = re.compile(r"text/|application/(\w+\+)?json|application/javascript|image/svg\+xml")
#: The most that is gained in little time.
_LEVEL = 5
_GZIP = 16 + zlib.MAX_WBITS


class Compress:
    """ASGI middleware. A tag of what it compresses becomes weak, as the bytes are others."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        accepted = accepts_gzip(Headers(scope=scope).get("accept-encoding", ""))
        packer = None

        async def send_compressed(message: Message) -> None:
            nonlocal packer
            if message["type"] == "http.response.start":
                headers = MutableHeaders(raw=message["headers"])
                if _TEXT.match(headers.get("content-type", "")):
                    headers.add_vary_header("Accept-Encoding")
                    if accepted and _is_worth_it(message["status"], headers):
                        packer = zlib.compressobj(_LEVEL, wbits=_GZIP)
                        headers["Content-Encoding"] = "gzip"
                        del headers["Content-Length"]
                        if tag := headers.get("etag"):
                            headers["ETag"] = f"W/{tag.removeprefix('W/')}"
            elif packer is not None:
                body = packer.compress(message.get("body", b""))
                if not message.get("more_body"):
                    body += packer.flush()
                message["body"] = body
            await send(message)

        await self._app(scope, receive, send_compressed)


def _is_worth_it(status: int, headers: Headers) -> bool:
    length = headers.get("content-length", "")
    return (
        status == 200
        and "content-encoding" not in headers
        and not (length.isdigit() and int(length) < LEAST_BYTES)
    )


def accepts_gzip(accept_encoding: str) -> bool:
    """Whether an Accept-Encoding header allows gzip (RFC 9110, 12.5.3)."""
    weights = {}
    for one in accept_encoding.lower().split(","):
        name, _, parameters = one.partition(";")
        found = re.search(r"q\s*=\s*(\d+(\.\d+)?)", parameters)
        weights[name.strip()] = float(found[1]) if found else 1.0
    return weights.get("gzip", weights.get("*", 0.0)) > 0
