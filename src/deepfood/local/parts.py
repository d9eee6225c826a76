"""The parts of photos in a Store: a file of their vectors, and a table of their boxes.

They are a cache of photos and Model: no record of the journal has them, and they can be made again.
An entry of the table belongs to a content (SHA-256), and tells which rows of the file are its
parts. A photo that was looked at and shows one dish has an entry without any; one without an entry
has not been looked at yet. The file only grows, and its rows are never reused: rows of photos that
were removed, or of entries that were made again, belong to nothing.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import astuple, dataclass
from typing import Any

import numpy as np

from deepfood.embed import Vectors
from deepfood.errors import ArtifactCorruptError, PhotoNotFoundError
from deepfood.gallery.part_vectors import PhotoParts
from deepfood.gallery.photo import Photo, crc_of
from deepfood.index import Rows, Storage, VectorFile, append_vectors
from deepfood.local.growing_store import GrowingStore
from deepfood.local.store import Store
from deepfood.photo_box import Box

_SCHEMA = (
    "CREATE TABLE IF NOT EXISTS parts ("
    "sha256 TEXT PRIMARY KEY, first INTEGER NOT NULL, count INTEGER NOT NULL, "
    "boxes TEXT NOT NULL, crcs TEXT NOT NULL, checksum INTEGER NOT NULL) STRICT"
)
_FIELDS = "sha256, first, count, boxes, crcs"
#: Variables in one statement: fewer than the limit of SQLite.
_CHUNK = 500


@dataclass(frozen=True)
class PartEntry:
    """Of one content, the boxes of its parts, and which rows of the file are their vectors."""

    sha256: str
    first: int
    boxes: tuple[Box, ...]
    crcs: tuple[int, ...]

    @property
    def rows(self) -> Rows:
        return np.arange(self.first, self.first + len(self.boxes))


class StoredParts:
    """The parts of the photos of a Store, which need not be there yet.

    Raises ArtifactCorruptError where an entry, or a vector, is not what was written.
    """

    def __init__(self, store: Store, storage: Storage) -> None:
        self.store, self.storage = store, storage
        self.path = store.folder / f"parts.{storage}"
        self.row_bytes = VectorFile.empty(store.dimension, storage).row_bytes

    def is_there(self) -> bool:
        """Whether any photo has been looked at."""
        return bool(self.store.query("SELECT 1 FROM sqlite_master WHERE name = 'parts'"))

    def rows(self) -> int:
        """The rows of the file, those that belong to nothing included."""
        return self.path.stat().st_size // self.row_bytes if self.path.is_file() else 0

    def vectors(self) -> VectorFile:
        """The vectors of all parts, memory-mapped."""
        rows, dimension = self.rows(), self.store.dimension
        if not rows:
            return VectorFile.empty(dimension, self.storage)
        return VectorFile.open(self.path, dimension, self.storage, rows)

    def owners(self, since: int | None = None) -> list[tuple[int, int, int]]:
        """Of each photo that has parts: its row, and the first row and the number of its parts.

        `since` limits this to photos that changes after this number concern.
        """
        if not self.is_there():
            return []
        sql = (
            "SELECT p.row, q.first, q.count FROM parts q JOIN photos p USING (sha256) "
            "WHERE q.count > 0"
        )
        if since is None:
            found = self.store.query(sql)
        else:
            some = "AND p.row IN (SELECT row FROM changes WHERE seq > ?)"
            found = self.store.query(f"{sql} {some}", since)
        return [(row, first, count) for row, first, count in found]

    def of(self, photos: Iterable[Photo]) -> dict[str, PartEntry]:
        """The entries of photos that have been looked at, by SHA-256."""
        found = {}
        for some in _chunks([photo.sha256 for photo in photos]):
            marks = ", ".join("?" * len(some))
            for sha256, entry in self._entries(f"WHERE sha256 IN ({marks})", *some):
                if entry is None:
                    raise self._altered("an entry of the parts of photos has been altered")
                found[sha256] = entry
        return found

    def known(self) -> set[str]:
        """The contents that have been looked at, and whose entries and vectors are sound."""
        return {sha256 for sha256, _ in self._entries()} - set(self.altered())

    def altered(self) -> list[str]:
        """The contents whose entry, or a vector of it, is altered or missing."""
        vectors = self.vectors()

        def crcs(entry: PartEntry) -> tuple[int, ...]:
            stop = entry.first + len(entry.boxes)
            return tuple(vectors.crc(entry.first, stop).tolist()) if entry.boxes else ()

        return [
            sha256
            for sha256, entry in self._entries()
            if entry is None or crcs(entry) != entry.crcs
        ]

    def check(self) -> None:
        """Raise ArtifactCorruptError for the first altered entry or vector."""
        for sha256 in self.altered():
            raise self._altered(f"the parts of a photo are altered, {sha256[:20]} first")

    def lacking(self, since: int = 0) -> list[Photo]:
        """The photos that have not been looked at yet; of those changed after number `since`."""
        if not self.is_there():
            return list(self.store.photos())
        sql = (
            "SELECT row FROM photos p "
            "WHERE NOT EXISTS (SELECT 1 FROM parts q WHERE q.sha256 = p.sha256)"
        )
        changed = "AND row IN (SELECT row FROM changes WHERE seq > ?)"
        found = self.store.query(f"{sql} {changed}", since) if since else self.store.query(sql)
        return list(self.store.at(sorted(row for (row,) in found)).values())

    def whole_of(self, photo: Photo) -> Vectors:
        """The vector of a photo as a whole. Raises PhotoNotFoundError where it is gone."""
        found = self.store.find(photo.id)
        if found is None:
            raise PhotoNotFoundError(f"photo {photo.id} was removed from the gallery meanwhile")
        row, _ = found
        return self.store.vector(row)

    def has_to_be_made(self) -> bool:
        """Whether parts are altered, or photos have not been looked at."""
        return bool(self.lacking() or self.altered())

    def counts(self) -> tuple[int, int]:
        """How many photos have parts, and how many parts they have."""
        owners = self.owners()
        return len(owners), sum(count for *_, count in owners)

    def append(self, found: Sequence[tuple[str, PhotoParts]], *, announce: bool = False) -> None:
        """Keep the parts of contents, durable on return; what was known of them is replaced.

        `announce` notes their photos in `changes`, for readers. The Store must be one that grows.
        Raises DiskFullError.
        """
        store = self.store
        assert isinstance(store, GrowingStore)
        start = self.rows()
        vectors = [parts.vectors for _, parts in found]
        nothing = np.empty((0, store.dimension), np.float32)
        crcs = append_vectors(
            self.path, store.dimension, self.storage, start, np.concatenate([nothing, *vectors])
        ).tolist()
        with store.transaction() as work:
            work.db.execute(_SCHEMA)
            for sha256, parts in found:
                count = len(parts.boxes)
                boxes = json.dumps([astuple(box) for box in parts.boxes])
                fields = (sha256, start, count, boxes, json.dumps(crcs[:count]))
                work.db.execute(
                    "INSERT OR REPLACE INTO parts VALUES (?, ?, ?, ?, ?, ?)",
                    (*fields, crc_of(*fields)),
                )
                start, crcs = start + count, crcs[count:]
                if announce and count:
                    rows = work.db.execute("SELECT row FROM photos WHERE sha256 = ?", (sha256,))
                    work.note("update", [row for (row,) in rows.fetchall()])

    def only_of_this_storage(self) -> None:
        """Take out all entries where they belong to a file of another storage."""
        others = [path for path in self.store.folder.glob("parts.*") if path != self.path]
        if others:
            self.forget([sha256 for sha256, _ in self._entries()])
        for path in others:
            path.unlink()

    def forget(self, hashes: Iterable[str]) -> None:
        """Take out the entries of contents, so that their photos are looked at again."""
        assert isinstance(self.store, GrowingStore)
        with self.store.transaction() as work:
            work.db.executemany("DELETE FROM parts WHERE sha256 = ?", ((one,) for one in hashes))

    def copy_from(
        self,
        other: "StoredParts",
        hashes: Iterable[str],
        mapped: Callable[[Vectors], Vectors] | None = None,
    ) -> None:
        """Keep those of `hashes` that another Store has looked at.

        It is of the same Model, or `mapped` makes this Model's vectors of that one's.
        """
        known = other.known()
        vectors = other.vectors()
        for some in _chunks([one for one in hashes if one in known]):
            marks = ", ".join("?" * len(some))
            entries = [one for _, one in other._entries(f"WHERE sha256 IN ({marks})", *some) if one]
            found = [(one, vectors.take(one.rows)) for one in entries]
            self.append(
                [
                    (one.sha256, PhotoParts(one.boxes, mapped(some) if mapped else some))
                    for one, some in found
                ]
            )

    def _entries(self, where: str = "", *values: str) -> Iterator[tuple[str, PartEntry | None]]:
        """Contents and their entries; None for one that is altered."""
        if self.is_there():
            sql = f"SELECT {_FIELDS}, checksum FROM parts {where}"  # noqa: S608
            for *fields, check in self.store.query(sql, *values):
                yield str(fields[0]), _entry(fields) if crc_of(*fields) == check else None

    def _altered(self, what: str) -> ArtifactCorruptError:
        return ArtifactCorruptError(f"{self.path} is damaged: {what}: run deepfood verify --repair")


def _entry(fields: Sequence[Any]) -> PartEntry:
    sha256, first, _, boxes, crcs = fields
    sides = [Box(*one) for one in json.loads(boxes)]
    return PartEntry(sha256, first, tuple(sides), tuple(json.loads(crcs)))


def _chunks(hashes: Sequence[str]) -> Iterator[Sequence[str]]:
    return (hashes[start : start + _CHUNK] for start in range(0, len(hashes), _CHUNK))
