"""Before-images: the rows of a generation as they were before a build changed it in its place.

A build with the gallery's own Model, and a rollback of one, make the next *revision* of the living
generation. Before a row is changed for the first time, a copy of it, vector and all, is written to
a collection of its own, NAME_g000001_b000003 for revision 3; of rows that are inserted the ids are
noted. What is written first stays: a build that goes on after a kill keeps no second image, so that
the images always lead back to the last finished revision.

Each image has a checksum, and the manifest of the finished revision has one over all of them:
`faults` finds what is missing or altered, and nobody goes back by images that have any.
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
from deepfood.milvus.rows import BATCH, Row, WrittenRows
from deepfood.milvus.schema import KEYS, WHOLE_ROW, index_of, photo_schema

_IMAGE = [*WHOLE_ROW, KEYS]
#: In `said` of an image: the checksum of the row.
_SUM = "sum"


@dataclass(frozen=True)
class State:
    """What was so of a generation as a whole: its manifest, and the files that it left out."""

    manifest: MilvusManifest
    left_out: list[Skipped]


class BeforeImages:
    """The images that lead back from one revision of a generation to the revision before."""

    def __init__(
        self, connection: Connection, metadata: GalleryMetadata, collection: str, revision: int
    ) -> None:
        self.revision = revision
        self.collection = f"{collection}_b{revision:06d}"
        self._connection = connection
        self._metadata = metadata
        self._key = f"{collection}/before/{revision}"
        self._inserted = NotedIds(metadata, f"{collection}/inserted/{revision}")
        self._images = WrittenRows(connection, self.collection)
        #: The checksum of each image by its id, and "" for a row that was inserted.
        self._kept: dict[str, str] = {}

    def state(self) -> State | None:
        """The state that the images lead back to, or None where there are none.

        Raises ArtifactCorruptError where it cannot be read.
        """
        text = self._metadata.read(self._key)
        if text is None:
            return None
        try:
            found = json.loads(text)
            left_out = [Skipped(**one) for one in found["left_out"]]
            return State(MilvusManifest.model_validate(found["manifest"]), left_out)
        except (ValueError, KeyError, TypeError, ValidationError) as error:
            raise self._damaged("what its images lead back to cannot be read") from error

    def begin(self, state: State, settings: Settings) -> None:
        """Be ready to keep rows; go on with what a killed build has kept."""
        if self.state() is None:
            text = {
                "manifest": state.manifest.model_dump(mode="json"),
                "left_out": [asdict(one) for one in state.left_out],
            }
            self._metadata.write(self._key, json.dumps(text))
        self.load(state.manifest.dimension, settings)
        images = self._images.every(["id", "said"])
        self._kept = {str(row["id"]): _sum_in(row) for row in images}
        self._kept |= dict.fromkeys(self._inserted.read(), "")

    def load(self, dimension: int, settings: Settings) -> None:
        """Have the engine hold the images, until `release`."""
        schema, index = photo_schema(dimension), index_of(settings, "FLAT")
        self._connection.create(self.collection, schema, index)

    def keep(self, ids: Sequence[str], rows: WrittenRows) -> None:
        """Keep rows, by id, as they are, but for those that are kept already."""
        new = [one for one in dict.fromkeys(ids) if one not in self._kept]
        if not new:
            return
        images = {one: _with_sum(row) for one, row in rows.named(new, _IMAGE).items()}
        self._images.write(list(images.values()))
        self._inserted.note([one for one in new if one not in images])
        self._kept |= {one: _sum_in(images[one]) if one in images else "" for one in new}

    def checksum(self) -> str:
        """Of all that was kept since `begin`, for the manifest."""
        return self._checksum_of(self._kept)

    def check(self, checksum: str | None) -> None:
        """Raise ArtifactCorruptError where there are `faults`."""
        for fault in self.faults(checksum):
            raise self._damaged(fault)

    def faults(self, checksum: str | None) -> Iterator[str]:
        """What is wrong with them, a line each.

        `checksum` is that of the manifest, None for a revision that is not finished: it cannot be
        told of what of it is missing. The engine holds the images afterwards.
        """
        try:
            begun = self.state() is not None
        except ArtifactCorruptError:
            yield f"what before-images of revision {self.revision} lead back to cannot be read"
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
        """Of the rows that were changed or deleted `id`, `sha256` and `file`."""
        return self._images.every(["id", "sha256", "file"])

    def batches(self) -> Iterator[list[Row]]:
        """The rows that were changed or deleted, as they were."""
        some: list[Row] = []
        for row in self._images.every(_IMAGE):
            some.append(row)
            if len(some) == BATCH:
                yield some
                some = []
        if some:
            yield some

    def inserted(self) -> list[str]:
        """The ids of the rows that were not there."""
        return sorted(self._inserted.read())

    def release(self) -> None:
        """Keep the images on disk only, for nobody reads them until a rollback."""
        if self._connection.ask("has_collection", collection_name=self.collection):
            self._connection.ask("release_collection", collection_name=self.collection)

    def drop(self) -> None:
        """Delete the images; the text first, without which they do not count."""
        self._metadata.forget(self._key)
        self._connection.ask("drop_collection", collection_name=self.collection)
        self._inserted.forget()

    def _checksum_of(self, kept: Mapping[str, str]) -> str:
        text = self._metadata.read(self._key)
        return hashlib.sha256(json.dumps([text, sorted(kept.items())]).encode()).hexdigest()

    def _damaged(self, fault: str) -> ArtifactCorruptError:
        address = self._connection.address
        return ArtifactCorruptError(
            f"the way back from the last build of {address} is damaged: {fault}: deepfood verify "
            f"--repair {address} removes it, and the next build keeps another"
        )


def _with_sum(row: Row) -> Row:
    return {**row, "said": {**row["said"], _SUM: _sum_of(row)}}


def _sum_in(row: Row) -> str:
    return str(row["said"].get(_SUM, ""))


def _sum_of(row: Row) -> str:
    """The checksum of a row that has the fields of an image."""
    said = {name: value for name, value in row["said"].items() if name != _SUM}
    rest = {name: row[name] for name in _IMAGE if name not in ("said", "vector")}
    digest = hashlib.sha256(json.dumps([rest, said], sort_keys=True).encode())
    digest.update(np.array(row["vector"], np.float32).tobytes())
    return digest.hexdigest()[:32]


def drop_images(
    connection: Connection, metadata: GalleryMetadata, collection: str, keep: int = 0
) -> None:
    """Delete the images of all revisions of a generation, but for those of the revision `keep`."""
    start = f"{collection}_b"
    if not keep:
        metadata.forget_all(f"{collection}/before/")
    for one in connection.ask("list_collections"):
        number = one.removeprefix(start)
        if one.startswith(start) and number.isdecimal() and int(number) != keep:
            BeforeImages(connection, metadata, collection, int(number)).drop()
