"""The bodies of requests, as JSON and as forms: fields, bounds, and their OpenAPI."""

import difflib
import re
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Annotated, Any, ClassVar, TypeVar

from fastapi import APIRouter, Path
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

from deepfood.config import DEFAULT_K
from deepfood.gallery.values import Type
from deepfood.gallery.zero_shot import TEMPLATE
from deepfood.serve.edge.problem import WrongValueError
from deepfood.serve.question import MAX_EXAMPLES
from deepfood.words import MAX_LETTERS
from deepfood_client.weighted import check_weight

#: Searches in one request.
MAX_BATCH = 64

#: A photo's id, in a path.
PhotoId = Annotated[str, Path(alias="id")]

#: A label or name.
Text = Annotated[str, Field(max_length=1000)]

#: Words to search with; those of one space are none.
Words = Annotated[str, Field(max_length=MAX_LETTERS, pattern=r"\S")]

#: Letters of a question's token: several times those of the longest vectors.
MAX_TOKEN = 2**16

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
            # A default in the document would be sent by generated clients: null changes a label.
            kind.pop("default", None)
            about = {"title": kind.pop("title")}
            kinds = kind.get("anyOf", [kind])
            kinds = kinds if null in kinds else [*kinds, null]
            schema["properties"][name] = {**about, "anyOf": kinds}
        return schema


#: How much an example counts. What is none raises QueryError.
Weight = Annotated[float, Field(gt=0), BeforeValidator(check_weight)]


#: A part of a photo: left, top, width and height as shares of it.
Sides = tuple[float, float, float, float]


class WeightedPhoto(_Body):
    """A photo, a base64 data URL, how much it counts, and which part of it does."""

    photo: str
    weight: Weight = 1.0
    box: Sides | None = None


class WeightedId(_Body):
    """A photo of the gallery, how much it counts, and which part of it does."""

    id: str
    weight: Weight = 1.0
    box: Sides | None = None


class WeightedUrl(_Body):
    """The address of a photo, how much it counts, and which part of it does."""

    url: str
    weight: Weight = 1.0
    box: Sides | None = None


class WeightedWords(_Body):
    """Words, and how much they count."""

    text: Words
    weight: Weight = 1.0


