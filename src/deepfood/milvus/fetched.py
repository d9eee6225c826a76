"""All photos of a gallery on Milvus in memory, for commands that compare each of them."""

import numpy as np
import numpy.typing as npt

from deepfood.gallery.protocol import EveryPhoto, SearchedGallery
from deepfood.milvus.rows import MOST

Vectors = npt.NDArray[np.float32]


class Neighbours:
    """The engine's search, with results as rows of the fetched photos."""

    def __init__(self, gallery: SearchedGallery, every: EveryPhoto) -> None:
        photos, self.vectors, _ = every
        self._gallery = gallery
        self._row = {photo.id: row for row, photo in enumerate(photos)}

    def search(
        self, query: Vectors, k: int, allowed: npt.NDArray[np.bool_] | None = None
    ) -> tuple[npt.NDArray[np.int64], Vectors]:
        """Up to k rows and their scores; photos that were not fetched are left out."""
        asked = k
        while True:
            hits = self._gallery.search(query, asked)
            known = [hit for hit in hits if hit.photo.id in self._row]
            rows = np.array([self._row[hit.photo.id] for hit in known], np.int64)
            scores = np.array([hit.score for hit in known], np.float32)
            if allowed is not None:
                rows, scores = rows[allowed[rows]], scores[allowed[rows]]
            if len(rows) >= k or len(hits) < asked or asked == MOST:
                return rows[:k], scores[:k]
            asked = min(4 * asked, MOST)


class MemoryVectors:
    """Vectors in memory, float32 [n, dimension], with the interface of a vector file."""

    def __init__(self, vectors: Vectors) -> None:
        self._vectors = vectors

    def __len__(self) -> int:
        return len(self._vectors)

    def take(self, rows: npt.NDArray[np.int64]) -> Vectors:
        return self._vectors[rows]

    def scores(self, query: Vectors) -> Vectors:
        return np.asarray(self._vectors @ query)
