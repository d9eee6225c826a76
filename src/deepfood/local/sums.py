"""Sums of checksums, which reveal missing rows.

`sums` has the sum of each table whose number of rows is stored nowhere else. `values_sum` in the
row of a photo is the sum over its attributes. Triggers of the writer's connection update them, so
that changes by other means leave sums that do not match.
"""

import sqlite3

SCHEMA = """
CREATE TABLE IF NOT EXISTS sums (name TEXT PRIMARY KEY, sum INTEGER NOT NULL) STRICT;
INSERT OR IGNORE INTO sums VALUES ('skipped', 0), ('absent', 0);
"""

_SUMMED = ("skipped", "absent")

_SUM = """
CREATE TEMP TRIGGER IF NOT EXISTS sum_{table}_{event} AFTER {event} ON main.{table} BEGIN
    UPDATE sums SET sum = sum {sign} ({row}.checksum + 1) WHERE name = '{table}';
END;
"""
_VALUES_SUM = """
CREATE TEMP TRIGGER IF NOT EXISTS sum_{table}_{event} AFTER {event} ON main.{table} BEGIN
    UPDATE photos SET values_sum = values_sum {sign} ({row}.checksum + 1) WHERE row = {row}.row;
END;
"""
_EVENTS = (
    {"event": "INSERT", "sign": "+", "row": "new"},
    {"event": "DELETE", "sign": "-", "row": "old"},
)
_TRIGGERS = "".join(
    trigger.format(table=table, **event)
    for event in _EVENTS
    for trigger, table in ((_SUM, "skipped"), (_SUM, "absent"), (_VALUES_SUM, "attribute_values"))
)


def keep_sums(db: sqlite3.Connection) -> None:
    """Update the sums from now on, for all that this connection does."""
    db.execute("PRAGMA recursive_triggers = ON")  # for the rows that INSERT OR REPLACE replaces
    db.executescript(_TRIGGERS)


def sum_fits(db: sqlite3.Connection, table: str) -> bool:
    """Whether the checksums of a table have the stored sum."""
    (found,) = db.execute(f"SELECT COALESCE(SUM(checksum + 1), 0) FROM {table}").fetchone()  # noqa: S608
    kept = db.execute("SELECT sum FROM sums WHERE name = ?", (table,)).fetchone()
    return kept is not None and kept[0] == found


def sum_again(db: sqlite3.Connection) -> None:
    """Recompute the sums, in the caller's transaction: for repair, and after a bulk delete."""
    for table in _SUMMED:
        db.execute(
            f"INSERT OR REPLACE INTO sums SELECT ?, COALESCE(SUM(checksum + 1), 0) FROM {table}",  # noqa: S608
            (table,),
        )
