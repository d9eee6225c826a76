"""A Store that is brought to say what the journal says: by a fold of it, or record by record."""

import sqlite3
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from deepfood.errors import ArtifactError
from deepfood.gallery.fold import Fold, edits_in, touched
from deepfood.gallery.photo import Photo, edited
from deepfood.gallery.record import Record
from deepfood.gallery.values import Value
from deepfood.index import VectorFile, append_vectors
from deepfood.local.growing_store import GrowingStore, Transaction, Values
from deepfood.local.journal import Journal
from deepfood.local.sums import sum_again

#: The unit vectors, float32 [dimension], of photos that were added, or None where there is none.
#: Raises an ArtifactError.
Embed = Callable[[Sequence[Photo]], Sequence[npt.NDArray[np.float32] | None]]


class FollowingStore(GrowingStore):
    """Every method raises DiskFullError, and has then done nothing."""

    def take_up(self, fold: Fold) -> None:
        """Say what a fold says of the photos that are here, and keep what it says of others.

        For a new generation, whose photos have no attributes yet.
        """
        rows = dict(self._all("SELECT sha256, row FROM photos"))
        columns: dict[str, list[tuple[int, Value | None]]] = {n: [] for n in fold.definitions}
        with self._transaction() as work:
            known = self.attributes.declared()
            for name, one in fold.definitions.items():
                self.attributes.declare(name, one.type, one.safety, known)
            for sha256 in fold:
                said, row = fold[sha256], rows.get(sha256)
                if row is not None:
                    for name, value in said.attributes.items():
                        columns[name].append((row, value))
                elif said.by_hand or said.attributes:
                    self.keep_absent(work, sha256, said)
            for name, values in columns.items():
                self.attributes.write_many(name, values)
            work.state = work.state._replace(head=fold.head)

    def follow_journal(self, fold: Fold, embed: Embed) -> None:
        """Have the catalogue say what a fold says, whatever it says now; the rows must be sound.

        `embed` gives the vectors of photos that were added and are not here. For repair.
        """
        removed = {row: photo for row, photo in self.rows() if fold[photo.sha256].removed}
        lacking = [photo for sha256, photo in fold.added() if not self.has(sha256)]
        lacking, crcs, _ = self._embed_behind(lacking, embed)
        with self._transaction() as work:
            self._remove(work, removed)
            _delete_edits(work.db)
            nothing: list[Values] = [{} for _ in lacking]
            self.insert(work, lacking, crcs, nothing, announce=True)
            changed = {}
            for row, photo in self.rows():
                said = fold[photo.sha256]
                unset = replace(photo, label_edited=False, name_edited=False)
                if said.added is not None:
                    texts = {key: said.added[key] for key in ("file", "label", "name")}
                    unset = replace(unset, **texts, added=True)
                after = said.of(unset)
                if after != photo:
                    changed[row] = after
            self._update(work, changed, {})
        self.take_up(fold)

    def forget_edits(self) -> None:
        """Forget all attributes, and what was said of photos that are not here."""
        with self._transaction() as work:
            _delete_edits(work.db)

    def take_up_some(self, fold: Fold, hashes: Iterable[str], after: int) -> None:
        """As `take_up`, of some photos, and of those in row `after` and later."""
        with self._transaction() as work:
            for name, before in self.attributes.declared().items():
                # One that was dropped and declared again is another, and nobody has its value yet.
                now = fold.definitions.get(name)
                if now is None or now.type != before.type or before.safety > now.safety:
                    self.attributes.drop(name)
            known = self.attributes.declared()
            for name, one in fold.definitions.items():
                self.attributes.declare(name, one.type, one.safety, known)
            rows = dict(self._all("SELECT row, sha256 FROM photos WHERE row >= ?", after))
            for sha256 in hashes:
                if found := self._find(sha256):
                    rows[found[0]] = sha256
                elif fold[sha256].by_hand or fold[sha256].attributes:
                    self.keep_absent(work, sha256, fold[sha256])
            for row, sha256 in rows.items():
                work.db.execute("DELETE FROM absent WHERE sha256 = ?", (sha256,))
                self.attributes.forget(row)
            self.attributes.put_clean({row: fold[one].attributes for row, one in rows.items()})
            work.state = work.state._replace(head=fold.head)

    def apply(
        self, record: Record, journal: Journal, embed: Embed, gone: Container[str] = ()
    ) -> None:
        """Take in the next record of a journal. Raises ArtifactError where a vector is lacking.

        `gone` are photos that a later record removes: their bytes may be deleted by now.
        """
        with self._transaction() as work:
            others = Fold()  # what is said of photos that are not here
            for sha256 in touched(record, journal):
                if not self.has(sha256) and (said := self.absent(sha256)):
                    others.put(sha256, said)
            others.apply(record, journal)
            declared = self.attributes.declared() if others.definitions else {}
            for name, one in others.definitions.items():
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
                said = others[sha256]
                if self.has(sha256) or not (said.by_hand or said.attributes):
                    work.db.execute("DELETE FROM absent WHERE sha256 = ?", (sha256,))
                else:
                    self.keep_absent(work, sha256, said)
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
                    self._update(work, {found[0]: edited_as(found[1], photo)}, {found[0]: some})
            kept = [one for one in kept if not self._find(one[0].sha256)]
            photos, crcs, there = self._embed_behind([photo for photo, _ in kept], embed)
            values = [kept[place][1] for place in there]
        self.insert(work, photos, crcs, values, announce=True)

    def _embed_behind(
        self, photos: Sequence[Photo], embed: Embed
    ) -> tuple[list[Photo], list[int], list[int]]:
        """Write the vectors of photos behind the last row, of those that have one.

        Which these are, the CRC-32 of their vectors, and their places in `photos`.
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
        """The CRC-32 of each photo's vector, if the vectors are in the file behind the last row."""
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
    db.execute("UPDATE photos SET values_sum = 0")
    sum_again(db)


def edited_as(before: Photo, added: Photo) -> Photo:
    """A photo that is here already, and was added too; what was set by hand stays."""
    by_hand = {"label": before.label_edited, "name": before.name_edited}
    return edited(added, {key: getattr(before, key) for key, is_set in by_hand.items() if is_set})
