"""Feedback: what people say of answers, as votes on hits, kept in a SQLite file of the gallery.

A vote says of one hit of one question whether it was right. The question is known by its SHA-256
and its vector; the visitor's photo is kept only where that was allowed. Votes are not manual edits:
they change no photo, are in no manifest and no release, and all of them may be deleted.

Every vote and vector has a checksum. A question, its vector and its photo go with its last vote.
"""

import hashlib
import sqlite3
import sys
import threading
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from deepfood.artifacts import check_can_write, replacing
from deepfood.embed import Vector
from deepfood.errors import ArtifactMissingError, SettingError
from deepfood.gallery.feedback_export import write_csv, write_json
from deepfood.gallery.feedback_faults import faults_in, read_sound
from deepfood.gallery.feedback_file import (
    FEEDBACK,
    Kind,
    altered,
    check_format,
    clear_errors,
    connect,
    create_file,
    question_crc,
    questions_in,
    total,
    vote_crc,
)

__all__ = ["FEEDBACK", "MOST_VOTES", "Feedback", "FeedbackCounts", "FeedbackTable", "Kind", "Vote"]

#: How many votes are kept unless a caller says otherwise.
MOST_VOTES = 1_000_000
#: Votes that give way to one, where there are more than the bound.
_DISPLACED_AT_ONCE = 1000

_ASK = "INSERT INTO questions (sha256, model, kind, vector, checksum) VALUES (?, ?, ?, ?, ?)"
_VOTE = """
INSERT INTO votes (session, question, hit, right, at, checksum) VALUES (?, ?, ?, ?, ?, ?)
ON CONFLICT (question, hit, session)
DO UPDATE SET right = excluded.right, at = excluded.at, checksum = excluded.checksum
"""
_TAKE_BACK = "DELETE FROM votes WHERE session = ? AND hit = ? AND question = ?"
_OTHERS = """
SELECT count(*) FROM votes WHERE session = ?
AND NOT (hit = ? AND question IN (SELECT number FROM questions WHERE sha256 = ?))
"""
_VOTES = """
SELECT v.session, q.sha256, v.hit, v.right, v.at, q.model, q.kind, v.question, v.checksum
FROM votes v JOIN questions q ON q.number = v.question
WHERE ?1 IS NULL OR q.model = ?1 ORDER BY v.number
"""


@dataclass(frozen=True)
class Vote:
    """What somebody said of one hit; `right` None takes the vote back.

    `session` is a hash of the browser session's random id, `question` the SHA-256 of the photo or
    words asked with, in hex, `hit` the id of a photo of the gallery, and `at` the Unix time in
    seconds. `vector` is the question's unit vector, float32 [d], by the Model with the fingerprint
    `model`; None where the question has none.
    """

    session: str
    question: str
    hit: str
    right: bool | None
    at: float
    model: str
    vector: Vector | None
    kind: Kind


@dataclass(frozen=True)
class FeedbackTable:
    """Votes by columns, the oldest entry first: n votes on q distinct questions with a vector.

    `vectors`, float32 [q, d], has the vector of each of these; `question_of`, int64 [n], is the row
    of each vote's question in it, -1 where that has no vector.
    """

    sessions: list[str]
    questions: list[str]
    hits: list[str]
    right: npt.NDArray[np.bool_]
    at: npt.NDArray[np.float64]
    models: list[str]
    kinds: list[Kind]
    vectors: npt.NDArray[np.float32]
    question_of: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.sessions)


@dataclass(frozen=True)
class FeedbackCounts:
    """How much feedback there is. `oldest` and `newest` are Unix times in seconds.

    `conflicting` counts pairs of question and hit that sessions disagree on, `displaced` the oldest
    votes that went because there were too many. `models` has the votes by fingerprint.
    """

    votes: int = 0
    right: int = 0
    wrong: int = 0
    conflicting: int = 0
    displaced: int = 0
    questions: int = 0
    sessions: int = 0
    photos: int = 0
    photo_bytes: int = 0
    oldest: float | None = None
    newest: float | None = None
    models: dict[str, int] = field(default_factory=dict)


