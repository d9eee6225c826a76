"""Photos are added, removed and updated in a gallery on Milvus, by any number of writers.

A change is acknowledged when its call returns: Milvus has it in its log then, the generation that
it was made in still lives, and searches see it. A photo's row is written under its id, so that two
writers of the same photo, or one twice, make one photo.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from deepfood.errors import (
    DatasetError,
    PhotoNotFoundError,
    QueryError,
)
from deepfood.gallery.columns import check_room, check_said, names_of
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
from deepfood.milvus.about import Column
from deepfood.milvus.living_rows import WHOLE_ROW, LivingRows
from deepfood.milvus.removed import Removed
from deepfood.milvus.rows import is_id
from deepfood.milvus.schema import (
    KEYS,
    WRITTEN,
    attributes_of,
    key_name,
    key_of,
    photo_of,
    row_of,
)


class MilvusWriter(LivingRows):
    """Changes a gallery; every method raises EngineError where the engine is away."""

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

        outcomes = self.visibly(change)
        # What was done at first is there when it is done again.
        return [
            was if now == "unchanged" else now for was, now in zip(first, outcomes, strict=True)
        ]

    def _add(self, new: Sequence[EmbeddedPhoto]) -> list[Outcome]:
        ready = self._checked([one.attributes for one in new])
        there = self.rows([one.photo.id for one in new])
        outcomes: list[Outcome] = []
        rows: dict[str, dict[str, Any]] = {}
        for one, values in zip(new, ready, strict=True):
            before = rows.get(one.photo.id) or there.get(one.photo.id)
            if before is None:
                photo = replace(one.photo, added=True)
                self.stored.keep(photo, one.data)
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

        self.visibly(change)
        photos = {photo.id: photo for photo in found.values()}
        for photo in photos.values():
            if photo.added:
                self.stored.forget(photo)
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
            before = self._named(name)
            (values,) = self._checked([attributes or {}])
            after = edited(photo_of(before), label, photo_name)
            self.write([_said(before, after, values)])
            return after

        return self.visibly(change)

    def set_attributes(self, values: Mapping[str, Mapping[str, Value | None]]) -> None:
        """Set attributes of photos, by id, to values that `checked` gave; None makes one unknown.

        They must have been declared. Photos that are not there are passed over.
        """

        def change() -> None:
            rows = self.rows(list(values))
            self.write([_said(row, photo_of(row), values[one]) for one, row in rows.items()])

        self.visibly(change)

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
            check_room(self.manifest.columns, len(known) - len(self.manifest.columns))
            self.commit({"columns": known})

    def _checked(self, given: Sequence[Mapping[str, object]]) -> list[dict[str, Value | None]]:
        """The attributes of some photos, checked. Those that are new are declared, if all are good.

        One that is new gets the type that its first value shows, as in a local gallery.
        """
        known = dict(self.manifest.columns)
        ready = [_checked(attributes, known) for attributes in given]
        self._declare({name: known[name] for name in set(known) - set(self.manifest.columns)})
        return ready

    def _named(self, name: str) -> dict[str, Any]:
        """The row of a photo, by id or by file name. Raises QueryError."""
        rows = list(self.rows([name] if is_id(name) else []).values())
        if not rows:
            where = f'{KEYS}["{key_name("file")}"] == "{key_of(folded(name))}"'
            rows = [row for row in self._rows.where(where, WHOLE_ROW) if row["file"] == name]
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


def _checked(attributes: Mapping[str, object], known: dict[str, Column]) -> dict[str, Value | None]:
    """Attributes of a photo as they are kept; those that are new are put into `known`."""
    check_said(attributes)
    ready: dict[str, Value | None] = {}
    for given, value in attributes.items():
        name = attribute_name(given)
        column = known.get(name)
        if column is None:
            if value is None:
                raise DatasetError(f"there is no attribute {given[:40]!r}: {names_of(known)}")
            check_name(name)
            column = Column(type=type_of(name, value), safety=name in SAFETY)
        try:
            ready[name] = (
                None if value is None else checked(value, column.type, safety=column.safety)
            )
        except DatasetError as error:
            raise DatasetError(f"{name}: {error}") from None
        known[name] = column
    return ready


def _known(values: Mapping[str, Value | None]) -> dict[str, Value]:
    return {name: value for name, value in values.items() if value is not None}
