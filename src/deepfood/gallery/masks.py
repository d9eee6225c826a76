"""Which rows a query of the catalogue gives, as masks, kept until the catalogue changes."""

import sqlite3
from collections import OrderedDict

import numpy as np
import numpy.typing as npt

Mask = npt.NDArray[np.bool_]

#: Masks kept, packed to bits: some five hundred of a gallery of a million photos.
_CACHE_BYTES = 64 * 2**20


class Masks:
    """Asks SQLite, or memory. Its user holds the connection's lock."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._db = connection
        self._kept: OrderedDict[tuple[object, ...], tuple[int, npt.NDArray[np.uint8]]] = (
            OrderedDict()
        )
        self._bytes = 0
        self._version: tuple[int, int] | None = None

    def refresh(self) -> None:
        """Forget all masks if the catalogue was changed, by this process or by another."""
        others = int(self._db.execute("PRAGMA data_version").fetchone()[0])
        version = (others, self._db.total_changes)
        if version != self._version:
            self._kept.clear()
            self._bytes = 0
            self._version = version

    def rows(self, sql: str, values: tuple[object, ...], count: int) -> Mask:
        """The rows below `count` that `sql` gives with `values`, as bool [count]."""
        asked = (sql, *values)
        kept = self._kept.get(asked)
        if kept is None:
            kept = self._ask(sql, values)
            self._kept[asked] = kept
            self._bytes += kept[1].nbytes
            while self._bytes > _CACHE_BYTES:
                self._bytes -= self._kept.popitem(last=False)[1][1].nbytes
        self._kept.move_to_end(asked)
        size = min(count, kept[0])
        mask = np.zeros(count, np.bool_)
        mask[:size] = np.unpackbits(kept[1], count=size)
        return mask

    def _ask(self, sql: str, values: tuple[object, ...]) -> tuple[int, npt.NDArray[np.uint8]]:
        """How many rows the mask has, and its bits."""
        # One text of all rows takes 0.1 s for a million; a tuple for each, 0.27 s.
        text = self._db.execute(f"SELECT group_concat(row) FROM ({sql})", values).fetchone()[0]  # noqa: S608
        found = np.fromstring(text or "", np.int64, sep=",")
        mask = np.zeros(int(found.max(initial=-1)) + 1, np.bool_)
        mask[found] = True
        return len(mask), np.packbits(mask)
