"""A gallery on Milvus that is searched: the local Gallery's questions, answered by the engine."""

import json
import random
import time
from collections.abc import Iterator, Sequence
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from deepfood.config import Settings
from deepfood.data.locate import root_named
from deepfood.data.root import Root
from deepfood.errors import ArtifactMissingError, ModelMismatchError, PhotoNotFoundError, QueryError
from deepfood.gallery.cursor import Cursor, asked, page
from deepfood.gallery.entry import Hit, Photo, Skipped
from deepfood.gallery.filters import Filter
from deepfood.gallery.find import Found
from deepfood.gallery.queries import NEAR_DUPLICATE, diversify, group
from deepfood.gallery.searched import ColumnFacts
from deepfood.gallery.values import Value
from deepfood.milvus.about import About, MilvusManifest
from deepfood.milvus.address import MilvusAddress
from deepfood.milvus.connection import Connection
from deepfood.milvus.expressions import Expression, expression_of
from deepfood.milvus.generations import living
from deepfood.milvus.photos import StoredPhotos
from deepfood.milvus.schema import METRIC, PHOTO_ROW, WRITTEN, attributes_of, photo_of
from deepfood.model import Model

Vectors = npt.NDArray[np.float32]

#: Milvus gives no more in one answer.
_MOST = 16_384
_PAGE = 1000
#: The alias and manifest are asked for again when they are older than this.
_FRESH_S = 1.0
_POOL, _LARGEST_POOL = 5, 2000