class Feedback:
    """The votes of a gallery. Safe to use from many threads and processes.

    Methods raise ArtifactCorruptError where the file is damaged, ArtifactBusyError where another
    process writes for longer than 10 seconds, and DiskFullError; a change is then not made at all.
    """

    def __init__(self, path: Path, create: bool, most: int) -> None:
        self.path = path
        self.most = most
        self._create = create
        self._lock = threading.RLock()
        self._db, self._file = self._connect()

    @classmethod
    def open(cls, folder: Path, create: bool = False, *, most: int = MOST_VOTES) -> Self:
        """Open the feedback of the gallery in `folder`; with `create`, make it if there is none.

        At most `most` votes are kept: the oldest go first. Raises ArtifactMissingError,
        ArtifactFormatError, and what every method raises.
        """
        return cls(folder / FEEDBACK, create, most)

    def close(self) -> None:
        with self._lock:
            self._db.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def add(self, votes: Iterable[Vote]) -> None:
        """Take votes, all or none; they are on disk on return.

        The last vote of a session on a hit of a question is the one that counts.
        """
        with self._changing() as db:
            numbers: dict[str, dict[str, int]] = {}
            count = 0
            for count, vote in enumerate(votes, start=1):  # noqa: B007
                asked = numbers.get(vote.question)
                if asked is None:
                    asked = numbers[vote.question] = _numbers_of(db, vote.question)
                kept = None if vote.right is None else _kept_question(db, vote, asked)
                if kept is not None:
                    said = (vote.session, kept, vote.hit, int(bool(vote.right)), float(vote.at))
                    db.execute(_VOTE, (*said, vote_crc(*said)))
                others = [number for number in asked.values() if number != kept]
                if others:  # also what was said when the gallery had another Model
                    taken = [(vote.session, vote.hit, number) for number in others]
                    db.executemany(_TAKE_BACK, taken)
                    del numbers[vote.question]  # a question goes with its last vote
            self._displace(db, count + _DISPLACED_AT_ONCE)

    def keep_photo(self, data: bytes, most_bytes: int) -> bool:
        """Keep the photo of a question that has a vote, the oldest giving way to it.

        False where there is no such question, or the photo alone is larger than `most_bytes`.
        """
        sha256 = hashlib.sha256(data).hexdigest()
        with self._changing() as db:
            if len(data) > most_bytes or not _numbers_of(db, sha256):
                return False
            db.execute("INSERT OR IGNORE INTO photos (sha256, bytes) VALUES (?, ?)", (sha256, data))
            while total(db, "photo_bytes") > most_bytes:
                db.execute("DELETE FROM photos WHERE number = (SELECT min(number) FROM photos)")
        return True

    def photos(self) -> Iterator[tuple[str, bytes]]:
        """The photos that were kept, with the hash of their question, one after the other."""
        with self._reading() as db:
            numbers = [number for (number,) in db.execute("SELECT number FROM photos ORDER BY 1")]
        for number in numbers:
            with self._reading() as db:
                found = db.execute(
                    "SELECT sha256, bytes FROM photos WHERE number = ?", (number,)
                ).fetchone()
            if found is None:  # deleted meanwhile
                continue
            if hashlib.sha256(found[1]).hexdigest() != found[0]:
                raise altered(self.path, "a photo")
            yield found

    def others_of_session(self, vote: Vote) -> int:
        """How many votes are kept of the session of a vote, on other hits or questions."""
        with self._reading() as db:
            (count,) = db.execute(_OTHERS, (vote.session, vote.hit, vote.question)).fetchone()
            return int(count)

    def read(self, model: str | None = None) -> FeedbackTable:
        """All votes, or those whose question was asked with one Model, given its fingerprint.

        Raises ValueError where the vectors of several Models differ in their length: name one.
        """
        sessions, questions, hits, models, kinds = [], [], [], [], []
        right, at, of = [], [], []
        with self._reading() as db:
            rows, vectors = self._vectors(db, model)
            for session, sha256, hit, said, when, by, kind, number in self._votes(db, model):
                sessions.append(sys.intern(session))
                questions.append(sys.intern(sha256))
                hits.append(sys.intern(hit))
                models.append(sys.intern(by))
                kinds.append(kind)
                right.append(said)
                at.append(when)
                of.append(rows.get(number, -1))
        return FeedbackTable(
            sessions,
            questions,
            hits,
            np.array(right, np.bool_),
            np.array(at, np.float64),
            models,
            kinds,
            vectors,
            np.array(of, np.int64),
        )

    def counts(self) -> FeedbackCounts:
        with self._reading() as db:
            votes, right, oldest, newest, sessions = db.execute(
                "SELECT count(*), coalesce(sum(right), 0), min(at), max(at), "
                "count(DISTINCT session) FROM votes"
            ).fetchone()
            conflicting = db.execute(
                "SELECT count(*) FROM (SELECT 1 FROM votes GROUP BY question, hit "
                "HAVING min(right) <> max(right))"
            ).fetchone()[0]
            questions = db.execute("SELECT count(DISTINCT sha256) FROM questions").fetchone()[0]
            photos = db.execute("SELECT count(*) FROM photos").fetchone()[0]
            models = db.execute(
                "SELECT q.model, count(*) FROM votes v JOIN questions q ON q.number = v.question "
                "GROUP BY q.model ORDER BY q.model"
            ).fetchall()
            return FeedbackCounts(
                votes=votes,
                right=right,
                wrong=votes - right,
                conflicting=conflicting,
                displaced=total(db, "displaced"),
                questions=questions,
                sessions=sessions,
                photos=photos,
                photo_bytes=total(db, "photo_bytes"),
                oldest=oldest,
                newest=newest,
                models=dict(models),
            )

    def prune(self, before: float | None = None, photos_removed: Collection[str] = ()) -> int:
        """Delete the votes from before a Unix time, and those on photos with these ids.

        Returns how many votes went. The file becomes smaller.
        """
        with self._changing() as db:
            there = total(db, "votes")
            if before is not None:
                db.execute("DELETE FROM votes WHERE at < ?", (before,))
            db.executemany("DELETE FROM votes WHERE hit = ?", ((hit,) for hit in photos_removed))
            gone = there - total(db, "votes")
        with self._lock, clear_errors(self.path):
            self._db.execute("PRAGMA incremental_vacuum").fetchall()
        return gone

    def hits(self) -> list[str]:
        """The ids of all photos that somebody voted on."""
        with self._reading() as db:
            return [hit for (hit,) in db.execute("SELECT DISTINCT hit FROM votes ORDER BY hit")]

    def export(self, path: Path) -> int:
        """Write all votes to a `.csv` or `.json` file, and return how many; vectors stay here.

        Raises SettingError for another suffix, or a path that cannot be written.
        """
        writers = {".csv": write_csv, ".json": write_json}
        if path.suffix.lower() not in writers:
            raise SettingError(f"{path}: feedback is exported to a file .csv or .json")
        check_can_write(path)
        try:
            with self._reading() as db, replacing(path) as file:
                return writers[path.suffix.lower()](file, self._exported(db))
        except OSError as error:
            raise SettingError(f"{path} cannot be written: {error.strerror}") from error

    def faults(self) -> Iterator[str]:
        """One line for each fault of the file; none means that it is intact."""
        with self._reading() as db:
            yield from faults_in(db)

    def take_sound(self, damaged: Path) -> int:
        """Take what is sound in a damaged file; returns how many votes. This one must be empty."""
        with self._changing() as db:
            return read_sound(damaged, db)

    def _connect(self) -> tuple[sqlite3.Connection, tuple[int, int]]:
        """Open the file, and tell which one it is."""
        path = self.path
        if not path.is_file():
            if not self._create:
                raise ArtifactMissingError(f"{path.parent} has no feedback: nobody has voted yet")
            create_file(path)
        with clear_errors(path):
            there = path.stat()
            connection = connect(path)
            try:
                check_format(path, connection)
            except BaseException:
                connection.close()
                raise
        return connection, (there.st_dev, there.st_ino)

    def _follow(self) -> None:
        """Go on in the new file if the one that is open was moved away as damaged.

        What is written to that one is lost.
        """
        try:
            there = self.path.stat()
            moved = (there.st_dev, there.st_ino) != self._file
        except FileNotFoundError:
            moved = True
        if moved:
            self._db.close()
            self._db, self._file = self._connect()

    def _displace(self, db: sqlite3.Connection, at_once: int) -> None:
        """Delete the oldest votes where there are too many, and count them.

        After the bound was lowered it takes several calls, so that none takes long.
        """
        surplus = min(total(db, "votes") - self.most, at_once)
        if surplus > 0:
            db.execute(
                "DELETE FROM votes WHERE number IN "
                "(SELECT number FROM votes ORDER BY at, number LIMIT ?)",
                (surplus,),
            )
            db.execute("UPDATE totals SET displaced = displaced + ?", (surplus,))

    def _vectors(
        self, db: sqlite3.Connection, model: str | None
    ) -> tuple[dict[int, int], npt.NDArray[np.float32]]:
        """Of each question with a vector its row, and the vectors."""
        which = "FROM questions WHERE vector IS NOT NULL AND (?1 IS NULL OR model = ?1)"
        count = db.execute(f"SELECT count(*) {which}", (model,)).fetchone()[0]
        rows: dict[int, int] = {}
        vectors = np.empty((count, 0), np.float32)
        for question, sound in questions_in(db, model):
            if not sound:
                raise altered(self.path, "the vector of a question")
            if question.vector is None:
                continue
            vector = np.frombuffer(question.vector, "<f4")
            if not rows:
                vectors = np.empty((count, len(vector)), np.float32)
            if len(vector) != vectors.shape[1]:
                raise ValueError("the questions' vectors differ in length: name a Model")
            vectors[len(rows)] = vector
            rows[question.number] = len(rows)
        return rows, vectors

    def _votes(self, db: sqlite3.Connection, model: str | None) -> Iterator[tuple[Any, ...]]:
        """The columns of `_VOTES` without the checksum. Raises ArtifactCorruptError."""
        for *row, checksum in db.execute(_VOTES, (model,)):
            session, _, hit, right, at, *_, number = row
            if checksum != vote_crc(session, number, hit, right, at):
                raise altered(self.path, "a vote")
            yield tuple(row)

    def _exported(self, db: sqlite3.Connection) -> Iterator[tuple[object, ...]]:
        """Each vote in the order of `EXPORTED`."""
        for session, sha256, hit, right, at, model, kind, _ in self._votes(db, None):
            when = datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds")
            yield session, sha256, kind, hit, bool(right), when, model

    @contextmanager
    def _changing(self) -> Iterator[sqlite3.Connection]:
        """A transaction that is on disk afterwards, or was not made at all."""
        with self._transaction("BEGIN IMMEDIATE") as db:
            yield db

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        """All reads in it see the same votes."""
        with self._transaction("BEGIN") as db:
            yield db

    @contextmanager
    def _transaction(self, begin: str) -> Iterator[sqlite3.Connection]:
        with self._lock, clear_errors(self.path):
            self._follow()
            self._db.execute(begin)
            try:
                yield self._db
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:  # SQLite rolls back by itself where the disk is full
                    self._db.execute("ROLLBACK")
                raise


def _numbers_of(db: sqlite3.Connection, sha256: str) -> dict[str, int]:
    """The numbers of a question, by the Model that it was asked with."""
    return dict(db.execute("SELECT model, number FROM questions WHERE sha256 = ?", (sha256,)))


def _kept_question(db: sqlite3.Connection, vote: Vote, asked: dict[str, int]) -> int:
    """The number of a vote's question, which is kept from its first vote on."""
    if vote.model not in asked:
        vector = None if vote.vector is None else np.asarray(vote.vector, "<f4").tobytes()
        fields = (vote.question, vote.model, vote.kind, vector)
        number = db.execute(_ASK, (*fields, question_crc(*fields))).lastrowid
        assert number is not None
        asked[vote.model] = number
    return asked[vote.model]
