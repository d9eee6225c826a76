"""Before-images: the rows of a generation as they were before a build changed it in place.

A build with the gallery's own Model makes the next *revision* of the living generation, and so does
a rollback of one. Before a row is changed for the first time, a copy of it with its vector is
written to a separate collection, NAME_g000001_b000003 for revision 3; for inserted rows, the ids
are noted. The first copy is never replaced: a build that resumes after a kill writes no second
image, so that the images always lead back to the last finished revision.

Each image has a checksum, and the manifest of the finished revision has one over all of them:
`faults` finds missing or altered images, and a rollback refuses them.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np
from pydantic import ValidationError

from deepfood.config import Settings
from deepfood.errors import ArtifactCorruptError
from deepfood.gallery.photo import Skipped
from deepfood.milvus.changed_ids import NotedIds
from deepfood.milvus.connection import Connection
from deepfood.milvus.metadata import GalleryMetadata, MilvusManifest
from deepfood.milvus.rows import BATCH, Row, StrongRows
from deepfood.milvus.schema import GIVEN, KEYS, WHOLE_ROW, index_of, photo_schema

_IMAGE = [*WHOLE_ROW, KEYS]
#: A key that only images have in GIVEN: the checksum of the row.
_SUM = "sum"


@dataclass(frozen=True)
class GenerationState:
    """The state of a generation as a whole: its manifest, and the files that it left out."""

    manifest: MilvusManifest
    left_out: list[Skipped]


class BeforeImages:
    """The images that lead back from one revision of a generation to the previous one."""

    def __init__(
        self, connection: Connection, metadata: GalleryMetadata, collection: str, revision: int
    ) -> None:
        self.revision = revision
        self.collection = f"{collection}_b{revision:06d}"
        self._connection = connection
        self._metadata = metadata
        self._key = f"{collection}/before/{revision}"
        self._inserted = NotedIds(metadata, f"{collection}/inserted/{revision}")
        self._images = StrongRows(connection, self.collection)
        #: The checksum of each image by id; "" for an inserted row.
        self._kept: dict[str, str] = {}

    def state(self) -> GenerationState | None:
        """The state that the images lead back to; None if there is none.

        Raises ArtifactCorruptError if it cannot be read.
        """
        text = self._metadata.read(self._key)
        if text is None:
            return None
        try:
            found = json.loads(text)
            left_out = [Skipped(**one) for one in found["left_out"]]
            return GenerationState(MilvusManifest.model_validate(found["manifest"]), left_out)
        except (ValueError, KeyError, TypeError, ValidationError) as error:
            raise self._damaged("the recorded state cannot be read") from error

    def begin(self, state: GenerationState, settings: Settings) -> None:
        """Prepare to keep rows; resume with the images of a killed build."""
        if self.state() is None:
            text = {
                "manifest": state.manifest.model_dump(mode="json"),
                "left_out": [asdict(one) for one in state.left_out],
            }
            self._metadata.write(self._key, json.dumps(text))
        self.load(state.manifest.dimension, settings)
        images = self._images.every(["id", GIVEN])
        self._kept = {str(row["id"]): _sum_in(row) for row in images}
        self._kept |= dict.fromkeys(self._inserted.read(), "")

    def load(self, dimension: int, settings: Settings) -> None:
        """Load the images into the engine's memory, until `release`."""
        schema, index = photo_schema(dimension), index_of(settings, "FLAT")
        self._connection.create(self.collection, schema, index)

    def keep(self, ids: Sequence[str], rows: StrongRows) -> None:
        """Keep the current state of rows, by id, except those that are kept already."""
        new = [one for one in dict.fromkeys(ids) if one not in self._kept]
        if not new:
            return
        images = {one: _with_sum(row) for one, row in rows.named(new, _IMAGE).items()}
        self._images.write(list(images.values()))
        self._inserted.note([one for one in new if one not in images])
        self._kept |= {one: _sum_in(images[one]) if one in images else "" for one in new}

    def changed(self) -> set[str]:
        """The ids of the rows kept since `begin`: those that were changed or deleted."""
        return {one for one, checksum in self._kept.items() if checksum}

    def checksum(self) -> str:
        """The checksum over everything kept since `begin`, for the manifest."""
        return self._checksum_of(self._kept)

    def check(self, checksum: str | None) -> None:
        """Raise ArtifactCorruptError if there are `faults`."""
        for fault in self.faults(checksum):
            raise self._damaged(fault)

    def faults(self, checksum: str | None) -> Iterator[str]:
        """One line for each fault.

        `checksum` is the manifest's; None for an unfinished revision, whose missing images cannot
        be detected. The engine has the images in memory afterwards.
        """
        try:
            begun = self.state() is not None
        except ArtifactCorruptError:
            yield f"the recorded state before revision {self.revision} cannot be read"
            return
        there = begun and self._connection.ask("has_collection", collection_name=self.collection)
        kept = dict.fromkeys(self._inserted.read(), "")
        if there:
            self._connection.load(self.collection)
            for row in self._images.every(_IMAGE):
                kept[row["id"]] = _sum_in(row)
                if kept[row["id"]] not in ("", _sum_of(row)):
                    yield f"the before-image of photo {row['id']} is altered"
        if checksum is not None and (not there or self._checksum_of(kept) != checksum):
            yield f"before-images of revision {self.revision} are missing or altered"

    def kept_photos(self) -> Iterator[Row]:
        """`id`, `sha256` and `file` of the rows that were changed or deleted."""
        return self._images.every(["id", "sha256", "file"])

    def batches(self) -> Iterator[list[Row]]:
        """The rows that were changed or deleted, as they were before."""
        some: list[Row] = []
        for row in self._images.every(_IMAGE):
            some.append(row)
            if len(some) == BATCH:
                yield some
                some = []
        if some:
            yield some

    def inserted(self) -> list[str]:
        """The ids of the rows that the revision inserted."""
        return sorted(self._inserted.read())

    def release(self) -> None:
        """Unload the images from memory; only a rollback reads them."""
        if self._connection.ask("has_collection", collection_name=self.collection):
            self._connection.ask("release_collection", collection_name=self.collection)

    def drop(self) -> None:
        """Delete the images, their state first: without it they are ignored."""
        self._metadata.forget(self._key)
        self._connection.ask("drop_collection", collection_name=self.collection)
        self._inserted.forget()

    def _checksum_of(self, kept: Mapping[str, str]) -> str:
        text = self._metadata.read(self._key)
        return hashlib.sha256(json.dumps([text, sorted(kept.items())]).encode()).hexdigest()

    def _damaged(self, fault: str) -> ArtifactCorruptError:
        address = self._connection.address
        return ArtifactCorruptError(
            f"the rollback data of the last build of {address} are damaged: {fault}: deepfood "
            f"verify --repair {address} removes them, and the next build keeps new ones"
        )


def _with_sum(row: Row) -> Row:
    return {**row, GIVEN: {**row[GIVEN], _SUM: _sum_of(row)}}


def _sum_in(row: Row) -> str:
    return str(row[GIVEN].get(_SUM, ""))


def _sum_of(row: Row) -> str:
    """The checksum of a row with the fields of an image."""
    given = {name: value for name, value in row[GIVEN].items() if name != _SUM}
    rest = {name: row[name] for name in _IMAGE if name not in (GIVEN, "vector")}
    digest = hashlib.sha256(json.dumps([rest, given], sort_keys=True).encode())
    digest.update(np.array(row["vector"], np.float32).tobytes())
    return digest.hexdigest()[:32]


def drop_images(
    connection: Connection, metadata: GalleryMetadata, collection: str, keep: int = 0
) -> None:
    """Delete the images of all revisions of a generation except the revision `keep`."""
    start = f"{collection}_b"
    if not keep:
        metadata.forget_all(f"{collection}/before/")
    for one in connection.ask("list_collections"):
        number = one.removeprefix(start)
        if one.startswith(start) and number.isdecimal() and int(number) != keep:
            BeforeImages(connection, metadata, collection, int(number)).drop()
