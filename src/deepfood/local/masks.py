"""Which rows a query of the catalogue gives, as masks, kept until the catalogue changes."""

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import numpy.typing as npt
from cachetools import LRUCache

from deepfood.errors import QueryError

Mask = npt.NDArray[np.bool_]
#: How many rows a mask has, and its bits.
Packed = tuple[int, npt.NDArray[np.uint8]]

#: Masks kept, packed to bits: some five hundred of a gallery of a million photos.
_CACHE_BYTES = 64 * 2**20

#: Processor time that a filter may take of SQLite: a stranger's must not keep others waiting for
#: long. Not time on the clock, so that a busy machine answers what an idle one does.
FILTER_CPU_S = 5.0
#: Steps of SQLite's between two looks at the time: a fraction of a millisecond.
_STEPS = 10_000


class Masks:
    """Asks SQLite, or memory. Its user holds the connection's lock."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._db = connection
        self._kept: LRUCache[tuple[object, ...], Packed] = LRUCache(
            _CACHE_BYTES, getsizeof=lambda packed: packed[1].nbytes
        )
        self._version: tuple[int, int] | None = None

    def refresh(self) -> None:
        """Forget all masks if the catalogue was changed, by this process or by another."""
        others = int(self._db.execute("PRAGMA data_version").fetchone()[0])
        version = (others, self._db.total_changes)
        if version != self._version:
            self._kept.clear()
            self._version = version

    def rows(self, sql: str, values: tuple[object, ...], count: int) -> Mask:
        """The rows below `count` that `sql` gives with `values`, as bool [count]."""
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

    def _ask(self, sql: str, values: tuple[object, ...]) -> Packed:
        # One text of all rows takes 0.1 s for a million; a tuple for each, 0.27 s.
        text = self._db.execute(f"SELECT group_concat(row) FROM ({sql})", values).fetchone()[0]  # noqa: S608
        found = np.fromstring(text or "", np.int64, sep=",")
        mask = np.zeros(int(found.max(initial=-1)) + 1, np.bool_)
        mask[found] = True
        return len(mask), np.packbits(mask)


@contextmanager
def stopped_in_time(connection: sqlite3.Connection) -> Iterator[None]:
    """Stops what is asked of SQLite inside after FILTER_CPU_S, with a QueryError."""
    until = time.thread_time() + FILTER_CPU_S
    connection.set_progress_handler(lambda: time.thread_time() > until, _STEPS)
    try:
        yield
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode != sqlite3.SQLITE_INTERRUPT:
            raise
        raise QueryError(
            f"the filter takes more than {FILTER_CPU_S:g} s of work in this gallery: use fewer "
            "comparisons, or IN (…) for many values of one attribute"
        ) from None
    finally:
        connection.set_progress_handler(None, 0)
