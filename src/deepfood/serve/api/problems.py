"""Errors over HTTP: the status of each, and their OpenAPI documentation."""

import logging
from collections.abc import Iterable
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.routing import BaseRoute

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
from deepfood.serve.edge.methods import methods_at, without_slash
from deepfood.serve.edge.problem import FAULT, Problem, problem
from deepfood.serve.telemetry.metrics import ERRORS

#: The first matching class decides; any other DeepfoodError is an internal error.
_STATUS: tuple[tuple[type[DeepfoodError], int], ...] = (
    (PhotoNotFoundError, 404),
    (QueryError, 422),
    (PhotoTooLargeError, 413),
    (PhotoUnsupportedError, 415),
    (PhotoError, 422),
    (DatasetError, 422),  # in a client's label, name or attributes
    (ArtifactBusyError, 503),
    (ArtifactMissingError, 503),  # deleted, or on a disk that is not mounted
    (StorageError, 503),
    (EngineError, 503),
    (DiskFullError, 507),
)
#: The service's own errors are logged and not sent: they may name paths of this machine.
_DETAIL = {
    500: FAULT,
    503: "the gallery is being written, or it or its photos cannot be read just now: try again",
    507: "the server's disk is full, and nothing was changed",
}
#: Seconds until a retry is worthwhile.
_RETRY_AFTER_S = {503: "2"}

_log = logging.getLogger(__name__)


def documented(problems: dict[int, str]) -> dict[int | str, dict[str, Any]]:
    """Problems by status, for OpenAPI."""
    return {status: {"model": Problem, "description": why} for status, why in problems.items()}


#: What a route that takes photos may answer.
PROBLEMS = documented(
    {
        404: "no photo with that id",
        413: "more bytes or pixels than the limits allow",
        415: "not an image, or a body of another kind",
        422: "a damaged photo, or a value that cannot be used",
        429: "too many requests of one client; try again after `Retry-After` seconds",
        503: "busy; try again after `Retry-After` seconds",
        504: "the time limit was reached",
    }
)
#: What a route that changes the gallery may answer.
CHANGE_PROBLEMS = PROBLEMS | documented(
    {
        401: "no key, or one that is not of this gallery",
        403: "no key is set here: the gallery is not changed over HTTP",
        409: "a release is served, which never changes",
        503: "another process is writing; try again after `Retry-After` seconds",
        507: "the server's disk is full",
    }
)


def status_of(error: DeepfoodError | HTTPException) -> int:
    """The status that an error is answered with."""
    if isinstance(error, HTTPException):
        return error.status_code
    return next((code for kind, code in _STATUS if isinstance(error, kind)), 500)


def said_of(error: DeepfoodError | HTTPException) -> tuple[str, str | None, int | None]:
    """The detail, field and position of an error, as far as a client may know them."""
    if isinstance(error, HTTPException):
        return str(error.detail), getattr(error, "field", None), None
    status = status_of(error)
    position = error.position if isinstance(error, FilterError) else None
    field = _field_of(error) if status == 422 else None
    return _DETAIL.get(status, str(error)), field, position


def _field_of(error: DeepfoodError) -> str:
    """The part of a request that an error is about."""
    if isinstance(error, PhotoError):
        return "photo"
    if isinstance(error, DatasetError):
        return "attributes"
    return getattr(error, "field", None) or "body"


def add_problem_handlers(app: FastAPI, routes: Iterable[BaseRoute], public_url: str) -> None:
    """Answer errors as problem details. `routes` are all that the application has."""

    @app.exception_handler(DeepfoodError)
    async def deepfood_error(request: Request, error: DeepfoodError) -> Response:
        status = status_of(error)
        ERRORS.labels(type(error).__name__).inc()
        if status >= 500:
            _log.error("%s", error)
        answer = problem(request, status, *said_of(error))
        if status in _RETRY_AFTER_S:
            answer.headers["Retry-After"] = _RETRY_AFTER_S[status]
        return answer

    @app.exception_handler(HTTPException)
    async def http_exception(request: Request, error: HTTPException) -> Response:
        detail = str(error.detail)
        if error.status_code == 404 and detail == HTTPStatus.NOT_FOUND.phrase:
            if redirect := without_slash(request, routes, public_url):
                return redirect
            detail = f"there is nothing at {request.url.path}"
        field = getattr(error, "field", None)
        answer = problem(request, error.status_code, detail, field)
        answer.headers.update(error.headers or {})
        if error.status_code == 405:  # FastAPI names the methods of one route only
            allowed = methods_at(routes, request.url.path)
            answer.headers["Allow"] = ", ".join(sorted(allowed))
        return answer

    @app.exception_handler(RequestValidationError)
    async def invalid_parameter(request: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        field = str(first["loc"][1])
        wanted = first["msg"].removeprefix("Input ")
        return problem(request, 422, f"`{field}` {wanted}", field)

    @app.exception_handler(ClientDisconnect)
    async def client_disconnect(request: Request, error: ClientDisconnect) -> Response:
        # The client is gone. Without this, an interrupted upload would be logged as an error.
        return problem(request, 400, "the request ended before its body did")
