"""The parts of photos: rows of their own in NAME_g000001_parts, beside those of the photos.

They are a cache of photos and Model: no record of the journal has them, and they can be made again.
A row has the vector and box of one part, and a copy of what its photo is found by, as Milvus joins
no collections. The copy follows its original (`settle`): whoever has written rows of photos or of
parts calls it afterwards, so that the last of several sees the rows of all, and the next build does
so for a writer that was killed.

The ids of photos that nobody has looked at yet are noted in NAME_about before their rows are
written, so that a kill leaves too many of them, never too few. So are those of photos that have
parts, before the rows of these are written, so that a photo that has lost all of them is known.
"""

import threading
import time
from collections.abc import Collection, Container, Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from deepfood.batches import batches
from deepfood.config import Settings
from deepfood.data.photo_file import photo_id
from deepfood.embed import Vector
from deepfood.errors import PhotoNotFoundError
from deepfood.gallery.part_vectors import PhotoParts
from deepfood.gallery.photo import Photo
from deepfood.milvus.changed_ids import NotedIds
from deepfood.milvus.connection import Connection
from deepfood.milvus.metadata import GalleryMetadata, MilvusManifest
from deepfood.milvus.rows import BATCH, Row, StrongRows, quoted
from deepfood.milvus.schema import KEYS, WRITTEN, index_of, part_schema

#: What a part's row copies from its photo's.
_COPIED = (KEYS, WRITTEN)
_WHOLE = ["id", "photo", "part", "count", "box", "vector", *_COPIED]
#: WRITTEN of a part whose photo is gone, and may be brought back; and where it is not.
_GONE = 0
FOUND = f"{WRITTEN} > {_GONE}"
#: Photos per request: 20 MB of parts at 1,280 numbers.
_PHOTOS = 500
#: The tolerance for the length of a unit vector.
_LENGTH = 1e-3
#: A note of a photo without a row that is older than this was left by a writer that was killed.
_LEFT_NS = 600 * 10**9


def parts_of(collection: str) -> str:
    """The collection of the parts of a generation's photos."""
    return f"{collection}_parts"


