"""Upgrade a gallery of format 1, which had no journal, to the current format.

The manual edits are read from the rows of the living generation and written as a journal, and a
next generation gets the same rows with their vectors; moving the alias comes last. If it is killed
before, the gallery is unchanged, and the same command starts again.
"""

import contextlib
import json
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from deepfood.config import Settings
from deepfood.counted import counted
from deepfood.data.locate import PhotoAccess
from deepfood.errors import ArtifactMissingError, EngineError
from deepfood.gallery.fold import addition_of
from deepfood.gallery.format1 import BATCH as PHOTOS_IN_A_RECORD
from deepfood.gallery.format1 import contents_of_removed, records_of_format1
from deepfood.gallery.photo import Photo, Skipped
from deepfood.gallery.record import user
from deepfood.gallery.values import Value
from deepfood.milvus.address import MilvusAddress
from deepfood.milvus.connection import Connection
from deepfood.milvus.gallery import MilvusGallery
from deepfood.milvus.generations import (
    drop_others,
    finish_index,
    generation_for,
    go_live,
    living_collection,
)
from deepfood.milvus.journal import MilvusJournal
from deepfood.milvus.lease import HeldLease
from deepfood.milvus.living_rows import LivingRows
from deepfood.milvus.metadata import FORMAT, GalleryMetadata, MilvusManifest
from deepfood.milvus.model_copy import fetch_model
from deepfood.milvus.rows import BATCH, Row, StrongRows
from deepfood.milvus.schema import (
    GIVEN,
    KEYS,
    PHOTO_ROW,
    WORDS,
    WRITTEN,
    attributes_of,
    photo_of,
    row_of,
)
from deepfood.progress import bar

#: A field of format 1: whether label and name were set by hand, without distinction.
_EDITED = "edited"


def upgrade_on_milvus(
    address: MilvusAddress, settings: Settings, *, quiet: bool = False
) -> list[str]:
    """Upgrade, with one line for each step; none for a current gallery. Writers wait meanwhile.

    Raises an ArtifactError or EngineError; the gallery is then unchanged.
    """
    with contextlib.closing(Connection.strong(address, settings)) as connection:
        metadata = GalleryMetadata(connection)
        collection = living_collection(connection)
        if collection is None:
            raise ArtifactMissingError(f"there is no gallery {address}")
        if metadata.manifest(collection, oldest=1).format == FORMAT:
            return _write_words(address, settings, connection, collection)
        with HeldLease.take(metadata) as lease, lease.swapping():
            old = metadata.manifest(collection, oldest=1)
            described = connection.ask("describe_collection", collection_name=collection)
            if _EDITED not in {field["name"] for field in described["fields"]}:
                return _mark_as_format_2(metadata, collection, old)
            upgrade = _Upgrade(connection, settings, collection, old, quiet=quiet)
            new, lines = upgrade.fill()
            lease.check()
            go_live(connection, new)
        drop_others(connection, metadata, {metadata.manifest(new).generation})
        return lines


def _mark_as_format_2(metadata: GalleryMetadata, collection: str, old: MilvusManifest) -> list[str]:
    """For a gallery with a journal that was made before the manifest had format 2."""
    update = {"format": FORMAT, "before": None}  # the previous one may be of any format
    metadata.write_manifest(collection, old.model_copy(update=update))
    return ["the gallery has the current format: only its manifest was written"]


def _write_words(
    address: MilvusAddress, settings: Settings, connection: Connection, collection: str
) -> list[str]:
    """Rewrite rows of an earlier deepfood, so that words find them."""
    lacking = [
        row["id"] for row in connection.every(collection, f'not (exists {KEYS}["{WORDS}"])', ["id"])
    ]
    with LivingRows.open(address, settings) as rows:

        def write(ids: list[str]) -> None:
            rows.write(
                [
                    row_of(
                        photo_of(row),
                        np.array(row["vector"], np.float32),
                        attributes_of(row),
                        row[WRITTEN],
                    )
                    for row in rows.rows(ids).values()
                ]
            )

        for start in range(0, len(lacking), BATCH):
            some = lacking[start : start + BATCH]
            rows.in_stable_generation(partial(write, some))
    return (
        [f"{counted(lacking, 'more photo is', 'more photos are')} found by words"]
        if lacking
        else []
    )


