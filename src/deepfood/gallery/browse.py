"""Browse a gallery without a query photo: its photos in an order, its labels, and facets.

Facets count the values of each attribute among the photos that a filter and words select
(M. Hearst, Search User Interfaces, 2009, chapter 8).
"""

import base64
import binascii
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Self

import numpy as np
import numpy.typing as npt

from deepfood.errors import QueryError
from deepfood.gallery.filters import Filter
from deepfood.gallery.notes import Note
from deepfood.gallery.photo import Photo
from deepfood.gallery.tokens import tokens_of
from deepfood.gallery.values import Key, Type, Value, attribute_name, folded, keys_of
from deepfood.gallery.written import (
    Level,
    Term,
    WordsQuery,
    begins_as,
    check_text,
    match_of,
    texts_of,
)

NEWEST, NAME = "newest", "name"
#: Photos or labels of a page, and values of a facet, at most.
MOST_LISTED = 500
#: Bars of the histogram of a number.
_BINS = 20
#: Interquartile ranges from the quartiles to where numbers are far out (J. Tukey, Exploratory Data
#: Analysis, 1977).
_FAR_OUT = 3

#: What photos are in order by: a time, a number, or a folded name.
SortKey = int | float | str
_VERSION = 1
_DIGEST_BYTES = 8


@dataclass(frozen=True)
class Sort:
    """An order of photos: by time, name, or a number attribute; those without one come last.

    The time of a photo is that of its file, or when it was added.
    """

    by: str
    descending: bool

    @classmethod
    def parse(cls, text: str) -> Self:
        """`newest`, `name` or an attribute, which ascends; with `-` before it the reverse."""
        reverse = text.startswith("-")
        by = attribute_name(text[reverse:])
        return cls(by, reverse != (by == NEWEST))

    def check(self, types: Mapping[str, Type]) -> None:
        """Raise QueryError unless these attributes have one to sort by."""
        if self.by in (NEWEST, NAME) or types.get(self.by) == "number":
            return
        numbers = [name for name, type_ in types.items() if type_ == "number"][:20]
        known = ", ".join([NEWEST, NAME, *numbers])
        raise QueryError(
            f"photos cannot be sorted by {self.by[:40]!r}: give one of {known}, with - before it "
            "for the reverse",
            "sort",
        )

    def key_of(self, photo: Photo, values: Mapping[str, Value]) -> SortKey | None:
        """What a photo is sorted by, None where that is not known."""
        if self.by == NEWEST:
            return photo.modified_ns
        if self.by == NAME:
            return None if photo.name is None else folded(photo.name)
        number = values.get(self.by)
        return float(number) if isinstance(number, int | float) else None

    def is_kept(self, keys: Sequence[SortKey | None]) -> bool:
        """Whether the photos with these keys are in this order."""
        known = [key for key in keys if key is not None]
        return known == list(keys[: len(known)]) and known == sorted(known, reverse=self.descending)

    def __str__(self) -> str:
        return f"{'-' if self.descending != (self.by == NEWEST) else ''}{self.by}"


@dataclass(frozen=True)
class Selected:
    """What narrows the photos: a filter, and words that all are in the texts of a photo."""

    where: Filter | None = None
    words: WordsQuery | None = None

    def fits(
        self, photo: Photo, values: Mapping[str, Value], forgiven: frozenset[Term] = frozenset()
    ) -> bool:
        """Whether a photo is selected, by its own texts and values."""
        if self.where is not None and not self.where.holds(photo, values):
            return False
        if self.words is None:
            return True
        texts = texts_of(photo.name, photo.label, photo.file, values)
        match = match_of(self.words, texts, forgiven)
        return match is not None and match.level >= Level.LOOSE

    def digest(self, *more: object) -> bytes:
        """What a cursor is tied to: the question, which is the same for each of its pages."""
        said = "\0".join([str(self.where or ""), repr(self.words), *map(str, more)])
        return hashlib.sha256(said.encode("utf-8", "replace")).digest()[:_DIGEST_BYTES]


@dataclass(frozen=True)
class After:
    """The last photo of a page, as a cursor: its sort key, and what orders photos of one key."""

    generation: int
    key: SortKey | None
    last: int | str

    def text(self, digest: bytes) -> str:
        parts = [_VERSION, self.generation, digest.hex(), self.key, self.last]
        said = json.dumps(parts, ensure_ascii=False, separators=(",", ":"))
        return base64.urlsafe_b64encode(said.encode()).decode()

    @classmethod
    def parse(cls, text: str, digest: bytes, generation: int) -> Self:
        """Raise QueryError for what is not a cursor, or one of another question or generation."""
        try:
            parts = json.loads(base64.urlsafe_b64decode(text.encode("ascii")))
            version, of_generation, of_question, key, last = parts
        except (UnicodeError, binascii.Error, ValueError, TypeError):
            raise QueryError(
                f"{text[:40]!r} is not a cursor: begin with the first page", "cursor"
            ) from None
        if (version, of_question) != (_VERSION, digest.hex()):
            raise QueryError(
                "the cursor belongs to another list: begin with the first page", "cursor"
            )
        if of_generation != generation:
            raise QueryError(
                "the gallery was built anew since: begin with the first page", "cursor"
            )
        return cls(generation, key, last)


