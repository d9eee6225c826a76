"""The protocols that a gallery implements, in a folder or on Milvus."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypedDict, Unpack

import numpy as np
import numpy.typing as npt

from deepfood.embed import Vector, Vectors
from deepfood.gallery.browse import FacetCounts, LabelPage, PhotoPage, Selected, Sort
from deepfood.gallery.calibration import Calibration
from deepfood.gallery.declared import Declared
from deepfood.gallery.filters import Filter
from deepfood.gallery.notes import Note
from deepfood.gallery.photo import EmbeddedPhoto, Hit, Outcome, Photo
from deepfood.gallery.tuned import Tuned
from deepfood.gallery.values import Type, Value
from deepfood.gallery.written import Suggestion, WordsQuery, WrittenResult
from deepfood.index import IndexSpec


@dataclass(frozen=True)
class ColumnFacts:
    """A declared attribute, with a few values as examples."""

    name: str
    type: Type
    safety: bool
    examples: list[Value]


class SearchedManifest(Protocol):
    """The fields that the manifests of both engines have."""

    @property
    def generation(self) -> int: ...
    @property
    def dimension(self) -> int: ...
    @property
    def model_name(self) -> str: ...
    @property
    def model_fingerprint(self) -> str: ...
    @property
    def index(self) -> IndexSpec: ...
    @property
    def calibration(self) -> Calibration | None: ...
    @property
    def tuned(self) -> Tuned | None: ...


class SearchedVectors(Protocol):
    """Vectors by row, float32 [n, dimension]."""

    def __len__(self) -> int: ...
    def take(self, rows: npt.NDArray[np.int64]) -> Vector: ...
    def scores(self, query: Vector) -> Vector: ...


class Compared(Protocol):
    """Finds the rows nearest to a vector, int64 [k], and their scores: see `Index`."""

    @property
    def vectors(self) -> SearchedVectors: ...
    def search(
        self, query: Vector, k: int, allowed: npt.NDArray[np.bool_] | None = None
    ) -> tuple[npt.NDArray[np.int64], Vector]: ...


#: All photos of a gallery, their vectors, and of each photo its row in them, int64 [count].
EveryPhoto = tuple[list[Photo], SearchedVectors, npt.NDArray[np.int64]]


@dataclass(frozen=True)
class FindResult:
    """Hits, best first, and the near-duplicates of each (empty unless asked for).

    `attributes` are the known ones of each hit, by photo id. `notes` describe what a filter left
    out, and where pages end early. `next` is the cursor of the next page, None on the last one.
    `total` counts the photos that pass the filter, on any page.
    """

    hits: list[Hit]
    alike: list[list[Hit]]
    attributes: dict[str, dict[str, Value]]
    notes: tuple[Note, ...]
    next: str | None
    total: int


class FindOptions(TypedDict, total=False):
    """The options of a search.

    `where` is a filter that photos must pass. `diversity`, 0 to 1, trades similarity for variety.
    `group_duplicates` shows near-duplicates as one hit. `cursor` is the `next` of the previous
    page. `without` lists ids of photos to leave out. `whole` compares photos as wholes, where the
    gallery keeps their parts too. `untuned` compares with the photos' own vectors only, as words
    need, even where the gallery is tuned.
    """

    where: Filter | None
    diversity: float
    group_duplicates: bool
    cursor: str | None
    without: Sequence[str]
    whole: bool
    untuned: bool


class SearchedGallery(Protocol):
    """A gallery that is searched; `LocalGallery` documents each method."""

    @property
    def superseded(self) -> bool: ...
    @property
    def manifest(self) -> SearchedManifest: ...
    @property
    def place(self) -> str: ...
    @property
    def photos_root(self) -> Any: ...
    @property
    def reads_ahead(self) -> int: ...
    @property
    def count(self) -> int: ...
    @property
    def labels(self) -> int: ...
    def columns(self) -> list[ColumnFacts]: ...
    def known_counts(self) -> dict[str, int]: ...
    def follow(self) -> object: ...
    def close(self) -> None: ...
    def search(self, query: Vector, k: int) -> list[Hit]: ...
    def find(self, query: Vector, k: int, **options: Unpack[FindOptions]) -> FindResult: ...
    def find_written(
        self, query: WordsQuery, limit: int, where: Filter | None = None
    ) -> WrittenResult: ...
    def suggest(self, begun: str, limit: int = 10) -> list[Suggestion]: ...
    def browse(
        self,
        selected: Selected,
        sort: Sort,
        limit: int,
        cursor: str | None = None,
        around: str | None = None,
    ) -> PhotoPage: ...
    def label_page(self, begun: str, limit: int, cursor: str | None = None) -> LabelPage: ...
    def facets(self, selected: Selected, limit: int) -> FacetCounts: ...
    def vector(self, photo_id: str) -> Vector: ...
    def vectors(self, photo_ids: Sequence[str]) -> Vectors: ...
    def photo(self, photo_id: str) -> Photo: ...
    def is_found_by_part(self, photo_id: str, query: Vector) -> bool: ...
    def facts(self, photo_id: str) -> tuple[Photo, dict[str, Value]]: ...
    def where(self, photo: Photo) -> str: ...
    def read(self, photo: Photo) -> bytes: ...
    def sample(self, count: int, seed: int, where: Filter | None = None) -> list[Photo]: ...
    def photos(self) -> EveryPhoto: ...
    def compared(self, most: int | None = None) -> tuple[EveryPhoto, Compared]: ...
    def version(self) -> str: ...


class ChangedGallery(Protocol):
    """A gallery that is changed; `LocalWriter` documents each method."""

    def declared(self) -> Mapping[str, Declared]: ...
    def declare(self, columns: Mapping[str, Declared]) -> list[str]: ...
    def drop_attribute(self, name: str) -> None: ...
    def add(self, new: Sequence[EmbeddedPhoto]) -> list[Outcome]: ...
    def undo(self, number: int) -> list[Photo]: ...
    def remove(self, names: Sequence[str]) -> list[Photo]: ...
    def update(
        self,
        name: str,
        *,
        label: str | None = None,
        photo_name: str | None = None,
        attributes: Mapping[str, object] | None = None,
    ) -> Photo: ...
