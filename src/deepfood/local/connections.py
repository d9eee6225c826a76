"""Open a catalogue in SQLite to read, and translate its errors."""

import os
import shutil
import sqlite3
import tempfile
from pathlib import Path

from deepfood.errors import ArtifactBusyError, ArtifactCorruptError, ArtifactError

#: Error codes for a file that this user may not read, or that the disk cannot deliver.
_NOT_OURS = frozenset(
    {
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_PERM,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_IOERR,
    }
)


def unusable(path: Path, error: sqlite3.DatabaseError) -> ArtifactError:
    """The error for a catalogue that SQLite cannot use.

    ArtifactCorruptError, but not for a file that this user may not read: it may be intact.
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
        f"{path} is not a usable catalogue ({why}): run deepfood verify --repair, or build again"
    )


def in_one_line(error: sqlite3.Error) -> str:
    """The message of an error in one line: those about a damaged schema quote its SQL."""
    return " ".join(str(error).split())


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
