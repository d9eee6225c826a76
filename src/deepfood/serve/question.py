"""The question and the result of a search, independent of HTTP."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

from deepfood.config import DEFAULT_K
from deepfood.gallery.answer import LabelGuess, Verdict
from deepfood.gallery.notes import Note
from deepfood.gallery.photo import Hit
from deepfood.photo_box import Box

#: Photos, ids and words in one question over HTTP, wanted and unwanted together.
MAX_EXAMPLES = 8

#: The field of a SearchQuestion for each name that the API has for what is searched with.
_FIELDS = {
    "photo": "photos",
    "id": "ids",
    "words": "words",
    "not_photo": "not_photos",
    "not_id": "not_ids",
    "not_words": "not_words",
}


@dataclass(frozen=True)
class SearchQuestion:
    """What the hits should be like or unlike: photos, as bytes or as ids of the gallery, and words.

    `where` is a filter as text; `cursor` is the `next` of the previous page; `box` is the part of
    the one wanted photo that counts. `weights` has, by the name of a field such as `not_ids`, the
    weight of each of its values; where it has none, they are 1. `boxes` has the part that counts of
    each, where there are several photos; None is all of it. `plate` asks for each dish of the one
    photo by itself. Photos with an id in `without` are neither found nor counted.
    """

    photos: tuple[bytes, ...] = ()
    ids: tuple[str, ...] = ()
    not_photos: tuple[bytes, ...] = ()
    not_ids: tuple[str, ...] = ()
    words: tuple[str, ...] = ()
    not_words: tuple[str, ...] = ()
    k: int = DEFAULT_K
    where: str | None = None
    box: Box | None = None
    cursor: str | None = None
    diversity: float = 0.0
    group_duplicates: bool = False
    plate: bool = False
    without: tuple[str, ...] = ()
    weights: Mapping[str, Sequence[float]] = field(default_factory=dict)
    boxes: Mapping[str, Sequence[Box | None]] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        examples: Mapping[str, Sequence[tuple[Any, float]]],
        boxes: Mapping[str, Sequence[Box | None]] | None = None,
        **options: Any,
    ) -> Self:
        """A question from examples with their weights, by the API's names, and the other fields.

        `boxes` has the boxes of these examples, by the same names.
        """
        values: dict[str, Any] = {
            _FIELDS[name]: tuple(one for one, _ in some) for name, some in examples.items()
        }
        weights = {
            _FIELDS[name]: tuple(weight for _, weight in some) for name, some in examples.items()
        }
        parts = {_FIELDS[name]: tuple(some) for name, some in (boxes or {}).items()}
        return cls(**values, weights=weights, boxes=parts, **options)

    def weighted(self, name: str) -> list[tuple[Any, float]]:
        """The values of a field such as `not_ids`, each with its weight."""
        values = getattr(self, name)
        return list(zip(values, self.weights.get(name) or [1.0] * len(values), strict=True))

    def boxed(self, name: str) -> list[tuple[Any, float, Box | None]]:
        """The photos or ids of a field, each with its weight and the part of it that counts."""
        box = self.box if name in ("photos", "ids") else None
        weighted = self.weighted(name)
        boxes = self.boxes.get(name) or [box] * len(weighted)
        return [(one, weight, part) for (one, weight), part in zip(weighted, boxes, strict=True)]

    @property
    def examples(self) -> int:
        photos = (self.photos, self.ids, self.not_photos, self.not_ids)
        return sum(map(len, (*photos, self.words, self.not_words)))

    @property
    def shows_one_photo(self) -> bool:
        """Whether it asks with one photo alone, as those that a calibration is fitted on."""
        return self.examples == len(self.photos) + len(self.ids) == 1

    @property
    def asks_with_words(self) -> bool:
        """Whether it asks with words alone, and for one thing."""
        return self.examples == len(self.words) == 1

    @property
    def asks_for_nearest(self) -> bool:
        """Whether the hits, with their near-duplicates, are simply the nearest photos."""
        narrowed = self.where is not None or self.cursor is not None
        return not (narrowed or self.diversity)


@dataclass(frozen=True)
class PlatePart:
    """A dish of a plate; the fields are those of `deepfood_client.PlatePart`."""

    box: Box
    verdict: Verdict | None
    in_gallery: float | None
    label: LabelGuess | None
    hits: tuple[Hit, ...]
    probability: float | None = None


@dataclass(frozen=True)
class SearchResult:
    """A page of hits, the most similar first, and what is known of the one photo asked with.

    The hits have their attributes and near-duplicates. The fields are those of
    `deepfood_client.SearchResult`, which documents them.
    """

    hits: tuple[Hit, ...]
    verdict: Verdict | None
    in_gallery: float | None
    label: LabelGuess | None
    total: int
    next: str | None
    notes: tuple[Note, ...]
    parts: tuple[PlatePart, ...] | None = None
    several: float | None = None
    question: str | None = None
