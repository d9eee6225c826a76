"""Responses of the API beside the models that it shares with its client."""

from typing import Literal

from pydantic import BaseModel


class ReadyOut(BaseModel):
    """The gallery can be searched, and has so many photos."""

    status: Literal["ready"] = "ready"
    photos: int


class UrlsOut(BaseModel):
    """The original's answer: addresses of the nearest photos."""

    urls: list[str]


class HeatOut(BaseModel):
    """One photo of the pair.

    `picture` is a JPEG data URL: the photo in grey under its heat. `contributions` are rows of
    cells, left to right, over the centred square that the Model looks at, which is `crop` of the
    photo's shorter side; they add up to the score.
    """

    picture: str
    contributions: list[list[float]]
    crop: float


class ExplainOut(BaseModel):
    """`score` is the cosine similarity, and `strongest` the contribution with the full colour."""

    score: float
    strongest: float
    query: HeatOut
    hit: HeatOut
