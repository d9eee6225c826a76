"""A LocalGallery is searched while it changes: it looks for changes before each search."""

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Self, Unpack

import numpy as np
import numpy.typing as npt

from deepfood.data.locate import IN_PLACE, PhotoAccess
from deepfood.data.root import Root
from deepfood.errors import PhotoNotFoundError
from deepfood.gallery.browse import FacetCounts, LabelPage, PhotoPage, Selected, Sort
from deepfood.gallery.filters import Filter
from deepfood.gallery.joined_parts import ROUNDED
from deepfood.gallery.photo import Hit, Photo
from deepfood.gallery.protocol import (
    ColumnFacts,
    Compared,
    EveryPhoto,
    FindOptions,
    FindResult,
)
from deepfood.gallery.values import Value
from deepfood.gallery.written import Suggestion, WordsQuery, WrittenResult
from deepfood.index import VectorFile
from deepfood.local.browse import browse, facets, label_page
from deepfood.local.examples import examples_of
from deepfood.local.find import find_in
from deepfood.local.find_written import find_written
from deepfood.local.follower import SnapshotFollower
from deepfood.local.manifest import LocalManifest
from deepfood.local.photo_files import PhotoPlaces
from deepfood.local.select import select
from deepfood.local.snapshot import Snapshot
from deepfood.local.store import Store
from deepfood.local.suggest import suggest
from deepfood.model import Model


