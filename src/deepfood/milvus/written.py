"""The rows of a generation's collection, for whoever writes: all that was acknowledged is seen."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeVar

from deepfood.milvus.connection import Connection
from deepfood.milvus.rows import quoted

Row = dict[str, Any]
T = TypeVar("T")

#: Rows in one request: some 20 MB at 1,280 numbers, and Milvus takes 64 MB.
BATCH = 1000


class WrittenRows:
    def __init__(self, connection: Connection, collection: str) -> None:
        self.collection = collection
        self._connection = connection

    def write(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Write whole rows; they are in Milvus' log when this returns."""
        for some in _batches(rows):
            self._connection.ask("upsert", collection_name=self.collection, data=list(some))

    def delete(self, ids: Sequence[str]) -> None:
        for some in _batches(ids):
            self._connection.ask("delete", collection_name=self.collection, ids=list(some))

    def named(self, ids: Sequence[str], fields: Sequence[str]) -> dict[str, Row]:
        """The rows of those photos that are there, by id."""
        found: dict[str, Row] = {}
        for some in _batches(ids):
            rows = self.where(f"id in [{quoted(some)}]", fields)
            found.update({row["id"]: row for row in rows})
        return found

    def where(self, where: str, fields: Sequence[str]) -> list[Row]:
        return self._connection.query(self.collection, where, fields, "Strong")

    def every(self, fields: Sequence[str]) -> Iterator[Row]:
        """All rows, in the order of their ids."""
        return self._connection.every(self.collection, "", fields)


def _batches(things: Sequence[T]) -> Iterator[Sequence[T]]:
    for start in range(0, len(things), BATCH):
        yield things[start : start + BATCH]
