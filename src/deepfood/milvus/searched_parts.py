"""The parts of photos as a search sees them: a photo is as similar as the best of its parts."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from deepfood.gallery.joined_parts import joined
from deepfood.gallery.photo import Hit
from deepfood.gallery.queries import best_of_all
from deepfood.milvus.rows import MOST, Row, Rows
from deepfood.photo_box import Box

Vectors = npt.NDArray[np.float32]

#: Of a part's row, what a search for one vector returns.
PART_ROW = ["photo", "box"]


@dataclass(frozen=True)
class SearchedParts:
    """The rows of parts that a search may find; `allowed` is Milvus' expression for them."""

    rows: Rows
    allowed: str

    def joined(
        self,
        whole: Sequence[Hit],
        query: Vectors,
        count: int,
        photos_of: Callable[[Sequence[str]], Mapping[str, Hit]],
    ) -> list[Hit]:
        """The `count` best photos, by themselves or by one of their parts, with its box.

        `whole` are the best by themselves, best first. `photos_of` returns those of the photos, by
        id, that may be found.
        """
        own = {hit.photo.id: hit for hit in whole}
        known: dict[str, Hit | None] = dict(own)
        best: dict[str, Hit] = {}

        def nearest(most: int) -> tuple[npt.NDArray[np.int64], Vectors]:
            parts = self._nearest(query, most)
            new = {one.photo for one in parts} - known.keys()
            found = photos_of(sorted(new))
            known.update({one: found.get(one) for one in new})
            for part in parts:
                if hit := known[part.photo]:
                    best.setdefault(part.photo, replace(hit, score=part.score, box=part.box))
            owners = [number_of(one.photo) if known[one.photo] else -1 for one in parts]
            return np.array(owners, np.int64), np.array([one.score for one in parts], np.float32)

        scores = np.array([hit.score for hit in whole], np.float32)
        numbers, scores = joined(numbers_of(whole), scores, count, nearest)
        by_number = {number_of(one): hit for one, hit in own.items()}
        for one, hit in best.items():
            if one not in own or hit.score > own[one].score:
                by_number[number_of(one)] = hit
        return [by_number[number] for number in numbers.tolist()]

    def _nearest(self, query: Vectors, most: int) -> list["_Part"]:
        """The `most` best parts, best first."""
        fields = PART_ROW if query.ndim == 1 else [*PART_ROW, "vector"]

        def search(vector: Vectors, count: int) -> tuple[list[Row], Vectors]:
            asked = self.rows.nearest if count <= MOST else self.rows.scan
            rows = asked(vector, count, self.allowed, fields)
            return rows, np.array([row["score"] for row in rows], np.float32)

        def vectors_of(rows: list[Row]) -> Vectors:
            vectors = np.array([row["vector"] for row in rows], np.float32)
            return vectors.reshape(len(rows), query.shape[-1])

        rows, scores = best_of_all(search, vectors_of, query, most)
        order = np.lexsort(([row["id"] for row in rows], -scores))[:most]
        return [_Part.of(rows[one], float(scores[one])) for one in order]


@dataclass(frozen=True)
class _Part:
    photo: str
    box: Box
    score: float

    @classmethod
    def of(cls, row: Row, score: float) -> "_Part":
        return cls(row["photo"], Box(**row["box"]), float(np.clip(score, -1, 1)))


def number_of(photo_id: str) -> int:
    """Equal scores are ordered by id; 60 bits of it suffice."""
    return int(photo_id[:15], 16)


def numbers_of(hits: Iterable[Hit]) -> npt.NDArray[np.int64]:
    return np.array([number_of(hit.photo.id) for hit in hits], np.int64)
