"""Photos are added, removed and updated in a gallery on Milvus, by any number of writers.

A change is acknowledged when its call returns: Milvus has it in its log then. A photo's row is
written under its id, so that two writers of the same photo, or one twice, make one photo.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Self

import numpy as np

from deepfood.config import Settings
from deepfood.errors import DatasetError, PhotoNotFoundError, QueryError
from deepfood.gallery.columns import names_of
from deepfood.gallery.entry import Photo
from deepfood.gallery.read_photos import EmbeddedPhoto
from deepfood.gallery.values import (
    SAFETY,
    Value,
    attribute_name,
    check_name,
    checked,
    folded,
    type_of,
)
from deepfood.gallery.writer import Outcome, edited, relabelled
from deepfood.milvus.about import About, Column, MilvusManifest
from deepfood.milvus.address import MilvusAddress
from deepfood.milvus.connection import Connection
from deepfood.milvus.gallery import MilvusGallery
from deepfood.milvus.schema import (
    KEYS,
    PHOTO_ROW,
    WRITTEN,
    attributes_of,
    key_name,
    key_of,
    photo_of,
    row_of,
)
from deepfood.model import Model

#: Rows in one request: some 20 MB at 1,280 numbers, and Milvus takes 64 MB.
BATCH = 1000


class MilvusWriter:
    """Changes a gallery; every method raises EngineError where the engine is away."""

    def __init__(self, gallery: MilvusGallery, connection: Connection, settings: Settings) -> None:
        self.gallery = gallery
        self.manifest = gallery.manifest
        self._connection = connection
        self._collection = gallery.collection
        self._photos = gallery.stored

    @classmethod
    @contextmanager
    def open(
        cls, address: MilvusAddress, settings: Settings, model: Model | None = None
    ) -> Iterator[Self]:
        """Open to write; `model` is what made the vectors of photos to be added.

        Raises ArtifactMissingError, ModelMismatchError or EngineError.
        """
        connection = Connection(address, settings)
        gallery = MilvusGallery(connection, settings)
        try:
            if model is not None:
                gallery.check_model(model)
            yield cls(gallery, connection, settings)
        finally:
            gallery.close()

    def add(self, new: Sequence[EmbeddedPhoto]) -> list[Outcome]:
        """Add photos; of one that is there already, only what is given by hand counts.

        Raises DatasetError for attributes that cannot be used, before anything is added.
        """
        ready = [(one, self._checked(one.attributes)) for one in new]
        there = self.rows([one.photo.id for one, _ in ready])
        outcomes: list[Outcome] = []
        rows: dict[str, dict[str, Any]] = {}
        for one, values in ready:
            before = rows.get(one.photo.id) or there.get(one.photo.id)
            if before is None:
                photo = replace(one.photo, added=True)
                self._photos.keep(photo, one.data)
                rows[photo.id] = row_of(photo, one.vector, _known(values), time.time_ns())
                outcomes.append("added")
                continue
            photo = photo_of(before)
            after = relabelled(photo, one.photo)
            same = after == photo and not values
            outcomes.append("unchanged" if same else "updated")
            if not same:
                rows[photo.id] = _said(before, after, values)
        self.write(list(rows.values()))
        return outcomes

    def remove(self, names: Sequence[str]) -> list[Photo]:
        """Remove photos, by id or by file name. Raises QueryError, and then none is removed."""
        photos = {photo.id: photo for photo in (photo_of(self._named(name)) for name in names)}
        self.delete(list(photos))
        for photo in photos.values():
            if photo.added:
                self._photos.forget(photo)
        return list(photos.values())

    def update(
        self,
        name: str,
        *,
        label: str | None = None,
        photo_name: str | None = None,
        attributes: Mapping[str, object] | None = None,
    ) -> Photo:
        """Say something else of a photo, by id or file name; "" takes a label or name away.

        None leaves it as it is; as an attribute's value it makes that unknown. Raises QueryError,
        or DatasetError for an attribute that cannot be used.
        """
        values = self._checked(attributes or {})
        before = self._named(name)
        after = edited(photo_of(before), label, photo_name)
        self.write([_said(before, after, values)])
        return after

    def declare(self, columns: Mapping[str, Column]) -> None:
        """Declare attributes, or find them as they were declared. Raises DatasetError."""
        known = dict(self.manifest.columns)
        for name, column in columns.items():
            before = known.get(name)
            if before and before.type != column.type:
                raise DatasetError(
                    f"the attribute {name} is a {before.type}, and cannot become a {column.type}"
                )
            safety = column.safety or name in SAFETY or bool(before and before.safety)
            known[name] = Column(type=column.type, safety=safety)
        if known != self.manifest.columns:
            self.commit(self.manifest.model_copy(update={"columns": known}))

    def commit(self, manifest: MilvusManifest) -> None:
        About(self._connection).write_manifest(self._collection, manifest)
        self.manifest = manifest

    def write(self, rows: Sequence[dict[str, Any]]) -> None:
        """Write whole rows; they are in Milvus' log when this returns."""
        for start in range(0, len(rows), BATCH):
            self._connection.ask(
                "upsert",
                collection_name=self._collection,
                data=list(rows[start : start + BATCH]),
            )

    def delete(self, ids: Sequence[str]) -> None:
        for start in range(0, len(ids), BATCH):
            some = list(ids[start : start + BATCH])
            self._connection.ask("delete", collection_name=self._collection, ids=some)

    def _checked(self, attributes: Mapping[str, object]) -> dict[str, Value | None]:
        ready: dict[str, Value | None] = {}
        for given, value in attributes.items():
            name = attribute_name(given)
            column = self.manifest.columns.get(name)
            if column is None:
                if value is None:
                    raise DatasetError(
                        f"there is no attribute {given[:40]!r}: {names_of(self.manifest.columns)}"
                    )
                check_name(name)
                # One that is new gets the type that its value shows, as in a local gallery.
                self.declare({name: Column(type=type_of(name, value), safety=name in SAFETY)})
                column = self.manifest.columns[name]
            try:
                ready[name] = (
                    None if value is None else checked(value, column.type, safety=column.safety)
                )
            except DatasetError as error:
                raise DatasetError(f"{name}: {error}") from None
        return ready

    def rows(self, ids: Sequence[str]) -> dict[str, dict[str, Any]]:
        """The rows of those photos that are there, by id, vectors included."""
        found: dict[str, dict[str, Any]] = {}
        for start in range(0, len(ids), BATCH):
            some = ", ".join(f'"{one}"' for one in ids[start : start + BATCH])
            found.update({row["id"]: row for row in self._query(f"id in [{some}]")})
        return found

    def _named(self, name: str) -> dict[str, Any]:
        """The row of a photo, by id or by file name. Raises QueryError."""
        ids = [name] if len(name) == 20 and name.isalnum() and name.isascii() else []
        rows = list(self.rows(ids).values()) if ids else []
        if not rows:
            where = f'{KEYS}["{key_name("file")}"] == "{key_of(folded(name))}"'
            rows = [row for row in self._query(where) if row["file"] == name]
        if not rows:
            raise PhotoNotFoundError(f"there is no photo {name[:200]!r} in this gallery")
        if len(rows) > 1:
            found = ", ".join(sorted(str(row["id"]) for row in rows))
            raise QueryError(f"{len(rows)} photos are called {name!r}: name one by its id: {found}")
        return rows[0]

    def _query(self, where: str) -> list[dict[str, Any]]:
        return list(
            self._connection.ask(
                "query",
                collection_name=self._collection,
                filter=where,
                output_fields=[*PHOTO_ROW, "vector", WRITTEN],
                consistency_level="Strong",
            )
        )


def _said(
    before: Mapping[str, Any], photo: Photo, values: Mapping[str, Value | None]
) -> dict[str, Any]:
    """The row of a photo of which something else is said now."""
    attributes = _known({**attributes_of(before), **values})
    vector = np.array(before["vector"], np.float32)
    return row_of(photo, vector, attributes, before[WRITTEN])


def _known(values: Mapping[str, Value | None]) -> dict[str, Value]:
    return {name: value for name, value in values.items() if value is not None}
