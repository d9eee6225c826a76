"""Attributes: typed columns of the user's own beside the photos, kept in the gallery's SQLite.

`attribute_values` holds what each photo's values are, as JSON. `attribute_keys` is what filters are
answered from: (attribute, key, row) is its primary key, so that a comparison reads one range of it
and nothing else. Both are written in the caller's transaction, with the photo's own row. What is
said has checksums, and keys follow from values: attribute_faults.py finds what is altered.

A value that was never given is unknown. That is not "no", not 0 and not the empty list.
"""

import json
import sqlite3
import threading
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace

from deepfood.errors import DatasetError
from deepfood.gallery.columns import Attribute, Columns, check_room, names_of
from deepfood.gallery.masks import Masks, stopped_in_time
from deepfood.gallery.values import (
    SAFETY,
    Type,
    Value,
    attribute_name,
    check_name,
    checked,
    folded,
    keys_of,
)

#: Executed by the Store, after the table `photos` is there.
SCHEMA = """
CREATE TABLE IF NOT EXISTS attributes (
    id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, type TEXT NOT NULL,
    safety INTEGER NOT NULL, checksum INTEGER NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS attribute_values (
    row INTEGER NOT NULL, attribute INTEGER NOT NULL, value TEXT NOT NULL,
    checksum INTEGER NOT NULL, PRIMARY KEY (row, attribute)
) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS attribute_known ON attribute_values (attribute, row);
CREATE TABLE IF NOT EXISTS attribute_keys (
    attribute INTEGER NOT NULL, key ANY NOT NULL, row INTEGER NOT NULL,
    PRIMARY KEY (attribute, key, row)
) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS photos_label ON photos (label);
"""

#: All attributes by name.
Declared = dict[str, Attribute]


