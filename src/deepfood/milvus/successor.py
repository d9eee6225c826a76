"""A Successor on Milvus: a generation with vectors of its own that will replace the living one.

It is brought to hold the same photos: first by comparing all rows of both, and then those that
writers noted as changed, or that new records of the journal are about. The photos' facts come from
the journal, so that interruptions do no harm.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np

from deepfood.config import Settings
from deepfood.data.photo_file import photo_id
from deepfood.embed import Vector
from deepfood.errors import EngineError
from deepfood.gallery.embedding import Lost
from deepfood.gallery.fold import Fold
from deepfood.gallery.photo import UNREADABLE, Photo, Skipped
from deepfood.milvus.changed_ids import changed_ids
from deepfood.milvus.facts import facts_in
from deepfood.milvus.follow import Vectors
from deepfood.milvus.gallery import MilvusGallery
from deepfood.milvus.parts import rows_to_change
from deepfood.milvus.rows import BATCH, Row, StrongRows
from deepfood.milvus.schema import PHOTO_ROW, WRITTEN, attributes_of, photo_of, row_of
from deepfood.progress import bar

Pair = tuple[Row | None, Row | None]

#: A batch of embedded photos is written at this size, or after this time.
_PHOTOS, _S = 500, 5.0


class MilvusSuccessor:
    """`made` counts the photos embedded; `lost` has those that could not be, by id."""

    def __init__(
        self,
        living: MilvusGallery,
        settings: Settings,
        collection: str,
        vectors: Vectors,
        *,
        quiet: bool = False,
    ) -> None:
        """`living` is fixed to the living generation; `vectors` reads and embeds its photos."""
        connection = living.connection
        self.living = living
        self.gallery = MilvusGallery(connection, settings, collection)
        self.made = 0
        self.lost: dict[str, tuple[Photo, str]] = {}
        self._theirs = StrongRows(connection, living.collection)
        self._mine = rows_to_change(connection, living.metadata, collection, self.gallery.manifest)
        self._noted = changed_ids(living.metadata, living.collection)
        self._seen: dict[str, int] = {}
        self._read_ns = 0
        self._vectors = vectors
        self._journal = living.journal
        self.reading = self._journal.read()
        self._quiet = quiet

    @property
    def fold(self) -> Fold:
        """The manual edits."""
        return self.reading.fold

    def follow_everything(self) -> None:
        """Compare all rows with those of the living generation."""
        fields = PHOTO_ROW
        self._follow(_merge_join(self._theirs.every(fields), self._mine.every(fields)))

    def catch_up(self) -> int:
        """Follow the photos noted or recorded since the last call; returns how many."""
        begun = time.time_ns()
        self.reading = self._journal.read(self.reading)
        noted = self._noted.read(self._read_ns)
        ids = {one for one, number in noted.items() if self._seen.get(one) != number}
        ids |= {photo_id(sha256) for sha256 in self.reading.news}
        self._follow(self._pairs(sorted(ids)))
        self._seen |= noted
        self._read_ns = begun
        return len(ids)

    def lost_now(self) -> Lost:
        """Photos of the living generation without a vector, and why."""
        there = self._theirs.named(list(self.lost), ["id"])
        return [one for photo_id, one in self.lost.items() if photo_id in there]

    def _pairs(self, ids: Sequence[str]) -> Iterator[Pair]:
        for start in range(0, len(ids), BATCH):
            some = ids[start : start + BATCH]
            theirs, mine = (rows.named(some, PHOTO_ROW) for rows in (self._theirs, self._mine))
            yield from ((theirs.get(one), mine.get(one)) for one in some)

    def _follow(self, pairs: Iterable[Pair]) -> None:
        lacking, changed, gone = [], [], []
        for theirs, mine in pairs:
            now = facts_in(photo_of(theirs), self.fold) if theirs else None
            if mine is None and theirs is not None and now:
                lacking.append(str(theirs["id"]))
            elif mine is not None and now is None:
                gone.append(str(mine["id"]))
            elif mine is not None and now != (photo_of(mine), attributes_of(mine)):
                changed.append(str(mine["id"]))
        if gone:
            kept = lost_before(self.living.left_out())
            self._mine.delete([one for one in gone if one not in kept])
        for start in range(0, len(changed), BATCH):
            self._copy(changed[start : start + BATCH])
        self._embed([one for one in lacking if one not in self.lost])

    def _copy(self, ids: Sequence[str]) -> None:
        """Update the facts of photos that have a vector here already."""
        living = self._theirs.named(ids, [*PHOTO_ROW, WRITTEN])
        mine = self._mine.named(ids, ["id", "vector"])
        self._mine.write(
            [
                self._row(living[one], np.array(mine[one]["vector"], np.float32))
                for one in ids
                if one in living and one in mine
            ]
        )

    def _row(self, theirs: Row, vector: Vector) -> Row:
        photo = photo_of(theirs)
        now = facts_in(photo, self.fold) or (photo, attributes_of(theirs))
        return row_of(now[0], vector, now[1], theirs[WRITTEN])

    def _embed(self, ids: Sequence[str]) -> None:
        if not ids:
            return
        count = self.living.count
        known = max(count - len(ids), 0)
        with bar("embedding", " photos", count, done=known, quiet=self._quiet) as progress:
            for start in range(0, len(ids), _PHOTOS):
                some = ids[start : start + _PHOTOS]
                self._embed_some(self._theirs.named(some, [*PHOTO_ROW, WRITTEN]), progress.update)

    def _embed_some(self, rows: dict[str, Row], progress: Callable[[], object]) -> None:
        """Write photos as their vectors arrive; what is done is kept if it ends early."""
        photos = [photo_of(row) for row in rows.values()]
        ready: list[Row] = []
        first = time.monotonic()
        try:
            found = self._vectors(photos)
            for row, photo, vector in zip(rows.values(), photos, found, strict=True):
                if isinstance(vector, str):
                    self.lost[photo.id] = photo, vector
                else:
                    ready.append(self._row(row, vector))
                    self.made += 1
                progress()
                if time.monotonic() - first > _S:
                    self._mine.write(ready)
                    ready, first = [], time.monotonic()
        finally:
            self._mine.write(ready)


def lost_before(skipped: Iterable[Skipped]) -> set[str]:
    """The ids of photos that an earlier change of Model has lost, and that nobody has removed."""
    return {photo_id(one.same_as) for one in skipped if one.same_as and one.reason == UNREADABLE}


def _merge_join(theirs: Iterable[Row], mine: Iterable[Row]) -> Iterator[Pair]:
    """Pairs of rows with the same id, from two sequences in the order of ids."""
    first, second = _in_order(theirs), _in_order(mine)
    one, other = next(first, None), next(second, None)
    while one is not None or other is not None:
        if other is None or (one is not None and one["id"] < other["id"]):
            yield one, None
            one = next(first, None)
        elif one is None or other["id"] < one["id"]:
            yield None, other
            other = next(second, None)
        else:
            yield one, other
            one, other = next(first, None), next(second, None)


def _in_order(rows: Iterable[Row]) -> Iterator[Row]:
    before = ""
    for row in rows:
        if row["id"] <= before:
            raise EngineError("Milvus returned the rows of a generation out of order")
        before = row["id"]
        yield row