class MilvusGallery:
    """Search by vector or by id, from many threads and many processes.

    Every method raises EngineError where the engine is away for longer than `milvus_timeout_s`.
    """

    def __init__(
        self, connection: Connection, settings: Settings, collection: str | None = None
    ) -> None:
        """`collection` is a generation that is not the living one; None follows the alias."""
        self.address = connection.address
        self.superseded = False
        self._connection = connection
        self._settings = settings
        self._about = About(connection)
        self._looked = 0.0
        self._manifest: MilvusManifest | None = None
        self._collection = ""
        self._fixed = collection
        self.refresh()

    @classmethod
    def open(cls, address: MilvusAddress, settings: Settings, model: Model | None = None) -> Self:
        """Open a gallery, with the Model that its queries are embedded with if it is searched.

        Raises ArtifactMissingError, ModelMismatchError or EngineError.
        """
        gallery = cls(Connection(address, settings), settings)
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
        if self.manifest.model_fingerprint != model.fingerprint:
            raise ModelMismatchError(
                f"{self.address} was made with the Model {self.manifest.model_name} "
                f"({self.manifest.model_fingerprint[:12]}), and you are using "
                f"{model.manifest.name} ({model.fingerprint[:12]}): leave --model out, or build "
                "it again"
            )

    def refresh(self) -> MilvusManifest:
        """What the alias names now; looked up again each second.

        A generation made with another Model is not taken on, for the queries come from the old
        one: `superseded` is then True.
        """
        if self._manifest is not None and (
            self.superseded or time.monotonic() < self._looked + _FRESH_S
        ):
            return self._manifest
        collection = self._fixed or self._living()
        manifest = self._about.manifest(collection)
        self._looked = time.monotonic()
        if self._manifest and manifest.model_fingerprint != self._manifest.model_fingerprint:
            self.superseded = True
            return self._manifest
        self._collection, self._manifest = collection, manifest
        return manifest

    @property
    def manifest(self) -> MilvusManifest:
        return self.refresh()

    @property
    def place(self) -> str:
        """As a user names it."""
        return str(self.address)

    @property
    def about(self) -> About:
        """What is said of the gallery as a whole."""
        return self._about

    def follow(self) -> MilvusManifest:
        """As `refresh`, and looks at once."""
        self._looked = -_FRESH_S
        return self.refresh()

    def columns(self) -> list[ColumnFacts]:
        """The attributes that are declared, without examples: none are looked for in so many."""
        return [
            ColumnFacts(name, one.type, one.safety, [])
            for name, one in self.manifest.columns.items()
        ]

    def where(self, photo: Photo) -> str:
        """A photo's full name, to show."""
        return StoredPhotos.of(self.manifest, self._settings).where(photo)

    @property
    def collection(self) -> str:
        """The collection of the living generation."""
        self.refresh()
        return self._collection

    @property
    def count(self) -> int:
        """How many photos there are."""
        return self._counted("")

    @property
    def labels(self) -> int:
        """How many different labels there were at the last build."""
        return self.manifest.labels

    @property
    def photos_root(self) -> Root:
        return root_named(self._settings.photos_root or self.manifest.photos_root)

    def search(self, query: Vectors, k: int) -> list[Hit]:
        """The k photos nearest to a unit vector, float32 [dimension]; all where there are fewer.

        Raises QueryError for k < 1.
        """
        if k < 1:
            raise QueryError(f"k = {k}: ask for at least 1 photo")
        return _hits(self._search(query, k, ""))

    def search_like(self, photo_id: str, k: int) -> list[Hit]:
        """The k photos nearest to one of the gallery, itself left out. Raises QueryError."""
        hits = self.search(self.vector(photo_id), k + 1 if k > 0 else k)
        return [hit for hit in hits if hit.photo.id != photo_id][:k]

    def find(
        self,
        query: Vectors,
        k: int,
        *,
        where: Filter | None = None,
        diverse: float = 0.0,
        grouped: bool = False,
        after: str | None = None,
        without: Sequence[str] = (),
    ) -> Found:
        """As `deepfood.gallery.find.find`, which says what all of it means."""
        if k < 1:
            raise QueryError(f"k = {k}: ask for at least 1 photo")
        if after is not None and (grouped or diverse != 0):
            raise QueryError("a varied or grouped answer has no further pages: ask for a larger k")
        manifest = self.refresh()
        question = asked(query, str(where or ""), *without)
        cursor = Cursor.parse(after, question, manifest.generation) if after else None
        expression = expression_of(where, manifest.columns) if where else None
        parts = [f"({expression.passes})"] if expression else []
        first_page = cursor.rows if cursor else time.time_ns()
        if cursor:
            parts.append(f"{WRITTEN} <= {first_page}")
        if ids := [one for one in without if _is_id(one)]:
            parts.append(f"not (id in [{_quoted(ids)}])")
        allowed = " and ".join(parts)
        notes = self._notes(expression) if expression else ()
        if grouped or diverse != 0:
            groups = self._varied(query, k, allowed, diverse, grouped)
            return self._found(groups, notes, None)
        found: dict[int, Hit] = {}

        def search(count: int) -> tuple[npt.NDArray[np.int64], Vectors]:
            hits = _hits(self._search(query, count, allowed))
            # Equal ones by id; 63 bits of it are as good as all.
            numbers = np.array([int(hit.photo.id[:15], 16) for hit in hits], np.int64)
            found.update(zip(numbers.tolist(), hits, strict=True))
            scores = np.array([hit.score for hit in hits], np.float32)
            order = np.lexsort((numbers, -scores))
            return numbers[order], scores[order]

        rows, scores, more = page(search, k, cursor)
        following = None
        if more:
            seen = (cursor.seen if cursor else 0) + k
            last = float(scores[-1]), int(rows[-1])
            following = Cursor(manifest.generation, first_page, *last, seen).text(question)
        return self._found([[found[int(row)]] for row in rows], notes, following)

    def _found(
        self, groups: Sequence[Sequence[Hit]], notes: tuple[str, ...], following: str | None
    ) -> Found:
        """Each group's best hit is shown, the others beside it."""
        hits = [members[0] for members in groups]
        attributes = self._attributes([hit.photo.id for hit in hits])
        alike = [list(members[1:]) for members in groups]
        return Found(hits, alike, attributes, notes, following)

    def _attributes(self, ids: Sequence[str]) -> dict[str, dict[str, Value]]:
        if not ids or not self.manifest.columns:
            return {}
        rows = self._query(f"id in [{_quoted(ids)}]", ["id", "said"])
        return {row["id"]: attributes_of(row) for row in rows}

    def vector(self, photo_id: str) -> Vectors:
        """The vector, float32 [dimension], of a photo of the gallery. Raises PhotoNotFoundError."""
        return np.array(self._row(photo_id, ["vector"])["vector"], np.float32)

    def photo(self, photo_id: str) -> Photo:
        """Raises PhotoNotFoundError."""
        return photo_of(self._row(photo_id, PHOTO_ROW))

    def facts(self, photo_id: str) -> tuple[Photo, dict[str, Value]]:
        """A photo and its attributes, those that are known. Raises PhotoNotFoundError."""
        row = self._row(photo_id, PHOTO_ROW)
        return photo_of(row), attributes_of(row)

    def read(self, photo: Photo) -> bytes:
        """The photo's file, if it still is what was embedded. Raises PhotoNotFoundError."""
        return StoredPhotos.of(self.manifest, self._settings).read(photo)

    def sample(self, count: int, seed: int) -> list[Photo]:
        """Photos drawn at random, the same for the same seed; all where there are fewer.

        Ids are digits of a hash, so that those which begin alike are a fair draw.
        """
        rng = random.Random(seed)  # noqa: S311
        total = self.count
        share = min(1.0, 4 * count / max(total, 1))
        width = int(share * 0x10000)
        start = rng.randrange(0x10000)
        ends = [(start, start + width)] if share < 1 else [(0, 0x10000)]
        if ends[0][1] > 0x10000:
            ends = [(start, 0x10000), (0, start + width - 0x10000)]
        where = " or ".join(f'(id >= "{a:04x}" and id < "{b:04x}")' for a, b in ends)
        where = where.replace('"10000"', '"g"')  # beyond all hex digits
        rows = self._query(where, PHOTO_ROW, limit=min(_MOST, 8 * count + 64))
        rows.sort(key=lambda row: str(row["id"]))
        return [photo_of(row) for row in rng.sample(rows, min(count, len(rows)))]

    def left_out(self) -> list[Skipped]:
        """The files that the last build could not use, and why."""
        text = self._about.read(f"{self.collection}/left_out")
        return [Skipped(**one) for one in json.loads(text or "[]")]

    def every(self, fields: Sequence[str], where: str = "") -> Iterator[dict[str, Any]]:
        """All rows, a thousand at a time from the engine."""
        self.refresh()
        for rows in self._connection.pages(self._collection, where, fields, _PAGE):
            yield from rows

    def photos(self) -> tuple[list[Photo], "HeldVectors", npt.NDArray[np.int64]]:
        """All photos, their vectors, and of each photo its row in them, int64 [count]."""
        rows = sorted(self.every([*PHOTO_ROW, "vector"]), key=lambda row: str(row["id"]))
        size = self.manifest.dimension
        vectors = np.array([row["vector"] for row in rows], np.float32).reshape(len(rows), size)
        return [photo_of(row) for row in rows], HeldVectors(vectors), np.arange(len(rows))

    def _living(self) -> str:
        """The collection that the alias names. Raises ArtifactMissingError."""
        collection = living(self._connection)
        if collection is None:
            raise ArtifactMissingError(
                f"there is no gallery {self.address}: make it with deepfood build PHOTOS --out "
                f"{self.address}"
            )
        return collection

    def _search(self, query: Vectors, k: int, where: str) -> list[dict[str, Any]]:
        """The rows of the k nearest that satisfy `where`, the nearest first."""
        if k > _MOST:
            raise QueryError(f"{k} photos at once are too many for Milvus: ask for {_MOST:,}")
        care = max(self._settings.hnsw_ef_search, 2 * k)
        while True:
            rows = self._asked(query, k, where, care)
            if len(rows) == k or care >= 8 * _MOST:
                return rows
            # The graph may end early behind a filter: there are perhaps not more.
            if len(rows) >= min(k, self._counted(where)):
                return rows
            if care >= _MOST:
                return self._scanned(query, k, where)
            care *= 8

    def _asked(self, query: Vectors, k: int, where: str, care: int) -> list[dict[str, Any]]:
        (hits,) = self._connection.ask(
            "search",
            collection_name=self._collection,
            data=[query.tolist()],
            anns_field="vector",
            limit=k,
            filter=where,
            output_fields=PHOTO_ROW,
            search_params={"metric_type": METRIC, "params": {"ef": min(care, 2 * _MOST)}},
            consistency_level=self._connection.consistency,
        )
        return [{**hit["entity"], "id": hit["id"], "score": hit["distance"]} for hit in hits]

    def _scanned(self, query: Vectors, k: int, where: str) -> list[dict[str, Any]]:
        """As `_search`, all compared here: for a filter behind which the graph finds too few."""
        best: list[dict[str, Any]] = []
        for row in self.every([*PHOTO_ROW, "vector"], where):
            row["score"] = float(np.dot(np.array(row.pop("vector"), np.float32), query))
            best.append(row)
            if len(best) >= 4 * k + _PAGE:
                best = sorted(best, key=lambda one: -one["score"])[:k]
        return sorted(best, key=lambda one: -one["score"])[:k]

    def _varied(
        self, query: Vectors, k: int, where: str, diverse: float, grouped: bool
    ) -> list[list[Hit]]:
        pool = k * _POOL
        while True:
            pool = min(pool, max(_LARGEST_POOL, k))
            hits = _hits(self._search(query, pool, where))
            vectors = self._vectors([hit.photo.id for hit in hits])
            scores = np.array([hit.score for hit in hits], np.float32)
            groups = group(vectors, NEAR_DUPLICATE) if grouped else [[i] for i in range(len(hits))]
            enough = len(groups) >= k * (_POOL if diverse else 1)
            if enough or len(hits) < pool or pool >= _LARGEST_POOL:
                break
            pool *= 4
        firsts = [members[0] for members in groups]
        order = diversify(vectors[firsts], scores[firsts], k, diverse)
        return [[hits[place] for place in groups[i]] for i in order]

    def _notes(self, expression: Expression) -> tuple[str, ...]:
        """What is said of photos that a safety attribute leaves out."""
        notes = []
        if expression.unknown and (unknown := self._counted(expression.unknown)):
            photos = "1 photo is" if unknown == 1 else f"{unknown:,} photos are"
            notes.append(f"{photos} left out: {' or '.join(expression.safety)} not known")
        for where, said in expression.spelled:
            if not self._counted(where):
                notes.append(f"no photo has {said}: is it spelled as in this gallery?")
        return tuple(notes)

    def _counted(self, where: str) -> int:
        return int(self._query(where, ["count(*)"])[0]["count(*)"])

    def _vectors(self, ids: Sequence[str]) -> Vectors:
        rows = self._query(f"id in [{_quoted(ids)}]", ["id", "vector"]) if ids else []
        by_id = {row["id"]: row["vector"] for row in rows}
        known = [by_id[one] for one in ids if one in by_id]
        return np.array(known, np.float32).reshape(len(known), self.manifest.dimension)

    def _row(self, photo_id: str, fields: Sequence[str]) -> dict[str, Any]:
        rows = self._query(f'id == "{photo_id}"', fields) if _is_id(photo_id) else []
        if not rows:
            raise PhotoNotFoundError(f"there is no photo {photo_id[:40]!r} in this gallery")
        return rows[0]

    def _query(
        self, where: str, fields: Sequence[str], limit: int | None = None
    ) -> list[dict[str, Any]]:
        self.refresh()
        more = {} if limit is None else {"limit": limit}
        return list(
            self._connection.ask(
                "query",
                collection_name=self._collection,
                filter=where,
                output_fields=list(fields),
                consistency_level=self._connection.consistency,
                **more,
            )
        )


class HeldVectors:
    """Vectors in memory, asked like those of a file: float32 [n, dimension]."""

    def __init__(self, vectors: Vectors) -> None:
        self._vectors = vectors

    def __len__(self) -> int:
        return len(self._vectors)

    def take(self, rows: npt.NDArray[np.int64]) -> Vectors:
        return self._vectors[rows]


def _hits(rows: Sequence[dict[str, Any]]) -> list[Hit]:
    return [Hit(photo_of(row), float(np.clip(row["score"], -1, 1))) for row in rows]


def _is_id(text: str) -> bool:
    return len(text) == 20 and all(digit in "0123456789abcdef" for digit in text)


def _quoted(ids: Sequence[str]) -> str:
    return ", ".join(f'"{one}"' for one in ids)
