"""What the API answers, in the fields that clients see."""

from pydantic import BaseModel

from deepfood.gallery import Verdict


class PhotoOut(BaseModel):
    """A photo of the gallery; `url` is the original file, `thumbnail_url` a small JPEG."""

    id: str
    label: str | None
    name: str | None
    width: int
    height: int
    url: str
    thumbnail_url: str


class HitOut(PhotoOut):
    """`score` is the cosine similarity to the query, -1 to 1.

    `probability` is that of being the same dish (having its label), if the gallery has it; null
    where the photo has no label or the gallery is not calibrated.
    """

    score: float
    probability: float | None


class LabelOut(BaseModel):
    """The label that the nearest photos vote for; `probability` is that of it being right."""

    label: str
    probability: float


class SearchOut(BaseModel):
    """The hits, the most similar first, and what they say; null where the gallery cannot tell.

    `in_gallery` is the probability that the gallery has the dish at all.
    """

    hits: list[HitOut]
    verdict: Verdict | None
    in_gallery: float | None
    label: LabelOut | None


class UrlsOut(BaseModel):
    """The original's answer: addresses of the nearest photos."""

    urls: list[str]


class GalleryOut(BaseModel):
    photos: int
    labels: int
    index: str
    model: str
    dimension: int
