"""A gallery on Milvus, with the interface of LocalGallery; the engine does the searching."""

import json
import math
import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self, Unpack

import numpy as np
import numpy.typing as npt

from deepfood.config import Settings
from deepfood.data.root import Root
from deepfood.errors import ArtifactMissingError, PhotoNotFoundError, QueryError
from deepfood.gallery.browse import FacetCounts, LabelPage, PhotoPage, Selected, Sort
from deepfood.gallery.filters import Filter
from deepfood.gallery.joined_parts import ROUNDED
from deepfood.gallery.photo import Hit, Photo, Skipped, sample_bound
from deepfood.gallery.protocol import (
    ColumnFacts,
    Compared,
    EveryPhoto,
    FindOptions,
    FindResult,
)
from deepfood.gallery.queries import similarity
from deepfood.gallery.record import Record
from deepfood.gallery.reports import PartsReport
from deepfood.gallery.values import Value
from deepfood.gallery.written import Suggestion, WordsQuery, WrittenResult
from deepfood.milvus.address import MilvusAddress
from deepfood.milvus.before_images import BeforeImages
from deepfood.milvus.browse import browse, facets, label_page
from deepfood.milvus.connection import Connection
from deepfood.milvus.expressions import expression_of, known
from deepfood.milvus.fetched import MemoryVectors, Neighbours
from deepfood.milvus.find import find_in
from deepfood.milvus.find_written import find_written
from deepfood.milvus.generations import collection_of, find_generation, living_collection
from deepfood.milvus.journal import MilvusJournal
from deepfood.milvus.metadata import GalleryMetadata, MilvusManifest
from deepfood.milvus.parts import FOUND, StoredParts, parts_of
from deepfood.milvus.rows import MOST, Rows, is_id
from deepfood.milvus.schema import PHOTO_ROW, attributes_of, photo_of
from deepfood.milvus.stored_photos import StoredPhotos
from deepfood.milvus.suggest import suggest
from deepfood.model import Model

Vectors = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Generation:
    """What the alias named at one moment: one search uses only one generation."""

    manifest: MilvusManifest
    rows: Rows
    #: The rows of the parts of photos, where they are searched.
    parts: Rows | None
    stored: StoredPhotos


#: The alias and manifest are read again when they are older than this.
_FRESH_S = 1.0


