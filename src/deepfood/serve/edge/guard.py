"""ASGI middleware before every route: allowed hosts, limits on bodies, security headers."""

import re
from dataclasses import dataclass

from fastapi import FastAPI
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from deepfood.config import Settings
from deepfood.serve.edge.problem import problem
from deepfood.serve.edge.queue import unavailable
from deepfood.serve.edge.rate import RateLimit
from deepfood.serve.telemetry import metrics

#: Everything comes from this server; blob: and data: are the picture that a visitor chose.
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
    "connect-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'self'; "
    "frame-ancestors 'none'"
)

#: For every response, in ASGI's form.
HEADERS = [
    (b"content-security-policy", CONTENT_SECURITY_POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (
        b"permissions-policy",
        b"camera=(), display-capture=(), geolocation=(), microphone=(), payment=(), usb=()",
    ),
    # Unless a route sets its own: without it, browsers guess how long to keep the page's scripts.
    (b"cache-control", b"no-cache"),
]
#: Sent only over https: browsers then use https only, for a year.
_OVER_HTTPS = [(b"strict-transport-security", b"max-age=31536000")]

#: Headers that scripts of other sites may read, where `cors_origins` allows their requests.
EXPOSED = ["Content-Range", "ETag", "Location", "Retry-After", "X-Request-ID"]

#: Load balancers request these with an IP address as Host.
_HEALTH = ("/healthz", "/readyz")
_PORT = re.compile(r":\d+$")
_HELD = "deepfood.held"


def add_guards(app: FastAPI, settings: Settings) -> None:
    """Add the limits in the settings. The middleware added last runs first."""
    app.add_middleware(
        BodyLimit,
        max_bytes=max_body_bytes(settings),
        max_at_once=settings.max_upload_bytes_at_once,
    )
    if settings.rate_limit_per_minute:
        app.add_middleware(RateLimit, per_minute=settings.rate_limit_per_minute)
    if settings.allowed_hosts:
        app.add_middleware(AllowedHosts, hosts=settings.allowed_hosts.split())
    if settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.cors_origins.split(),
            allow_methods=["GET", "POST", "PATCH", "DELETE"],
            allow_headers=["Authorization", "Content-Type", "If-Match", "If-None-Match", "Range"],
            expose_headers=EXPOSED,
        )


def max_body_bytes(settings: Settings) -> int:
    """A data URL is 4/3 of its photo, and a form may encode some of that once more."""
    return settings.max_photo_bytes * 3 // 2 + 64 * 1024


@dataclass
class ImageSources:
    """`photo_host` is the origin of photos that are redirected to a bucket, known once it is open.

    The page's Content-Security-Policy must allow it.
    """

    photo_host: str = ""


class SecurityHeaders:
    """Add the security headers to every answer that has none of its own."""

    def __init__(self, app: ASGIApp, images: ImageSources) -> None:
        self._app = app
        self._images = images

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        defaults = HEADERS
        if scope.get("scheme") == "https":
            defaults = HEADERS + _OVER_HTTPS

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                present = {name for name, _ in message["headers"]}
                message["headers"] = [
                    *message["headers"],
                    *(one for one in defaults if one[0] not in present),
                ]
                if host := self._images.photo_host:
                    headers = MutableHeaders(scope=message)
                    policy = headers["Content-Security-Policy"]
                    headers["Content-Security-Policy"] = policy.replace(
                        "img-src 'self'", f"img-src 'self' {host}"
                    )
            await send(message)

        await self._app(scope, receive, send_with_headers)


class AllowedHosts:
    """Answer 400 where the Host header is none of `hosts`, except to health checks."""

    def __init__(self, app: ASGIApp, hosts: list[str]) -> None:
        self._app = app
        self._names = {host.lower() for host in hosts}
        self._endings = tuple(name[1:] for name in self._names if name.startswith("*."))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] not in _HEALTH:
            request = Request(scope)
            name = _PORT.sub("", request.headers.get("host", "")).lower()
            if name not in self._names and not name.endswith(self._endings):
                refusal = problem(request, 400, "this service does not answer to that Host")
                await refusal(scope, receive, send)
                return
        await self._app(scope, receive, send)


class BodyLimit:
    """Answer 413 to a body over `max_bytes`, by its declared or its received length.

    Answer 503 if all requests in progress would hold more than `max_at_once` bytes. A request that
    is the only one to hold any is always admitted. Bytes count from their arrival until their
    request is answered; declared lengths do not count. `held_by` gives a request's Held, for bytes
    that it gets in other ways than its body.
    """

    def __init__(self, app: ASGIApp, max_bytes: int, max_at_once: int) -> None:
        self._app = app
        self._max_bytes = max_bytes
        self.max_at_once = max_at_once
        self.held = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        detail = f"the request's body is over the limit of {self._max_bytes:,} bytes"
        request = Request(scope)
        declared = request.headers.get("content-length", "")
        if declared.isdigit() and int(declared) > self._max_bytes:
            await problem(request, 413, detail)(scope, receive, send)
            return
        held = scope[_HELD] = Held(self)
        received = 0

        async def receive_counted() -> Message:
            nonlocal received
            message = await receive()
            came = len(message.get("body", b""))
            received += came
            # Closing is the only way to stop a sender.
            if received > self._max_bytes:
                raise HTTPException(413, detail, headers={"Connection": "close"})
            held.take(came)
            return message

        try:
            await self._app(scope, receive_counted, send)
        finally:
            self.held -= held.bytes


class Held:
    """The bytes that one request holds in memory."""

    def __init__(self, limit: BodyLimit) -> None:
        self._limit = limit
        self.bytes = 0

    def take(self, count: int) -> None:
        """Count more bytes. Raises HTTPException 503 if all requests together hold too many."""
        self.bytes += count
        self._limit.held += count
        if count and self.bytes < self._limit.held > self._limit.max_at_once:
            metrics.REFUSED.labels("uploads").inc()
            refusal = unavailable("too much is being uploaded: try again in a moment")
            refusal.headers = {**(refusal.headers or {}), "Connection": "close"}
            raise refusal


def held_by(request: Request) -> Held:
    """The bytes that a request holds, counted by `BodyLimit`."""
    held: Held = request.scope[_HELD]
    return held
