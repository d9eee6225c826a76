"""Responses of the API beside the models that it shares with its client."""

from typing import Literal

from pydantic import BaseModel, ConfigDict


class ReadyOut(BaseModel):
    """The gallery can be searched, and has so many photos."""

    model_config = ConfigDict(json_schema_serialization_defaults_required=True)

    status: Literal["ready"] = "ready"
    photos: int


class UrlsOut(BaseModel):
    """The original's answer: addresses of the nearest photos."""

    urls: list[str]
