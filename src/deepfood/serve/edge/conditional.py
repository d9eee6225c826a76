"""Conditional requests: entity tags, 304 for `If-None-Match`, 412 for `If-Match` (RFC 9110, 13).

A tag is of the content before its compression, which does not change what it says: so tags that a
compression has made weak are taken for strong ones.
"""

import hashlib
from collections.abc import Iterable

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

#: Longer bodies have no tag unless their route gives one.
_MOST_HASHED_BYTES = 2**20
_DIGITS = 20
#: Headers of a 304; the others describe a body.
_KEPT = frozenset(
    {b"etag", b"cache-control", b"vary", b"content-location", b"content-security-policy"}
)


def tag_of(data: bytes) -> str:
    """An entity tag, which says that the content is this."""
    return f'"{hashlib.sha256(data).hexdigest()[:_DIGITS]}"'


def matches(header: str, tag: str) -> bool:
    """Whether a list of tags in If-Match or If-None-Match has this one, or is `*`."""
    tags = [one.strip().removeprefix("W/") for one in header.split(",")]
    return tags == ["*"] or tag.removeprefix("W/") in tags


def check_unchanged(request: Request, tag: str) -> None:
    """Raise HTTPException 412 where `If-Match` names other tags than that of what is to change."""
    wanted = request.headers.get("if-match")
    if wanted is not None and not matches(wanted, tag):
        raise HTTPException(
            412, "it has changed since you read it: read it again, and send If-Match with its ETag"
        )


class NotModified:
    """ASGI middleware that gives answers to GET an ETag, and answers 304 to who has them."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "GET":
            await self._app(scope, receive, send)
            return
        known = Headers(scope=scope).get("if-none-match", "")
        start: Message | None = None
        ended = False

        async def send_tagged(message: Message) -> None:
            nonlocal start, ended
            if ended:
                return
            if message["type"] == "http.response.start" and message["status"] == 200:
                headers = Headers(raw=message["headers"])
                if "etag" not in headers and _is_short(headers):
                    start = message  # its tag needs the body
                    return
                if "etag" in headers and matches(known, headers["etag"]):
                    ended = True
                    await _send_not_modified(message, send)
                    return
            elif start is not None:
                first, start = start, None
                if not message.get("more_body"):
                    tag = tag_of(message["body"])
                    MutableHeaders(raw=first["headers"])["ETag"] = tag
                    if matches(known, tag):
                        ended = True
                        await _send_not_modified(first, send)
                        return
                await send(first)
            await send(message)

        await self._app(scope, receive, send_tagged)


def _is_short(headers: Headers) -> bool:
    length = headers.get("content-length", "")
    return length.isdigit() and int(length) <= _MOST_HASHED_BYTES


async def _send_not_modified(start: Message, send: Send) -> None:
    headers: Iterable[tuple[bytes, bytes]] = start["headers"]
    kept = [one for one in headers if one[0].lower() in _KEPT]
    await send({"type": "http.response.start", "status": 304, "headers": kept})
    await send({"type": "http.response.body", "body": b""})