class _Upgrade:
    def __init__(
        self,
        connection: Connection,
        settings: Settings,
        collection: str,
        old: MilvusManifest,
        *,
        quiet: bool,
    ) -> None:
        self._connection, self._settings, self._quiet = connection, settings, quiet
        self._metadata = GalleryMetadata(connection)
        self._collection, self._old = collection, old

    def fill(self) -> tuple[str, list[str]]:
        """Write journal and next generation; returns its collection, and a line for each step."""
        metadata, connection, old = self._metadata, self._connection, self._old
        connection.load(self._collection)
        drop_others(
            connection, metadata, {old.generation, old.before or 0}
        )  # left by a killed upgrade
        photos, values = [], {}
        for photo, attributes, _ in self._rows([]):
            photos.append(photo)
            if attributes:
                values[photo.sha256] = attributes
        left_out = self._left_out()
        root = PhotoAccess.of(self._settings).root(old.photos_root)
        contents, lines = contents_of_removed(left_out, {one.sha256 for one in photos}, root)
        left_out = [replace(one, same_as=contents.get(one.file, one.same_as)) for one in left_out]
        self._write_journal(photos, values, [one for one in left_out if one.file in contents])
        model = fetch_model(metadata, old.model_fingerprint, self._settings)
        new, made = generation_for(connection, metadata, model, old.photos_root, self._settings)
        self._copy_rows(new, len(photos))
        finish_index(connection, new, quiet=self._quiet)
        gallery = MilvusGallery(connection, self._settings, new)
        if gallery.count != len(photos):  # pragma: no cover - Milvus would have to lose rows
            raise EngineError(
                f"{new} has {counted(gallery.count, 'row')}, and {len(photos):,} were written"
            )
        gallery.note_left_out(left_out)
        changed = {"format": FORMAT, "generation": made.generation, "index": made.index}
        metadata.write_manifest(new, old.model_copy(update={**changed, "before": None}))
        if old.before:
            lines.append(
                "the previous generation is deleted: rollback to an earlier format is not possible"
            )
        return new, [
            *lines,
            f"the gallery has the current format: {counted(photos, 'photo')} as before",
        ]

    def _rows(self, more: list[str]) -> Iterator[tuple[Photo, dict[str, Value], Row]]:
        """Photo, attributes, and the row itself, with `more` of its fields."""
        fields = [*PHOTO_ROW, _EDITED, *more]
        for row in self._connection.every(self._collection, "", fields):
            row[GIVEN]["by_hand"] = ["label", "name"] if row[_EDITED] else []
            yield photo_of(row), attributes_of(row), row

    def _left_out(self) -> list[Skipped]:
        """Files that the last build could not use, and those removed before and since."""
        text = self._metadata.read(f"{self._collection}/left_out")
        since = self._metadata.every(f"{self._collection}/removed")
        return [
            *(Skipped(**one) for one in json.loads(text or "[]")),
            *(Skipped(**json.loads(row["text"])) for row in since),
        ]

    def _write_journal(
        self, photos: list[Photo], values: dict[str, dict[str, Value]], removed: list[Skipped]
    ) -> None:
        journal = MilvusJournal(self._metadata, user())
        journal.forget()  # left by a killed upgrade: the rows have all of it
        journal.append("begin", {"format": 1})
        definitions = {name: one.model_dump() for name, one in self._old.columns.items()}
        if definitions:
            journal.append("declare", {"attributes": definitions})
        added = [addition_of(photo, {}) for photo in photos if photo.added]
        for start in range(0, len(added), PHOTOS_IN_A_RECORD):
            journal.append("add", {"photos": added[start : start + PHOTOS_IN_A_RECORD]})
        for do, what in records_of_format1(
            photos, definitions, values, removed, journal.write_table
        ):
            journal.append(do, what)

    def _copy_rows(self, collection: str, count: int) -> None:
        rows, some = StrongRows(self._connection, collection), list[dict[str, Any]]()
        with bar("copying", " photos", count, quiet=self._quiet) as progress:
            for photo, attributes, row in self._rows(["vector", WRITTEN]):
                vector = np.array(row["vector"], np.float32)
                some.append(row_of(photo, vector, attributes, row[WRITTEN]))
                progress.update()
                if len(some) == BATCH:
                    rows.write(some)
                    some = []
            rows.write(some)
