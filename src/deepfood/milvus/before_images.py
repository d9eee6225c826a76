"""Before-images: the rows of a generation as they were before a build changed it in its place.

A build with the gallery's own Model, and a rollback of one, make the next *revision* of the living
generation. Before a row is changed for the first time, a copy of it, vector and all, is written to
a collection of its own, NAME_g000001_b000003 for revision 3; of rows that are inserted the ids are
noted. What is written first stays: a build that goes on after a kill keeps no second image, so that
the images always lead back to the last finished revision.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass

from deepfood.config import Settings
from deepfood.gallery.photo import Skipped
from deepfood.milvus.changed_ids import NotedIds
from deepfood.milvus.connection import Connection
from deepfood.milvus.metadata import GalleryMetadata, MilvusManifest
from deepfood.milvus.rows import BATCH, Row, WrittenRows
from deepfood.milvus.schema import KEYS, WHOLE_ROW, index_of, photo_schema

_IMAGE = [*WHOLE_ROW, KEYS]


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
        self._connection = connection
        self._metadata = metadata
        self._key = f"{collection}/before/{revision}"
        self._inserted = NotedIds(metadata, f"{collection}/inserted/{revision}")
        self._images = WrittenRows(connection, f"{collection}_b{revision:06d}")
        self._kept: set[str] = set()

    def state(self) -> State | None:
        """The state that the images lead back to, or None where there are none."""
        text = self._metadata.read(self._key)
        if text is None:
            return None
        found = json.loads(text)
        left_out = [Skipped(**one) for one in found["left_out"]]
        return State(MilvusManifest.model_validate(found["manifest"]), left_out)

    def begin(self, state: State, settings: Settings) -> None:
        """Be ready to keep rows; go on with what a killed build has kept."""
        if self.state() is None:
            text = {
                "manifest": state.manifest.model_dump(mode="json"),
                "left_out": [asdict(one) for one in state.left_out],
            }
            self._metadata.write(self._key, json.dumps(text))
        self.load(state.manifest.dimension, settings)
        self._kept = {str(row["id"]) for row in self._images.every(["id"])}
        self._kept |= self._inserted.read().keys()

    def load(self, dimension: int, settings: Settings) -> None:
        """Have the engine hold the images, until `release`."""
        schema, index = photo_schema(dimension), index_of(settings, "FLAT")
        self._connection.create(self._images.collection, schema, index)

    def keep(self, ids: Sequence[str], rows: WrittenRows) -> None:
        """Keep rows, by id, as they are, but for those that are kept already."""
        new = [one for one in dict.fromkeys(ids) if one not in self._kept]
        if not new:
            return
        there = rows.named(new, _IMAGE)
        self._images.write(list(there.values()))
        self._inserted.note([one for one in new if one not in there])
        self._kept |= set(new)

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
        self._connection.ask("release_collection", collection_name=self._images.collection)

    def drop(self) -> None:
        """Delete the images; the text first, without which they do not count."""
        self._metadata.forget(self._key)
        self._connection.ask("drop_collection", collection_name=self._images.collection)
        self._inserted.forget()


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
