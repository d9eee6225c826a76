"""From a request's body to what is searched for, in each form that clients send."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import parse_qsl

from fastapi import Request
from pydantic import BaseModel, ValidationError
from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException

from deepfood.photo import from_data_url
from deepfood.photo_box import Box
from deepfood.serve.bodies import AddRequest, ChangeRequest, ExplainRequest, SearchRequest
from deepfood.serve.question import MAX_EXAMPLES, Question

_MULTIPART = "multipart/form-data"
_URLENCODED = "application/x-www-form-urlencoded"
_MAX_FIELDS = 32
_KINDS = "send multipart/form-data with a file `photo`, or application/json; see /docs"

Wanted = TypeVar("Wanted", bound=BaseModel)


#: What a form may have several times.
_SEVERAL = ("photo", "id", "not_photo", "not_id")


@dataclass(frozen=True)
class NewPhoto:
    """A photo to be added: its bytes, what its file was called, and what is said of it."""

    data: bytes
    file: str
    label: str | None
    name: str | None
    attributes: dict[str, Any]


@dataclass(frozen=True)
class Pair:
    """A photo searched with, as bytes or as the id of one in the gallery, and the id of a hit."""

    photo: bytes | None
    photo_id: str
    hit: str


async def read_question(request: Request, max_part_bytes: int) -> Question:
    """Read a search in JSON, as a form or as an upload. Raises HTTPException 415 or 422."""
    kind = _media_type(request)
    if kind == "application/json":
        said = _from_json(SearchRequest, await request.body())
        fetched = [] if said.url is None else [await request.state.fetcher.get(said.url)]
        return _question(said, fetched)
    if kind in (_MULTIPART, _URLENCODED):
        async with _form(request, max_part_bytes) as form:
            return await _question_from_form(form)
    raise HTTPException(415, _KINDS)


async def read_new_photo(request: Request, max_part_bytes: int) -> NewPhoto:
    """Read a photo to be added, in the forms of `read_question` and with its errors."""
    kind = _media_type(request)
    if kind == "application/json":
        said = _from_json(AddRequest, await request.body())
        return NewPhoto(from_data_url(said.photo), "", said.label, said.name, said.attributes)
    if kind not in (_MULTIPART, _URLENCODED):
        raise HTTPException(415, _KINDS)
    async with _form(request, max_part_bytes) as form:
        photo = form.get("photo")
        fields: dict[str, Any] = {name: value for name, value in form.items() if name != "photo"}
        if "attributes" in fields:
            fields["attributes"] = _json(fields["attributes"])
        said = _checked(AddRequest, {**fields, "photo": photo if isinstance(photo, str) else ""})
        if isinstance(photo, UploadFile):
            data, file = await photo.read(), photo.filename or ""
        elif photo:
            data, file = from_data_url(photo), ""
        else:
            raise HTTPException(422, "give `photo`")
    # Some clients send the path that the photo had with them.
    file = file.replace("\\", "/").rpartition("/")[2]
    return NewPhoto(data, file, said.label, said.name, said.attributes)


async def read_change(request: Request) -> ChangeRequest:
    """Read, as JSON, what to say of a photo. Raises HTTPException 415 or 422."""
    change = await read_json(request, ChangeRequest)
    if not change.model_fields_set:
        raise HTTPException(422, "nothing to change: give `label`, `name` or `attributes`")
    return change


async def read_json(request: Request, kind: type[Wanted]) -> Wanted:
    """Read a body that is JSON in any case. Raises HTTPException 415 or 422."""
    if _media_type(request) != "application/json":
        raise HTTPException(415, "send application/json; see /docs")
    return _from_json(kind, await request.body())


async def read_pair(request: Request, max_part_bytes: int) -> Pair:
    """Read what is to be explained, in the forms of `read_question` and with its errors."""
    kind = _media_type(request)
    if kind == "application/json":
        wanted = _from_json(ExplainRequest, await request.body())
        data = from_data_url(wanted.photo) if wanted.photo else None
        photo_id, hit = wanted.id, wanted.hit
    elif kind in (_MULTIPART, _URLENCODED):
        async with _form(request, max_part_bytes) as form:
            data = await _photo_in(form.get("photo"))
            said, named = form.get("id"), form.get("hit")
        if not isinstance(named, str) or isinstance(said, UploadFile):
            raise HTTPException(422, "give `hit`, the id of the photo that was found, as text")
        photo_id, hit = said, named
    else:
        raise HTTPException(415, _KINDS)
    if (data is None) == (photo_id is None):
        raise HTTPException(422, "give either `photo` or `id`")
    return Pair(data, photo_id or "", hit)


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
    options = {
        "max_files": MAX_EXAMPLES,
        "max_fields": _MAX_FIELDS,
        "max_part_size": max_part_bytes,
    }
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
    return FormData([(name, value) for name, value in fields])


def _media_type(request: Request) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def _from_json(kind: type[Wanted], body: bytes) -> Wanted:
    return _checked(kind, _json(body))


def _json(text: bytes | str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError, TypeError) as error:
        raise HTTPException(422, f"this is not JSON: {error}") from error


def _checked(kind: type[Wanted], values: Any) -> Wanted:
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise HTTPException(422, f"{where}: {first['msg']}") from error


def _question(said: SearchRequest, fetched: list[bytes]) -> Question:
    photos = [from_data_url(one) for one in _each(said.photo)] + fetched
    return _asked(said, photos, [from_data_url(one) for one in _each(said.not_photo)])


async def _question_from_form(form: FormData) -> Question:
    photos = [await _photo_in(one) for one in form.getlist("photo")]
    unlike = [await _photo_in(one) for one in form.getlist("not_photo")]
    fields: dict[str, Any] = {}
    for name, value in form.items():
        if name in ("photo", "not_photo"):
            continue
        if isinstance(value, UploadFile):
            raise HTTPException(422, f"`{name}` is text, not a file")
        fields[name] = form.getlist(name) if name in _SEVERAL else value
    if "url" in fields:
        raise HTTPException(422, "`url` can be given in JSON only")
    if "box" in fields:
        fields["box"] = fields["box"].split(",")
    if "k" in fields:
        try:
            fields["k"] = int(fields["k"])
        except ValueError:
            raise HTTPException(422, f"k = {fields['k'][:40]!r}: expected a whole number") from None
    said = _checked(SearchRequest, fields)
    return _asked(
        said, [one for one in photos if one is not None], [one for one in unlike if one is not None]
    )


async def _photo_in(field: UploadFile | str | None) -> bytes | None:
    """A photo that was uploaded, or sent as a data URL; None for a field that is not filled in."""
    if isinstance(field, UploadFile):
        return await field.read()
    return from_data_url(field) if field else None


def _asked(said: SearchRequest, photos: list[bytes], unlike: list[bytes]) -> Question:
    ids = _each(said.id)
    if not photos and not ids:
        raise HTTPException(422, "give `photo` or `id`")
    question = Question(
        photos=tuple(photos),
        ids=ids,
        not_photos=tuple(unlike),
        not_ids=_each(said.not_id),
        k=said.k,
        where=said.where,
        box=said.box and Box(*said.box),
        cursor=said.cursor,
        diversity=said.diversity,
        group_duplicates=said.group_duplicates,
    )
    if question.examples > MAX_EXAMPLES:
        raise HTTPException(
            422, f"{question.examples} photos and ids: ask with {MAX_EXAMPLES} at most"
        )
    return question


def _each(one_or_several: str | list[str]) -> tuple[str, ...]:
    return (one_or_several,) if isinstance(one_or_several, str) else tuple(one_or_several)
