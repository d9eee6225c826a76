"""Connections to a catalogue in SQLite: opening one to read, and what its errors mean."""

import os
import shutil
import sqlite3
import tempfile
from pathlib import Path

from deepfood.errors import ArtifactBusyError, ArtifactCorruptError, ArtifactError

#: SQLite's words for a file that this user may not read, or that the disk does not give.
_NOT_OURS = frozenset(
    {
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_PERM,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_IOERR,
    }
)


def unusable(path: Path, error: sqlite3.DatabaseError) -> ArtifactError:
    """What is wrong with a catalogue: ArtifactCorruptError, but not where it cannot be looked at.

    A file that this user may not read is perhaps whole.
    """
    why = in_one_line(error)
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return ArtifactBusyError(f"another process is writing {path} ({why}): try again")
    if code in _NOT_OURS:
        return ArtifactError(
            f"{path} cannot be opened ({why}): is it yours to read and write, "
            "and may so many files be open (ulimit -n)?"
        )
    return ArtifactCorruptError(
        f"{path} is no usable catalogue ({why}): run deepfood verify --repair, or build again"
    )


def in_one_line(error: sqlite3.Error) -> str:
    """SQLite's words; about a damaged schema they quote its SQL, line by line."""
    return " ".join(str(error).split())


def close_all(*connections: sqlite3.Connection | None) -> None:
    for connection in connections:
        if connection is not None:
            connection.close()


def connect_to_read(path: Path) -> sqlite3.Connection:
    uri = path.resolve().as_uri()
    if os.access(path.parent, os.W_OK):
        # May write: after a writer was killed, the first to come recovers what it had committed.
        connection = _connect(f"{uri}?mode=rw")
        connection.execute("PRAGMA query_only = ON")
        return connection
    # A read-only disk: SQLite may not put its -shm there, and nobody writes.
    wal = path.with_name(f"{path.name}-wal")
    if not wal.is_file() or wal.stat().st_size == 0:
        return _connect(f"{uri}?immutable=1")
    # What was acknowledged last is in the log only, which must be merged where one may write.
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
