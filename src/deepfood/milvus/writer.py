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
    SettingError,
)
from deepfood.gallery.declared import (
    Declared,
    check_unused,
    no_attribute,
    settled,
    values_said,
)
from deepfood.gallery.entry import Photo, edited, relabelled
from deepfood.gallery.named_photos import named_alike
from deepfood.gallery.read_photos import EmbeddedPhoto
from deepfood.gallery.values import Value, attribute_name, folded
from deepfood.gallery.writer import Outcome, edit_given
from deepfood.milvus.about import Column
from deepfood.milvus.expressions import known
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
        columns = self.manifest.columns
        ready = [(one, values_said(columns, one.attributes)) for one in new]
        there = self.rows([one.photo.id for one, _ in ready])
        outcomes: list[Outcome] = []
        rows: dict[str, dict[str, Any]] = {}
        for one, values in ready:
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

    def undo(self, number: int) -> list[Photo]:
        raise SettingError("changes of a gallery on Milvus cannot be taken back")

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
            values = values_said(self.manifest.columns, attributes or {})
            before = self._named(name)
            after = edited(photo_of(before), edit_given(label, photo_name))
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

    def declared(self) -> Mapping[str, Declared]:
        """The attributes that are declared, by name."""
        return self.steadily(lambda: self.manifest.columns)

    def declare(self, columns: Mapping[str, Declared]) -> list[str]:
        """Declare attributes, all or none; the names of those that are new. Raises DatasetError."""
        new: list[str] = []

        def change() -> None:
            before = self.manifest.columns
            after = {
                name: Column(type=one.type, safety=one.safety)
                for name, one in settled(before, columns).items()
            }
            new.extend(name for name in after if name not in before and name not in new)
            if {**before, **after} != before:
                self.commit({"columns": {**before, **after}})

        self.steadily(change)
        return new

    def drop_attribute(self, name: str) -> None:
        """Drop an attribute. Raises UndeclaredError, or DatasetError where a photo has a value."""
        name, gone = attribute_name(name), False

        def change() -> None:
            nonlocal gone
            before = self.manifest.columns
            if name in before:
                check_unused(name, self._known(name))
                self.commit({"columns": {one: before[one] for one in before if one != name}})
                gone = True
                try:  # another writer may have given a value just before
                    check_unused(name, self._known(name))
                except DatasetError:
                    self.commit({"columns": before})
                    raise
            elif not gone:  # else it is done again, and was there at first
                raise no_attribute(before, name)

        self.steadily(change)

    def _known(self, name: str) -> int:
        """Of how many photos an attribute is known."""
        return int(self._rows.where(known(name), ["count(*)"])[0]["count(*)"])

    def _named(self, name: str) -> dict[str, Any]:
        """The row of a photo, by id or by file name. Raises QueryError."""
        rows = list(self.rows([name] if is_id(name) else []).values())
        if not rows:
            where = f'{KEYS}["{key_name("file")}"] == "{key_of(folded(name))}"'
            alike = self._rows.where(where, WHOLE_ROW)
            rows = named_alike(lambda file: [row for row in alike if row["file"] == file], name)
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