class StoredParts:
    """The rows of the parts of one generation's photos, for writers."""

    def __init__(self, connection: Connection, metadata: GalleryMetadata, collection: str) -> None:
        #: The collections of the photos and of the parts.
        self.photos, self.collection = collection, parts_of(collection)
        self._connection = connection
        self._photos = StrongRows(connection, collection)
        self._parts = StrongRows(connection, self.collection)
        self._unseen = NotedIds(metadata, f"{collection}/unseen")
        self._parted = NotedIds(metadata, f"{collection}/parted")

    def create(self, dimension: int, settings: Settings) -> None:
        """Ensure that the collection is there, and loaded."""
        self._connection.create(
            self.collection, part_schema(dimension), index_of(settings), settings.milvus_shards
        )

    def drop(self) -> None:
        """Delete what there is of it."""
        if self._connection.ask("has_collection", collection_name=self.collection):
            for notes in (self._unseen, self._parted):
                notes.forget()  # first: without the collection nobody looks for notes
            self._connection.ask("drop_collection", collection_name=self.collection)

    def note(self, ids: Collection[str]) -> set[str]:
        """Note photos that nobody has looked at; returns the others, whose parts are there."""
        there = self.owners(ids)
        self._unseen.note([one for one in ids if one not in there])
        return there

    def note_all(self) -> None:
        """As `note`, of all photos."""
        for some in batches((str(row["id"]) for row in self._photos.every(["id"])), BATCH):
            self.note(some)

    def note_faulty(self) -> None:
        """As `note`, of photos whose parts have faults."""
        for some in batches(dict.fromkeys(one for one, _ in self.faulty()), BATCH):
            self._unseen.note(some)

    def unseen(self) -> dict[str, int]:
        """The photos that nobody has looked at, by id; a number that differs once noted again."""
        return self._unseen.read()

    @property
    def has_unseen(self) -> bool:
        """Whether there are any, some seconds late."""
        return self._unseen.are_there

    def forget_left(self, noted: Mapping[str, int]) -> None:
        """Forget notes of photos without a row, which a killed writer has left."""
        before = time.time_ns() - _LEFT_NS
        left = [one for one, number in noted.items() if number < before]
        self._unseen.drop(left, before)

    def wholes(self, ids: Sequence[str]) -> "Wholes":
        """The vectors of photos as wholes, by id, which are asked for in nearly this order."""
        return Wholes(self._photos, ids)

    def put(self, found: Sequence[tuple[str, PhotoParts]]) -> None:
        """Keep the parts of photos, by SHA-256; what was known of them is replaced."""
        begun = time.time_ns()
        by_id = {photo_id(sha256): parts for sha256, parts in found}
        photos = self._photos.named(list(by_id), ["id", *_COPIED])
        rows = [row for one, photo in photos.items() for row in _rows_of(photo, by_id[one])]
        there = {str(row["id"]) for row in self._of(list(by_id), ["id"])}
        parted = {str(row["photo"]) for row in rows}
        self._parted.note(parted)
        self._parts.write(rows)
        self._parts.delete(sorted(there - {row["id"] for row in rows}))
        self._parted.drop([one for one in photos if one not in parted], begun)
        self.settle(list(photos))
        self._unseen.drop(list(photos), begun)

    def owners(self, ids: Collection[str]) -> set[str]:
        """Those of the photos, by id, that have parts."""
        return {str(row["photo"]) for row in self._of(list(ids), ["photo"])}

    def settle(self, ids: Collection[str], kept: Container[str] | None = ()) -> set[str]:
        """Bring parts to what the rows of their photos, by id, say now; those that had parts.

        Parts of photos that are gone are deleted. Where these are `kept`, they stay and are not
        found; None keeps all.
        """
        begun, todo = time.time_ns(), list(ids)
        owners, lost = set[str](), set[str]()
        while todo:
            parts = self._of(todo, ["id", "photo", *_COPIED])
            owners.update(row["photo"] for row in parts)
            photos = self._photos.named(list({row["photo"] for row in parts}), ["id", *_COPIED])
            wanted, unwanted = dict[str, Row](), list[str]()
            for row in parts:
                photo = photos.get(row["photo"])
                if photo is None and kept is not None and row["photo"] not in kept:
                    unwanted.append(row["id"])
                    lost.add(row["photo"])
                elif (copy := _copied(photo or {**row, WRITTEN: _GONE})) != _copied(row):
                    wanted[row["id"]] = copy
            self._parts.delete(unwanted)
            whole = self._parts.named(list(wanted), _WHOLE)
            self._parts.write([{**row, **wanted[one]} for one, row in whole.items()])
            todo = list({row["photo"] for row in whole.values()})
        if lost:  # unless another writer has brought one back meanwhile, to be looked at again
            back = self._photos.named(sorted(lost), ["id"])
            self._unseen.note(back)
            self._parted.drop(sorted(lost - back.keys()), begun)
        return owners

    def settle_all(self, kept: Container[str] | None = None) -> None:
        """As `settle`, of all photos that have parts."""
        for some in batches(self._every_owner(), BATCH):
            self.settle(some, kept)

    def owners_count(self) -> int:
        """How many photos have parts that are found."""
        where = f"part == 0 and {FOUND}"
        return int(self._parts.where(where, ["count(*)"])[0]["count(*)"])

    def faulty(self) -> Iterator[tuple[str, str]]:
        """Photos, by id, whose parts are altered, missing, or differ from the photo, and how."""
        # Read before the parts, and in the order in which `put` writes.
        lost = self._parted.read().keys() - self.unseen().keys()
        for some in batches(self._every_owner(), BATCH):
            lost.difference_update(some)
            photos = self._photos.named(some, ["id", *_COPIED])
            by_photo: dict[str, list[Row]] = {}
            for row in self._of(list(photos), _WHOLE):
                by_photo.setdefault(row["photo"], []).append(row)
            for one, rows in by_photo.items():
                for fault in _faults(rows, photos[one]):
                    yield one, fault
        for some in batches(sorted(lost), BATCH):
            for one in self._photos.named(some, ["id"]):
                yield one, "all of its parts are missing"

    def _every_owner(self) -> Iterator[str]:
        """The photos that have parts, by id; those of a photo follow each other."""
        last = ""
        for row in self._parts.every(["id", "photo"]):
            if row["photo"] != last:
                last = str(row["photo"])
                yield last

    def _of(self, ids: Sequence[str], fields: Sequence[str]) -> list[Row]:
        """The rows of the parts of photos, by id."""
        found: list[Row] = []
        for some in batches(ids, _PHOTOS):
            found += self._parts.where(f"photo in [{quoted(some)}]", fields)
        return found