class MilvusGallery:
    """Search by vector or by id, from many threads and many processes.

    Every method raises EngineError if the engine is unavailable for longer than `milvus_timeout_s`.
    """

    def __init__(
        self, connection: Connection, settings: Settings, collection: str | None = None
    ) -> None:
        """`collection` is a fixed generation, living or not; None follows the alias."""
        self.address = connection.address
        self.superseded = False
        #: Photos that were looked at for their parts, or could not be read, as they were noted.
        self.tried: dict[str, int] = {}
        self._connection = connection
        self._settings = settings
        self._metadata = GalleryMetadata(connection)
        self._looked = 0.0
        self._now: Generation | None = None
        self._fixed = collection
        # The user of a fixed generation decides when to read its manifest again.
        self._fresh_s = math.inf if collection else _FRESH_S
        self.refresh()

    @classmethod
    def open(
        cls,
        address: MilvusAddress,
        settings: Settings,
        model: Model | None = None,
        *,
        strong: bool = False,
    ) -> Self:
        """Open a gallery; `model` is the one that queries are embedded with, if it is searched.

        `strong`: it shows every acknowledged change. So must what a command sees, as it may follow
        another one, while searches may be some seconds late, by the setting milvus_consistency.
        Raises ArtifactMissingError, ModelMismatchError or EngineError.
        """
        opened = Connection.strong if strong else Connection
        gallery = cls(opened(address, settings), settings)
        if model is not None:
            gallery.check_model(model)
        return gallery

    def close(self) -> None:
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def check_model(self, model: Model) -> None:
        """Raise ModelMismatchError unless the gallery was made with this Model."""
        self.manifest.check_model(model, self.address)

    def refresh(self) -> Generation:
        """The generation that the alias names, read again every second.

        A generation with another Model is not opened, as queries come from the old one:
        `superseded` is then True.
        """
        now = self._now
        if now is not None and (self.superseded or time.monotonic() < self._looked + self._fresh_s):
            return now
        collection = self._fixed or self._living()
        manifest = self._metadata.manifest(collection, self._connection.consistency)
        self._looked = time.monotonic()
        if now and manifest.model_fingerprint != now.manifest.model_fingerprint:
            self.superseded = True
            return now
        same = now is not None and now.manifest == manifest
        ef = self._settings.hnsw_ef_search
        of_parts = parts_of(collection) if manifest.parts == "kept" else None
        self._now = Generation(
            manifest,
            Rows(self._connection, collection, ef),
            Rows(self._connection, of_parts, ef) if of_parts else None,
            now.stored if now and same else StoredPhotos(manifest, self._settings),
        )
        return self._now

    @property
    def manifest(self) -> MilvusManifest:
        return self.refresh().manifest

    @property
    def place(self) -> str:
        """The gallery as a user names it."""
        return str(self.address)

    @property
    def connection(self) -> Connection:
        return self._connection

    @property
    def metadata(self) -> GalleryMetadata:
        """Manifests, journal and Model: what belongs to the gallery as a whole."""
        return self._metadata

    def generation_with(self, model: Model) -> "MilvusGallery":
        """An unfinished generation with another Model. Raises ArtifactMissingError."""
        collection = find_generation(self._connection, self._metadata, model)
        if collection is None:
            raise ArtifactMissingError(f"{self.place} is not being embedded again")
        return MilvusGallery(self._connection, self._settings, collection)

    def follow(self) -> MilvusManifest:
        """The manifest, read again now."""
        self._looked = -math.inf
        return self.manifest

    def columns(self) -> list[ColumnFacts]:
        """The declared attributes, without examples, which would need a scan of all rows."""
        return [
            ColumnFacts(name, one.type, one.safety, [])
            for name, one in self.manifest.columns.items()
        ]

    def known_counts(self) -> dict[str, int]:
        """Of how many photos each attribute is known."""
        now = self.refresh()
        return {name: now.rows.count(known(name)) for name in now.manifest.columns}

    def where(self, photo: Photo) -> str:
        """The path or s3:// URL of a photo's file."""
        return self.stored.where(photo)

    @property
    def rows(self) -> Rows:
        """The rows of the living generation."""
        return self.refresh().rows

    @property
    def stored(self) -> StoredPhotos:
        """The bytes of the living generation's photos."""
        return self.refresh().stored

    @property
    def collection(self) -> str:
        """The collection of the living generation."""
        return self.rows.collection

    @property
    def count(self) -> int:
        """The number of photos."""
        return self.rows.count("")

    @property
    def labels(self) -> int:
        """The number of different labels at the last build."""
        return self.manifest.labels

    @property
    def photos_root(self) -> Root:
        return self.stored.root

    @property
    def reads_ahead(self) -> int:
        """As in LocalGallery."""
        return self.stored.reads_ahead

    def compared(self, most: int | None = None) -> tuple[EveryPhoto, Compared]:
        """As in LocalGallery; the photos are fetched."""
        every = self.photos(most)
        return every, Neighbours(self, every)

    def version(self) -> str:
        """As in LocalGallery, up to a second late after a build."""
        about = self.refresh().manifest
        return f"{about.generation}-{about.revision}-{self.journal.count()}"

    def search(self, query: Vectors, k: int) -> list[Hit]:
        """The k photos nearest to a unit vector, float32 [dimension]; all if there are fewer.

        Raises QueryError for k < 1.
        """
        if k < 1:
            raise QueryError(f"k = {k}: ask for at least 1 photo")
        return self.rows.hits(query, k)

    def find(self, query: Vectors, k: int, **options: Unpack[FindOptions]) -> FindResult:
        """As in LocalGallery."""
        now = self.refresh()
        return find_in(now.manifest, now.rows, now.parts, query, k, options)

    def find_written(
        self, query: WordsQuery, limit: int, where: Filter | None = None
    ) -> WrittenResult:
        """As in LocalGallery, in another order: see milvus/find_written.py."""
        now = self.refresh()
        return find_written(now.manifest, now.rows, query, limit, where)

    def suggest(self, begun: str, limit: int = 10) -> list[Suggestion]:
        """As in LocalGallery; if very many photos match, from a part of them."""
        return suggest(self.rows, begun, limit)

    def browse(
        self,
        selected: Selected,
        sort: Sort,
        limit: int,
        cursor: str | None = None,
        around: str | None = None,
    ) -> PhotoPage:
        """As the local gallery's."""
        now = self.refresh()
        middle = None if around is None or cursor else self._row(around, PHOTO_ROW)
        return browse(now.manifest, now.rows, selected, sort, limit, cursor, middle)

    def label_page(self, begun: str, limit: int, cursor: str | None = None) -> LabelPage:
        """As the local gallery's, of a part of very many photos."""
        now = self.refresh()
        return label_page(now.manifest, now.rows, begun, limit, cursor)

    def facets(self, selected: Selected, limit: int) -> FacetCounts:
        """As the local gallery's, of a part of very many photos."""
        now = self.refresh()
        return facets(now.manifest, now.rows, selected, limit)

    def vector(self, photo_id: str) -> Vectors:
        """The vector, float32 [dimension], of a photo. Raises PhotoNotFoundError."""
        return np.array(self._row(photo_id, ["vector"])["vector"], np.float32)

    def is_found_by_part(self, photo_id: str, query: Vectors) -> bool:
        """As in LocalGallery."""
        now = self.refresh()
        if now.parts is None or now.manifest.tuned:  # its scores are averages, not similarities
            return False
        whole = self.vector(photo_id)[np.newaxis]
        rows = now.parts.query(f'{FOUND} and photo == "{photo_id}"', ["vector"])
        if not rows:
            return False
        vectors = np.array([row["vector"] for row in rows], np.float32)
        return bool(similarity(query, vectors).max() > similarity(query, whole)[0] + ROUNDED)

    def vectors(self, photo_ids: Sequence[str]) -> Vectors:
        """The vectors, float32 [photos, dimension], of photos. Raises PhotoNotFoundError."""
        now = self.refresh()
        found = now.rows.vectors(photo_ids, now.manifest.dimension)
        if len(found) < len(photo_ids):  # one was removed, and is named
            return np.stack([self.vector(one) for one in photo_ids])
        return found

    def photo(self, photo_id: str) -> Photo:
        """Raises PhotoNotFoundError."""
        return photo_of(self._row(photo_id, PHOTO_ROW))

    def facts(self, photo_id: str) -> tuple[Photo, dict[str, Value]]:
        """A photo and its known attributes. Raises PhotoNotFoundError."""
        row = self._row(photo_id, PHOTO_ROW)
        return photo_of(row), attributes_of(row)

    def read(self, photo: Photo) -> bytes:
        """The bytes of a photo, if they still are those that were embedded.

        Raises PhotoNotFoundError.
        """
        return self.stored.read(photo)

    def sample(self, count: int, seed: int, where: Filter | None = None) -> list[Photo]:
        """Random photos that pass the filter, the same for the same seed; all if there are fewer.

        Ids are digits of a hash, so that a range of them is a uniform sample.
        """
        rng = random.Random(seed)  # noqa: S311
        now = self.refresh()
        passes = expression_of(where, now.manifest.columns).passes if where else ""
        total = now.rows.count(passes)
        share = min(1.0, 4 * count / max(total, 1))
        width = int(share * 0x10000)
        start = rng.randrange(0x10000)
        ends = [(start, start + width)] if share < 1 else [(0, 0x10000)]
        if ends[0][1] > 0x10000:
            ends = [(start, 0x10000), (0, start + width - 0x10000)]
        drawn = " or ".join(f'(id >= "{a:04x}" and id < "{b:04x}")' for a, b in ends)
        drawn = drawn.replace('"10000"', '"g"')  # beyond all hex digits
        asked = f"({drawn}) and ({passes})" if passes else drawn
        rows = now.rows.query(asked, PHOTO_ROW, limit=min(MOST, 8 * count + 64))
        rows.sort(key=lambda row: str(row["id"]))
        return [photo_of(row) for row in rng.sample(rows, min(count, len(rows)))]

    def parts(self) -> StoredParts:
        """The parts of the living generation's photos, which it need not keep."""
        return StoredParts(self._connection, self._metadata, self.collection)

    def parts_report(self) -> PartsReport | None:
        """The parts that are searched, if they are."""
        now = self.refresh()
        if now.parts is None:
            return None
        return PartsReport(now.parts.count(FOUND), "f32", now.manifest.index.kind)

    def left_out(self) -> list[Skipped]:
        """The files that the last build could not use, and why."""
        text = self._metadata.read(f"{self.collection}/left_out")
        return [Skipped(**one) for one in json.loads(text or "[]")]

    def note_left_out(self, files: Sequence[Skipped]) -> None:
        """Replace the list of files that could not be used, or are removed."""
        text = json.dumps([asdict(one) for one in files])
        self._metadata.write(f"{self.collection}/left_out", text)

    def before_images(self, revision: int) -> BeforeImages:
        """The images that lead back from a revision of this generation to the previous one."""
        return BeforeImages(self._connection, self._metadata, self.collection, revision)

    def before(self) -> MilvusManifest | None:
        """The manifest that a rollback returns to; None if there is none.

        Raises an ArtifactError if it is missing or cannot be read.
        """
        now = self.manifest
        images = self.before_images(now.revision)
        state = images.state()
        if state is not None:
            return state.manifest
        images.check(now.before_images)
        return (
            self._metadata.manifest(collection_of(self.address.name, now.before))
            if now.before
            else None
        )

    @property
    def journal(self) -> MilvusJournal:
        """The manual edits, shared by all generations."""
        return MilvusJournal(self._metadata)

    def history(self) -> Iterator[Record]:
        """All changes and their authors, in order. Raises ArtifactCorruptError."""
        return self.journal.records()

    def photos(self, most: int | None = None) -> EveryPhoto:
        """All photos, their vectors, and the row of each photo in them, int64 [count].

        If there are more than `most`, about so many of them, by their hashes.
        """
        now = self.refresh()
        where = ""
        if most is not None and (count := now.rows.count("")) > most:
            where = f'id < "{sample_bound(count, most)}"'
        found = now.rows.every([*PHOTO_ROW, "vector"], where)
        rows = sorted(found, key=lambda row: str(row["id"]))
        size = now.manifest.dimension
        vectors = np.array([row["vector"] for row in rows], np.float32).reshape(len(rows), size)
        return [photo_of(row) for row in rows], MemoryVectors(vectors), np.arange(len(rows))

    def _living(self) -> str:
        """The collection that the alias names. Raises ArtifactMissingError."""
        collection = living_collection(self._connection)
        if collection is None:
            raise ArtifactMissingError(
                f"there is no gallery {self.address}: make it with deepfood build PHOTOS --out "
                f"{self.address}"
            )
        return collection

    def _row(self, photo_id: str, fields: Sequence[str]) -> dict[str, Any]:
        rows = self.rows.query(f'id == "{photo_id}"', fields) if is_id(photo_id) else []
        if not rows:
            raise PhotoNotFoundError(f"there is no photo {photo_id[:40]!r} in this gallery")
        return rows[0]
