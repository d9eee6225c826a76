"""Brings the rows of a generation to the state in the journal, whatever they are now.

The journal is read again until it has nothing new, so that concurrent edits are followed too.
"""

import time
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from functools import partial

import numpy as np

from deepfood.data.photo_file import photo_id
from deepfood.embed import Vector
from deepfood.gallery.embedding import PASSES, Lost
from deepfood.gallery.fold import Fold
from deepfood.gallery.photo import EmbeddedPhoto, Photo
from deepfood.milvus.absent_edits import AbsentEdits
from deepfood.milvus.before_images import BeforeImages
from deepfood.milvus.facts import Facts, columns_of, facts_in
from deepfood.milvus.gallery import MilvusGallery
from deepfood.milvus.journal import MilvusJournal
from deepfood.milvus.living_rows import LivingRows
from deepfood.milvus.rows import BATCH, Row
from deepfood.milvus.schema import PHOTO_ROW, WRITTEN, attributes_of, photo_of, row_of

#: Returns each photo's unit vector, or the reason why there is none.
Vectors = Callable[[Sequence[Photo]], Iterator[Vector | str]]


def photos_in(gallery: MilvusGallery) -> dict[str, Facts]:
    """The facts in the rows of a generation, by SHA-256."""
    rows = gallery.rows.every(PHOTO_ROW)
    return {str(row["sha256"]): (photo_of(row), attributes_of(row)) for row in rows}


