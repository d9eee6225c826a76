"""The OpenAPI document, for people at /docs and for programs that generate clients from it."""

from collections.abc import Iterator
from typing import Any

from fastapi import FastAPI

from deepfood.serve.api.requests import SCHEMAS
from deepfood.serve.edge.problem import PROBLEM_JSON

_PROBLEM = {PROBLEM_JSON: {"schema": {"$ref": "#/components/schemas/Problem"}}}
#: Headers of answers, by name.
_HEADERS: dict[str, dict[str, Any]] = {
    "X-Request-ID": {
        "description": "the id of the request, as in the service's log",
        "schema": {"type": "string"},
    },
    "ETag": {
        "description": "says what the content is, for If-None-Match and If-Match",
        "schema": {"type": "string"},
    },
    "Location": {
        "description": "the address of what was added",
        "schema": {"type": "string"},
    },
    "Retry-After": {
        "description": "seconds until another try is worthwhile",
        "schema": {"type": "integer"},
    },
    "Content-Range": {
        "description": "which bytes these are, of how many",
        "schema": {"type": "string"},
    },
}
#: Which answers have which of them, besides X-Request-ID.
_HEADERS_OF = {
    "206": ["Content-Range", "ETag"],
    "304": ["ETag"],
    "416": ["Content-Range"],
    "429": ["Retry-After"],
    "503": ["Retry-After"],
}


def complete_document(app: FastAPI) -> None:
    """Have the application's OpenAPI document say what FastAPI does not know.

    Bodies that routes read themselves are components; every error is a Problem; answers have
    headers.
    """
    written = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = written()
            schemas = document["components"]["schemas"]
            for unused in ("HTTPValidationError", "ValidationError"):
                schemas.pop(unused, None)
            schemas.update(SCHEMAS)
            document["components"]["headers"] = _HEADERS
            for method, operation in _operations(document):
                _complete(method, operation)
        return app.openapi_schema or {}

    app.openapi = openapi  # type: ignore[method-assign]


def _operations(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for path in document["paths"].values():
        yield from path.items()


def _complete(method: str, operation: dict[str, Any]) -> None:
    answers = operation["responses"]
    if method == "get" and "200" in answers:
        answers["304"] = {"description": "the client has it: its ETag is in If-None-Match"}
    answers["default"] = {"description": "any other error"}
    for status, answer in answers.items():
        if status == "default" or status >= "400":
            answer["content"] = _PROBLEM
        names = ["X-Request-ID", *_HEADERS_OF.get(status, ())]
        if status == "200" and method in ("get", "patch"):
            names.append("ETag")
        if status in ("200", "201") and operation["operationId"].startswith("addPhoto"):
            names += ["ETag", "Location"]
        answer["headers"] = {name: {"$ref": f"#/components/headers/{name}"} for name in names}
