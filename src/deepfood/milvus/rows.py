"""The rows of a generation's collection: searched, counted, read and written."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from deepfood.batches import batches
from deepfood.errors import QueryError
from deepfood.gallery.photo import Hit
from deepfood.milvus.connection import Connection
from deepfood.milvus.schema import METRIC, PHOTO_ROW, photo_of

Vectors = npt.NDArray[np.float32]
Row = dict[str, Any]

#: Milvus' limit of rows per response.
MOST = 16_384
#: Rows per request: some 20 MB at 1,280 numbers, of the 64 MB that Milvus accepts.
BATCH = 1000
#: Rows that a scan collects before it drops all but the best.
_KEPT = 1000


class Rows:
    """Reads one collection. A search visits at least `ef` vectors of the HNSW graph."""

    def __init__(self, connection: Connection, collection: str, ef: int) -> None:
        self.collection = collection
        self._connection = connection
        self._ef = ef

    def hits(self, query: Vectors, k: int, where: str = "") -> list[Hit]:
        """The k nearest rows that satisfy `where`, nearest first. Raises QueryError."""
        return [hit_of(row) for row in self.nearest(query, k, where)]

    def nearest(
        self, query: Vectors, k: int, where: str, fields: Sequence[str] = PHOTO_ROW
    ) -> list[Row]:
        """Like `hits`, as rows with these fields, their `id` and their `score`."""
        if k > MOST:
            raise QueryError(f"{k} photos at once are too many for Milvus: ask for {MOST:,}")
        ef = max(self._ef, 2 * k)
        while True:
            rows = self._search(query, k, where, ef, fields)
            if len(rows) == k or ef >= 8 * MOST:
                return rows
            # With a filter, a graph search may end early; or there are no more rows.
            if len(rows) >= min(k, self.count(where)):
                return rows
            if ef >= MOST:
                return self.scan(query, k, where, fields)
            ef *= 8

    def _search(
        self, query: Vectors, k: int, where: str, ef: int, fields: Sequence[str]
    ) -> list[Row]:
        (hits,) = self._connection.ask(
            "search",
            collection_name=self.collection,
            data=[query.tolist()],
            anns_field="vector",
            limit=k,
            filter=where,
            output_fields=list(fields),
            search_params={"metric_type": METRIC, "params": {"ef": min(ef, 2 * MOST)}},
            consistency_level=self._connection.consistency,
        )
        return [{**hit["entity"], "id": hit["id"], "score": hit["distance"]} for hit in hits]

    def scan(self, query: Vectors, k: int, where: str, fields: Sequence[str]) -> list[Row]:
        """Like `nearest`, but compares all rows here: for filters with too few results."""
        best: list[Row] = []
        for row in self.every(["id", *fields, "vector"], where):
            row["score"] = float(np.dot(np.array(row["vector"], np.float32), query))
            if "vector" not in fields:
                del row["vector"]
            best.append(row)
            if len(best) >= 4 * k + _KEPT:
                best = sorted(best, key=lambda one: -one["score"])[:k]
        return sorted(best, key=lambda one: -one["score"])[:k]

    def photos(self, ids: Sequence[str], where: str) -> list[Row]:
        """The rows of photos, by id, that satisfy `where`, without vectors."""
        found: list[Row] = []
        for some in batches(ids, BATCH):
            named = f"id in [{quoted(some)}]"
            found += self.query(f"{named} and ({where})" if where else named, PHOTO_ROW)
        return found

    def count(self, where: str = "") -> int:
        return int(self.query(where, ["count(*)"])[0]["count(*)"])

    def vectors(self, ids: Sequence[str], dimension: int) -> Vectors:
        rows = self.query(f"id in [{quoted(ids)}]", ["id", "vector"]) if ids else []
        by_id = {row["id"]: row["vector"] for row in rows}
        known = [by_id[one] for one in ids if one in by_id]
        return np.array(known, np.float32).reshape(len(known), dimension)

    def every(self, fields: Sequence[str], where: str = "") -> Iterator[Row]:
        """All acknowledged rows, whatever the consistency of searches."""
        return self._connection.every(self.collection, where, fields)

    def query(self, where: str, fields: Sequence[str], limit: int | None = None) -> list[Row]:
        return self._connection.query(self.collection, where, fields, limit=limit)


class StrongRows:
    """The rows of one collection, for writers: every acknowledged change is seen."""

    def __init__(self, connection: Connection, collection: str) -> None:
        self.collection = collection
        self._connection = connection

    def write(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Write whole rows, which are in Milvus' log when this returns."""
        for some in batches(rows, BATCH):
            self._connection.ask("upsert", collection_name=self.collection, data=some)

    def delete(self, ids: Sequence[str]) -> None:
        for some in batches(ids, BATCH):
            self._connection.ask("delete", collection_name=self.collection, ids=some)

    def named(self, ids: Sequence[str], fields: Sequence[str]) -> dict[str, Row]:
        """The existing rows of these photos, by id."""
        found: dict[str, Row] = {}
        for some in batches(ids, BATCH):
            rows = self.where(f"id in [{quoted(some)}]", fields)
            found.update({row["id"]: row for row in rows})
        return found

    def where(self, where: str, fields: Sequence[str]) -> list[Row]:
        return self._connection.query(self.collection, where, fields, "Strong")

    def every(self, fields: Sequence[str]) -> Iterator[Row]:
        """All rows, in the order of their ids."""
        return self._connection.every(self.collection, "", fields)


def hit_of(row: Row) -> Hit:
    """A row of `nearest` as a hit."""
    return Hit(photo_of(row), float(np.clip(row["score"], -1, 1)))


def is_id(text: str) -> bool:
    return len(text) == 20 and all(digit in "0123456789abcdef" for digit in text)


def quoted(ids: Sequence[str]) -> str:
    return ", ".join(f'"{one}"' for one in ids)
