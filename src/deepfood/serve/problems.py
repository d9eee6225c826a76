"""Errors over HTTP: problem details (RFC 9457) for programs, a page for people."""

import html
import logging
from http import HTTPStatus
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import HTMLResponse, Response

from deepfood.errors import (
    ArtifactBusyError,
    ArtifactMissingError,
    DatasetError,
    DeepfoodError,
    DiskFullError,
    EngineError,
    FilterError,
    PhotoError,
    PhotoNotFoundError,
    PhotoTooLargeError,
    PhotoUnsupportedError,
    QueryError,
    StorageError,
)
from deepfood.serve.logs import request_id
from deepfood.serve.measure import ERRORS
from deepfood.serve.methods import methods_at, without_slash

#: The first class that fits decides; anything else of ours is our fault.
_STATUS: tuple[tuple[type[DeepfoodError], int], ...] = (
    (PhotoNotFoundError, 404),
    (QueryError, 422),
    (PhotoTooLargeError, 413),
    (PhotoUnsupportedError, 415),
    (PhotoError, 422),
    (DatasetError, 422),  # what a client says of a photo
    (ArtifactBusyError, 503),
    (ArtifactMissingError, 503),  # deleted, or on a disk that is away
    (StorageError, 503),
    (EngineError, 503),
    (DiskFullError, 507),
)
FAULT = "the service has a fault; its log says more"
#: What is our own fault is logged, not told: it may name paths of this machine.
_SAID = {
    500: FAULT,
    503: "the gallery is being written, or it or its photos cannot be read just now: try again",
    507: "the server's disk is full, and nothing was changed",
}
#: Seconds after which it is worth trying again.
_RETRY_AFTER_S = {503: "2"}

_PROBLEM_JSON = "application/problem+json"

_log = logging.getLogger(__name__)

_PAGE = (Path(__file__).parent / "static" / "error.html").read_text(encoding="utf-8")


class Problem(BaseModel):
    """RFC 9457; sent as application/problem+json. The service's log has the same `request_id`.

    `field` is what of the request is at fault, where that is known, and `position` the character
    in it, counted from 1.
    """

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    request_id: str
    field: str | None = None
    position: int | None = None


#: What a route that takes photos may answer, for OpenAPI.
PROBLEMS: dict[int | str, dict[str, Any]] = {
    status: {"model": Problem, "description": why}
    for status, why in {
        404: "no photo with that id",
        413: "more bytes or pixels than the limits allow",
        415: "not an image, or a body of another kind",
        422: "a damaged photo, or a value that cannot be used",
        429: "too many requests of one client; try again after `Retry-After` seconds",
        503: "busy; try again after `Retry-After` seconds",
        504: "the time limit was reached",
    }.items()
}
#: And one that changes the gallery.
CHANGE_PROBLEMS: dict[int | str, dict[str, Any]] = {
    **PROBLEMS,
    **{
        status: {"model": Problem, "description": why}
        for status, why in {
            401: "no key, or one that is not of this gallery",
            403: "no key is set here: the gallery is not changed over HTTP",
            409: "a release is served, which never changes",
            503: "another process is writing; try again after `Retry-After` seconds",
            507: "the server's disk is full",
        }.items()
    },
}


def problem(
    request: Request,
    status: int,
    detail: str,
    field: str | None = None,
    position: int | None = None,
) -> Response:
    """The answer to a request that failed: a page where the client asks for one, else JSON."""
    title = HTTPStatus(status).phrase
    if wants_page(request.headers.get("accept", ""), request.url.path):
        page = _PAGE.replace("{{title}}", html.escape(title)).replace(
            "{{detail}}", html.escape(detail)
        )
        return HTMLResponse(page, status)
    body = Problem(
        title=title,
        status=status,
        detail=detail,
        request_id=request_id.get(),
        field=field,
        position=position,
    )
    return Response(body.model_dump_json(exclude_none=True), status, media_type=_PROBLEM_JSON)


def add_problem_handlers(app: FastAPI) -> None:
    @app.exception_handler(DeepfoodError)
    async def ours(request: Request, error: DeepfoodError) -> Response:
        status = next((code for kind, code in _STATUS if isinstance(error, kind)), 500)
        ERRORS.labels(type(error).__name__).inc()
        if status >= 500:
            _log.error("%s", error)
        said = _SAID.get(status, str(error))
        if isinstance(error, FilterError):
            answer = problem(request, status, said, "where", error.position)
        else:
            answer = problem(request, status, said)
        if status in _RETRY_AFTER_S:
            answer.headers["Retry-After"] = _RETRY_AFTER_S[status]
        return answer

    @app.exception_handler(HTTPException)
    async def http(request: Request, error: HTTPException) -> Response:
        detail = str(error.detail)
        if error.status_code == 404 and detail == HTTPStatus.NOT_FOUND.phrase:
            if elsewhere := without_slash(request):
                return elsewhere
            detail = f"there is nothing at {request.url.path}"
        answer = problem(request, error.status_code, detail)
        answer.headers.update(error.headers or {})
        if error.status_code == 405:  # FastAPI names the methods of one route only
            allowed = methods_at(request.app.state.routes, request.url.path)
            answer.headers["Allow"] = ", ".join(sorted(allowed))
        return answer

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        return problem(request, 422, f"{where}: {first['msg']}")

    @app.exception_handler(ClientDisconnect)
    async def gone(request: Request, error: ClientDisconnect) -> Response:
        # Nobody is left to read this; without it an upload cut off half way would log a fault.
        return problem(request, 400, "the request ended before its body did")


def document_problems(app: FastAPI) -> None:
    """Let the OpenAPI document say of every error what is sent: a Problem, as problem+json."""
    written = app.openapi
    content = {_PROBLEM_JSON: {"schema": {"$ref": "#/components/schemas/Problem"}}}

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = written()
            for path in document["paths"].values():
                for operation in path.values():
                    answers = operation["responses"]
                    answers["default"] = {"description": "any other error"}
                    for status, answer in answers.items():
                        if status == "default" or status >= "400":
                            answer["content"] = content
            for unused in ("HTTPValidationError", "ValidationError"):
                document["components"]["schemas"].pop(unused, None)
        return app.openapi_schema or {}

    app.openapi = openapi  # type: ignore[method-assign]


def wants_page(accept: str, path: str) -> bool:
    """Whether who accepts that looks at the answer with a browser."""
    return "text/html" in accept and not path.startswith("/api/")
