"""Photos are added, removed and updated in a gallery on Milvus, by any number of writers.

A change is acknowledged when its call returns: Milvus has it in its log then, the generation that
it was made in still lives, and searches see it. Before any row is changed, the change is a record
of the journal. A photo's row is written under its id, so that two writers of the same photo, or one
twice, make one photo.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from deepfood.data.photo_file import photo_id
from deepfood.errors import (
    DatasetError,
    PhotoNotFoundError,
    QueryError,
)
from deepfood.gallery.columns import names_of
from deepfood.gallery.entry import Photo, edited, relabelled
from deepfood.gallery.fold import Said, edit_of, facts_of, removal_of
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
from deepfood.gallery.writer import Outcome, edit_given
from deepfood.milvus.about import Column
from deepfood.milvus.absent import Absent
from deepfood.milvus.living_rows import WHOLE_ROW, LivingRows
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
from deepfood.milvus.written import BATCH


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
        ready = [(one, self._checked(one.attributes)) for one in new]
        there = self.rows([one.photo.id for one, _ in ready])
        missing = [one.photo.id for one, _ in ready if one.photo.id not in there]
        absent = Absent(self._about).read(missing)
        outcomes: list[Outcome] = []
        rows: dict[str, dict[str, Any]] = {}
        added: list[dict[str, Any]] = []
        edits: list[dict[str, Any]] = []
        for one, values in ready:
            before = rows.get(one.photo.id) or there.get(one.photo.id)
            if before is None:
                photo = replace(one.photo, added=True)
                self.stored.keep(photo, one.data)
                added.append(facts_of(photo, values))
                said = absent.get(photo.id, Said()).with_values(values)  # it is back
                rows[photo.id] = row_of(said.of(photo), one.vector, said.attributes, time.time_ns())
                outcomes.append("added")
                continue
            photo = photo_of(before)
            after = relabelled(photo, one.photo)
            same = after == photo and not values
            outcomes.append("unchanged" if same else "updated")
            if not same:
                rows[photo.id] = _said(before, after, values)
                edits.append(edit_of(photo, after, values))
        if added:
            self.record("add", {"photos": added})
        if edits:
            self.record("update", {"photos": edits})
        self.write(list(rows.values()))
        if absent:
            Absent(self._about).forget(list(absent))
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
            photos = {photo.id: photo for photo in found.values()}
            self.record("remove", {"photos": [removal_of(one) for one in photos.values()]})
            self.delete(list(photos))

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
            values = self._checked(attributes or {})
            before = self._named(name)
            photo = photo_of(before)
            after = edited(photo, edit_given(label, photo_name))
            row = _said(before, after, values)
            self.record("update", {"photos": [edit_of(photo, after, values)]})
            self.write([row])
            return after

        return self.visibly(change)

    def import_values(
        self, columns: Mapping[str, Column], values: Mapping[str, Mapping[str, Value | None]]
    ) -> None:
        """Set attributes as a table gives them: by SHA-256, values that `checked` gave.

        None makes one unknown; photos that are not there are passed over. A thousand photos are
        written at a time: where that is stopped, the next build goes on with it. Raises
        DatasetError.
        """

        def record() -> None:
            declared = self._merged(columns)
            table = self.journal.write_table(values)
            definitions = {name: declared[name].model_dump() for name in columns}
            what = {"table": table, "photos": len(values), "attributes": definitions}
            self.record("import", what)
            # Before any value: one of safety never passes a filter as if it were another.
            self._commit_columns(declared)

        self.steadily(record)
        by_id = {photo_id(sha256): said for sha256, said in values.items()}
        every = list(by_id)

        def write(some: Sequence[str]) -> None:
            rows = self.rows(some)
            self.write([_said(row, photo_of(row), by_id[one]) for one, row in rows.items()])

        for start in range(0, len(every), BATCH):
            self.visibly(partial(write, every[start : start + BATCH]))

    def declare(self, columns: Mapping[str, Column]) -> None:
        """Declare attributes, or find them as they were declared. Raises DatasetError."""
        self.steadily(lambda: self._declare(columns))

    def _declare(self, columns: Mapping[str, Column]) -> None:
        declared, before = self._merged(columns), self.manifest.columns
        news = {name: one for name, one in declared.items() if before.get(name) != one}
        if news:
            what = {name: one.model_dump() for name, one in news.items()}
            self.record("declare", {"attributes": what})
            self._commit_columns(declared)

    def _commit_columns(self, columns: Mapping[str, Column]) -> None:
        if columns != self.manifest.columns:
            self.commit({"columns": dict(columns)})

    def _merged(self, columns: Mapping[str, Column]) -> dict[str, Column]:
        """The declared attributes, with these. Raises DatasetError."""
        known = dict(self.manifest.columns)
        for name, column in columns.items():
            before = known.get(name)
            if before and before.type != column.type:
                raise DatasetError(
                    f"the attribute {name} is a {before.type}, and cannot become a {column.type}"
                )
            safety = column.safety or name in SAFETY or bool(before and before.safety)
            known[name] = Column(type=column.type, safety=safety)
        return known

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


def _known(values: Mapping[str, Value | None]) -> dict[str, Value]:
    return {name: value for name, value in values.items() if value is not None}
