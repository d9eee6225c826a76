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


class RegionOut(BaseModel):
    """A region of a photo: left, top, width and height as shares of it.

    It reaches beyond the photo, below 0 and above 1, where that is padded for the Model.
    """

    x: float
    y: float
    width: float
    height: float


class HeatOut(BaseModel):
    """One photo of the pair.

    `picture` is a JPEG data URL: the photo in grey under its heat. `contributions` are rows of
    cells, left to right, over the region that the Model sees, `seen`; they add up to the score.
    `crop` is the Model's, as in the gallery's facts.
    """

    picture: str
    contributions: list[list[float]]
    crop: float
    seen: RegionOut


class ExplainOut(BaseModel):
    """`score` is the cosine similarity, and `strongest` the contribution with the full colour."""

    score: float
    strongest: float
    query: HeatOut
    hit: HeatOut
