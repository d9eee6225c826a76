"""The rows of a catalogue grouped by a value, and in an order, from SQLite's indexes.

Both are kept until the catalogue changes, so that a page or a count takes numpy's time only.
"""

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from cachetools import LRUCache

from deepfood.gallery.browse import NAME, NEWEST, SortKey
from deepfood.gallery.values import Key, folded
from deepfood.index import Mask

#: Memory for groups and orders: some ten of a million photos.
_CACHE_BYTES = 128 * 2**20
#: What Python needs for a key.
_KEY_BYTES = 100

_ORDER = {
    NEWEST: "SELECT row FROM photos ORDER BY modified_ns, row",
    NAME: "SELECT row FROM photos WHERE name IS NOT NULL ORDER BY folded(name), row",
}
_KEY = {
    NEWEST: "SELECT modified_ns FROM photos WHERE row = ?",
    NAME: "SELECT folded(name) FROM photos WHERE row = ?",
}

RowNumbers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Groups:
    """Distinct keys in ascending order, and the rows of each, also ascending, one after another.

    `counts` int64 [keys] says how many of `rows`, int64 [n], belong to each key. A row with a list
    has several keys.
    """

    keys: Sequence[Key]
    counts: RowNumbers
    rows: RowNumbers

    def counts_in(self, mask: Mask) -> RowNumbers:
        """How many of the rows in a mask, bool [rows], each key has: int64 [keys]."""
        codes = np.repeat(np.arange(len(self.keys)), self.counts)
        return np.bincount(codes[self._in(mask)], minlength=len(self.keys)).astype(np.int64)

    def first_in(self, mask: Mask, code: int) -> int:
        """The first row in a mask that has the key with this number, of which there is one."""
        end = int(self.counts[: code + 1].sum())
        rows = self.rows[end - int(self.counts[code]) : end]
        rows = rows[rows < len(mask)]
        return int(rows[mask[rows]][0])

    def numbers_in(self, mask: Mask) -> tuple[RowNumbers, npt.NDArray[np.float64]]:
        """The rows in a mask, int64 [n], and their keys, which are numbers, ascending."""
        inside = self._in(mask)
        keys = np.repeat(np.array(self.keys, np.float64), self.counts)
        return self.rows[inside], keys[inside]

    def _in(self, mask: Mask) -> Mask:
        inside = self.rows < len(mask)
        inside[inside] = mask[self.rows[inside]]
        return inside

    @property
    def bytes(self) -> int:
        return self.rows.nbytes + self.counts.nbytes + _KEY_BYTES * len(self.keys)


class GroupsAndOrders:
    """Asks for groups and orders, and keeps them. The caller holds the lock of the connection."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._db = connection
        self._groups: LRUCache[int | None, Groups] = LRUCache(
            _CACHE_BYTES, getsizeof=lambda one: one.bytes
        )
        self._orders: LRUCache[str, RowNumbers] = LRUCache(
            _CACHE_BYTES, getsizeof=lambda rows: rows.nbytes
        )

    def clear(self) -> None:
        """Forget all, as the catalogue has changed."""
        self._groups.clear()
        self._orders.clear()

    def of_attribute(self, number: int) -> Groups:
        """The rows by the keys of an attribute."""
        kept = self._groups.get(number)
        if kept is None:
            counts = "SELECT key, COUNT(*) FROM attribute_keys WHERE attribute = ? GROUP BY key"
            rows = "SELECT row FROM attribute_keys WHERE attribute = ? ORDER BY key, row"
            found = self._db.execute(counts, (number,)).fetchall()
            kept = Groups(
                [key for key, _ in found],
                np.fromiter((count for _, count in found), np.int64, len(found)),
                self._rows(rows, number),
            )
            self._keep(number, kept)
        return kept

    def of_labels(self) -> Groups:
        """The rows by their folded labels."""
        kept = self._groups.get(None)
        if kept is None:
            some = "FROM photos WHERE label IS NOT NULL"
            found = self._db.execute(f"SELECT label, COUNT(*) {some} GROUP BY label").fetchall()
            rows = self._rows(f"SELECT row {some} ORDER BY label, row")
            spelled = [folded(str(label)) for label, _ in found]
            keys = sorted(set(spelled))
            code = {key: number for number, key in enumerate(keys)}
            codes = np.repeat(
                np.array([code[one] for one in spelled], np.int64), [count for _, count in found]
            )
            order = np.lexsort((rows, codes))
            kept = Groups(keys, np.bincount(codes, minlength=len(keys)), rows[order])
            self._keep(None, kept)
        return kept

    def order(self, by: str) -> RowNumbers:
        """All rows by time, or those with a name by it; equal ones by row."""
        kept = self._orders.get(by)
        if kept is None:
            kept = self._rows(_ORDER[by])
            if kept.nbytes <= _CACHE_BYTES:
                self._orders[by] = kept
        return kept

    def key(self, by: str, row: int) -> SortKey:
        """What a row in the order is sorted by."""
        key: SortKey = self._db.execute(_KEY[by], (row,)).fetchone()[0]
        return key

    def _keep(self, name: int | None, groups: Groups) -> None:
        if groups.bytes <= _CACHE_BYTES:
            self._groups[name] = groups

    def _rows(self, sql: str, *values: object) -> RowNumbers:
        # One text takes a third of the time of a tuple for each row; it keeps the order inside.
        (text,) = self._db.execute(f"SELECT group_concat(row) FROM ({sql})", values).fetchone()  # noqa: S608
        return np.fromstring(text or "", np.int64, sep=",")
