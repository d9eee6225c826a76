"""What bodies of requests hold, as JSON and as forms: fields, bounds, and OpenAPI of them."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from deepfood.gallery.values import Type
from deepfood.serve.question import DEFAULT_K

#: A label or name.
Text = Annotated[str, Field(max_length=1000)]


class SearchRequest(BaseModel):
    """Give `photo`, a base64 data URL, or `id`, a photo of the gallery, or lists of them.

    `url` is where the service fetches a photo, of hosts that its settings list.
    `not_photo` and `not_id` are what the hits should be unlike; all in all there may be 8. `where`
    is a filter (docs/filters.md), `box` the part of the photo that counts: left, top, width and
    height as shares of it. `diversity`, 0 to 1, trades similarity for variety. `cursor` is the
    `next` of the answer before, for the same question.
    """

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "example": {"id": "f6a80395f97a4582df3b", "where": "price < 12", "k": 9},
        },
    )

    photo: str | list[str] = []
    url: str | None = None
    id: str | list[str] = []
    not_photo: str | list[str] = []
    not_id: str | list[str] = []
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
        "k": {"type": "integer", "minimum": 1, "default": DEFAULT_K},
        "where": {"type": "string", "description": "a filter"},
        "box": {"type": "string", "description": "left,top,width,height as shares, 0 to 1"},
        "cursor": {"type": "string", "description": "`next` of the answer before"},
        "diversity": {"type": "number", "minimum": 0, "maximum": 1, "default": 0},
        "group_duplicates": {"type": "boolean", "default": False},
    },
}


class AddRequest(BaseModel):
    """What is said of a photo that is added; `photo` is a base64 data URL."""

    model_config = ConfigDict(extra="forbid")

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


class ChangeRequest(BaseModel):
    """What to say of a photo from now on. null, or an empty text, takes away what was said."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"example": {"label": "Soups", "attributes": {"price": 4.5}}},
    )

    label: Text | None = None
    name: Text | None = None
    attributes: dict[str, Any] = {}


class AttributeRequest(BaseModel):
    """An attribute to be declared. Of one of safety, unknown values never pass a filter."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"example": {"name": "price", "type": "number"}}
    )

    name: str
    type: Type
    safety: bool = False


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