class Attributes:
    """The attributes of a gallery's photos, by row. Safe to use from many threads.

    `lock` guards the connection and must be one that its holder may take again (RLock). A gallery
    that is searched should give Attributes a connection of its own: a filter over a million photos
    may hold it for a second.
    """

    def __init__(self, connection: sqlite3.Connection, lock: threading.RLock) -> None:
        self.db = connection
        self.lock = lock
        connection.create_function(
            "folded", 1, lambda text: None if text is None else folded(text), deterministic=True
        )
        self._masks = Masks(connection)

    def declare(
        self, name: str, type_: Type, safety: bool = False, known: Declared | None = None
    ) -> Attribute:
        """Declare a column, or find it as it was declared before.

        Raises DatasetError for a name that cannot be used, for a change of type, and for too many.
        `safety` can be added later and never taken back; `allergens` and `diet` have it always, and
        are lists. `known` is what `declared` gave, kept up to date, for who declares many.
        """
        name = attribute_name(name)
        check_name(name)
        safety = safety or name in SAFETY
        if name in SAFETY and type_ != "list":
            raise DatasetError(f"{name} is a list, and cannot be a {type_}: write [] for none")
        with self.lock:
            known = self.declared() if known is None else known
            one = known.get(name)
            if one is not None and one.type != type_:
                raise DatasetError(
                    f"the attribute {name} is a {one.type}, and cannot become a {type_}"
                )
            if one is None:
                check_room(known)
                number = 1 + max((other.id for other in known.values()), default=0)
                one = Attribute(number, name, type_, safety)
            elif safety and not one.safety:
                one = replace(one, safety=True)
            if one != known.get(name):
                self.define(one)
                known[name] = one
            return one

    def define(self, one: Attribute) -> None:
        """Write a definition, in the caller's transaction."""
        said = (one.id, one.name, one.type, int(one.safety))
        self.db.execute(
            "INSERT OR REPLACE INTO attributes VALUES (?, ?, ?, ?, ?)", (*said, crc_of(*said))
        )

    def declared(self) -> Declared:
        """All attributes by name, in the order in which they were declared."""
        with self.lock:
            rows = self.db.execute("SELECT id, name, type, safety FROM attributes ORDER BY id")
            return {
                name: Attribute(number, name, type_, bool(safety) or name in SAFETY)
                for number, name, type_, safety in rows
            }

    def known_counts(self) -> dict[str, int]:
        """Of how many photos each attribute is known."""
        with self.lock:
            return dict(
                self.db.execute(
                    "SELECT name, (SELECT COUNT(*) FROM attribute_values WHERE attribute = id) "
                    "FROM attributes ORDER BY id"
                ).fetchall()
            )

    def write(self, row: int, values: Mapping[str, object], known: Declared | None = None) -> None:
        """Set values of a photo, in the caller's transaction; None makes one unknown.

        Raises DatasetError, before anything is written, for an attribute that is not declared and
        for a value of another type.
        """
        with self.lock:
            declared = self.declared() if known is None else known
            ready: list[tuple[Attribute, Value | None]] = []
            for given, value in values.items():
                one = declared.get(attribute_name(given))
                if one is None:
                    raise DatasetError(
                        f"there is no attribute {given[:40]!r}: {names_of(declared)}"
                    )
                try:
                    clean = None if value is None else checked(value, one.type, safety=one.safety)
                except DatasetError as error:
                    raise DatasetError(f"{one.name}: {error}") from None
                ready.append((one, clean))
            for one, clean in ready:
                self.put(row, one, clean)

    def write_many(
        self,
        name: str,
        values: Sequence[tuple[int, Value | None]],
        known: Declared | None = None,
    ) -> None:
        """Set one attribute of many photos to values that `checked` gave, each photo once.

        In the caller's transaction, as `write`.
        """
        with self.lock:
            attribute = (self.declared() if known is None else known)[name]
            there = {
                row
                for (row,) in self.db.execute(
                    "SELECT row FROM attribute_values WHERE attribute = ?", (attribute.id,)
                )
            }
            for row, value in values:
                if row in there:
                    self.put(row, attribute, value)
            fresh = sorted((r, v) for r, v in values if r not in there and v is not None)
            self._insert(attribute, fresh)

    def copy(self, earlier: "Attributes", rows: Mapping[int, int]) -> None:
        """As `write`: take over columns, and values of rows; `rows` gives each its row here."""
        known = self.declared()
        for one in earlier.declared().values():
            self.declare(one.name, one.type, one.safety, known)
            with earlier.lock:
                found = earlier.db.execute(
                    "SELECT row, value, checksum FROM attribute_values WHERE attribute = ?",
                    (one.id,),
                ).fetchall()
            # An altered value is left out: unknown is safe.
            kept = [
                (rows[row], json.loads(value))
                for row, value, check in found
                if row in rows and crc_of(row, one.id, value) == check
            ]
            self.write_many(one.name, kept, known)

    def read(self, row: int) -> dict[str, Value]:
        """The known values of a photo, by name."""
        return self.read_many([row])[row]

    def read_many(self, rows: Sequence[int]) -> dict[int, dict[str, Value]]:
        """The known values of some photos, by row and name."""
        found: dict[int, dict[str, Value]] = {row: {} for row in rows}
        with self.lock:
            values = self.db.execute(
                "SELECT row, name, attribute, value, attribute_values.checksum "
                "FROM attributes JOIN attribute_values ON attribute = id "
                "WHERE row IN (SELECT value FROM json_each(?)) ORDER BY id",
                (json.dumps(list(found)),),
            ).fetchall()
        for row, name, number, value, check in values:
            if crc_of(row, number, value) == check:  # an altered one is unknown
                found[row][name] = json.loads(value)
        return found

    def forget(self, row: int) -> None:
        """Remove all values of a photo, in the caller's transaction."""
        with self.lock:
            for (number,) in self.db.execute(
                "SELECT attribute FROM attribute_values WHERE row = ?", (row,)
            ).fetchall():
                self._remove(row, number)

    def put(self, row: int, attribute: Attribute, value: Value | None) -> None:
        """Set a value that `checked` gave, in the caller's transaction."""
        self._remove(row, attribute.id)
        if value is not None:
            self._insert(attribute, [(row, value)])

    def _remove(self, row: int, number: int) -> None:
        before = self.db.execute(
            "SELECT value, checksum FROM attribute_values WHERE row = ? AND attribute = ?",
            (row, number),
        ).fetchone()
        if before is None:
            return
        value, check = before
        if crc_of(row, number, value) == check:
            self.db.executemany(
                "DELETE FROM attribute_keys WHERE attribute = ? AND key = ? AND row = ?",
                [(number, key, row) for key in keys_of(json.loads(value))],
            )
        else:  # what keys an altered value has, nothing tells: this looks at all of them
            self.db.execute(
                "DELETE FROM attribute_keys WHERE attribute = ? AND row = ?", (number, row)
            )
        self.db.execute(
            "DELETE FROM attribute_values WHERE row = ? AND attribute = ?", (row, number)
        )

    def _insert(self, attribute: Attribute, values: Sequence[tuple[int, Value]]) -> None:
        self.db.executemany(
            "INSERT OR REPLACE INTO attribute_values VALUES (?, ?, ?, ?)",
            (
                (row, attribute.id, text, crc_of(row, attribute.id, text))
                for row, value in values
                for text in [written(value)]
            ),
        )
        self.db.executemany(
            "INSERT INTO attribute_keys VALUES (?, ?, ?)",
            ((attribute.id, key, row) for row, value in values for key in keys_of(value)),
        )

    @contextmanager
    def snapshot(self) -> Iterator[Columns]:
        """The attributes as they are at one moment, whoever writes meanwhile.

        Without, a photo's allergens could be known by the time that they are looked for, and not
        have been known when the others with peanuts were. Raises QueryError where what is asked
        takes longer than FILTER_CPU_S.
        """
        with self.lock:
            own = not self.db.in_transaction
            if own:
                self.db.execute("BEGIN")
            try:
                with stopped_in_time(self.db):
                    self._masks.refresh()
                    yield Columns(self.declared(), self._masks)
            finally:
                if own:
                    self.db.execute("COMMIT")


def crc_of(*said: int | str) -> int:
    """CRC-32 of a definition or a value, kept beside it: an altered one is found by it."""
    return zlib.crc32(json.dumps(said).encode())


def written(value: Value) -> str:
    """A value as it is stored."""
    return json.dumps(value, ensure_ascii=False)