class Wholes:
    """The vectors of photos as wholes, each given once, read many at a time; safe in threads."""

    def __init__(self, photos: StrongRows, ids: Sequence[str]) -> None:
        self._photos = photos
        #: The photos that are read together with each.
        self._unread = {one: some for some in batches(ids, BATCH) for one in some}
        self._read: dict[str, Vector] = {}
        self._lock = threading.Lock()

    def of(self, photo: Photo) -> Vector:
        """The vector of a photo. Raises PhotoNotFoundError where it is gone."""
        with self._lock:
            if some := self._unread.get(photo.id):
                rows = self._photos.named(some, ["id", "vector"])
                self._read |= {
                    one: np.array(row["vector"], np.float32) for one, row in rows.items()
                }
                for one in some:
                    del self._unread[one]
            if photo.id not in self._read:
                raise PhotoNotFoundError(f"photo {photo.id} was removed from the gallery meanwhile")
            return self._read.pop(photo.id)


class RowsWithParts(StrongRows):
    """The rows of a generation's photos, for writers: their parts follow, and new ones are noted.

    With `keep` the parts of photos that are deleted stay, since a rollback may bring these back.
    `unsure`: rows may have been written just before without being noted.
    """

    def __init__(
        self, connection: Connection, parts: StoredParts, *, keep: bool, unsure: bool
    ) -> None:
        super().__init__(connection, parts.photos)
        self._of_photos, self._keep, self._unsure = parts, keep, unsure

    def write(self, rows: Sequence[Mapping[str, Any]]) -> None:
        ids = [str(row["id"]) for row in rows]
        there = {} if self._unsure else self.named(ids, ["id"])
        had = self._of_photos.note([one for one in ids if one not in there])
        super().write(rows)
        if lost := had - self._of_photos.settle(ids):  # by another, who had deleted their photos
            self._of_photos.note(lost)

    def delete(self, ids: Sequence[str]) -> None:
        super().delete(ids)
        self._of_photos.settle(ids, None if self._keep else ())


def rows_to_change(
    connection: Connection,
    metadata: GalleryMetadata,
    collection: str,
    manifest: MilvusManifest,
    *,
    keep: bool = False,
    unsure: bool = False,
) -> StrongRows:
    """The rows of a generation's photos, for writers, whether it keeps parts or not."""
    if manifest.parts is None:
        return StrongRows(connection, collection)
    parts = StoredParts(connection, metadata, collection)
    return RowsWithParts(connection, parts, keep=keep, unsure=unsure)


def _rows_of(photo: Row, parts: PhotoParts) -> Iterator[Row]:
    for part, (box, vector) in enumerate(zip(parts.boxes, parts.vectors, strict=True)):
        yield {
            "id": f"{photo['id']}-{part}",
            "photo": photo["id"],
            "part": part,
            "count": len(parts.boxes),
            "box": asdict(box),
            "vector": vector.tolist(),
            **_copied(photo),
        }


def _copied(row: Row) -> Row:
    return {name: row[name] for name in _COPIED}


def _faults(rows: Sequence[Row], photo: Row) -> Iterator[str]:
    """What is wrong with the parts of one photo."""
    if sorted(row["part"] for row in rows) != list(range(rows[0]["count"])):
        yield "some of its parts are missing"
    lengths = np.linalg.norm([np.array(row["vector"], np.float64) for row in rows], axis=1)
    if (abs(lengths - 1) > _LENGTH).any():
        yield "the vector of a part is altered"
    if any(_copied(row) != _copied(photo) for row in rows):
        yield "its parts differ from it in what filters find them by"
