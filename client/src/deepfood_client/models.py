"""What a server answers, typed and frozen: its API is defined by these models.

Fields that a newer server adds are ignored.
"""

from typing import Literal

from pydantic import BaseModel, ConfigDict

#: What is known of a photo under an attribute's name.
Value = str | float | bool | list[str]
#: `match`: the dish is surely there; `maybe`; `none`: nothing like it is in the gallery.
Verdict = Literal["match", "maybe", "none"]


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class Photo(_Model):
    """A photo of the gallery, `width` and `height` in pixels.

    `url` is the original file, `thumbnail_url` a small JPEG.
    """

    id: str
    label: str | None
    name: str | None
    width: int
    height: int
    url: str
    thumbnail_url: str


class PhotoFacts(Photo):
    """A photo with the attributes that are known of it: text, numbers, true, false, lists."""

    attributes: dict[str, Value]


class NearDuplicate(Photo):
    """A near-duplicate of a hit; `score` is its cosine similarity to the query, -1 to 1."""

    score: float


class Matched(_Model):
    """A word of the question that is in a text of a photo: in which field, and the text itself.

    `field` is name, label, file, or the name of an attribute.
    """

    word: str
    field: str
    value: str


class Hit(Photo):
    """A photo that was found; `score` is its cosine similarity to the query, -1 to 1.

    `probability`, 0 to 1, is that of being the same dish (having its label), if the gallery has
    it, and `same_dish` is that as a word: `likely` from the setting match_probability on,
    `unlikely` below none_probability or where the verdict is `none`. Both are null where the photo
    has no label or the answer has no verdict. For words alone, it is the probability of showing
    what they name. `attributes` are those that are known of it; `alike` are its near-duplicates,
    where `group_duplicates` was asked for. `matched` says where words of the question are in its
    texts; it is empty where a photo only looks so.
    """

    score: float
    probability: float | None
    same_dish: Literal["likely", "perhaps", "unlikely"] | None
    attributes: dict[str, Value] = {}
    alike: tuple[NearDuplicate, ...] = ()
    matched: tuple[Matched, ...] = ()


class LabelGuess(_Model):
    """The label that the nearest photos vote for; `probability`, 0 to 1, of it being right."""

    label: str
    probability: float


class SearchResult(_Model):
    """A page of hits, the most similar first, and what is known of the one photo asked with.

    `verdict`, `in_gallery` (the probability that the gallery has the dish at all) and `label` are
    null where the gallery is not calibrated, for several photos together, and for a photo of the
    gallery that has a label: its own label is what is known of it. `total` counts all photos asked
    for, the hits among them: those that pass the filter, or all. `next` is the `cursor` of the next
    page, null on the last one. `notes` describe what a filter left out, for display.
    """

    hits: tuple[Hit, ...]
    verdict: Verdict | None
    in_gallery: float | None
    label: LabelGuess | None
    total: int
    next: str | None
    notes: tuple[str, ...]


class NameGuess(_Model):
    """A name; `score` is the cosine similarity of its prompt and the photo, -1 to 1.

    `probability`, 0 to 1, is that of being right if the photo shows one of the names.
    """

    label: str
    score: float
    probability: float | None


class NamesCalibration(_Model):
    """What probabilities were fitted on: labelled `photos`, and how good they are on these.

    `accuracy` is the share of them that get their label, `ece` the expected calibration error, and
    `auroc` how well they are told from photos that show none of the names.
    """

    photos: int
    accuracy: float
    ece: float
    auroc: float


class LabelAnswer(_Model):
    """The names that suit a photo best, the best first.

    `in_names` is the probability that the photo shows one of the names at all; the verdict is
    `none` where that is small, `match` where the best name is surely right, else `maybe`. Where the
    gallery has too few photos whose label is one of the names, nothing is calibrated:
    `probability`, `verdict`, `in_names` and `calibration` are null, and `notes` says why.
    """

    guesses: tuple[NameGuess, ...]
    verdict: Verdict | None
    in_names: float | None
    calibration: NamesCalibration | None
    notes: tuple[str, ...]


class Attribute(_Model):
    """A column that filters may ask for. Of a safety attribute, unknown values never pass.

    `examples` are some of its values; of numbers, the least and the most.
    """

    name: str
    type: Literal["text", "number", "boolean", "list"]
    safety: bool
    examples: tuple[str | float | bool, ...]


class Suggestion(_Model):
    """A text of the gallery that begins as somebody types, and how many photos have it.

    `field` is label, name, or the name of an attribute.
    """

    text: str
    kind: Literal["label", "name", "attribute"]
    field: str
    count: int


class GalleryFacts(_Model):
    """What is searched. `resize` and `crop` tell what the Model sees of a photo.

    `square` and `shortest`: the middle square, `crop` of the shorter side. `squash`: the middle,
    `crop` of each side. `pad`: a square around the middle, `crop` of the longer side, which reaches
    beyond the photo.
    """

    photos: int
    labels: int
    index: str
    model: str
    dimension: int
    crop: float
    resize: Literal["square", "shortest", "squash", "pad"] = "square"
    attributes: tuple[Attribute, ...]
