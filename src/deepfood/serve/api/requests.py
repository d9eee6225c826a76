"""The bodies of requests, as JSON and as forms: fields, bounds, and their OpenAPI."""

import difflib
import re
from collections.abc import Collection, Sequence
from typing import Annotated, Any, ClassVar, TypeVar

from fastapi import Path
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    ValidationError,
    model_validator,
)
from pydantic_core import CoreSchema, ErrorDetails
from starlette.exceptions import HTTPException

from deepfood.config import DEFAULT_K
from deepfood.gallery.values import Type
from deepfood.gallery.zero_shot import TEMPLATE
from deepfood.words import MAX_LETTERS
from deepfood_client.weighted import check_weight

#: A photo's id, in a path.
PhotoId = Annotated[str, Path(alias="id")]

#: A label or name.
Text = Annotated[str, Field(max_length=1000)]

#: Words to search with; those of one space are none.
Words = Annotated[str, Field(max_length=MAX_LETTERS, pattern=r"\S")]

#: Names of one request for a label: each is embedded when it is first sent.
MAX_NAMES_SENT = 300

#: Likely guesses of the name of a photo's field.
_FOR_A_PHOTO = frozenset({"file", "files", "image", "images", "img", "picture", "upload"})


class _Body(BaseModel):
    """A JSON object. null counts as not given, except in the fields `CLEARED_BY_NULL`."""

    model_config = ConfigDict(extra="forbid")
    CLEARED_BY_NULL: ClassVar[frozenset[str]] = frozenset()

    @model_validator(mode="before")
    @classmethod
    def _without_null(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        dropped = set(cls.model_fields) - cls.CLEARED_BY_NULL
        return {name: one for name, one in values.items() if one is not None or name not in dropped}

    @classmethod
    def __get_pydantic_json_schema__(
        cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        schema = handler.resolve_ref_schema(handler(core_schema))
        null = {"type": "null"}
        for name in set(schema["properties"]) - set(schema.get("required", ())):
            kind = schema["properties"][name]
            about = {key: kind.pop(key) for key in ("title", "default") if key in kind}
            kinds = kind.get("anyOf", [kind])
            kinds = kinds if null in kinds else [*kinds, null]
            schema["properties"][name] = {**about, "anyOf": kinds}
        return schema


#: How much an example counts. What is none raises QueryError.
Weight = Annotated[float, Field(gt=0), BeforeValidator(check_weight)]


class WeightedPhoto(_Body):
    """A photo, a base64 data URL, and how much it counts."""

    photo: str
    weight: Weight = 1.0


class WeightedId(_Body):
    """A photo of the gallery, and how much it counts."""

    id: str
    weight: Weight = 1.0


class WeightedUrl(_Body):
    """The address of a photo, and how much it counts."""

    url: str
    weight: Weight = 1.0


class WeightedWords(_Body):
    """Words, and how much they count."""

    text: Words
    weight: Weight = 1.0


class SearchRequest(_Body):
    """Give `photo`, a base64 data URL, `id`, a photo of the gallery, or `words`, or lists of them.

    Each may have a weight, as in `"words": [{"text": "mint", "weight": 2}, "rice"]`; without, it
    counts 1. `url` is where the service fetches a photo, of hosts that its settings list.
    `not_photo`, `not_id` and `not_words` are what the hits should be unlike; there may be 8 of all
    together. `where` is a filter (docs/filters.md), `box` the part of the photo that counts: left,
    top, width and height as shares of it. `diversity`, 0 to 1, trades similarity for variety.
    `cursor` is the `next` of the answer before, for the same question.
    """

    model_config = ConfigDict(
        json_schema_extra={
            "example": {"id": "f6a80395f97a4582df3b", "where": "price < 12", "k": 9},
        },
    )

    photo: str | WeightedPhoto | list[str | WeightedPhoto] = []
    url: str | WeightedUrl | None = None
    id: str | WeightedId | list[str | WeightedId] = []
    not_photo: str | WeightedPhoto | list[str | WeightedPhoto] = []
    not_id: str | WeightedId | list[str | WeightedId] = []
    words: Words | WeightedWords | list[Words | WeightedWords] = []
    not_words: Words | WeightedWords | list[Words | WeightedWords] = []
    k: int = DEFAULT_K
    where: str | None = None
    box: tuple[float, float, float, float] | None = None
    cursor: str | None = None
    diversity: Annotated[float, Field(ge=0, le=1)] = 0.0
    group_duplicates: bool = False


#: The same as a form, for OpenAPI. Photos and ids may be sent several times.
SEARCH_FORM = {
    "type": "object",
    "properties": {
        "photo": {"type": "string", "format": "binary"},
        "id": {"type": "string"},
        "not_photo": {"type": "string", "format": "binary"},
        "not_id": {"type": "string"},
        "words": {"type": "string", "maxLength": MAX_LETTERS},
        "not_words": {"type": "string", "maxLength": MAX_LETTERS},
        "weights": {
            "type": "string",
            "description": "a JSON object: for `photo`, `id`, `words` and their `not_`, the weight "
            'of each, as in {"words": [2, 1]}',
        },
        "k": {"type": "integer", "minimum": 1, "default": DEFAULT_K},
        "where": {"type": "string", "description": "a filter"},
        "box": {"type": "string", "description": "left,top,width,height as shares, 0 to 1"},
        "cursor": {"type": "string", "description": "`next` of the previous page"},
        "diversity": {"type": "number", "minimum": 0, "maximum": 1, "default": 0},
        "group_duplicates": {"type": "boolean", "default": False},
    },
}


class LabelRequest(_Body):
    """Give either `photo`, a base64 data URL, or `id`, and the `names` that its label may be.

    `template` makes a prompt of each name, which takes the place of its `{}`.
    """

    model_config = ConfigDict(
        json_schema_extra={
            "example": {"id": "f6a80395f97a4582df3b", "names": ["aubergine", "okra", "spinach"]},
        },
    )

    photo: str | None = None
    id: str | None = None
    names: Annotated[list[Text], Field(min_length=2, max_length=MAX_NAMES_SENT)]
    template: Text = TEMPLATE


#: The same as a form, for OpenAPI; the names are lines of one field.
LABEL_FORM = {
    "type": "object",
    "required": ["names"],
    "properties": {
        "photo": {"type": "string", "format": "binary"},
        "id": {"type": "string"},
        "names": {"type": "string", "description": "a name a line"},
        "template": {"type": "string", "default": TEMPLATE},
    },
}


class AddRequest(_Body):
    """A photo to add, a base64 data URL, with its label, name and attributes."""

    photo: str
    label: Text | None = None
    name: Text | None = None
    attributes: dict[str, Any] = {}


ADD_FORM = {
    "type": "object",
    "required": ["photo"],
    "properties": {
        "photo": {"type": "string", "format": "binary"},
        "label": {"type": "string"},
        "name": {"type": "string"},
        "attributes": {"type": "string", "description": "a JSON object"},
    },
}


class ChangeRequest(_Body):
    """A change of a photo; fields that are not given stay unchanged.

    null or an empty text removes a label or name. In `attributes`, null makes a value unknown.
    """

    model_config = ConfigDict(
        json_schema_extra={"example": {"label": "Soups", "attributes": {"price": 4.5}}},
    )
    CLEARED_BY_NULL = frozenset({"label", "name"})

    label: Text | None = None
    name: Text | None = None
    attributes: dict[str, Any] = {}


class AttributeRequest(_Body):
    """An attribute to declare. Unknown values of a safety attribute never pass a filter."""

    model_config = ConfigDict(json_schema_extra={"example": {"name": "price", "type": "number"}})

    name: str
    type: Type
    safety: bool = False


class ExplainRequest(_Body):
    """Give either `photo`, a base64 data URL, or `id`, and `hit`, the id of the photo found."""

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
    """The OpenAPI of a body that a route reads itself: one schema for each content type."""
    content = {
        kind: {"schema": _inlined(schema, schema.get("$defs", {}))}
        for kind, schema in schemas.items()
    }
    return {"requestBody": {"required": True, "content": content}}


def _inlined(schema: Any, definitions: dict[str, Any]) -> Any:
    """A schema that refers to none of its `$defs`: within OpenAPI it is not the whole document."""
    if isinstance(schema, list):
        return [_inlined(one, definitions) for one in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        return _inlined(definitions[schema["$ref"].rpartition("/")[2]], definitions)
    return {name: _inlined(one, definitions) for name, one in schema.items() if name != "$defs"}


RequestBody = TypeVar("RequestBody", bound=_Body)


def checked(kind: type[RequestBody], values: Any) -> RequestBody:
    """A body of these values. Raises HTTPException 422 that names the field at fault."""
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        detail = _detail_of(error.errors(include_url=False), kind.model_fields)
        raise HTTPException(422, detail) from error


def unknown_field(name: str, known: Collection[str], *, is_file: bool = False) -> str:
    """The message to a client that sent a field which is not among those `known`."""
    refused = f"there is no field `{name[:40]}`"
    if "photo" in known and (is_file or name.lower() in _FOR_A_PHOTO):
        return f"{refused}: send the photo as `photo`"
    if near := difflib.get_close_matches(name.lower(), known, 1):
        return f"{refused}: do you mean `{near[0]}`?"
    return f"{refused}; there are {', '.join(f'`{one}`' for one in known)}"


def _detail_of(errors: Sequence[ErrorDetails], known: Collection[str]) -> str:
    first = errors[0]
    if not first["loc"]:
        return "the body should be a JSON object"
    field = str(first["loc"][0])
    if first["type"] == "extra_forbidden" and len(first["loc"]) == 1:
        return unknown_field(field, known)
    # pydantic gives one error for each type that a field may have. Keep the most specific ones.
    of_field = [one for one in errors if one["loc"][0] == field]
    depth = max(len(one["loc"]) for one in of_field)
    nearest = [one for one in of_field if len(one["loc"]) == depth]
    place = ".".join([field, *(str(part) for part in nearest[0]["loc"] if isinstance(part, int))])
    last = nearest[0]["loc"][-1]
    inner = f".{last}" if depth > 1 and isinstance(last, str) else ""
    if nearest[0]["type"] == "missing":
        return f"give `{place}{inner}`"
    if nearest[0]["type"] == "extra_forbidden":
        return f"there is no field `{place}{inner[:40]}`"
    expected = [one["msg"].partition(", unable")[0] for one in nearest]
    if not expected[0].startswith("Input should be "):
        return f"`{place}`: {expected[0]}"
    wanted = " or ".join(dict.fromkeys(one.removeprefix("Input should be ") for one in expected))
    wanted = re.sub(r"a valid dictionary( or instance of \w+)?", "a JSON object", wanted)
    return f"`{place}` should be {wanted}"
