"""Rows of the living generation, for writers, while another generation may take over."""

import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import Any, Self, TypeVar

import numpy as np

from deepfood.config import Settings
from deepfood.data.photo_file import photo_id
from deepfood.errors import ArtifactBusyError, ArtifactMissingError
from deepfood.gallery.fold import Fold, touched
from deepfood.gallery.record import Kind, Record, user
from deepfood.milvus.address import MilvusAddress
from deepfood.milvus.changed_ids import changed_ids
from deepfood.milvus.columns import TOGETHER_NS, update_columns
from deepfood.milvus.connection import Connection
from deepfood.milvus.facts import edits_in_row, facts_in
from deepfood.milvus.generations import living_collection
from deepfood.milvus.journal import MilvusJournal, Position
from deepfood.milvus.lease import Lease
from deepfood.milvus.metadata import Column, GalleryMetadata, MilvusManifest
from deepfood.milvus.parts import rows_to_change
from deepfood.milvus.rows import BATCH, StrongRows
from deepfood.milvus.schema import WHOLE_ROW, WRITTEN, attributes_of, photo_of, row_of
from deepfood.milvus.stored_photos import StoredPhotos
from deepfood.model import Model

T = TypeVar("T")

_ASKED_EACH_S = 0.1
#: Gets the ids of the rows to be changed, and the collection's rows.
BeforeChange = Callable[[Sequence[str], StrongRows], None]


