"""Attributes: typed columns that users add to the photos, kept in the gallery's SQLite.

`attribute_values` holds the values of each photo, as JSON. `attribute_keys` serves the filters: its
primary key is (attribute, key, row), so that a comparison reads one range of it. Both are written
in the caller's transaction, together with the row of the photo. Values have checksums, and keys
follow from values: attribute_faults.py finds altered ones.

A value that was never given is unknown. That is not "no", not 0 and not the empty list.
"""

import json
import sqlite3
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from deepfood.errors import ArtifactCorruptError, in_one_line
from deepfood.gallery.declared import Declared, Definition, clean_values, resolved_definitions
from deepfood.gallery.photo import crc_of
from deepfood.gallery.values import (
    SAFETY,
    Type,
    Value,
    folded,
    keys_of,
)
from deepfood.local.columns import AttributeColumn, Columns, Masks, stopped_in_time
from deepfood.local.groups import GroupsAndOrders

#: Executed by the Store after the table `photos` exists.
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

#: The attributes of some rows and all definitions, in one statement and so of one moment.
_STORED_OF_ROWS = """
SELECT 'definition', id, name, type, safety, checksum FROM attributes
UNION ALL SELECT 'sum', row, values_sum, NULL, NULL, NULL FROM photos
    WHERE row IN (SELECT value FROM json_each(?1))
UNION ALL SELECT * FROM (SELECT 'value', row, attribute, value, checksum, NULL FROM attribute_values
    WHERE row IN (SELECT value FROM json_each(?1)) ORDER BY attribute)
"""

#: The tables with data of an attribute, and the column with its id.
_OF_ATTRIBUTE = (
    ("attributes", "id"),
    ("attribute_values", "attribute"),
    ("attribute_keys", "attribute"),
)


