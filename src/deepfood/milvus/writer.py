"""Photos are added, removed and updated in a gallery on Milvus, by any number of writers.

A change is acknowledged when its call returns: Milvus has it in its log then, and the generation
that it was made in still lives. A photo's row is written under its id, so that two writers of the
same photo, or one twice, make one photo.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Self, TypeVar

import numpy as np

from deepfood.config import Settings
from deepfood.errors import (
    ArtifactBusyError,
    ArtifactMissingError,
    DatasetError,
    PhotoNotFoundError,
    QueryError,
)
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
from deepfood.milvus.changes import Changes
from deepfood.milvus.connection import Connection
from deepfood.milvus.generations import living
from deepfood.milvus.photos import StoredPhotos
from deepfood.milvus.removed import Removed
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
from deepfood.milvus.turn import Turn
from deepfood.milvus.written import WrittenRows
from deepfood.model import Model

T = TypeVar("T")

_WHOLE_ROW = [*PHOTO_ROW, "vector", WRITTEN]
_ASKED_EACH_S = 0.1


class MilvusWriter:
    """Changes a gallery; every method raises EngineError where the engine is away."""

    def __init__(
        self,
        connection: Connection,
        settings: Settings,
        model: Model | None = None,
        collection: str | None = None,
    ) -> None:
        """`collection` is a generation that does not live yet, in which nobody else writes."""
        self._connection = connection
        self._settings = settings
        self._model = model
        self._about = About(connection)
        self._alone = collection
        self.manifest: MilvusManifest
        self._rows: WrittenRows
        self._photos: StoredPhotos
        self._turn = Turn()
        self._notes = False
        if collection:
            self._take_on(collection)

    @classmethod
    @contextmanager
    def open(
        cls, address: MilvusAddress, settings: Settings, model: Model | None = None
    ) -> Iterator[Self]:
        """Open to write; `model` is what made the vectors of photos to be added.

        Each change raises ArtifactMissingError, ModelMismatchError or EngineError.
        """
        connection = Connection(address, settings)
        try:
            yield cls(connection, settings, model)
        finally:
            connection.close()

    def steadily(self, change: Callable[[], T]) -> T:
        """Make a change in the generation that lives; again, where another takes over meanwhile.

        Everything that is written, deleted or committed to a living generation goes through here.
        Raises ArtifactBusyError where a next generation takes over for longer than
        `milvus_timeout_s`, and ModelMismatchError where it has another Model than the photos that
        are added.
        """
        if self._alone:
            return change()
        until = time.monotonic() + self._settings.milvus_timeout_s
        while True:
            self._turn = Turn.read(self._about)
            if self._turn.is_now("swapping"):
                if time.monotonic() > until:
                    raise ArtifactBusyError(
                        f"a next generation of {self._connection.address} takes over: try again"
                    )
                time.sleep(_ASKED_EACH_S)
                continue
            self._take_on(self._living())
            self._notes = self._turn.is_now("filling") or self.manifest.before is not None
            done = change()
            if Turn.read(self._about).same_as(self._turn):
                return done

    def add(self, new: Sequence[EmbeddedPhoto]) -> list[Outcome]:
        """Add photos; of one that is there already, only what is given by hand counts.

        Raises DatasetError for attributes that cannot be used, before anything is added.
        """
        first: list[Outcome] = []

        def change() -> list[Outcome]:
            outcomes = self._add(new)
            if not first:
                first.extend(outcomes)
            return outcomes

        outcomes = self.steadily(change)
        # What was done at first is there when it is done again.
        return [
            was if now == "unchanged" else now for was, now in zip(first, outcomes, strict=True)
        ]

    def _add(self, new: Sequence[EmbeddedPhoto]) -> list[Outcome]:
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
        found: dict[str, Photo] = {}

        def change() -> None:
            for name in names:
                try:
                    found[name] = photo_of(self._named(name))
                except PhotoNotFoundError:
                    if name not in found:  # else it is done again, and was there at first
                        raise
            Removed(self._about, self._rows.collection).note(found.values())
            self.delete([photo.id for photo in found.values()])

        self.steadily(change)
        photos = {photo.id: photo for photo in found.values()}
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

        def change() -> Photo:
            values = self._checked(attributes or {})
            before = self._named(name)
            after = edited(photo_of(before), label, photo_name)
            self.write([_said(before, after, values)])
            return after

        return self.steadily(change)

    def set_attributes(self, values: Mapping[str, Mapping[str, Value | None]]) -> None:
        """Set attributes of photos, by id, to values that `checked` gave; None makes one unknown.

        They must have been declared. Photos that are not there are passed over.
        """

        def change() -> None:
            rows = self.rows(list(values))
            self.write([_said(row, photo_of(row), values[one]) for one, row in rows.items()])

        self.steadily(change)

    def declare(self, columns: Mapping[str, Column]) -> None:
        """Declare attributes, or find them as they were declared. Raises DatasetError."""
        self.steadily(lambda: self._declare(columns))

    def _declare(self, columns: Mapping[str, Column]) -> None:
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
            self.commit({"columns": known})

    def commit(self, changed: Mapping[str, Any]) -> MilvusManifest:
        """Say something else in the manifest; the manifest as it is then."""
        self.manifest = self.manifest.model_copy(update=dict(changed))
        self._about.write_manifest(self._rows.collection, self.manifest)
        return self.manifest

    def write(self, rows: Sequence[dict[str, Any]]) -> None:
        """Write whole rows; they are in Milvus' log when this returns."""
        self._note([str(row["id"]) for row in rows])
        self._rows.write(rows)

    def delete(self, ids: Sequence[str]) -> None:
        self._note(ids)
        self._rows.delete(ids)

    def rows(self, ids: Sequence[str]) -> dict[str, dict[str, Any]]:
        """The rows of those photos that are there, by id, vectors included."""
        return self._rows.named(ids, _WHOLE_ROW)

    def _note(self, ids: Sequence[str]) -> None:
        if self._notes and ids:
            Changes(self._about, self._rows.collection).note(ids)

    def _living(self) -> str:
        collection = living(self._connection)
        if collection is None:
            raise ArtifactMissingError(f"there is no gallery {self._connection.address}")
        return collection

    def _take_on(self, collection: str) -> None:
        self.manifest = self._about.manifest(collection)
        if self._model is not None:
            self.manifest.check_model(self._model, str(self._connection.address))
        self._rows = WrittenRows(self._connection, collection)
        self._photos = StoredPhotos(self.manifest, self._settings)

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
                self._declare({name: Column(type=type_of(name, value), safety=name in SAFETY)})
                column = self.manifest.columns[name]
            try:
                ready[name] = (
                    None if value is None else checked(value, column.type, safety=column.safety)
                )
            except DatasetError as error:
                raise DatasetError(f"{name}: {error}") from None
        return ready

    def _named(self, name: str) -> dict[str, Any]:
        """The row of a photo, by id or by file name. Raises QueryError."""
        ids = [name] if len(name) == 20 and name.isalnum() and name.isascii() else []
        rows = list(self.rows(ids).values()) if ids else []
        if not rows:
            where = f'{KEYS}["{key_name("file")}"] == "{key_of(folded(name))}"'
            rows = [row for row in self._rows.where(where, _WHOLE_ROW) if row["file"] == name]
        if not rows:
            raise PhotoNotFoundError(f"there is no photo {name[:200]!r} in this gallery")
        if len(rows) > 1:
            found = ", ".join(sorted(str(row["id"]) for row in rows))
            raise QueryError(f"{len(rows)} photos are called {name!r}: name one by its id: {found}")
        return rows[0]


def _said(
    before: Mapping[str, Any], photo: Photo, values: Mapping[str, Value | None]
) -> dict[str, Any]:
    """The row of a photo of which something else is said now."""
    attributes = _known({**attributes_of(before), **values})
    vector = np.array(before["vector"], np.float32)
    return row_of(photo, vector, attributes, before[WRITTEN])


def _known(values: Mapping[str, Value | None]) -> dict[str, Value]:
    return {name: value for name, value in values.items() if value is not None}
