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
from deepfood.gallery.declared import (
    Declared,
    check_unused,
    clean_values,
    no_attribute,
    resolved_definitions,
)
from deepfood.gallery.fold import ManualEdits, addition_of, edit_of, edits_to_json, removal_of
from deepfood.gallery.history import undo_of
from deepfood.gallery.named_photos import find_by_name
from deepfood.gallery.photo import EmbeddedPhoto, Outcome, Photo, edit_given, edited, relabelled
from deepfood.gallery.values import Value, attribute_name, folded
from deepfood.milvus.absent import Absent
from deepfood.milvus.expressions import known
from deepfood.milvus.living_rows import LivingRows
from deepfood.milvus.metadata import Column
from deepfood.milvus.rows import BATCH, is_id
from deepfood.milvus.schema import (
    KEYS,
    WHOLE_ROW,
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

        outcomes = self.and_wait_until_visible(change)
        # What was done at first is there when it is done again.
        return [
            was if now == "unchanged" else now for was, now in zip(first, outcomes, strict=True)
        ]

    def _add(self, new: Sequence[EmbeddedPhoto]) -> list[Outcome]:
        columns = self.manifest.columns
        ready = [(one, clean_values(columns, one.attributes)) for one in new]
        there = self.rows([one.photo.id for one, _ in ready])
        missing = [one.photo.id for one, _ in ready if one.photo.id not in there]
        absent = Absent(self._metadata).read(missing)
        outcomes: list[Outcome] = []
        rows: dict[str, dict[str, Any]] = {}
        added: list[dict[str, Any]] = []
        edits: list[dict[str, Any]] = []
        for one, values in ready:
            before = rows.get(one.photo.id) or there.get(one.photo.id)
            if before is None:
                photo = replace(one.photo, added=True)
                self.stored.keep(photo, one.data)
                added.append(addition_of(photo, values))
                said = absent.get(photo.id, ManualEdits()).with_values(values)  # it is back
                rows[photo.id] = row_of(
                    said.apply_to(photo), one.vector, said.attributes, time.time_ns()
                )
                outcomes.append("added")
                continue
            photo = photo_of(before)
            after = relabelled(photo, one.photo)
            same = after == photo and not values
            outcomes.append("unchanged" if same else "updated")
            if not same:
                rows[photo.id] = _changed_row(before, after, values)
                edits.append(edit_of(photo, after, values))
        if added:
            self.record("add", {"photos": added})
        if edits:
            self.record("update", {"photos": edits})
        self.write(list(rows.values()))
        if absent:
            Absent(self._metadata).forget(list(absent))
        return outcomes

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
            values = clean_values(self.manifest.columns, attributes or {})
            before = self._named(name)
            photo = photo_of(before)
            after = edited(photo, edit_given(label, photo_name))
            row = _changed_row(before, after, values)
            self.record("update", {"photos": [edit_of(photo, after, values)]})
            self.write([row])
            return after

        return self.and_wait_until_visible(change)

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

        self.and_wait_until_visible(change)
        photos = {photo.id: photo for photo in found.values()}
        for photo in photos.values():
            if photo.added:
                self.stored.forget(photo)
        return list(photos.values())

    def undo(self, number: int) -> list[Photo]:
        """Take back a change, by its number in `history`; the photos that it was about.

        A photo that was removed comes back with the next build. Raises QueryError where the change
        cannot be taken back.
        """
        undo = undo_of(self.journal, number)
        said = [
            {"sha256": sha256, "said": edits_to_json(one), "texts": undo.texts.get(sha256, {})}
            for sha256, one in undo.before.items()
        ]

        def change() -> list[Photo]:
            self.record("restore", {"photos": said, "undoes": number})
            rows = self.rows([photo_id(sha256) for sha256 in undo.before])
            after = []
            for row in rows.values():
                was, photo = undo.before[row["sha256"]], photo_of(row)
                texts: dict[str, Any] = {**undo.texts.get(photo.sha256, {})}
                now = was.apply_to(replace(photo, **texts, label_edited=False, name_edited=False))
                vector = np.array(row["vector"], np.float32)
                after.append((now, row_of(now, vector, was.attributes, row[WRITTEN])))
            self.write([row for _, row in after])
            return [photo for photo, _ in after]

        return self.and_wait_until_visible(change)

    def _named(self, name: str) -> dict[str, Any]:
        """The row of a photo, by id or by file name. Raises QueryError."""
        rows = list(self.rows([name] if is_id(name) else []).values())
        if not rows:
            where = f'{KEYS}["{key_name("file")}"] == "{key_of(folded(name))}"'
            alike = self._rows.where(where, WHOLE_ROW)
            rows = find_by_name(lambda file: [row for row in alike if row["file"] == file], name)
        if not rows:
            raise PhotoNotFoundError(f"there is no photo {name[:200]!r} in this gallery")
        if len(rows) > 1:
            found = ", ".join(sorted(str(row["id"]) for row in rows))
            raise QueryError(f"{len(rows)} photos are called {name!r}: name one by its id: {found}")
        return rows[0]

    def declared(self) -> Mapping[str, Declared]:
        """The attributes that are declared, by name."""
        return self.in_stable_generation(lambda: self.manifest.columns)

    def declare(self, columns: Mapping[str, Declared]) -> list[str]:
        """Declare attributes, all or none; the names of those that are new. Raises DatasetError."""
        new: list[str] = []

        def change() -> None:
            before = self.manifest.columns
            after = _settled(before, columns)
            new.extend(name for name in after if name not in before and name not in new)
            news = {name: one for name, one in after.items() if before.get(name) != one}
            if news:
                what = {name: one.model_dump() for name, one in news.items()}
                self.record("declare", {"attributes": what})
                self.bring_columns(begun)

        begun = time.time_ns()
        self.in_stable_generation(change)
        return new

    def drop_attribute(self, name: str) -> None:
        """Drop an attribute that no photo has a value of, also none that is not here now.

        Raises UndeclaredError where there is none, and DatasetError where a photo has a value.
        """
        name, gone, begun = attribute_name(name), False, time.time_ns()

        def change() -> None:
            nonlocal gone
            before = self.manifest.columns
            if name in before:
                check_unused(name, self._known_count(name))
                without = {one: before[one] for one in before if one != name}
                self._metadata.write_columns(without)
                gone = True
                try:  # another writer may have given a value just before
                    check_unused(name, self._known_count(name))
                except DatasetError:
                    self.record("declare", {"attributes": {name: before[name].model_dump()}})
                    self.bring_columns(begun)
                    raise
                self.record("drop", {"attribute": name})
                self.bring_columns(begun)
            elif not gone:  # else it is done again, and was there at first
                raise no_attribute(before, name)

        self.in_stable_generation(change)

    def import_values(
        self, columns: Mapping[str, Declared], values: Mapping[str, Mapping[str, Value | None]]
    ) -> None:
        """Set attributes as a table gives them: by SHA-256, values that `checked` gave.

        None makes one unknown; photos that are not there are passed over. A thousand photos are
        written at a time: where that is stopped, the next build goes on with it. Raises
        DatasetError.
        """

        def record() -> None:
            after = _settled(self.manifest.columns, columns)
            table = self.journal.write_table(values)
            definitions = {name: one.model_dump() for name, one in after.items()}
            what = {"table": table, "count": len(values), "attributes": definitions}
            self.record("import", what)
            # Before any value: one of safety never passes a filter as if it were another.
            self.bring_columns(begun)

        begun = time.time_ns()
        self.in_stable_generation(record)
        by_id = {photo_id(sha256): said for sha256, said in values.items()}
        every = list(by_id)

        def write(some: Sequence[str]) -> None:
            rows = self.rows(some)
            self.write([_changed_row(row, photo_of(row), by_id[one]) for one, row in rows.items()])

        for start in range(0, len(every), BATCH):
            self.and_wait_until_visible(partial(write, every[start : start + BATCH]))

    def _known_count(self, name: str) -> int:
        """Of how many photos an attribute is known, of those that are not here now too."""
        here = int(self._rows.where(known(name), ["count(*)"])[0]["count(*)"])
        return here + Absent(self._metadata).known(name)


def _changed_row(
    before: Mapping[str, Any], photo: Photo, values: Mapping[str, Value | None]
) -> dict[str, Any]:
    """The row of a photo of which something else is said now."""
    attributes = _without_unknown({**attributes_of(before), **values})
    vector = np.array(before["vector"], np.float32)
    return row_of(photo, vector, attributes, before[WRITTEN])


def _settled(declared: Mapping[str, Declared], wanted: Mapping[str, Declared]) -> dict[str, Column]:
    found = resolved_definitions(declared, wanted)
    return {name: Column(type=one.type, safety=one.safety) for name, one in found.items()}


def _without_unknown(values: Mapping[str, Value | None]) -> dict[str, Value]:
    return {name: value for name, value in values.items() if value is not None}
