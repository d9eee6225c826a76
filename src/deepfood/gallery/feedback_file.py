"""The SQLite file of feedback: its tables, how it is opened, and the checksums of its rows."""

import contextlib
import os
import sqlite3
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from deepfood.beside import beside
from deepfood.errors import (
    ArtifactCorruptError,
    ArtifactFormatError,
    raising_disk_full,
    unusable_database,
)

FEEDBACK = "feedback.sqlite"
#: What a question was asked with.
Kind = Literal["photo", "words"]

_FORMAT = 1
#: "dffb", so that another database under this name is recognised.
_APPLICATION = 0x64666662
_SCHEMA = """
CREATE TABLE questions (
    number INTEGER PRIMARY KEY, sha256 TEXT NOT NULL, model TEXT NOT NULL, kind TEXT NOT NULL,
    vector BLOB, checksum INTEGER NOT NULL, UNIQUE (sha256, model)
) STRICT;
CREATE TABLE votes (
    number INTEGER PRIMARY KEY, session TEXT NOT NULL, question INTEGER NOT NULL,
    hit TEXT NOT NULL, right INTEGER NOT NULL, at REAL NOT NULL, checksum INTEGER NOT NULL,
    UNIQUE (question, hit, session)
) STRICT;
CREATE INDEX votes_at ON votes (at);
CREATE INDEX votes_hit ON votes (hit);
CREATE INDEX votes_session ON votes (session);
CREATE TABLE photos (
    number INTEGER PRIMARY KEY, sha256 TEXT NOT NULL UNIQUE, bytes BLOB NOT NULL
) STRICT;
CREATE TABLE totals (
    id INTEGER PRIMARY KEY CHECK (id = 0), votes INTEGER NOT NULL, photo_bytes INTEGER NOT NULL,
    displaced INTEGER NOT NULL
) STRICT;
INSERT INTO totals VALUES (0, 0, 0, 0);
CREATE TRIGGER vote_added AFTER INSERT ON votes BEGIN
    UPDATE totals SET votes = votes + 1;
END;
CREATE TRIGGER vote_gone AFTER DELETE ON votes BEGIN
    UPDATE totals SET votes = votes - 1;
    DELETE FROM questions WHERE number = old.question
        AND NOT EXISTS (SELECT 1 FROM votes WHERE question = old.question);
END;
CREATE TRIGGER question_gone AFTER DELETE ON questions BEGIN
    DELETE FROM photos WHERE sha256 = old.sha256
        AND NOT EXISTS (SELECT 1 FROM questions WHERE sha256 = old.sha256);
END;
CREATE TRIGGER photo_added AFTER INSERT ON photos BEGIN
    UPDATE totals SET photo_bytes = photo_bytes + length(new.bytes);
END;
CREATE TRIGGER photo_gone AFTER DELETE ON photos BEGIN
    UPDATE totals SET photo_bytes = photo_bytes - length(old.bytes);
END;
"""

_WAIT_S = 10.0
_WAY_OUT = (
    "run deepfood verify --repair, which keeps it in lost+found, and what can be read of it in a "
    "new file; searches do not need it"
)


@dataclass(frozen=True)
class Question:
    number: int
    sha256: str
    model: str
    kind: Kind
    vector: bytes | None


def questions_in(
    db: sqlite3.Connection, model: str | None = None
) -> Iterator[tuple[Question, bool]]:
    """Every question, and whether it is as it was written."""
    for *fields, checksum in db.execute(
        "SELECT number, sha256, model, kind, vector, checksum FROM questions "
        "WHERE ?1 IS NULL OR model = ?1 ORDER BY number",
        (model,),
    ):
        question = Question(*fields)
        sound = checksum == question_crc(
            question.sha256, question.model, question.kind, question.vector
        )
        yield question, sound and question.kind in get_args(Kind)


def total(db: sqlite3.Connection, name: Literal["votes", "photo_bytes", "displaced"]) -> int:
    return int(db.execute(f"SELECT {name} FROM totals").fetchone()[0])  # noqa: S608


def vote_crc(*fields: str | float) -> int:
    """CRC-32 of a vote's fields, stored in its row."""
    return zlib.crc32(repr(fields).encode())


def question_crc(sha256: str, model: str, kind: str, vector: bytes | None) -> int:
    return zlib.crc32(vector or b"", zlib.crc32(repr((sha256, model, kind)).encode()))


def create_file(path: Path) -> None:
    """Make the file, whole or not at all; another process may do so at the same time."""
    with raising_disk_full(path), beside(path) as new:
        connection = sqlite3.connect(new)
        with contextlib.closing(connection):
            connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
            connection.execute(f"PRAGMA application_id = {_APPLICATION}")
            connection.execute(f"PRAGMA user_version = {_FORMAT}")
            connection.executescript(_SCHEMA)
            connection.execute("PRAGMA journal_mode = WAL")
        with contextlib.suppress(FileExistsError):
            os.link(new, path)


def connect(path: Path) -> sqlite3.Connection:
    uri = path.resolve().as_uri()
    # A read-only disk: SQLite cannot make its files beside it there, and nobody writes.
    uri += "?mode=rw" if os.access(path.parent, os.W_OK) else "?immutable=1"
    connection = sqlite3.connect(
        uri, uri=True, timeout=_WAIT_S, isolation_level=None, check_same_thread=False
    )
    try:
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA secure_delete = ON")  # what is deleted is gone from the file
    except BaseException:
        connection.close()
        raise
    return connection


def check_format(path: Path, connection: sqlite3.Connection) -> None:
    """Raise ArtifactCorruptError for another file, ArtifactFormatError for that of a newer one."""
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if application != _APPLICATION:
        raise ArtifactCorruptError(f"{path} is damaged (it holds no feedback): {_WAY_OUT}")
    if version > _FORMAT:
        raise ArtifactFormatError(
            f"{path} was written by a newer deepfood (format {version}): update deepfood"
        )
    total(connection, "votes")


@contextmanager
def clear_errors(path: Path) -> Iterator[None]:
    with raising_disk_full(path):
        try:
            yield
        except sqlite3.DatabaseError as error:
            raise unusable_database(path, error, "is damaged", _WAY_OUT) from error


def altered(path: Path, what: str) -> ArtifactCorruptError:
    return ArtifactCorruptError(f"{path} is damaged ({what} is altered): {_WAY_OUT}")
