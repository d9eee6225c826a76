"""Adds, removes and updates photos in a gallery on Milvus; any number of writers may run at once.

A change is acknowledged when its call returns: it is then in Milvus' log, in a generation that is
still living, and visible to searches. Before any row is changed, the change is recorded in the
journal. A photo's row is written under its id, so that adding a photo twice makes one photo.
"""

import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from deepfood.batches import batches
from deepfood.data.photo_file import photo_id
from deepfood.errors import DatasetError, PhotoNotFoundError, QueryError
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
from deepfood.milvus.absent_edits import AbsentEdits
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

#: Photos whose bytes are read together when they are removed.
_READ_TOGETHER = 10


class MilvusWriter(LivingRows):
    """Changes a gallery; every method raises EngineError if the engine is unavailable."""

    def add(self, new: Sequence[EmbeddedPhoto]) -> list[Outcome]:
        """Add photos; of a photo that exists already, only the fields given by hand are changed.

        Raises DatasetError for unusable attributes, before anything is added.
        """
        first: list[Outcome] = []

        def change() -> list[Outcome]:
            outcomes = self._add(new)
            if not first:
                first.extend(outcomes)
            return outcomes

        outcomes = self.and_wait_until_visible(change)
        self._keep_again([one for one, was in zip(new, first, strict=True) if was == "added"])
        # A repeated attempt finds the photos of the first one.
        return [
            was if now == "unchanged" else now for was, now in zip(first, outcomes, strict=True)
        ]

    def _add(self, new: Sequence[EmbeddedPhoto]) -> list[Outcome]:
        columns = self.manifest.columns
        ready = [(one, clean_values(columns, one.attributes)) for one in new]
        there = self.rows([one.photo.id for one, _ in ready])
        missing = [one.photo.id for one, _ in ready if one.photo.id not in there]
        absent = AbsentEdits(self._metadata).read(missing)
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
                # The photo may have been in the gallery before.
                own = absent.get(photo.id, ManualEdits()).with_values(values)
                rows[photo.id] = row_of(
                    own.apply_to(photo), one.vector, own.attributes, time.time_ns()
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
            AbsentEdits(self._metadata).forget(list(absent))
        return outcomes

    def update(
        self,
        name: str,
        *,
        label: str | None = None,
        photo_name: str | None = None,
        attributes: Mapping[str, object] | None = None,
    ) -> Photo:
        """Change label, name or attributes of a photo, by id or file name.

        None leaves a text as it is, "" removes it; as an attribute's value, None makes it unknown.
        Raises QueryError, or DatasetError for an unusable attribute.
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
        """Remove photos, by id or file name. Raises QueryError; then none is removed."""
        found: dict[str, Photo] = {}

        def change() -> None:
            for name in names:
                try:
                    found[name] = photo_of(self._named(name))
                except PhotoNotFoundError:
                    if name not in found:  # otherwise an earlier attempt has removed it
                        raise
            photos = {photo.id: photo for photo in found.values()}
            self.record("remove", {"photos": [removal_of(one) for one in photos.values()]})
            self.delete(list(photos))

        self.and_wait_until_visible(change)
        photos = {photo.id: photo for photo in found.values()}
        for some in batches((one for one in photos.values() if one.added), _READ_TOGETHER):
            self._forget_bytes(some)
        return list(photos.values())

    def _forget_bytes(self, removed: Sequence[Photo]) -> None:
        """Forget the bytes of removed photos; one that another writer has just added keeps them."""
        data: dict[str, bytes] = {}
        for photo in removed:
            with suppress(PhotoNotFoundError):
                data[photo.id] = self.stored.read(photo)
        self.stored.forget(removed)
        # After this, whoever adds one of them sees that its bytes are gone: `_keep_again`.
        for row in self._now(removed).values():
            photo = photo_of(row)
            if photo.added and photo.id in data:
                self.stored.keep(photo, data[photo.id])

    def _keep_again(self, added: Sequence[EmbeddedPhoto]) -> None:
        """Store bytes that a writer who removed the same photo has forgotten meanwhile."""
        lost = [one for one in added if not self.stored.has(one.photo)]
        for one in lost:
            self.stored.keep(one.photo, one.data)
        if lost:
            there = self._now([one.photo for one in lost])
            self.stored.forget([one.photo for one in lost if one.photo.id not in there])

    def _now(self, photos: Sequence[Photo]) -> dict[str, dict[str, Any]]:
        """The rows of those that are in the living generation, by id."""
        return self.in_stable_generation(lambda: self.rows([photo.id for photo in photos]))

    def undo(self, number: int) -> list[Photo]:
        """Undo a change, by its number in `history`; returns the photos that it was about.

        A removed photo comes back with the next build. Raises QueryError if the change cannot be
        undone.
        """
        undo = undo_of(self.journal, number)
        restored = [
            {"sha256": sha256, "said": edits_to_json(one), "texts": undo.texts.get(sha256, {})}
            for sha256, one in undo.before.items()
        ]

        def change() -> list[Photo]:
            self.record("restore", {"photos": restored, "undoes": number})
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
        """The row of a photo, by id or file name. Raises QueryError."""
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
        """The declared attributes, by name."""
        return self.in_stable_generation(lambda: self.manifest.columns)

    def declare(self, columns: Mapping[str, Declared]) -> list[str]:
        """Declare attributes, all or none; the names of the new ones. Raises DatasetError."""
        new: list[str] = []

        def change() -> None:
            before = self.manifest.columns
            after = _resolved(before, columns)
            new.extend(name for name in after if name not in before and name not in new)
            news = {name: one for name, one in after.items() if before.get(name) != one}
            if news:
                what = {name: one.model_dump() for name, one in news.items()}
                self.record("declare", {"attributes": what})
                self.update_columns(begun)

        begun = time.time_ns()
        self.in_stable_generation(change)
        return new

    def drop_attribute(self, name: str) -> None:
        """Remove the declaration of an attribute that is unknown for all photos, present or absent.

        Raises UndeclaredError if it is not declared, and DatasetError if a photo has a value.
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
                try:  # another writer may have set a value just before
                    check_unused(name, self._known_count(name))
                except DatasetError:
                    self.record("declare", {"attributes": {name: before[name].model_dump()}})
                    self.update_columns(begun)
                    raise
                self.record("drop", {"attribute": name})
                self.update_columns(begun)
            elif not gone:  # otherwise an earlier attempt has dropped it
                raise no_attribute(before, name)

        self.in_stable_generation(change)

    def import_values(
        self, columns: Mapping[str, Declared], values: Mapping[str, Mapping[str, Value | None]]
    ) -> None:
        """Set attributes from a table: by SHA-256, values from `checked`.

        None makes one unknown; photos that do not exist are skipped. A thousand photos are written
        at a time; after an interruption, the next build does the rest. Raises DatasetError.
        """

        def record() -> None:
            after = _resolved(self.manifest.columns, columns)
            table = self.journal.write_table(values)
            definitions = {name: one.model_dump() for name, one in after.items()}
            what = {"table": table, "count": len(values), "attributes": definitions}
            self.record("import", what)
            # Before any value, so that an attribute is a safety attribute from its first value on.
            self.update_columns(begun)

        begun = time.time_ns()
        self.in_stable_generation(record)
        by_id = {photo_id(sha256): one for sha256, one in values.items()}

        def write(some: Sequence[str]) -> None:
            rows = self.rows(some)
            self.write([_changed_row(row, photo_of(row), by_id[one]) for one, row in rows.items()])

        for some in batches(by_id, BATCH):
            self.and_wait_until_visible(partial(write, some))

    def _known_count(self, name: str) -> int:
        """The number of photos, present or absent, for which an attribute is known."""
        here = int(self._rows.where(known(name), ["count(*)"])[0]["count(*)"])
        return here + AbsentEdits(self._metadata).known(name)


def _changed_row(
    before: Mapping[str, Any], photo: Photo, values: Mapping[str, Value | None]
) -> dict[str, Any]:
    """The row of a photo with new facts."""
    attributes = _without_unknown({**attributes_of(before), **values})
    vector = np.array(before["vector"], np.float32)
    return row_of(photo, vector, attributes, before[WRITTEN])


def _resolved(
    declared: Mapping[str, Declared], wanted: Mapping[str, Declared]
) -> dict[str, Column]:
    found = resolved_definitions(declared, wanted)
    return {name: Column(type=one.type, safety=one.safety) for name, one in found.items()}


def _without_unknown(values: Mapping[str, Value | None]) -> dict[str, Value]:
    return {name: value for name, value in values.items() if value is not None}
