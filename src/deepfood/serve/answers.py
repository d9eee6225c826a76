"""What the API answers, in the fields that clients see."""

from typing import Literal

from pydantic import BaseModel

from deepfood.gallery import Verdict
from deepfood.gallery.entry import SameDish
from deepfood.gallery.values import Type, Value


class PhotoOut(BaseModel):
    """A photo of the gallery; `url` is the original file, `thumbnail_url` a small JPEG."""

    id: str
    label: str | None
    name: str | None
    width: int
    height: int
    url: str
    thumbnail_url: str


class FactsOut(PhotoOut):
    """A photo with the attributes that are known of it: text, numbers, true, false, lists."""

    attributes: dict[str, Value]


class AlikeOut(PhotoOut):
    """A near-duplicate of a hit; `score` is the cosine similarity to the query."""

    score: float


class HitOut(AlikeOut):
    """`alike` are its near-duplicates, where `group_duplicates` was asked for.

    `attributes` are those that are known of it.
    `probability` is that of being the same dish (having its label), if the gallery has it, and
    `same_dish` says it in a word: `likely` from the setting match_probability on, `unlikely` below
    none_probability or where the verdict is `none`. Both are null where the photo has no label or
    the answer has no verdict.
    """

    probability: float | None
    same_dish: SameDish | None
    attributes: dict[str, Value] = {}
    alike: list[AlikeOut] = []


class LabelOut(BaseModel):
    """The label that the nearest photos vote for; `probability` is that of it being right."""

    label: str
    probability: float


class SearchOut(BaseModel):
    """The hits, the most similar first, and what is known of the one photo asked with.

    `verdict`, `in_gallery` (the probability that the gallery has the dish at all) and `label` are
    null where the gallery is not calibrated, for several photos together, and for a photo of the
    gallery that has a label: its own label is what is known of it. `total` counts all photos asked
    for, the hits among them: those that pass the filter, or all. `next` is the `cursor` of the next
    page, null on the last one. `notes` say what a filter left out, for people to read.
    """

    hits: list[HitOut]
    verdict: Verdict | None
    in_gallery: float | None
    label: LabelOut | None
    total: int
    next: str | None
    notes: list[str]


class ReadyOut(BaseModel):
    """The gallery can be searched, and has so many photos."""

    status: Literal["ready"] = "ready"
    photos: int


class UrlsOut(BaseModel):
    """The original's answer: addresses of the nearest photos."""

    urls: list[str]


class AttributeOut(BaseModel):
    """A column that filters may ask for. Of a safety attribute, unknown values never pass.

    `examples` are some of its values; of numbers, the least and the most.
    """

    name: str
    type: Type
    safety: bool
    examples: list[str | float | bool]


class GalleryOut(BaseModel):
    """What is searched. The Model sees the middle square of a photo, `crop` of its shorter side."""

    photos: int
    labels: int
    index: str
    model: str
    dimension: int
    crop: float
    attributes: list[AttributeOut]