class SearchRequest(_Body):
    """Give `photo`, a base64 data URL, `id`, a photo of the gallery, or `words`, or lists of them.

    Each may have a weight, as in `"words": [{"text": "mint", "weight": 2}, "rice"]`; without, it
    counts 1. `k` is how many hits are wanted, 9 unless given.

    `url` is where the service fetches a photo, of hosts that its settings list.
    `not_photo`, `not_id` and `not_words` are what the hits should be unlike; there may be 8 of all
    together. `where` is a filter (docs/filters.md), `box` the part of the photo that counts: left,
    top, width and height as shares of it; of several photos each may have its own, as in
    `"id": [{"id": "…", "box": [0, 0, 0.5, 1]}, "…"]`. `diversity`, 0 to 1, trades similarity for
    variety. `cursor` is the `next` of the answer before, for the same question. `plate` answers for
    each dish of the one photo by itself.
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
    box: Sides | None = None
    cursor: str | None = None
    diversity: Annotated[float, Field(ge=0, le=1)] = 0.0
    group_duplicates: bool = False
    plate: bool = False


class PhotoBoxes(_Body):
    """The part that counts of each photo of a form, its field `boxes`; null is all of it."""

    photo: list[Sides | None] = []
    id: list[Sides | None] = []
    not_photo: list[Sides | None] = []
    not_id: list[Sides | None] = []


class BatchRequest(_Body):
    """Up to 64 searches, each as SearchRequest."""

    questions: Annotated[list[Any], Field(min_length=1, max_length=MAX_BATCH)]


def _several(item: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": item, "maxItems": MAX_EXAMPLES}


_FILE = {"type": "string", "format": "binary"}
_ID = {"type": "string"}
_WORDS = {"type": "string", "maxLength": MAX_LETTERS}

#: The same as a form, for OpenAPI: fields that are arrays are sent several times.
SEARCH_FORM = {
    "title": "SearchForm",
    "description": "As SearchRequest, with photos as files.",
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "photo": _several(_FILE),
        "id": _several(_ID),
        "not_photo": _several(_FILE),
        "not_id": _several(_ID),
        "words": _several(_WORDS),
        "not_words": _several(_WORDS),
        "weights": {
            "type": "string",
            "description": "a JSON object: for `photo`, `id`, `words` and their `not_`, the weight "
            'of each, as in {"words": [2, 1]}',
        },
        "k": {"type": "integer", "minimum": 1},
        "where": {"type": "string", "description": "a filter"},
        "box": {"type": "string", "description": "left,top,width,height as shares, 0 to 1"},
        "boxes": {
            "type": "string",
            "description": "a JSON object: for `photo`, `id` and their `not_`, the box of each or "
            'null, as in {"id": [[0, 0, 0.5, 1], null]}',
        },
        "cursor": {"type": "string", "description": "`next` of the previous page"},
        "diversity": {"type": "number", "minimum": 0, "maximum": 1},
        "group_duplicates": {"type": "boolean"},
        "plate": {"type": "boolean"},
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
    "title": "LabelForm",
    "description": "As LabelRequest, with the photo as a file.",
    "type": "object",
    "additionalProperties": False,
    "required": ["names"],
    "properties": {
        "photo": _FILE,
        "id": {"type": "string"},
        "names": {"type": "string", "description": "a name a line"},
        "template": {"type": "string"},
    },
}


class AddRequest(_Body):
    """A photo to add, a base64 data URL, with its label, name and attributes."""

    photo: str
    label: Text | None = None
    name: Text | None = None
    attributes: dict[str, Any] = {}


ADD_FORM = {
    "title": "AddForm",
    "description": "As AddRequest, with the photo as a file.",
    "type": "object",
    "additionalProperties": False,
    "required": ["photo"],
    "properties": {
        "photo": _FILE,
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


class FeedbackRequest(_Body):
    """Whether a hit was right: true, false, or null to take back what was said.

    `question` is that of the answer with the hit, `hit` the photo's id. `session` is a random text
    that the client keeps for one visitor; only its hash is stored. `photo`, a base64 data URL, is
    the one photo asked with, for servers that may keep it.
    """

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "question": "wC9b…",
                "hit": "f6a80395f97a4582df3b",
                "right": True,
                "session": "sJ2mV0d4T6uYk1XcQy8n3A",
            },
        },
    )
    CLEARED_BY_NULL = frozenset({"right"})

    question: Annotated[str, Field(max_length=MAX_TOKEN)]
    hit: str
    right: bool | None
    session: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{16,64}$")]
    photo: str | None = None


class ExplainRequest(_Body):
    """Give either `photo`, a base64 data URL, or `id`, and `hit`, the id of the photo found.

    `box` is the part of the photo that was searched with: left, top, width and height as shares.
    """

    photo: str | None = None
    id: str | None = None
    hit: str
    box: Sides | None = None


#: The same as a form, for OpenAPI.
EXPLAIN_FORM = {
    "title": "ExplainForm",
    "description": "As ExplainRequest, with the photo as a file.",
    "type": "object",
    "additionalProperties": False,
    "required": ["hit"],
    "properties": {
        "photo": _FILE,
        "id": {"type": "string"},
        "hit": {"type": "string"},
        "box": {"type": "string", "description": "left,top,width,height as shares, 0 to 1"},
    },
}


ORIGINAL_FORM = {
    "title": "OriginalForm",
    "type": "object",
    "additionalProperties": False,
    "required": ["image"],
    "properties": {"image": {"type": "string", "description": "a data URL"}},
}

BATCH = {
    "title": "BatchRequest",
    "description": f"Up to {MAX_BATCH} searches.",
    "type": "object",
    "additionalProperties": False,
    "required": ["questions"],
    "properties": {
        "questions": {
            "type": "array",
            "minItems": 1,
            "maxItems": MAX_BATCH,
            "items": {"$ref": "#/components/schemas/SearchRequest"},
        }
    },
}


def _schemas(bodies: Iterable[type[_Body]], others: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """By title: those of bodies, of the types that they refer to, and others."""
    found: dict[str, Any] = {}
    for body in bodies:
        schema = body.model_json_schema(ref_template="#/components/schemas/{model}")
        found |= schema.pop("$defs", {})
        found[schema["title"]] = schema
    return found | {schema["title"]: schema for schema in others}


#: The schemas of bodies that routes read themselves, by name.
SCHEMAS: dict[str, dict[str, Any]] = _schemas(
    (
        *(SearchRequest, LabelRequest, AddRequest, ChangeRequest, AttributeRequest),
        *(ExplainRequest, FeedbackRequest),
    ),
    (BATCH, SEARCH_FORM, LABEL_FORM, ADD_FORM, EXPLAIN_FORM, ORIGINAL_FORM),
)


def accepts(**titles: str) -> dict[str, Any]:
    """The OpenAPI of a body that a route reads itself.

    `json`, `multipart` and `urlencoded` name schemas in SCHEMAS. Generators do not know what to do
    with several, so JSON and forms, which one route reads, are documented at two addresses.
    """
    kinds = {
        "json": "application/json",
        "multipart": "multipart/form-data",
        "urlencoded": "application/x-www-form-urlencoded",
    }
    content = {
        kinds[kind]: {"schema": {"$ref": f"#/components/schemas/{title}"}}
        for kind, title in titles.items()
    }
    return {"requestBody": {"required": True, "content": content}}


Route = TypeVar("Route", bound=Callable[..., Any])


def post_json_or_form(
    router: APIRouter, path: str, operation_id: str, body: str, **options: Any
) -> Callable[[Route], Route]:
    """A decorator for a route that reads JSON and a form, which are documented at two addresses.

    Their schemas are `body` with "Request" and with "Form" behind it; `options` are for both.
    """
    json = router.post(
        path,
        operation_id=operation_id,
        openapi_extra=accepts(json=f"{body}Request"),
        **options,
    )
    form = router.post(
        f"{path}:upload",
        operation_id=f"{operation_id}ByUpload",
        openapi_extra=accepts(multipart=f"{body}Form"),
        **options,
    )
    return lambda route: json(form(route))


RequestBody = TypeVar("RequestBody", bound=_Body)


def checked(kind: type[RequestBody], values: Any) -> RequestBody:
    """A body of these values. Raises WrongValueError that names the field at fault."""
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        raise _refusal(error.errors(include_url=False), kind.model_fields) from error


def unknown_field(name: str, known: Collection[str], *, is_file: bool = False) -> str:
    """The message to a client that sent a field which is not among those `known`."""
    refused = f"there is no field `{name[:40]}`"
    if "photo" in known and (is_file or name.lower() in _FOR_A_PHOTO):
        return f"{refused}: send the photo as `photo`"
    if near := difflib.get_close_matches(name.lower(), known, 1):
        return f"{refused}: do you mean `{near[0]}`?"
    if not known:
        return f"{refused}: this address takes none"
    return f"{refused}; there are {', '.join(f'`{one}`' for one in known)}"


def check_names(given: Sequence[str], known: Collection[str], several: Collection[str]) -> None:
    """Raise WrongValueError for an unknown name, or one that is repeated and not in `several`."""
    for name in given:
        if name not in known:
            raise WrongValueError(unknown_field(name, known), name[:40])
        if name not in several and given.count(name) > 1:
            raise WrongValueError(f"`{name}` was given {given.count(name)} times: give one", name)


def _refusal(errors: Sequence[ErrorDetails], known: Collection[str]) -> WrongValueError:
    first = errors[0]
    if not first["loc"]:
        return WrongValueError("the body should be a JSON object", "body")
    field = str(first["loc"][0])
    if first["type"] == "extra_forbidden" and len(first["loc"]) == 1:
        return WrongValueError(unknown_field(field, known), field[:40])
    # pydantic gives one error for each type that a field may have. Keep the most specific ones.
    of_field = [one for one in errors if one["loc"][0] == field]
    depth = max(len(one["loc"]) for one in of_field)
    nearest = [one for one in of_field if len(one["loc"]) == depth]
    place = ".".join([field, *(str(part) for part in nearest[0]["loc"] if isinstance(part, int))])
    last = nearest[0]["loc"][-1]
    inner = f".{last}" if depth > 1 and isinstance(last, str) else ""
    if nearest[0]["type"] == "missing":
        return WrongValueError(f"give `{place}{inner}`", field)
    if nearest[0]["type"] == "extra_forbidden":
        return WrongValueError(f"there is no field `{place}{inner[:40]}`", field)
    expected = [one["msg"].partition(", unable")[0] for one in nearest]
    if not expected[0].startswith("Input should be "):
        return WrongValueError(f"`{place}`: {expected[0]}", field)
    wanted = " or ".join(dict.fromkeys(one.removeprefix("Input should be ") for one in expected))
    wanted = re.sub(r"a valid dictionary( or instance of \w+)?", "a JSON object", wanted)
    return WrongValueError(f"`{place}` should be {wanted}", field)
