"""ASGI middleware that sees every request: its id, its time, and its line in the log."""

import logging
import re
import time
import uuid

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from deepfood.serve.telemetry.logs import request_id
from deepfood.serve.telemetry.metrics import REQUEST_SECONDS

_log = logging.getLogger("deepfood.request")

_WELL_FORMED = re.compile(r"[A-Za-z0-9._-]{1,128}")
#: Clients may send any word as method.
_METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}
#: Requested every few seconds by monitors.
_HEALTH = {"/healthz", "/readyz"}
#: nginx's status for a client that disconnected, or a server that ended, before a response.
_NO_ANSWER = 499


class Observe:
    """Outermost but for the Door: it sees every answer except the Door's.

    The path, the query and the body come from the client and are not logged: only the route's
    template is.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        this_request = id_of(Headers(scope=scope).get("x-request-id", ""))
        request_id.set(this_request)  # not reset: uvicorn logs exceptions in the same context
        started = time.perf_counter()
        status = 0

        async def send_noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)["X-Request-ID"] = this_request
            await send(message)

        try:
            await self._app(scope, receive, send_noting)
        finally:
            _record(scope, status or _NO_ANSWER, time.perf_counter() - started)


def _record(scope: Scope, status: int, seconds: float) -> None:
    method, route = method_of(scope), route_of(scope)
    REQUEST_SECONDS.labels(method, route, str(status)).observe(seconds)
    client = scope["client"][0] if scope.get("client") else ""
    level = logging.WARNING if status >= 500 else logging.INFO
    if route in _HEALTH and status < 400:
        level = logging.DEBUG
    ms = round(seconds * 1000, 1)
    _log.log(
        level,
        "%s %s %d %s ms %s",
        *(method, route, status, ms, client),
        extra={
            "fields": {
                "method": method,
                "route": route,
                "status": status,
                "ms": ms,
                "client": client,
            }
        },
    )


def id_of(sent: str) -> str:
    """The request's own id if it is well-formed, else a new one."""
    return sent if _WELL_FORMED.fullmatch(sent) else uuid.uuid4().hex


def method_of(scope: Scope) -> str:
    return scope["method"] if scope["method"] in _METHODS else "other"


def route_of(scope: Scope) -> str:
    """The template of the route, as it is declared: there are few of them."""
    if "route" in scope:
        return str(scope["route"].path)
    # FastAPI sets it for its own routes only: not for a mount, nor for its OpenAPI document.
    return (scope["root_path"] or "/openapi.json") if "endpoint" in scope else "unmatched"
