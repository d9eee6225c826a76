"""Parse request bodies: JSON, forms and uploads."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from fastapi import Request
from starlette.exceptions import HTTPException

from deepfood.gallery.declared import check_attribute_count
from deepfood.gallery.zero_shot import LabelNames, names_in
from deepfood.photo_box import Box
from deepfood.serve.api.forms import MULTIPART, URLENCODED, Sent, media_type, photo_in, read_form
from deepfood.serve.api.requests import (
    AddRequest,
    BatchRequest,
    ChangeRequest,
    ExplainRequest,
    LabelRequest,
    PhotoBoxes,
    RequestBody,
    SearchRequest,
    WeightedId,
    WeightedPhoto,
    WeightedUrl,
    WeightedWords,
    check_names,
    checked,
    unknown_field,
)
from deepfood.serve.api.url_fetcher import Fetcher
from deepfood.serve.edge.guard import held_by
from deepfood.serve.edge.problem import WrongValueError
from deepfood.serve.question import MAX_EXAMPLES, SearchQuestion
from deepfood_client.calls import EXAMPLES
from deepfood_client.weighted import check_weight

_JSON = "application/json"
_KINDS = "send multipart/form-data with a file `photo`, or application/json; see /docs"
_PHOTOS = ("photo", "not_photo")
AboutPhoto = TypeVar("AboutPhoto", ExplainRequest, LabelRequest)
#: What is searched with, and its weights, by the names EXAMPLES.
_Examples = dict[str, list[tuple[Any, float]]]
#: The parts that count of the photos that are searched with, by the same names.
_Boxes = dict[str, list[Box | None]]
#: Fields of a form, JSON, that have one value for each example.
_OF_EACH = ("weights", "boxes")


@dataclass(frozen=True)
class NewPhoto:
    """A photo to be added: its bytes, file name, label, name and attributes."""

    data: bytes
    file: str
    label: str | None
    name: str | None
    attributes: dict[str, Any]


@dataclass(frozen=True)
class Pair:
    """A photo searched with, as bytes or as the id of one in the gallery, and the id of a hit.

    `box` is the part of the photo that counts.
    """

    photo: bytes | None
    photo_id: str
    hit: str
    box: Box | None


@dataclass(frozen=True)
class LabelQuestion:
    """A photo, as bytes or as the id of one in the gallery, and the names that it may show."""

    photo: bytes | None
    photo_id: str
    names: LabelNames


async def read_question(request: Request, max_part_bytes: int, fetcher: Fetcher) -> SearchQuestion:
    """Read a search in JSON, as a form, or as a photo alone. Raises HTTPException 415 or 422.

    `fetcher` gets the photo that the request names by `url`, with errors of its own.
    """
    kind = media_type(request)
    if kind.startswith("image/"):
        return await _question_with(request)
    if _is_json(request):
        return await question_in(request, _json(await request.body()), fetcher)
    texts = (*(name for name in SearchRequest.model_fields if name not in _PHOTOS), *_OF_EACH)
    form = await read_form(request, max_part_bytes, photos=_PHOTOS, texts=texts, several=EXAMPLES)
    photos = {name: [one.data for one in form.photos.get(name, ())] for name in _PHOTOS}
    return _from_texts(form.texts, photos)


async def question_in(request: Request, values: Any, fetcher: Fetcher) -> SearchQuestion:
    """The question in a value of JSON. Raises HTTPException 422, and what fetching raises."""
    search = checked(SearchRequest, values)
    examples: _Examples = {name: _each(getattr(search, name)) for name in EXAMPLES}
    boxes: _Boxes = {name: _box_of_each(getattr(search, name)) for name in EXAMPLES}
    for name in _PHOTOS:
        examples[name] = [(photo_in(one), weight) for one, weight in examples[name]]
    if search.url is not None:
        ((url, weight),) = _each(search.url)
        examples["photo"].append((await fetcher.get(url, held_by(request).take), weight))
        boxes["photo"] += _box_of_each(search.url)
    return _question(search, examples, boxes)


async def read_questions(request: Request) -> list[Any]:
    """The questions of a batch, values of JSON. Raises HTTPException 415 or 422."""
    return (await read_json(request, BatchRequest)).questions


async def _question_with(request: Request) -> SearchQuestion:
    """A photo is the whole body, and the rest of the question is in the address."""
    fields = (*SearchRequest.model_fields, *_OF_EACH)
    known = [name for name in fields if name not in (*_PHOTOS, "url")]
    given = request.query_params.multi_items()
    check_names([name for name, _ in given], known, EXAMPLES)
    texts: dict[str, list[str]] = {}
    for name, value in given:
        texts.setdefault(name, []).append(value)
    return _from_texts(texts, {"photo": [await request.body()]})


def _from_texts(
    texts: Mapping[str, Sequence[str]], photos: Mapping[str, Sequence[bytes]]
) -> SearchQuestion:
    """A question whose fields are texts, each as often as it was sent, beside photos."""
    if "url" in texts:
        raise WrongValueError("`url` can be given in JSON only", "url")
    fields: dict[str, Any] = {
        name: list(values) if name in EXAMPLES else values[0] for name, values in texts.items()
    }
    weights, boxes = (fields.pop(name, "{}") for name in _OF_EACH)
    if "box" in fields:
        fields["box"] = fields["box"].split(",")
    if "k" in fields:
        try:
            fields["k"] = int(fields["k"])
        except ValueError:
            raise WrongValueError(
                f"k = {fields['k'][:40]!r}: expected a whole number", "k"
            ) from None
    search = checked(SearchRequest, fields)
    examples: _Examples = {name: _each(getattr(search, name)) for name in EXAMPLES}
    for name in _PHOTOS:
        examples[name] = [(data, 1.0) for data in photos.get(name, ())]
    return _question(search, examples | _weighted(weights, examples), _boxed(boxes, examples))


def _weighted(weights: str, examples: _Examples) -> _Examples:
    """The examples that a form's field `weights` names, with their weights from there."""
    given = _json(weights)
    if not isinstance(given, dict):
        raise WrongValueError(
            '`weights` should be a JSON object, as in {"words": [2, 1]}', "weights"
        )
    weighted: _Examples = {}
    for name, some in given.items():
        if name not in EXAMPLES:
            raise WrongValueError(f"`weights`: {unknown_field(name, EXAMPLES)}", "weights")
        numbers = [check_weight(one) for one in (some if isinstance(some, list) else [some])]
        _check_one_for_each("weights", numbers, name, examples)
        weighted[name] = [
            (one, weight) for (one, _), weight in zip(examples[name], numbers, strict=True)
        ]
    return weighted


