"""Faults of the file of feedback, and what can still be read of a damaged one."""

import contextlib
import hashlib
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from deepfood.counted import counted
from deepfood.gallery.feedback_file import (
    FEEDBACK,
    connect,
    question_crc,
    questions_in,
    total,
    vote_crc,
)

_MOST_LINES = 10


def faults_in(db: sqlite3.Connection) -> Iterator[str]:
    """One line for each fault; none means that all is as it was written."""
    for (line,) in db.execute(f"PRAGMA integrity_check({_MOST_LINES})"):
        if line != "ok":
            yield f"{FEEDBACK}: {' '.join(line.split())}"
    altered = {
        "question": sum(not sound for _, sound in questions_in(db)),
        "vote": sum(not _is_vote(row) for row in db.execute("SELECT * FROM votes")),
        "photo": sum(not _is_photo(row) for row in db.execute("SELECT * FROM photos")),
    }
    for what, count in altered.items():
        if count:
            yield f"{FEEDBACK}: {counted(count, f'{what} is', f'{what}s are')} altered"
    (strays,) = db.execute(
        "SELECT count(*) FROM votes WHERE question NOT IN (SELECT number FROM questions)"
    ).fetchone()
    if strays:
        yield f"{FEEDBACK}: {counted(strays, 'vote')} without a question"
    (there,) = db.execute("SELECT count(*) FROM votes").fetchone()
    if there != total(db, "votes"):
        wanted = total(db, "votes")
        yield f"{FEEDBACK}: it has {counted(there, 'vote')}, and should have {wanted:,}"


def read_sound(damaged: Path, into: sqlite3.Connection) -> int:
    """Copy what is sound in a damaged file into an empty one, and return how many votes."""
    sound: dict[str, Callable[[tuple[Any, ...]], bool]] = {
        "questions": lambda row: question_crc(*row[1:5]) == row[5],
        "votes": _is_vote,
        "photos": _is_photo,
    }
    with contextlib.suppress(sqlite3.DatabaseError), contextlib.closing(connect(damaged)) as db:
        for table, is_sound in sound.items():
            for row in _readable(db, table):
                if is_sound(row):
                    marks = ", ".join("?" * len(row))
                    into.execute(f"INSERT OR IGNORE INTO {table} VALUES ({marks})", row)  # noqa: S608
    into.execute("DELETE FROM votes WHERE question NOT IN (SELECT number FROM questions)")
    into.execute("DELETE FROM questions WHERE number NOT IN (SELECT question FROM votes)")
    into.execute("DELETE FROM photos WHERE sha256 NOT IN (SELECT sha256 FROM questions)")
    return total(into, "votes")


def _readable(db: sqlite3.Connection, table: str) -> Iterator[tuple[Any, ...]]:
    """The rows up to the first damaged page, and from the end back to the last one."""
    last = -1
    with contextlib.suppress(sqlite3.DatabaseError):
        for row in db.execute(f"SELECT * FROM {table} NOT INDEXED ORDER BY number"):  # noqa: S608
            yield row
            last = row[0]
    with contextlib.suppress(sqlite3.DatabaseError):
        yield from db.execute(
            f"SELECT * FROM {table} NOT INDEXED WHERE number > ? ORDER BY number DESC",  # noqa: S608
            (last,),
        )


def _is_vote(row: tuple[Any, ...]) -> bool:
    return bool(vote_crc(*row[1:6]) == row[6])


def _is_photo(row: tuple[Any, ...]) -> bool:
    return bool(hashlib.sha256(row[2]).hexdigest() == row[1])
