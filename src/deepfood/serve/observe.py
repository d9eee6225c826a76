"""ASGI middleware that sees every request: its id, line in the log, time, and uncaught errors."""

import logging
import re
import time
import uuid

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from deepfood.serve.logs import request_id
from deepfood.serve.measure import ERRORS, REQUEST_SECONDS
from deepfood.serve.problems import FAULT, problem

_log = logging.getLogger("deepfood.request")

_WELL_FORMED = re.compile(r"[A-Za-z0-9._-]{1,128}")
#: Anything else is a word that the client made up.
_METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}
#: Asked every few seconds by whoever watches the service.
_WATCHED = {"/healthz", "/readyz"}
#: As nginx says it: the client went away, or the server ended, before an answer began.
_NO_ANSWER = 499


class Observe:
    """Stands outside of all that may answer but the Door, and so sees what every other answers.

    The path, the query and the body are the client's, and not logged: only the route's template is.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        this = id_of(Headers(scope=scope).get("x-request-id", ""))
        request_id.set(this)  # and left: uvicorn logs in the same context what is raised here
        started = time.perf_counter()
        status = 0

        async def send_noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)["X-Request-ID"] = this
            await send(message)

        try:
            await self._app(scope, receive, send_noting)
        except Exception:
            if status:  # too late for another answer: uvicorn logs it and closes the connection
                raise
            ERRORS.labels("unexpected").inc()
            _log.exception("unexpected error")
            await problem(Request(scope), 500, FAULT)(scope, receive, send_noting)
        finally:
            _note(scope, status or _NO_ANSWER, time.perf_counter() - started)


def _note(scope: Scope, status: int, seconds: float) -> None:
    method, route = method_of(scope), route_of(scope)
    REQUEST_SECONDS.labels(method, route, str(status)).observe(seconds)
    client = scope["client"][0] if scope.get("client") else ""
    level = logging.WARNING if status >= 500 else logging.INFO
    if route in _WATCHED and status < 400:
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


def id_of(given: str) -> str:
    """The request's own id, if it is well-formed, or one that is made."""
    return given if _WELL_FORMED.fullmatch(given) else uuid.uuid4().hex


def method_of(scope: Scope) -> str:
    return scope["method"] if scope["method"] in _METHODS else "other"


def route_of(scope: Scope) -> str:
    """The template of the route, as it is declared, so that there are only so many."""
    if "route" in scope:
        return str(scope["route"].path)
    # FastAPI tells it of its own routes only: not of a mount, nor of the document that it writes.
    return (scope["root_path"] or "/openapi.json") if "endpoint" in scope else "unmatched"