class LivingRows:
    """Writes and deletes rows; every method raises EngineError if the engine is unavailable.

    `manifest` and `stored` (the photos' bytes) belong to the generation of the last change.
    """

    def __init__(
        self,
        connection: Connection,
        settings: Settings,
        model: Model | None = None,
        collection: str | None = None,
        by: str = "",
        before_change: BeforeChange | None = None,
    ) -> None:
        """`collection` is a generation that is not living yet, with no other writers.

        `by` is the author of each change in the journal; empty for the system's user.
        `before_change` is called before rows of the living generation are written or deleted.
        """
        self._connection = connection
        self._settings = settings
        self._model = model
        self._metadata = GalleryMetadata(connection)
        self.journal = MilvusJournal(self._metadata, by or user())
        self._exclusive = collection
        self._before_change = before_change
        self.manifest: MilvusManifest
        self._rows: StrongRows
        self.stored: StoredPhotos
        self._lease = Lease()
        self._notes = False
        self._repeats = False
        self._changed: list[str] = []
        self._recorded: list[tuple[Kind, Mapping[str, Any]]] = []
        if collection:
            self._switch_to(collection)

    @classmethod
    @contextmanager
    def open(
        cls,
        address: MilvusAddress,
        settings: Settings,
        model: Model | None = None,
        *,
        by: str = "",
    ) -> Iterator[Self]:
        """Open for writing; `model` made the vectors of the photos to be added.

        `by` is the author of each change in the journal. Each change raises ArtifactMissingError,
        ModelMismatchError or EngineError.
        """
        connection = Connection(address, settings)
        try:
            yield cls(connection, settings, model, by=by)
        finally:
            connection.close()

    def in_stable_generation(self, change: Callable[[], T]) -> T:
        """Make a change in the living generation; repeat it if another takes over meanwhile.

        All writes, deletions and commits to a living generation go through this method. Raises
        ArtifactBusyError if a next generation takes over for longer than `milvus_timeout_s`, and
        ModelMismatchError if it has another Model than the added photos.
        """
        self._recorded = []
        if self._exclusive:
            return change()
        self._living()  # raises if there is no gallery
        self._repeats = False
        until = time.monotonic() + self._settings.milvus_timeout_s
        while True:
            self._lease = Lease.read(self._metadata)
            if self._lease.is_now("swapping"):
                if time.monotonic() > until:
                    raise ArtifactBusyError(
                        f"a next generation of {self._connection.address} is taking over: try again"
                    )
                time.sleep(_ASKED_EACH_S)
                continue
            self._switch_to(self._living())
            self._notes = self._lease.is_now("filling")
            self._changed = []
            done = change()
            if Lease.read(self._metadata).same_as(self._lease):
                return done
            self._repeats = True

    def and_wait_until_visible(self, change: Callable[[], T]) -> T:
        """Like `in_stable_generation`, and wait until searches see the change.

        This takes one strongly consistent read of at most one request's rows. With several
        replicas, those that the read did not reach may lag by a time tick (measured: 0.2 s).
        """
        begun = time.time_ns()
        done = self.in_stable_generation(change)
        if ids := set(self._changed):
            with ThreadPoolExecutor(1) as pool:  # both reads wait for the same timestamp
                seen = pool.submit(self._rows.named, self._changed[-BATCH:], ["id"])
                recent = self.journal.recent(begun - TOGETHER_NS)
                seen.result()
            while self._merge_concurrent(ids, recent):
                recent = self.journal.recent(begun - TOGETHER_NS)
        return done

    def _merge_concurrent(self, ids: Collection[str], recent: Mapping[Position, Record]) -> bool:
        """Apply concurrent records of other writers about these photos; whether a row lacked one.

        A writer reads a row before it writes it, and may overwrite a concurrent change. The journal
        has both changes, so that the last writer applies both.
        """
        by_photo: dict[str, list[Record]] = {}
        by_others: set[str] = set()
        for place, record in recent.items():
            for sha256 in touched(record, self.journal):
                by_photo.setdefault(sha256, []).append(record)
                if place not in self.journal.own:
                    by_others.add(sha256)
        together = {photo_id(one): by_photo[one] for one in by_others if photo_id(one) in ids}
        return bool(together) and self.in_stable_generation(partial(self._apply_missed, together))

    def _apply_missed(self, records: Mapping[str, Sequence[Record]]) -> bool:
        """Apply records to rows, by id, which may contain them already; whether one was missing."""
        changed, gone = [], []
        for one, row in self.rows(list(records)).items():
            before, fold = (photo_of(row), attributes_of(row)), Fold()
            fold.put(row["sha256"], edits_in_row(*before))
            for record in records[one]:
                fold.apply(record, self.journal)
            now = facts_in(before[0], fold)
            if now is None:
                gone.append(one)
            elif now != before:
                vector = np.array(row["vector"], np.float32)
                changed.append(row_of(now[0], vector, now[1], row[WRITTEN]))
        self.write(changed)
        self.delete(gone)
        return bool(changed or gone)

    def record(self, do: Kind, what: Mapping[str, Any]) -> None:
        """Record a change in the journal before any row is changed, once for all its attempts."""
        if (do, what) not in self._recorded:
            self.journal.append(do, what)
            self._recorded.append((do, what))

    def update_columns(self, since_ns: int, wanted: Mapping[str, Column] | None = None) -> None:
        """Store `wanted` and the journal's declarations since a time: see `columns.py`."""
        columns = update_columns(
            self._metadata, self.journal, self.manifest.columns, since_ns, wanted
        )
        self.manifest = self.manifest.model_copy(update={"columns": columns})

    def commit(self, changed: Mapping[str, Any]) -> MilvusManifest:
        """Change fields of the manifest; returns the new one.

        Only for the holder of the lease, or in a generation that is not living yet: the manifest is
        read before it is written, and a concurrent write would be lost.
        """
        self.manifest = self.manifest.model_copy(update=dict(changed))
        self._metadata.write_manifest(self._rows.collection, self.manifest)
        return self.manifest

    def write(self, rows: Sequence[dict[str, Any]]) -> None:
        """Write whole rows, which are in Milvus' log when this returns."""
        self._touch([str(row["id"]) for row in rows])
        self._rows.write(rows)

    def delete(self, ids: Sequence[str]) -> None:
        self._touch(ids)
        self._rows.delete(ids)

    def rows(self, ids: Sequence[str]) -> dict[str, dict[str, Any]]:
        """The existing rows of these photos, by id, with vectors."""
        return self._rows.named(ids, WHOLE_ROW)

    def _touch(self, ids: Sequence[str]) -> None:
        if self._exclusive:
            return
        if self._before_change and ids:
            self._before_change(ids, self._rows)
        self._changed += ids
        if self._notes and ids:
            changed_ids(self._metadata, self._rows.collection).note(ids)

    def _living(self) -> str:
        collection = living_collection(self._connection)
        if collection is None:
            raise ArtifactMissingError(f"there is no gallery {self._connection.address}")
        return collection

    def _switch_to(self, collection: str) -> None:
        self.manifest = self._metadata.manifest(collection)
        if self._model is not None:
            self.manifest.check_model(self._model, str(self._connection.address))
        self._rows = rows_to_change(
            self._connection,
            self._metadata,
            collection,
            self.manifest,
            keep=self._before_change is not None,
            unsure=self._repeats,
        )
        self.stored = StoredPhotos(self.manifest, self._settings)
