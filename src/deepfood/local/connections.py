"""Open a catalogue in SQLite to read, and translate its errors."""

import os
import shutil
import sqlite3
import tempfile
from pathlib import Path

from deepfood.errors import ArtifactError, unusable_database


def unusable(path: Path, error: sqlite3.DatabaseError) -> ArtifactError:
    """The error for a catalogue that SQLite cannot use: see `unusable_database`."""
    return unusable_database(
        path, error, "is not a usable catalogue", "run deepfood verify --repair, or build again"
    )


def close_all(*connections: sqlite3.Connection | None) -> None:
    for connection in connections:
        if connection is not None:
            connection.close()


def connect_to_read(path: Path) -> sqlite3.Connection:
    uri = path.resolve().as_uri()
    if os.access(path.parent, os.W_OK):
        # Opened for writing: after a writer was killed, the first reader recovers its commits.
        connection = _connect(f"{uri}?mode=rw")
        connection.execute("PRAGMA query_only = ON")
        return connection
    # A read-only disk: SQLite cannot create its -shm there, and nobody writes.
    wal = path.with_name(f"{path.name}-wal")
    if not wal.is_file() or wal.stat().st_size == 0:
        return _connect(f"{uri}?immutable=1")
    # The newest commits are in the log only, which must be merged in a writable place.
    with tempfile.TemporaryDirectory() as folder:
        for one in (path, wal):
            shutil.copy(one, folder)
        merged = _connect(Path(folder, path.name).as_uri())
        connection = sqlite3.connect(":memory:", check_same_thread=False)
        merged.backup(connection)
        merged.close()
    return connection


def _connect(uri: str) -> sqlite3.Connection:
    connection = sqlite3.connect(uri, uri=True, check_same_thread=False)
    try:
        connection.execute("SELECT record_sum FROM state").fetchall()
    except sqlite3.DatabaseError:
        connection.close()
        raise
    return connection