class Attributes:
    """The attributes of a gallery's photos, by row. Safe to use from many threads.

    `lock` guards the connection. A gallery that is searched should use a separate connection for
    Attributes, as a filter over a million photos may hold it for a second.
    """

    def __init__(self, connection: sqlite3.Connection, lock: threading.RLock) -> None:
        self.db = connection
        self.lock = lock
        connection.create_function(
            "folded", 1, lambda text: None if text is None else folded(text), deterministic=True
        )
        self._masks = Masks(connection)
        self._grouped = GroupsAndOrders(connection)

    def declare(
        self,
        name: str,
        type_: Type,
        safety: bool = False,
        known: dict[str, AttributeColumn] | None = None,
    ) -> AttributeColumn:
        """Declare a column as `resolved_definitions` defines it, in the caller's transaction.

        `known` is the result of `declared`, which this keeps up to date: for many declarations.
        Raises DatasetError.
        """
        with self.asking():
            declared = self.declared() if known is None else known
            ((name, one),) = resolved_definitions(
                declared, {name: Definition(type_, safety)}
            ).items()
            before = declared.get(name)
            number = before.id if before else 1 + max((o.id for o in declared.values()), default=0)
            wanted = AttributeColumn(number, name, one.type, one.safety)
            if wanted != before:
                self.define(wanted)
                declared[name] = wanted
            return wanted

    def define(self, one: AttributeColumn) -> None:
        """Write a definition, in the caller's transaction."""
        fields = (one.id, one.name, one.type, int(one.safety))
        self.db.execute(
            "INSERT OR REPLACE INTO attributes VALUES (?, ?, ?, ?, ?)", (*fields, crc_of(*fields))
        )

    @contextmanager
    def asking(self) -> Iterator[None]:
        """Hold the lock. Raises ArtifactCorruptError where SQLite cannot read the catalogue."""
        with self.lock:
            try:
                yield
            except sqlite3.DatabaseError as error:
                raise ArtifactCorruptError(
                    f"the attributes cannot be read ({in_one_line(error)}): "
                    "run deepfood verify --repair"
                ) from error

    @contextmanager
    def _read_transaction(self) -> Iterator[None]:
        """A read transaction: all queries inside see one state, whatever others write."""
        with self.asking():
            own = not self.db.in_transaction
            if own:
                self.db.execute("BEGIN")
            try:
                yield
            finally:
                if own:
                    self.db.execute("COMMIT")

    def declared(self) -> dict[str, AttributeColumn]:
        """All attributes by name, in the order of their declaration.

        Raises ArtifactCorruptError where one is altered: it might be a safety attribute.
        """
        with self.asking():
            rows = self.db.execute(
                "SELECT id, name, type, safety, checksum FROM attributes ORDER BY id"
            ).fetchall()
        return _declared_in(rows)

    def known_counts(self) -> dict[str, int]:
        """The number of photos with a value, by attribute."""
        with self.asking():
            return dict(
                self.db.execute(
                    "SELECT name, (SELECT COUNT(*) FROM attribute_values WHERE attribute = id) "
                    "FROM attributes ORDER BY id"
                ).fetchall()
            )

    def cleaned(self, each: Sequence[Mapping[str, object]]) -> list[dict[str, Value | None]]:
        """The values of some photos, each cleaned by `clean_values`; None makes one unknown."""
        if not any(each):
            return [{} for _ in each]
        known = self.declared()
        return [clean_values(known, values) for values in each]

    def write(self, row: int, values: Mapping[str, object]) -> None:
        """Set values of a photo, in the caller's transaction. Raises what `cleaned` raises."""
        self.put_clean({row: self.cleaned([values])[0]})

    def put_clean(self, values: Mapping[int, Mapping[str, Value | None]]) -> None:
        """Set values by row, as `cleaned` returned them, in the caller's transaction."""
        if any(values.values()):
            declared = self.declared()
            for row, some in values.items():
                for name, value in some.items():
                    self.put(row, declared[name], value)

    def write_many(
        self,
        name: str,
        values: Sequence[tuple[int, Value | None]],
        known: Mapping[str, AttributeColumn] | None = None,
    ) -> None:
        """Set one attribute of many photos to cleaned values, each photo once.

        In the caller's transaction, as `write`.
        """
        with self.asking():
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

    def import_values(
        self,
        definitions: Mapping[str, Declared],
        values: Mapping[str, Sequence[tuple[int, Value | None]]],
    ) -> None:
        """Set whole columns to cleaned values by row, in the caller's transaction."""
        known = self.declared()
        for name, one in definitions.items():
            self.declare(name, one.type, one.safety, known)
        for name, some in values.items():
            self.write_many(name, some, known)

    def drop(self, name: str) -> None:
        """Remove a column and all its values, in the caller's transaction."""
        number = self.declared()[name].id
        for table, column in _OF_ATTRIBUTE:
            self.db.execute(f"DELETE FROM {table} WHERE {column} = ?", (number,))  # noqa: S608

    def read(self, row: int) -> dict[str, Value]:
        """The known values of a photo, by name."""
        return self.read_many([row])[row]

    def read_many(self, rows: Sequence[int]) -> dict[int, dict[str, Value]]:
        """The known values of some photos, by row and name.

        Raises ArtifactCorruptError where one is altered or missing.
        """
        found, altered = self.read_sound(rows)
        if altered:
            raise ArtifactCorruptError(
                f"the attributes of row {min(altered)} have been altered: run deepfood verify "
                "--repair"
            )
        return found

    def read_sound(self, rows: Sequence[int]) -> tuple[dict[int, dict[str, Value]], dict[int, int]]:
        """As `read_many`, without altered values; and the rows that have altered or missing ones.

        Each of these comes with what its sum lacks.
        """
        found: dict[int, dict[str, Value]] = {row: {} for row in rows}
        some = (json.dumps(list(found)),)
        with self.asking():
            parts: dict[str, list[tuple[Any, ...]]] = {"definition": [], "sum": [], "value": []}
            for part, *rest in self.db.execute(_STORED_OF_ROWS, some):
                parts[part].append(tuple(rest))
        names = {one.id: name for name, one in _declared_in(parts["definition"]).items()}
        lacking = {row: total for row, total, *_ in parts["sum"]}
        for row, number, value, check, _ in parts["value"]:
            if number in names and crc_of(row, number, value) == check:
                found[row][names[number]] = json.loads(value)
                lacking[row] = lacking.get(row, 0) - check - 1
        return found, {row: left for row, left in lacking.items() if left}

    def forget(self, row: int) -> None:
        """Remove all values of a photo, in the caller's transaction."""
        with self.asking():
            for (number,) in self.db.execute(
                "SELECT attribute FROM attribute_values WHERE row = ?", (row,)
            ).fetchall():
                self._remove(row, number)

    def put(self, row: int, attribute: AttributeColumn, value: Value | None) -> None:
        """Set a cleaned value, in the caller's transaction."""
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
        else:  # the keys of an altered value are not known: this looks at all of them
            self.db.execute(
                "DELETE FROM attribute_keys WHERE attribute = ? AND row = ?", (number, row)
            )
        self.db.execute(
            "DELETE FROM attribute_values WHERE row = ? AND attribute = ?", (row, number)
        )

    def _insert(self, attribute: AttributeColumn, values: Sequence[tuple[int, Value]]) -> None:
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
        """The attributes at one moment, whatever others write meanwhile.

        Otherwise a filter could combine the allergens of a photo from before and after a change.
        Raises QueryError where the queries take longer than FILTER_CPU_S.
        """
        with self._read_transaction(), stopped_in_time(self.db):
            if self._masks.refresh():
                self._grouped.clear()
            yield Columns(self.declared(), self._masks, self._grouped)


def _declared_in(rows: Sequence[tuple[Any, ...]]) -> dict[str, AttributeColumn]:
    """Parse rows of the table `attributes`, as `Attributes.declared`."""
    for *definition, check in rows:
        if crc_of(*definition) != check:
            raise ArtifactCorruptError(
                f"the definition of the attribute {definition[1]!r} has been altered: run "
                "deepfood verify --repair"
            )
    return {
        name: AttributeColumn(number, name, type_, bool(safety) or name in SAFETY)
        for number, name, type_, safety, _ in rows
    }


def written(value: Value) -> str:
    """A value as it is stored, in JSON."""
    return json.dumps(value, ensure_ascii=False)