def _boxed(boxes: str, examples: _Examples) -> _Boxes:
    """The boxes in a form's field `boxes`."""
    found: _Boxes = {}
    given = _json(boxes)
    try:
        of_each = checked(PhotoBoxes, given)
    except WrongValueError as error:
        raise WrongValueError(f"`boxes`: {error.detail}", "boxes") from error
    for name, some in of_each:
        if some:
            _check_one_for_each("boxes", some, name, examples)
            found[name] = [sides and Box(*sides) for sides in some]
    return found


def _check_one_for_each(field: str, values: Sequence[Any], name: str, examples: _Examples) -> None:
    count = len(examples[name])
    if len(values) != count:
        raise WrongValueError(
            f"`{field}`: {len(values)} for {count} `{name}`: give one for each", field
        )


async def read_new_photo(request: Request, max_part_bytes: int) -> NewPhoto:
    """Read a photo to be added, in the forms of `read_question` and with its errors.

    Raises DatasetError for too many attributes.
    """
    if _is_json(request):
        add = _from_json(AddRequest, await request.body())
        sent = Sent(photo_in(add.photo))
    else:
        texts = tuple(name for name in AddRequest.model_fields if name != "photo")
        form = await read_form(request, max_part_bytes, photos=("photo",), texts=texts)
        fields: dict[str, Any] = {name: values[0] for name, values in form.texts.items()}
        if "attributes" in fields:
            fields["attributes"] = _json(fields["attributes"])
        add = checked(AddRequest, {**fields, "photo": ""})
        upload = form.photo("photo")
        if upload is None:
            raise WrongValueError("give `photo`", "photo")
        sent = upload
    check_attribute_count(add.attributes)
    # Some clients send the file's path, not only its name.
    file = sent.file.replace("\\", "/").rpartition("/")[2]
    return NewPhoto(sent.data, file, add.label, add.name, add.attributes)


async def read_change(request: Request) -> ChangeRequest:
    """Read a change of a photo, as JSON. Raises HTTPException 415 or 422, or DatasetError."""
    change = await read_json(request, ChangeRequest)
    if not change.model_fields_set:
        raise WrongValueError("nothing to change: give `label`, `name` or `attributes`", "body")
    check_attribute_count(change.attributes)
    return change


