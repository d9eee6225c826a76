"""The rows of a generation's collection: searched, counted, read."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from deepfood.errors import QueryError
from deepfood.gallery.photo import Hit
from deepfood.milvus.connection import Connection
from deepfood.milvus.schema import METRIC, PHOTO_ROW, photo_of

Vectors = npt.NDArray[np.float32]
Row = dict[str, Any]

#: Milvus gives no more in one answer.
MOST = 16_384
#: Rows that are compared here before all but the best are dropped.
_KEPT = 1000


class Rows:
    """Asks one collection. `care` is how many vectors a search looks at, at least (HNSW's ef)."""

    def __init__(self, connection: Connection, collection: str, care: int) -> None:
        self.collection = collection
        self._connection = connection
        self._care = care

    def hits(self, query: Vectors, k: int, where: str = "") -> list[Hit]:
        """The k nearest that satisfy `where`, the nearest first. Raises QueryError."""
        return [hit_of(row) for row in self.nearest(query, k, where)]

    def nearest(self, query: Vectors, k: int, where: str) -> list[Row]:
        """As `hits`, whole rows but for their vectors, each with its `score`."""
        if k > MOST:
            raise QueryError(f"{k} photos at once are too many for Milvus: ask for {MOST:,}")
        care = max(self._care, 2 * k)
        while True:
            rows = self._asked(query, k, where, care)
            if len(rows) == k or care >= 8 * MOST:
                return rows
            # The graph may end early behind a filter: there are perhaps not more.
            if len(rows) >= min(k, self.count(where)):
                return rows
            if care >= MOST:
                return self._scanned(query, k, where)
            care *= 8

    def _asked(self, query: Vectors, k: int, where: str, care: int) -> list[Row]:
        (hits,) = self._connection.ask(
            "search",
            collection_name=self.collection,
            data=[query.tolist()],
            anns_field="vector",
            limit=k,
            filter=where,
            output_fields=PHOTO_ROW,
            search_params={"metric_type": METRIC, "params": {"ef": min(care, 2 * MOST)}},
            consistency_level=self._connection.consistency,
        )
        return [{**hit["entity"], "id": hit["id"], "score": hit["distance"]} for hit in hits]

    def _scanned(self, query: Vectors, k: int, where: str) -> list[Row]:
        """As `_asked`, all compared here: for a filter behind which the graph finds too few."""
        best: list[Row] = []
        for row in self.every([*PHOTO_ROW, "vector"], where):
            row["score"] = float(np.dot(np.array(row.pop("vector"), np.float32), query))
            best.append(row)
            if len(best) >= 4 * k + _KEPT:
                best = sorted(best, key=lambda one: -one["score"])[:k]
        return sorted(best, key=lambda one: -one["score"])[:k]

    def count(self, where: str = "") -> int:
        return int(self.query(where, ["count(*)"])[0]["count(*)"])

    def vectors(self, ids: Sequence[str], dimension: int) -> Vectors:
        rows = self.query(f"id in [{quoted(ids)}]", ["id", "vector"]) if ids else []
        by_id = {row["id"]: row["vector"] for row in rows}
        known = [by_id[one] for one in ids if one in by_id]
        return np.array(known, np.float32).reshape(len(known), dimension)

    def every(self, fields: Sequence[str], where: str = "") -> Iterator[Row]:
        """All rows, whatever searches are content with."""
        return self._connection.every(self.collection, where, fields)

    def query(self, where: str, fields: Sequence[str], limit: int | None = None) -> list[Row]:
        return self._connection.query(self.collection, where, fields, limit=limit)


def hit_of(row: Row) -> Hit:
    """What `nearest` gives, as a hit."""
    return Hit(photo_of(row), float(np.clip(row["score"], -1, 1)))


def is_id(text: str) -> bool:
    return len(text) == 20 and all(digit in "0123456789abcdef" for digit in text)


def quoted(ids: Sequence[str]) -> str:
    return ", ".join(f'"{one}"' for one in ids)
