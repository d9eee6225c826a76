"""From a request's body to what is searched for, in each form that clients send."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import parse_qsl

from fastapi import Request
from pydantic import BaseModel, ConfigDict, ValidationError
from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException

from deepfood.photo import from_data_url

DEFAULT_K = 9

_MULTIPART = "multipart/form-data"
_URLENCODED = "application/x-www-form-urlencoded"
_MAX_FIELDS = 8
_KINDS = "send multipart/form-data with a file `photo`, or application/json; see /docs"

Wanted = TypeVar("Wanted", bound=BaseModel)


@dataclass(frozen=True)
class Query:
    """Exactly one of a photo's bytes and the id of a photo in the gallery."""

    photo: bytes | None
    photo_id: str | None
    k: int


class SearchRequest(BaseModel):
    """Give either `photo`, a base64 data URL, or `id`, a photo of the gallery to find more like."""

    model_config = ConfigDict(extra="forbid")

    photo: str | None = None
    id: str | None = None
    k: int = DEFAULT_K


@dataclass(frozen=True)
class Pair:
    """A photo searched with, as bytes or as the id of one in the gallery, and the id of a hit."""

    photo: bytes | None
    photo_id: str
    hit: str


class ExplainRequest(BaseModel):
    """Give either `photo`, a base64 data URL, or `id`, and `hit`, the id of the photo found."""

    model_config = ConfigDict(extra="forbid")

    photo: str | None = None
    id: str | None = None
    hit: str


#: The same as a form, for OpenAPI.
EXPLAIN_FORM = {
    "type": "object",
    "required": ["hit"],
    "properties": {
        "photo": {"type": "string", "format": "binary"},
        "id": {"type": "string"},
        "hit": {"type": "string"},
    },
}


def accepts(schemas: dict[str, Any]) -> dict[str, Any]:
    """What OpenAPI says of a body that a route reads by itself: a schema a content type."""
    content = {kind: {"schema": schema} for kind, schema in schemas.items()}
    return {"requestBody": {"required": True, "content": content}}


async def read_query(request: Request, max_part_bytes: int) -> Query:
    """Read a search in JSON, as a form or as an upload. Raises HTTPException 415 or 422."""
    kind = _media_type(request)
    if kind == "application/json":
        wanted = _from_json(SearchRequest, await request.body())
        return _one_of(from_data_url(wanted.photo) if wanted.photo else None, wanted.id, wanted.k)
    if kind in (_MULTIPART, _URLENCODED):
        async with _form(request, max_part_bytes) as form:
            return await _query_from_form(form)
    raise HTTPException(415, _KINDS)


async def read_pair(request: Request, max_part_bytes: int) -> Pair:
    """Read what is to be explained, in the forms of `read_query` and with its errors."""
    kind = _media_type(request)
    if kind == "application/json":
        wanted = _from_json(ExplainRequest, await request.body())
        photo, photo_id, hit = wanted.photo, wanted.id, wanted.hit
        query = _one_of(from_data_url(photo) if photo else None, photo_id, DEFAULT_K)
    elif kind in (_MULTIPART, _URLENCODED):
        async with _form(request, max_part_bytes) as form:
            query, named = await _query_from_form(form), form.get("hit")
        if not isinstance(named, str):
            raise HTTPException(422, "give `hit`, the id of the photo that was found, as text")
        hit = named
    else:
        raise HTTPException(415, _KINDS)
    return Pair(query.photo, query.photo_id or "", hit)


async def read_original_form(request: Request, max_part_bytes: int) -> bytes:
    """The form field `image` of the original's page: a base64 data URL."""
    async with _form(request, max_part_bytes) as form:
        value = form.get("image")
        if isinstance(value, UploadFile):
            return await value.read()
        if not value:
            raise HTTPException(422, "the form has no field `image` with a base64 data URL")
        return from_data_url(value)


@asynccontextmanager
async def _form(request: Request, max_part_bytes: int) -> AsyncIterator[FormData]:
    if _media_type(request) == _URLENCODED:
        yield _decode_urlencoded(await request.body())
        return
    options = {"max_files": 1, "max_fields": _MAX_FIELDS, "max_part_size": max_part_bytes}
    async with request.form(**options) as form:
        yield form


def _decode_urlencoded(body: bytes) -> FormData:
    """A form of few fields, of which one may be a long data URL.

    The general decoder splits at every "%", some thousands in a data URL. Those that base64 has are
    replaced first, which takes a tenth of the time; "+" may then read as a space, and
    `from_data_url` takes either.
    """
    for code, letter in ((b"%2B", b"+"), (b"%2F", b"/"), (b"%3D", b"=")):
        body = body.replace(code, letter)
    try:
        fields = parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=_MAX_FIELDS)
    except ValueError as error:
        raise HTTPException(422, f"the form cannot be read: {error}") from error
    return FormData(dict(fields))


def _media_type(request: Request) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def _from_json(kind: type[Wanted], body: bytes) -> Wanted:
    try:
        return kind.model_validate(json.loads(body))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise HTTPException(422, f"{where}: {first['msg']}") from error
    except (ValueError, RecursionError) as error:
        raise HTTPException(422, f"the body is not JSON: {error}") from error


async def _query_from_form(form: FormData) -> Query:
    photo, photo_id, k = form.get("photo"), form.get("id"), form.get("k", str(DEFAULT_K))
    if isinstance(photo, UploadFile):
        data: bytes | None = await photo.read()
    else:
        data = from_data_url(photo) if photo else None
    if isinstance(photo_id, UploadFile) or isinstance(k, UploadFile):
        raise HTTPException(422, "`id` and `k` are text, not files")
    try:
        number = int(k)
    except ValueError:
        raise HTTPException(422, f"k = {k[:40]!r}: expected a whole number") from None
    return _one_of(data, photo_id, number)


def _one_of(photo: bytes | None, photo_id: str | None, k: int) -> Query:
    if (photo is None) == (photo_id is None):
        raise HTTPException(422, "give either `photo` or `id`")
    return Query(photo, photo_id, k)
