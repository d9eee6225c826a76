"""From a request's body to what is searched for, in each form that clients send."""

import json
from dataclasses import dataclass
from typing import Any

from fastapi import Request
from starlette.exceptions import HTTPException

from deepfood.gallery.declared import check_attribute_count
from deepfood.photo_box import Box
from deepfood.serve.bodies import (
    AddRequest,
    ChangeRequest,
    ExplainRequest,
    SearchRequest,
    Wanted,
    checked,
)
from deepfood.serve.forms import MULTIPART, URLENCODED, Sent, media_type, photo_in, read_form
from deepfood.serve.question import MAX_EXAMPLES, Question

_JSON = "application/json"
_KINDS = "send multipart/form-data with a file `photo`, or application/json; see /docs"
_PHOTOS = ("photo", "not_photo")
#: What a form may have several times.
_SEVERAL = (*_PHOTOS, "id", "not_id")


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
    if _is_json(request):
        said = _from_json(SearchRequest, await request.body())
        photos = [photo_in(one) for one in _each(said.photo)]
        if said.url is not None:
            photos.append(await request.state.fetcher.get(said.url, request.scope["held"].take))
        return _asked(said, photos, [photo_in(one) for one in _each(said.not_photo)])
    texts = tuple(name for name in SearchRequest.model_fields if name not in _PHOTOS)
    form = await read_form(request, max_part_bytes, photos=_PHOTOS, texts=texts, several=_SEVERAL)
    if "url" in form.texts:
        raise HTTPException(422, "`url` can be given in JSON only")
    fields: dict[str, Any] = {
        name: values if name in _SEVERAL else values[0] for name, values in form.texts.items()
    }
    if "box" in fields:
        fields["box"] = fields["box"].split(",")
    if "k" in fields:
        try:
            fields["k"] = int(fields["k"])
        except ValueError:
            raise HTTPException(422, f"k = {fields['k'][:40]!r}: expected a whole number") from None
    photos, unlike = ([one.data for one in form.photos.get(name, ())] for name in _PHOTOS)
    return _asked(checked(SearchRequest, fields), photos, unlike)


async def read_new_photo(request: Request, max_part_bytes: int) -> NewPhoto:
    """Read a photo to be added, in the forms of `read_question` and with its errors.

    Raises DatasetError for too many attributes.
    """
    if _is_json(request):
        said = _from_json(AddRequest, await request.body())
        sent = Sent(photo_in(said.photo))
    else:
        texts = tuple(name for name in AddRequest.model_fields if name != "photo")
        form = await read_form(request, max_part_bytes, photos=("photo",), texts=texts)
        fields: dict[str, Any] = {name: values[0] for name, values in form.texts.items()}
        if "attributes" in fields:
            fields["attributes"] = _json(fields["attributes"])
        said = checked(AddRequest, {**fields, "photo": ""})
        given = form.photo("photo")
        if given is None:
            raise HTTPException(422, "give `photo`")
        sent = given
    check_attribute_count(said.attributes)
    # Some clients send the path that the photo had with them.
    file = sent.file.replace("\\", "/").rpartition("/")[2]
    return NewPhoto(sent.data, file, said.label, said.name, said.attributes)


async def read_change(request: Request) -> ChangeRequest:
    """Read, as JSON, what to say of a photo. Raises HTTPException 415 or 422, or DatasetError."""
    change = await read_json(request, ChangeRequest)
    if not change.model_fields_set:
        raise HTTPException(422, "nothing to change: give `label`, `name` or `attributes`")
    check_attribute_count(change.attributes)
    return change


async def read_json(request: Request, kind: type[Wanted]) -> Wanted:
    """Read a body that is JSON in any case. Raises HTTPException 415 or 422."""
    if media_type(request) != _JSON:
        raise HTTPException(415, "send application/json; see /docs")
    return _from_json(kind, await request.body())


async def read_pair(request: Request, max_part_bytes: int) -> Pair:
    """Read what is to be explained, in the forms of `read_question` and with its errors."""
    if _is_json(request):
        wanted = _from_json(ExplainRequest, await request.body())
        data = None if wanted.photo is None else photo_in(wanted.photo)
    else:
        texts = ("id", "hit")
        form = await read_form(request, max_part_bytes, photos=("photo",), texts=texts)
        wanted = checked(ExplainRequest, {name: form.texts[name][0] for name in form.texts})
        sent = form.photo("photo")
        data = sent.data if sent else None
    if (data is None) == (wanted.id is None):
        raise HTTPException(422, "give either `photo` or `id`")
    return Pair(data, wanted.id or "", wanted.hit)


async def read_original_form(request: Request, max_part_bytes: int) -> bytes:
    """The form field `image` of the original's page: a base64 data URL."""
    form = await read_form(request, max_part_bytes, photos=("image",), texts=())
    sent = form.photo("image")
    if sent is None:
        raise HTTPException(422, "the form has no field `image` with a base64 data URL")
    return sent.data


def _is_json(request: Request) -> bool:
    """Whether a body is JSON, else it is a form. Raises HTTPException 415 for anything else."""
    kind = media_type(request)
    if kind not in (_JSON, MULTIPART, URLENCODED):
        raise HTTPException(415, _KINDS)
    return kind == _JSON


def _from_json(kind: type[Wanted], body: bytes) -> Wanted:
    return checked(kind, _json(body))


def _json(text: bytes | str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError, TypeError) as error:
        raise HTTPException(422, f"this is not JSON: {error}") from error


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
