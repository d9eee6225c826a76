"""The columns of a gallery at one moment, as masks: which rows have which values.

A mask is bool [rows]. Masks are kept, packed to bits, until the catalogue changes.
"""

import sqlite3
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from cachetools import LRUCache

from deepfood.errors import FilterError, QueryError
from deepfood.gallery.values import BUILT_IN, Key, Type, names_of
from deepfood.index import Mask
from deepfood.local.groups import GroupsAndOrders

#: Memory for masks, packed to bits: some five hundred for a million photos.
_CACHE_BYTES = 64 * 2**20

#: CPU time that a filter may take in SQLite, so that one client cannot block others for long. It is
#: not wall-clock time, so that a busy machine answers the same queries as an idle one.
FILTER_CPU_S = 5.0
#: SQLite steps between two checks of the time: a fraction of a millisecond.
_STEPS = 10_000

#: Queries of the built-in columns: the only SQL that the names in a filter lead to. There are few
#: labels: each is folded once, and its photos are found by the index photos_label.
_BUILT_IN = {
    "label": "SELECT row FROM photos WHERE label IN (WITH every AS MATERIALIZED "
    "(SELECT DISTINCT label FROM photos) SELECT label FROM every WHERE folded(label) {})",
    "name": "SELECT row FROM photos WHERE folded(name) {}",
    "file": "SELECT row FROM photos WHERE folded(file) {}",
}
_BUILT_IN_KNOWN = {
    name: f"SELECT row FROM photos WHERE {name} IS NOT NULL"  # noqa: S608
    for name in BUILT_IN
}

_OPERATORS = frozenset({"=", "!=", "<", "<=", ">", ">="})


@dataclass(frozen=True)
class AttributeColumn:
    """A declared column. Unknown values of a safety attribute never pass a filter."""

    id: int
    name: str
    type: Type
    safety: bool


#: How many rows a mask has, and its bits.
_Packed = tuple[int, npt.NDArray[np.uint8]]


class Masks:
    """Masks of SQLite queries, cached. The caller holds the lock of the connection."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._db = connection
        self._kept: LRUCache[tuple[object, ...], _Packed] = LRUCache(
            _CACHE_BYTES, getsizeof=lambda packed: packed[1].nbytes
        )
        self._version: tuple[int, int] | None = None

    def refresh(self) -> bool:
        """Forget all masks if this process, or another, has changed the catalogue, and say so."""
        others = int(self._db.execute("PRAGMA data_version").fetchone()[0])
        version = (others, self._db.total_changes)
        changed = version != self._version
        if changed:
            self._kept.clear()
            self._version = version
        return changed

    def rows(self, sql: str, values: tuple[object, ...], count: int) -> Mask:
        """A mask, bool [count], of the rows below `count` that a query selects."""
        asked = (sql, *values)
        kept = self._kept.get(asked)
        if kept is None:
            kept = self._ask(sql, values)
            if kept[1].nbytes <= _CACHE_BYTES:
                self._kept[asked] = kept
        size = min(count, kept[0])
        mask = np.zeros(count, np.bool_)
        mask[:size] = np.unpackbits(kept[1], count=size)
        return mask

    def _ask(self, sql: str, values: tuple[object, ...]) -> _Packed:
        """The length of the mask and its bits."""
        # For a million rows one text takes 0.1 s; a tuple for each takes 0.27 s.
        text = self._db.execute(f"SELECT group_concat(row) FROM ({sql})", values).fetchone()[0]  # noqa: S608
        found = np.fromstring(text or "", np.int64, sep=",")
        mask = np.zeros(int(found.max(initial=-1)) + 1, np.bool_)
        mask[found] = True
        return len(mask), np.packbits(mask)


class Columns:
    """Masks, bool [rows], and groups of rows, at one moment.

    Every value goes to SQLite as a parameter.
    """

    def __init__(
        self, declared: Mapping[str, AttributeColumn], masks: Masks, grouped: GroupsAndOrders
    ) -> None:
        self.declared = declared
        self._masks = masks
        self.grouped = grouped

    def type_of(self, name: str) -> Type:
        """The type of an attribute or built-in column. Raises FilterError where there is none."""
        if name in BUILT_IN:
            return "text"
        if name not in self.declared:
            raise FilterError(f"there is no attribute {name[:40]!r}: {names_of(self.declared)}")
        return self.declared[name].type

    def is_safety(self, name: str) -> bool:
        return name in self.declared and self.declared[name].safety

    def living(self, rows: int) -> Mask:
        """The rows that hold a photo."""
        return self._masks.rows("SELECT row FROM photos", (), rows)

    def known(self, name: str, rows: int) -> Mask:
        """The rows whose `name` is known."""
        if name in BUILT_IN:
            return self._masks.rows(_BUILT_IN_KNOWN[name], (), rows)
        number = self.declared[name].id
        return self._masks.rows(
            "SELECT row FROM attribute_values WHERE attribute = ?", (number,), rows
        )

    def compared(self, name: str, operator: str, keys: tuple[Key, ...], rows: int) -> Mask:
        """The rows where the comparison with a key holds; for `in`, with any of the keys."""
        if operator == "in":
            condition = f"IN (?{', ?' * (len(keys) - 1)})"
        else:
            assert operator in _OPERATORS
            condition = f"{operator} ?"
        if name in BUILT_IN:
            return self._masks.rows(_BUILT_IN[name].format(condition), keys, rows)
        sql = f"SELECT row FROM attribute_keys WHERE attribute = ? AND key {condition}"  # noqa: S608
        return self._masks.rows(sql, (self.declared[name].id, *keys), rows)


@contextmanager
def stopped_in_time(
    connection: sqlite3.Connection,
    too_long: str = "the filter takes more than {} s of work in this gallery: use fewer "
    "comparisons, or IN (…) for many values of one attribute",
) -> Iterator[None]:
    """Stop queries inside after FILTER_CPU_S. Raises QueryError, which says `too_long`."""
    until = time.thread_time() + FILTER_CPU_S
    connection.set_progress_handler(lambda: time.thread_time() > until, _STEPS)
    try:
        yield
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode != sqlite3.SQLITE_INTERRUPT:
            raise
        raise QueryError(too_long.format(f"{FILTER_CPU_S:g}")) from None
    finally:
        connection.set_progress_handler(None, 0)
