"""What the API answers beside the models that it shares with its client."""

from typing import Literal

from pydantic import BaseModel


class ReadyOut(BaseModel):
    """The gallery can be searched, and has so many photos."""

    status: Literal["ready"] = "ready"
    photos: int


class UrlsOut(BaseModel):
    """The original's answer: addresses of the nearest photos."""

    urls: list[str]
