"""What whoever searches may ask of a gallery, wherever it is: on this machine, or on Milvus."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypedDict, Unpack

import numpy as np
import numpy.typing as npt

from deepfood.embed import Vector
from deepfood.gallery.calibration import Calibration
from deepfood.gallery.declared import Declared
from deepfood.gallery.filters import Filter
from deepfood.gallery.photo import EmbeddedPhoto, Hit, Outcome, Photo
from deepfood.gallery.values import Type, Value
from deepfood.index import IndexSpec


@dataclass(frozen=True)
class ColumnFacts:
    """A declared attribute, and a few values to show what it is like."""

    name: str
    type: Type
    safety: bool
    examples: list[Value]


class SearchedManifest(Protocol):
    """What a manifest says."""

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


class SearchedVectors(Protocol):
    """Vectors by row, float32 [n, dimension]."""

    def __len__(self) -> int: ...
    def take(self, rows: npt.NDArray[np.int64]) -> Vector: ...
    def scores(self, query: Vector) -> Vector: ...


class Compared(Protocol):
    """Finds rows near a vector, int64 [k], and their scores; `Index` says what it does."""

    @property
    def vectors(self) -> SearchedVectors: ...
    def search(
        self, query: Vector, k: int, allowed: npt.NDArray[np.bool_] | None = None
    ) -> tuple[npt.NDArray[np.int64], Vector]: ...


#: All photos of a gallery, their vectors, and of each photo its row in them, int64 [count].
EveryPhoto = tuple[list[Photo], SearchedVectors, npt.NDArray[np.int64]]


@dataclass(frozen=True)
class FindResult:
    """Hits, the best first, and of each its near-duplicates (empty unless asked for).

    `attributes` are what is known of each hit, by its photo's id; `notes` say what a filter left
    out; `next` is the cursor of the next page, None on the last; `total` counts all photos that
    were asked for, on this page or not.
    """

    hits: list[Hit]
    alike: list[list[Hit]]
    attributes: dict[str, dict[str, Value]]
    notes: tuple[str, ...]
    next: str | None
    total: int


class FindOptions(TypedDict, total=False):
    """What a search asks for besides being near.

    `where` is a filter that photos must pass; `diversity` of 0 to 1 trades similarity for variety;
    `group_duplicates` shows near-duplicates as one; `cursor` is the `next` of the page before;
    `without` are ids of photos to leave out.
    """

    where: Filter | None
    diversity: float
    group_duplicates: bool
    cursor: str | None
    without: Sequence[str]


class SearchedGallery(Protocol):
    """`Gallery` says what each of these does."""

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
    def follow(self) -> object: ...
    def close(self) -> None: ...
    def search(self, query: Vector, k: int) -> list[Hit]: ...
    def find(self, query: Vector, k: int, **wanted: Unpack[FindOptions]) -> FindResult: ...
    def vector(self, photo_id: str) -> Vector: ...
    def photo(self, photo_id: str) -> Photo: ...
    def facts(self, photo_id: str) -> tuple[Photo, dict[str, Value]]: ...
    def where(self, photo: Photo) -> str: ...
    def read(self, photo: Photo) -> bytes: ...
    def sample(self, count: int, seed: int) -> list[Photo]: ...
    def photos(self) -> EveryPhoto: ...


class ChangedGallery(Protocol):
    """`GalleryWriter` says what each of these does."""

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
