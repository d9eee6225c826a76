"""A Store that follows the journal: by a fold of it, or record by record."""

import sqlite3
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from deepfood.errors import ArtifactError
from deepfood.gallery.declared import Definition
from deepfood.gallery.fold import Fold, ManualEdits, edits_in, touched
from deepfood.gallery.photo import Photo, edited
from deepfood.gallery.record import Record
from deepfood.gallery.values import Value
from deepfood.index import VectorFile, append_vectors
from deepfood.local.growing_store import GrowingStore, Transaction, Values
from deepfood.local.journal import Journal
from deepfood.local.sums import sum_again

#: Returns the unit vectors, float32 [dimension], of added photos, None for a photo without one.
#: Raises an ArtifactError.
Embed = Callable[[Sequence[Photo]], Sequence[npt.NDArray[np.float32] | None]]


class FollowingStore(GrowingStore):
    """Every method may raise DiskFullError; it has then changed nothing."""

    def apply_fold(self, fold: Fold, changed: Iterable[str] | None = None, after: int = 0) -> None:
        """Write the attributes of a fold for the photos here, and keep its edits of absent ones.

        `changed` limits this to some photos, by SHA-256, and to those in rows `after` and up; None
        replaces all attributes.
        """
        values: dict[int, Values] = {}
        with self.transaction() as work:
            if changed is None:
                _delete_edits(work.db)
            self._define(fold.definitions)
            rows = dict(self._all("SELECT sha256, row FROM photos WHERE row >= ?", after))
            for sha256 in fold if changed is None else {*changed, *rows}:
                edits, row = fold[sha256], rows.get(sha256)
                if row is None and changed is not None and (found := self._find(sha256)):
                    row = found[0]
                if row is not None:
                    values[row] = edits.attributes
                    if changed is not None:
                        work.db.execute("DELETE FROM absent WHERE sha256 = ?", (sha256,))
                elif edits.outlasts_photo:
                    self.keep_absent(work, sha256, edits)
            if changed is None:
                self._write_columns(values)
            else:
                for row in values:
                    self.attributes.forget(row)
                self.attributes.put_clean(values)
            work.state = work.state._replace(head=fold.head)

    def _define(self, definitions: Mapping[str, Definition]) -> None:
        """Declare these attributes, and drop all others."""
        for name, before in self.attributes.declared().items():
            # One that was dropped and declared again is another one: no photo has a value of it.
            now = definitions.get(name)
            if now is None or now.type != before.type or before.safety > now.safety:
                self.attributes.drop(name)
        known = self.attributes.declared()
        for name, one in definitions.items():
            self.attributes.declare(name, one.type, one.safety, known)

    def _write_columns(self, values: Mapping[int, Values]) -> None:
        """Write attributes by column, which is fast where no photo has a value yet."""
        columns: dict[str, list[tuple[int, Value | None]]] = {}
        for row, some in values.items():
            for name, value in some.items():
                columns.setdefault(name, []).append((row, value))
        for name, column in columns.items():
            self.attributes.write_many(name, column)

    def follow_journal(self, fold: Fold, embed: Embed) -> None:
        """Bring the catalogue to a fold, for repair. The rows must be sound.

        `embed` returns the vectors of added photos that are not here.
        """
        removed = {row: photo for row, photo in self.rows() if fold[photo.sha256].removed}
        lacking = [photo for sha256, photo in fold.added() if not self.has(sha256)]
        lacking, crcs, _ = self._embed_behind(lacking, embed)
        with self.transaction() as work:
            self._remove(work, removed)
            _delete_edits(work.db)
            nothing: list[Values] = [{} for _ in lacking]
            self.insert(work, lacking, crcs, nothing, announce=True)
            changed = {}
            for row, photo in self.rows():
                edits = fold[photo.sha256]
                unset = replace(photo, label_edited=False, name_edited=False)
                if edits.added is not None:
                    texts = {key: edits.added[key] for key in ("file", "label", "name")}
                    unset = replace(unset, **texts, added=True)
                after = edits.apply_to(unset)
                if after != photo:
                    changed[row] = after
            self._update(work, changed, {})
        self.apply_fold(fold)

    def apply(
        self, record: Record, journal: Journal, embed: Embed, gone: Container[str] = ()
    ) -> None:
        """Apply the next record of a journal. Raises ArtifactError where a vector is missing.

        `gone` are photos that a later record removes: their bytes may be deleted already.
        """
        with self.transaction() as work:
            absent = Fold()  # the edits of photos that are not here
            for sha256 in touched(record, journal):
                if not self.has(sha256) and (edits := self.absent(sha256)):
                    absent.put(sha256, edits)
            absent.apply(record, journal)
            declared = self.attributes.declared() if absent.definitions else {}
            for name, one in absent.definitions.items():
                self.attributes.declare(name, one.type, one.safety, declared)
            match record.do:
                case "add":
                    self._apply_add(work, record, embed, gone)
                case "remove":
                    found = [self._find(one["sha256"]) for one in record.what["photos"]]
                    self._remove(work, dict(one for one in found if one))
                case "drop":
                    self.attributes.drop(record.what["attribute"])
                case "restore":
                    for one in record.what["photos"]:
                        self.restore(work, one)
                case "update" | "import":
                    self._apply_update(work, edits_in(record, journal))
            for sha256 in touched(record, journal):
                edits = absent[sha256]
                if self.has(sha256) or not edits.outlasts_photo:
                    work.db.execute("DELETE FROM absent WHERE sha256 = ?", (sha256,))
                else:
                    self.keep_absent(work, sha256, edits)
            work.state = work.state._replace(head=record.head)

    def _apply_add(
        self, work: Transaction, record: Record, embed: Embed, gone: Container[str]
    ) -> None:
        photos, values = [], []
        for facts in record.what["photos"]:
            fields = {name: facts[name] for name in facts if name != "attributes"}
            photos.append(Photo(**fields, added=True))
            values.append(facts.get("attributes", {}))
        crcs = self._crcs_in_place(record, photos)
        if crcs is None:
            kept = [
                (photo, some)
                for photo, some in zip(photos, values, strict=True)
                if photo.sha256 not in gone
            ]
            for photo, some in kept:
                if found := self._find(photo.sha256):
                    row, before = found
                    added = ManualEdits.from_photo(before).apply_to(photo)  # manual edits stay
                    self._update(work, {row: added}, {row: some})
            kept = [one for one in kept if not self._find(one[0].sha256)]
            photos, crcs, there = self._embed_behind([photo for photo, _ in kept], embed)
            values = [kept[place][1] for place in there]
        self.insert(work, photos, crcs, values, announce=True)

    def _embed_behind(
        self, photos: Sequence[Photo], embed: Embed
    ) -> tuple[list[Photo], list[int], list[int]]:
        """Append the vectors of photos behind the last row, of those that have one.

        Returns these photos, the CRC-32 of their vectors, and their places in `photos`.
        """
        found = list(enumerate(embed(photos)))
        there = [place for place, vector in found if vector is not None]
        vectors = [vector for _, vector in found if vector is not None]
        crcs = append_vectors(
            self.vectors_path,
            self.dimension,
            self.storage,
            self.next_row(),
            np.array(vectors, np.float32).reshape(-1, self.dimension),
        )
        return [photos[place] for place in there], crcs.tolist(), there

    def _crcs_in_place(self, record: Record, photos: Sequence[Photo]) -> list[int] | None:
        """The CRC-32 of each vector, if the file has them behind the last row already."""
        start, crcs = self.next_row(), list(record.what["crcs"])
        if record.what["row"] != start or any(self.has(photo.sha256) for photo in photos):
            return None
        try:
            stop = start + len(photos)
            vectors = VectorFile.open(self.vectors_path, self.dimension, self.storage, stop)
        except ArtifactError:
            return None
        return crcs if vectors.crc(start).tolist() == crcs else None

    def _apply_update(self, work: Transaction, edits: Iterable[Mapping[str, Any]]) -> None:
        photos: dict[int, Photo] = {}
        values: dict[int, Values] = {}
        for edit in edits:
            if found := self._find(edit["sha256"]):
                row, photo = found
                photos[row], values[row] = edited(photo, edit), edit.get("attributes", {})
        self._update(work, photos, values)


def _delete_edits(db: sqlite3.Connection) -> None:
    for table in ("attributes", "attribute_values", "attribute_keys", "absent"):
        db.execute(f"DELETE FROM {table}")  # noqa: S608
    db.execute("UPDATE photos SET values_sum = 0 WHERE values_sum <> 0")
    sum_again(db)