class JournalFollower:
    """Brings the rows of one generation to the state in the journal.

    `made` counts the photos embedded. `lost` has the added photos that could not be embedded, by
    SHA-256, and why.
    """

    def __init__(
        self,
        gallery: MilvusGallery,
        writer: LivingRows,
        journal: MilvusJournal,
        vectors: Vectors,
    ) -> None:
        """`gallery` and `writer` are of the same generation."""
        self.gallery = gallery
        self.made = 0
        self.lost: dict[str, tuple[Photo, str]] = {}
        self._writer = writer
        self.journal = journal
        self._vectors = vectors
        self._read_ns = time.time_ns()
        self.reading = journal.read()

    @property
    def fold(self) -> Fold:
        return self.reading.fold

    def follow_everything(self) -> None:
        """Compare all rows with the journal."""
        self._writer.in_stable_generation(self._declare)
        there: set[str] = set()
        some: list[Row] = []
        for row in self.gallery.rows.every(PHOTO_ROW):
            there.add(row["sha256"])
            some.append(row)
            if len(some) == BATCH:
                self._follow(some)
                some = []
        self._follow(some)
        self.embed_added(there)

    def catch_up(self) -> int:
        """Follow new records in the journal; returns how many photos they are about."""
        self._read_ns = time.time_ns()
        self.reading = self.journal.read(self.reading)
        self._writer.in_stable_generation(self._declare)
        news = sorted(self.reading.news)
        for start in range(0, len(news), BATCH):
            some = news[start : start + BATCH]
            ids = [photo_id(sha256) for sha256 in some]
            rows = self._writer.in_stable_generation(partial(self._writer.rows, ids))
            self._follow(list(rows.values()))
            lacking = {one for one in some if photo_id(one) not in rows}
            self._embed(
                [
                    self.fold[one].added_photo(one)
                    for one in sorted(lacking)
                    if self.fold[one].added is not None
                ]
            )
        return len(news)

    def catch_up_with_all(self) -> None:
        """Catch up until nothing is new, or others write faster than that."""
        for _ in range(PASSES):
            if not self.catch_up():
                return

    def lost_now(self) -> Lost:
        """Photos that were added, are not removed, and have no vector."""
        return [one for sha256, one in self.lost.items() if self.fold[sha256].added is not None]

    def write_new(self, new: Sequence[EmbeddedPhoto]) -> None:
        """Write photos of the source with their vectors, except removed ones."""
        ready: dict[str, Row] = {}
        for one in new:
            if now := facts_in(one.photo, self.fold):
                ready[one.photo.id] = row_of(now[0], one.vector, now[1], time.time_ns())
        self._writer.in_stable_generation(partial(self._writer.write, list(ready.values())))

    def embed_added(self, there: Container[str]) -> int:
        """Insert the added photos that are not in `there`, by SHA-256; returns how many."""
        before = self.made
        self._embed([photo for sha256, photo in self.fold.added() if sha256 not in there])
        return self.made - before

    def write(self, rows: Mapping[str, Facts]) -> None:
        """Set the facts of rows, by id; vectors stay. Rows that are gone are skipped."""
        every = list(rows)
        for start in range(0, len(every), BATCH):
            some = every[start : start + BATCH]
            self._writer.in_stable_generation(partial(self._write, some, rows))

    def restore(self, images: BeforeImages) -> None:
        """Restore the rows in before-images, with the photos' current facts in the journal.

        Rows inserted since are deleted, except those of photos added by hand.
        """
        for some in images.batches():
            self._writer.in_stable_generation(partial(self._put_back, some))
        inserted = images.inserted()
        for start in range(0, len(inserted), BATCH):
            some_ids = inserted[start : start + BATCH]
            self._writer.in_stable_generation(partial(self._take_out, some_ids))

    def keep_absent_edits(self) -> None:
        """Keep the edits of photos without a row, in case they are added again."""
        there = {str(row["sha256"]) for row in self.gallery.rows.every(["sha256"])}
        AbsentEdits(self.gallery.metadata).replace(self.fold, there)

    def delete(self, ids: Sequence[str]) -> None:
        if ids:
            self._writer.in_stable_generation(partial(self._writer.delete, ids))

    def _write(self, ids: Sequence[str], rows: Mapping[str, Facts]) -> None:
        now = self._writer.rows(ids)
        self._writer.write(
            [
                row_of(
                    rows[one][0], np.array(row["vector"], np.float32), rows[one][1], row[WRITTEN]
                )
                for one, row in now.items()
            ]
        )

    def _put_back(self, images: Sequence[Row]) -> None:
        now = self._writer.rows([row["id"] for row in images])
        ready = []
        for row in images:
            if (facts := facts_in(photo_of(row), self.fold)) is not None:
                there = now.get(row["id"])
                # A restored row counts as new for the later pages of running searches.
                written_ns = there[WRITTEN] if there else time.time_ns()
                ready.append(
                    row_of(facts[0], np.array(row["vector"], np.float32), facts[1], written_ns)
                )
        self._writer.write(ready)

    def _take_out(self, ids: Sequence[str]) -> None:
        rows = self._writer.rows(ids).values()
        self._writer.delete([row["id"] for row in rows if self.fold[row["sha256"]].added is None])

    def _declare(self) -> None:
        # Before any value, so that an attribute is a safety attribute from its first value on.
        self._writer.update_columns(self._read_ns, columns_of(self.fold))

    def _follow(self, rows: Iterable[Row]) -> None:
        changed: dict[str, Facts] = {}
        gone: list[str] = []
        for row in rows:
            now = facts_in(photo := photo_of(row), self.fold)
            if now is None:
                gone.append(row["id"])
            elif now != (photo, attributes_of(row)):
                changed[row["id"]] = now
        self.delete(gone)
        self.write(changed)

    def _embed(self, photos: Iterable[Photo]) -> None:
        """Insert rows for added photos."""
        wanted = [photo for photo in photos if photo.sha256 not in self.lost]
        for start in range(0, len(wanted), BATCH):
            some = wanted[start : start + BATCH]
            ready: list[Row] = []
            for photo, vector in zip(some, self._vectors(some), strict=True):
                if isinstance(vector, str):
                    self.lost[photo.sha256] = photo, vector
                    continue
                attributes = self.fold[photo.sha256].attributes
                ready.append(row_of(photo, vector, attributes, time.time_ns()))
            self._writer.in_stable_generation(partial(self._writer.write, ready))
            self.made += len(ready)
