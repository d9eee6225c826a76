"""What a server answers, typed and frozen. Fields that a newer server adds are passed over."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict


class _Result(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class Photo(_Result):
    """A photo of the gallery; width and height in pixels."""

    id: str
    label: str | None
    name: str | None
    width: int
    height: int
    url: str
    thumbnail_url: str


class Facts(Photo):
    """A photo with what else is known of it."""

    attributes: dict[str, Any]


class Alike(Photo):
    """A near-duplicate of a hit; `score` is its cosine similarity to the query."""

    score: float


class Hit(Alike):
    """`probability`, 0 to 1, is that of being the same dish, `same_dish` the same in a word.

    Both are None where it is not known.
    """

    probability: float | None
    same_dish: Literal["likely", "perhaps", "unlikely"] | None
    alike: tuple[Alike, ...] = ()
    attributes: dict[str, Any] = {}


class LabelGuess(_Result):
    """The label that the nearest photos vote for; `probability`, 0 to 1, of it being right."""

    label: str
    probability: float


class Found(_Result):
    """One page of hits, the most similar first, of `total` photos that were asked for.

    `next` is the `cursor` of the page after it, None on the last.
    """

    hits: tuple[Hit, ...]
    verdict: Literal["match", "maybe", "none"] | None
    in_gallery: float | None
    label: LabelGuess | None
    total: int
    next: str | None
    notes: tuple[str, ...]


class Attribute(_Result):
    """A column that filters may ask for."""

    name: str
    type: str
    safety: bool
    examples: tuple[str | float | bool, ...]


class GalleryFacts(_Result):
    """What is searched. The Model sees the middle square of a photo, `crop` of its shorter side."""

    photos: int
    labels: int
    index: str
    model: str
    dimension: int
    crop: float
    attributes: tuple[Attribute, ...]