async def read_json(request: Request, kind: type[RequestBody]) -> RequestBody:
    """Read a body that must be JSON. Raises HTTPException 415 or 422."""
    if media_type(request) != _JSON:
        raise HTTPException(415, "send application/json; see /docs")
    return _from_json(kind, await request.body())


async def read_pair(request: Request, max_part_bytes: int) -> Pair:
    """Read a pair to be explained, in the forms of `read_question` and with its errors."""
    explain, data = await _read_about_photo(request, ExplainRequest, max_part_bytes)
    return Pair(data, explain.id or "", explain.hit, explain.box and Box(*explain.box))


async def read_label(request: Request, max_part_bytes: int) -> LabelQuestion:
    """Read a photo and the names that its label may be, as `read_pair`; raises QueryError too."""
    label, data = await _read_about_photo(request, LabelRequest, max_part_bytes)
    return LabelQuestion(data, label.id or "", LabelNames.of(label.names, label.template))


async def _read_about_photo(
    request: Request, kind: type[AboutPhoto], max_part_bytes: int
) -> tuple[AboutPhoto, bytes | None]:
    """Read a body about one photo, `photo` or `id`, and the bytes of `photo`."""
    if _is_json(request):
        body = _from_json(kind, await request.body())
        data = None if body.photo is None else photo_in(body.photo)
    else:
        texts = tuple(name for name in kind.model_fields if name != "photo")
        form = await read_form(request, max_part_bytes, photos=("photo",), texts=texts)
        fields: dict[str, Any] = {name: values[0] for name, values in form.texts.items()}
        if "names" in fields:
            fields["names"] = names_in(fields["names"])
        if "box" in fields:
            fields["box"] = fields["box"].split(",")
        body = checked(kind, fields)
        sent = form.photo("photo")
        data = sent.data if sent else None
    if (data is None) == (body.id is None):
        raise WrongValueError("give either `photo` or `id`", "photo")
    return body, data


async def read_original_form(request: Request, max_part_bytes: int) -> bytes:
    """The form field `image` of the original's page: a base64 data URL."""
    form = await read_form(request, max_part_bytes, photos=("image",), texts=())
    sent = form.photo("image")
    if sent is None:
        raise WrongValueError("the form has no field `image` with a base64 data URL", "image")
    return sent.data


def _is_json(request: Request) -> bool:
    """Whether a body is JSON; else it is a form. Raises HTTPException 415 for any other type."""
    kind = media_type(request)
    if kind not in (_JSON, MULTIPART, URLENCODED):
        raise HTTPException(415, _KINDS)
    return kind == _JSON


def _from_json(kind: type[RequestBody], body: bytes) -> RequestBody:
    return checked(kind, _json(body))


def _json(text: bytes | str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError, TypeError) as error:
        raise WrongValueError(f"this is not JSON: {error}", "body") from error


def _question(search: SearchRequest, examples: _Examples, boxes: _Boxes) -> SearchQuestion:
    if not (examples["photo"] or examples["id"] or examples["words"]):
        raise WrongValueError("give `photo`, `id` or `words`", "photo")
    boxes = {name: some for name, some in boxes.items() if any(some)}
    if search.box and boxes:
        raise WrongValueError("give `box`, or a box of each photo, not both", "box")
    question = SearchQuestion.of(
        examples,
        boxes,
        k=search.k,
        where=search.where,
        box=search.box and Box(*search.box),
        cursor=search.cursor,
        diversity=search.diversity,
        group_duplicates=search.group_duplicates,
        plate=search.plate,
    )
    if question.examples > MAX_EXAMPLES:
        raise WrongValueError(
            f"{question.examples} photos, ids and words: ask with {MAX_EXAMPLES} at most", "photo"
        )
    return question


_Weighted = WeightedPhoto | WeightedId | WeightedUrl | WeightedWords


def _each(given: Any) -> list[tuple[Any, float]]:
    """Each text with its weight, of one or several, each a text or a weighted one."""
    several = given if isinstance(given, list) else [given]
    return [(one, 1.0) if isinstance(one, str) else (_text_of(one), one.weight) for one in several]


def _box_of_each(given: Any) -> list[Box | None]:
    """The box of each value that `_each` gives."""
    several = given if isinstance(given, list) else [given]
    sides = [getattr(one, "box", None) for one in several]
    return [one and Box(*one) for one in sides]


def _text_of(weighted: _Weighted) -> str:
    match weighted:
        case (  # pragma: no branch - these are all
            WeightedPhoto(photo=text)
            | WeightedId(id=text)
            | WeightedUrl(url=text)
            | WeightedWords(text=text)
        ):
            return text