class LocalGallery:
    """Search by vector or by id. Safe to use from many threads, beside a writer and other readers.

    Each call sees every change that was acknowledged before it. A new index or generation is opened
    in the background; searches use the old one for as long as both hold the same photos. One with
    another Model is not opened, as queries come from the old one: `superseded` is then True.
    """

    def __init__(self, folder: Path, snapshot: Snapshot, photos: PhotoAccess) -> None:
        self.folder = folder
        self._follower = SnapshotFollower(folder, snapshot)
        self._access = photos
        self._places = PhotoPlaces(folder, snapshot.manifest.photos_root, photos)
        self._labels = (-1, -1, 0)
        #: The generation and its newest change when all its photos had been looked at for parts.
        self.complete_at = (-1, -1)

    @classmethod
    def open(cls, folder: Path, model: Model | None = None, photos: PhotoAccess = IN_PLACE) -> Self:
        """Open a gallery; `model` is the one that its queries are embedded with.

        `photos` is how its photos are reached.
        Raises an ArtifactError: missing, corrupt, of a newer format, or ModelMismatchError.
        """
        if model is not None:
            LocalManifest.read(folder).check_model(folder, model)
        return cls(folder, Snapshot.open(folder), photos)

    def close(self) -> None:
        self._follower.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def refresh(self) -> Snapshot:
        """The current snapshot. Takes microseconds where nothing has changed."""
        return self._follower.refresh()

    def follow(self) -> Snapshot:
        """As `refresh`, but wait until the snapshot that the manifest names is open."""
        return self._follower.follow()

    @property
    def superseded(self) -> bool:
        """Whether the gallery has another Model now."""
        return self._follower.superseded

    @property
    def manifest(self) -> LocalManifest:
        return self.refresh().manifest

    @property
    def store(self) -> Store:
        return self.refresh().store

    @property
    def photos_root(self) -> Root:
        return self._photos().root

    def _photos(self) -> PhotoPlaces:
        """Where its photos are, also after a build from elsewhere."""
        built_from = self._follower.snapshot.manifest.photos_root
        if self._places.built_from != built_from:
            self._places = PhotoPlaces(self.folder, built_from, self._access)
        return self._places

    @property
    def reads_ahead(self) -> int:
        """How many photos are worth reading ahead of those being processed."""
        return self._photos().reads_ahead

    @property
    def place(self) -> str:
        """The gallery as a user names it."""
        return str(self.folder)

    def columns(self) -> list[ColumnFacts]:
        """The declared attributes, with examples."""
        known = self.store.attributes
        return [
            ColumnFacts(one.name, one.type, one.safety, examples_of(known, one))
            for one in known.declared().values()
        ]

    def known_counts(self) -> dict[str, int]:
        """Of how many photos each attribute is known."""
        return self.store.attributes.known_counts()

    @property
    def count(self) -> int:
        """The number of photos."""
        return self.refresh().count

    @property
    def labels(self) -> int:
        """The number of different labels. Counted once for each change."""
        now = self.refresh()
        counted = self._labels
        if counted[:2] != (now.manifest.generation, now.seq):
            self._labels = counted = (now.manifest.generation, now.seq, now.store.labels())
        return counted[2]

    def photos(self) -> tuple[list[Photo], VectorFile, npt.NDArray[np.int64]]:
        """All photos, the vectors, and the row of each photo in them, int64 [count]."""
        return self.refresh().photos()

    def compared(self, most: int | None = None) -> tuple[EveryPhoto, Compared]:
        """As `photos`, and what finds rows of these vectors near one.

        If there are more photos than `most`, it is a uniform sample of about so many, by their
        hashes.
        """
        now = self.refresh()
        return now.photos(most), now.index

    def version(self) -> str:
        """A text that is another one after each change of the photos or what is known of them."""
        now = self.refresh()
        return f"{now.manifest.generation}-{now.seq}"

    def search(self, query: npt.NDArray[np.float32], k: int) -> list[Hit]:
        """The k photos nearest to a unit vector, float32 [dimension]; all if there are fewer.

        Raises QueryError for k < 1.
        """
        while True:
            now = self.refresh()
            rows, scores = now.index.search(query, k, now.allowed)
            photos = now.store.at(rows)
            if len(photos) == len(rows):
                return [
                    Hit(photos[int(row)], float(score))
                    for row, score in zip(rows, scores, strict=True)
                ]
            now.expect_changed()  # one was removed meanwhile

    def find(
        self, query: npt.NDArray[np.float32], k: int, **options: Unpack[FindOptions]
    ) -> FindResult:
        """The k photos nearest to a unit vector, float32 [dimension]; see `FindOptions`.

        Of several queries, [n, dimension], that counts to which a photo is least similar. Raises
        QueryError, also for pages of a varied answer, which is not in the order of the
        scores.
        """
        return find_in(self.refresh, query, k, options)

    def find_written(
        self, query: WordsQuery, limit: int, where: Filter | None = None
    ) -> WrittenResult:
        """The photos with the words of a query in what is written, at most `limit`, best first.

        Raises QueryError, or ArtifactError where the index of words must be made first.
        """
        return find_written(self.refresh(), query, limit, where)

    def suggest(self, begun: str, limit: int = 10) -> list[Suggestion]:
        """Labels, names and attributes for what somebody begins to type. Raises QueryError."""
        return suggest(self.refresh().store, begun, limit)

    def browse(
        self,
        selected: Selected,
        sort: Sort,
        limit: int,
        cursor: str | None = None,
        around: str | None = None,
    ) -> PhotoPage:
        """A page of the selected photos, at most `limit`; `cursor` is the `next` of the last one.

        Without a cursor, the page with the photo `around` in its middle, or the first one. Raises
        QueryError, or PhotoNotFoundError.
        """
        return browse(self.refresh, selected, sort, limit, cursor, around)

    def label_page(self, begun: str, limit: int, cursor: str | None = None) -> LabelPage:
        """A page of the labels that somebody begins to type, with counts. Raises QueryError."""
        return label_page(self.refresh, begun, limit, cursor)

    def facets(self, selected: Selected, limit: int) -> FacetCounts:
        """The values of each attribute, at most `limit`, and how many selected photos have them.

        Raises QueryError.
        """
        return facets(self.refresh, selected, limit)

    def vector(self, photo_id: str) -> npt.NDArray[np.float32]:
        """The vector, float32 [dimension], of a photo. Raises PhotoNotFoundError."""
        now = self.refresh()
        row, _ = _find(now.store, photo_id)
        if row >= len(now.vectors):  # added in between
            now = now.with_new_changes()
        vector: npt.NDArray[np.float32] = now.vectors.take(np.array([row]))[0]
        return vector

    def vectors(self, photo_ids: Sequence[str]) -> npt.NDArray[np.float32]:
        """The vectors, float32 [photos, dimension], of photos. Raises PhotoNotFoundError."""
        return np.stack([self.vector(one) for one in photo_ids])

    def photo(self, photo_id: str) -> Photo:
        """Raises PhotoNotFoundError."""
        return _find(self.store, photo_id)[1]

    def is_found_by_part(self, photo_id: str, query: npt.NDArray[np.float32]) -> bool:
        """Whether a unit vector finds a photo by one of its parts, as `find` says by a box.

        Raises PhotoNotFoundError.
        """
        now = self.refresh()
        if now.parts is None or now.manifest.tuned:  # its scores are averages, not similarities
            return False
        row, photo = _find(now.store, photo_id)
        if row >= len(now.vectors):  # pragma: no cover - added in between, by another thread
            return False
        whole = float(now.vectors.scores_of(np.array([row]), query)[0])
        return bool(now.parts.boxes({row: photo}, {row: whole + ROUNDED}, now.vectors, query))

    def facts(self, photo_id: str) -> tuple[Photo, dict[str, Value]]:
        """A photo and its known attributes. Raises PhotoNotFoundError."""
        store = self.store
        row, photo = _find(store, photo_id)
        return photo, store.attributes.read(row)

    def where(self, photo: Photo) -> str:
        """The path or s3:// URL of its file; in a pulled gallery, its original name."""
        if self._places.files.is_pulled:
            return photo.file
        root, file = self._photos().place_of(photo)
        return root.where(file)

    def read(self, photo: Photo) -> bytes:
        """The bytes of a photo: see `PhotoPlaces.read`."""
        return self._photos().read(photo)

    def sample(self, count: int, seed: int, where: Filter | None = None) -> list[Photo]:
        """Random photos that pass a filter, the same for the same seed; all if there are fewer."""
        now = self.refresh()
        alive = now.alive
        if where is not None:
            alive = alive & select(where, now.store.attributes, len(alive)).mask
        rows = np.flatnonzero(alive).tolist()
        drawn = random.Random(seed).sample(rows, min(count, len(rows)))  # noqa: S311
        photos = now.store.at(drawn)
        return [photos[row] for row in drawn if row in photos]


def _find(store: Store, photo_id: str) -> tuple[int, Photo]:
    found = store.find(photo_id)
    if found is None:
        raise PhotoNotFoundError(f"there is no photo {photo_id[:40]!r} in this gallery")
    return found
