"""The answer to a request that failed: problem details (RFC 9457), or a page for people."""

import html
import logging
from http import HTTPStatus

from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from deepfood.serve.language import language_of, page_in
from deepfood.serve.telemetry.logs import request_id
from deepfood.serve.telemetry.metrics import ERRORS

PROBLEM_JSON = "application/problem+json"
#: The page that explains each kind of problem, under these headings.
DOCS = "https://deepfood.github.io/deepfood/problems.html"
KINDS = {
    400: "bad-request",
    401: "key-needed",
    403: "not-changed-over-http",
    404: "not-there",
    405: "method-not-allowed",
    409: "releases-never-change",
    412: "changed-since",
    413: "too-large",
    415: "not-a-photo",
    416: "range-beyond-the-end",
    422: "wrong-value",
    429: "too-many-requests",
    500: "fault",
    503: "busy",
    504: "too-slow",
    507: "disk-full",
}

#: Gives no details, which may name paths of this machine.
FAULT = "the service has a fault; its log says more"

_log = logging.getLogger("deepfood.request")


class WrongValueError(HTTPException):
    """A 422: what a request has in `field` cannot be used."""

    def __init__(self, detail: str, field: str) -> None:
        super().__init__(422, detail)
        self.field = field


class Problem(BaseModel):
    """RFC 9457; sent as application/problem+json. The service's log has the same `request_id`.

    `type` is the address where the documentation explains this kind of problem. `field` is the part
    of the request at fault, which every 422 names, "body" where it is all of it; `position` is the
    character in it, counted from 1.
    """

    type: str
    title: str
    status: int
    detail: str
    request_id: str
    field: str | None = None
    position: int | None = None


def problem(
    request: Request,
    status: int,
    detail: str,
    field: str | None = None,
    position: int | None = None,
) -> Response:
    """The answer to a request that failed: a page where the client asks for one, else JSON."""
    body = problem_body(status, detail, field, position)
    if wants_page(request.headers.get("accept", ""), request.url.path):
        language = language_of(request.headers.get("accept-language", ""))
        said = html.escape(f"{body.title}: {detail}")
        page = page_in(language, "error.html").replace("{{problem}}", said)
        return HTMLResponse(page, status, headers={"Vary": "Accept-Language"})
    return Response(body.model_dump_json(exclude_none=True), status, media_type=PROBLEM_JSON)


def problem_body(
    status: int, detail: str, field: str | None = None, position: int | None = None
) -> Problem:
    """What is said of a failure, as JSON."""
    return Problem(
        type=f"{DOCS}#{KINDS.get(status, KINDS[500])}",
        title=HTTPStatus(status).phrase,
        status=status,
        detail=detail,
        request_id=request_id.get(),
        field=field,
        position=position,
    )


def wants_page(accept: str, path: str) -> bool:
    """Whether a client that sends this Accept header shows the answer in a browser."""
    return "text/html" in accept and not path.startswith("/api/")


class AnswerUnexpected:
    """ASGI middleware that logs an exception which nothing handled, and answers 500.

    A response that has begun cannot be replaced. Its exception is passed on to uvicorn, which
    logs it and closes the connection.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun = False

        async def send_noting(message: Message) -> None:
            nonlocal begun
            begun = begun or message["type"] == "http.response.start"
            await send(message)

        try:
            await self._app(scope, receive, send_noting)
        except Exception:
            if begun:
                raise
            ERRORS.labels("unexpected").inc()
            _log.exception("unexpected error")
            await problem(Request(scope), 500, FAULT)(scope, receive, send)