@dataclass(frozen=True)
class PhotoPage:
    """Photos with their known attributes. `total` counts all that are selected, on any page.

    `notes` describe what a filter left out; `next` is the cursor of the next page. `start` is how
    many photos come before this page; None where it was not asked for around a photo.
    """

    photos: list[tuple[Photo, dict[str, Value]]]
    notes: tuple[Note, ...]
    next: str | None
    total: int
    start: int | None = None


@dataclass(frozen=True)
class LabelCount:
    """A label, in one of its spellings, and how many photos have it."""

    label: str
    count: int


@dataclass(frozen=True)
class LabelPage:
    """Labels in alphabetical order; `total` counts all that were asked for."""

    labels: list[LabelCount]
    next: str | None
    total: int


@dataclass(frozen=True)
class ValueCount:
    """A value, in one of its spellings, and how many of the selected photos have it."""

    value: str | bool
    count: int


@dataclass(frozen=True)
class Bin:
    """How many photos have a number from `low` on and below `high`; in the last bin, or `high`."""

    low: float
    high: float
    count: int


@dataclass(frozen=True)
class Facet:
    """The values of an attribute, or of `label`, among the selected photos.

    `known` and `unknown` count photos with and without a value. `values` are the most frequent of
    `distinct` ones; of numbers there are `bins` in their place, which are equally wide.
    """

    name: str
    type: Type
    safety: bool
    known: int
    unknown: int
    distinct: int = 0
    values: tuple[ValueCount, ...] = ()
    bins: tuple[Bin, ...] = ()


@dataclass(frozen=True)
class FacetCounts:
    """The facets of `total` selected photos.

    `counted` is the number of photos that were looked at: fewer than `total` where an engine looks
    at a part of very many.
    """

    facets: list[Facet] = field(default_factory=list)
    total: int = 0
    counted: int = 0
    notes: tuple[Note, ...] = ()


def not_listed(photo_id: str) -> QueryError:
    """The error of a page that is asked for around a photo which is not selected."""
    return QueryError(f"the photo {photo_id} is not in this list", "around")


def bins_of(numbers: npt.NDArray[np.float64]) -> tuple[Bin, ...]:
    """The histogram of numbers, float64 [n]; one bin where they are all equal.

    Numbers that are far out have a bin of their own at that end, so that one of them does not press
    all others into one bin.
    """
    if not len(numbers):
        return ()
    low, high = float(numbers.min()), float(numbers.max())
    with np.errstate(over="ignore", invalid="ignore"):
        edges = _edges_of(numbers)
    if low == high or not np.isfinite(edges).all() or not (np.diff(edges) > 0).all():
        return (Bin(low, high, len(numbers)),)
    counts, _ = np.histogram(numbers, edges)
    return tuple(
        Bin(float(a), float(b), int(count))
        for a, b, count in zip(edges, edges[1:], counts, strict=False)
    )


def _edges_of(numbers: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The edges of the bins, float64 [bins + 1]; they ascend unless the numbers are too near."""
    low, high = numbers.min(), numbers.max()
    first, third = np.percentile(numbers, [25, 75])
    reach = _FAR_OUT * (third - first)
    inner = numbers[(numbers >= first - reach) & (numbers <= third + reach)]
    if len(inner) < 2 or inner.min() == inner.max():
        inner = numbers
    below = [low] if inner.min() > low else []
    above = [high] if inner.max() < high else []
    between = np.linspace(inner.min(), inner.max(), _BINS + 1 - len(below) - len(above))
    return np.concatenate([below, between, above])


def spelled(key: Key, value: Value | None) -> str | bool | None:
    """The text, or the item of a list, that has this key, or true or false; else None."""
    if isinstance(value, bool):
        return value if [key] == keys_of(value) else None
    items = value if isinstance(value, list) else [value]
    return next((one for one in items if isinstance(one, str) and folded(one) == key), None)


def check_page(limit: int) -> None:
    """Raise QueryError for a page that is empty or too long."""
    if not 1 <= limit <= MOST_LISTED:
        raise QueryError(f"limit = {limit}: ask for 1 to {MOST_LISTED}", "limit")


def labels_with(begun: str, labels: Sequence[str]) -> list[str]:
    """Those of some labels that have the words typed, the last of which may be unfinished."""
    check_text(begun)
    typed = tokens_of(begun)
    if begun.strip() and not typed:
        return []
    return [one for one in labels if begins_as(typed, tokens_of(one))] if typed else list(labels)
