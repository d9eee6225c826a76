"""Ask the index of what is written: for rows by words, and for words by their parts."""

import sqlite3
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np

from deepfood.errors import ArtifactCorruptError, ArtifactError, in_one_line
from deepfood.gallery.tokens import FORGIVEN_LETTERS, near, tokens_of
from deepfood.gallery.written import SHORTEST_PART, WEIGHTS, Level, Term, WordsQuery
from deepfood.index import Mask
from deepfood.local.columns import stopped_in_time
from deepfood.local.written_index import check_fts5, index_all_rows, is_current

#: Photos that are put in order where more have a word: those that were added last.
RANKED = 5_000
#: Photos of which an index is made in memory, which takes seconds.
MOST_IN_MEMORY = 100_000
#: Words of the gallery that one part of a word, or one typo, stands for.
_MOST_WORDS = 200
#: Candidates for a typo that are compared.
_MOST_CANDIDATES = 20_000

_WEIGHTS = ", ".join(str(weight) for weight in WEIGHTS.values())
_BEST = f"""
SELECT row, score FROM (
    SELECT rowid AS row, bm25(written, {_WEIGHTS}) AS score FROM written
    WHERE written MATCH ? AND {{}} ORDER BY rowid DESC LIMIT {RANKED}
) ORDER BY score, row
"""  # noqa: S608
_TOO_LONG = "the words take more than {} s of work in this gallery: give fewer or longer words"


class Words:
    """The index in a catalogue. Safe to use from many threads; `lock` guards the connection."""

    def __init__(self, connection: sqlite3.Connection, lock: threading.RLock) -> None:
        self._db = connection
        self._lock = lock
        self._allowed = b""
        connection.create_function("is_allowed", 1, self._is_allowed)

    def _is_allowed(self, row: int) -> bool:
        return row < len(self._allowed) and bool(self._allowed[row])

    @contextmanager
    def _asking(self) -> Iterator[sqlite3.Connection]:
        """Raises QueryError after some seconds of work, or ArtifactCorruptError."""
        with self._lock:
            check_fts5(self._db)
            with _read_errors(), stopped_in_time(self._db, _TOO_LONG):
                yield self._db

    def spellings(self, query: WordsQuery) -> tuple["Spellings", frozenset[Term]]:
        """The words of the gallery that stand for each term, and the terms that have a typo.

        A typo is forgiven in a term that no photo has otherwise.
        """
        found: dict[Term, list[str]] = {}
        forgiven = set()
        forgivable = {*query.forgivable}
        with self._asking():
            for term in query.wanted:
                if term.token is None:
                    continue
                found[term] = self._with_part(term.token)
                if term in forgivable and not self._is_there(_any(term, found)):
                    found[term] = self._near(term.token)
                    forgiven.add(term)
        return found, frozenset(forgiven)

    def best(self, expression: str, allowed: Mask | None = None) -> list[tuple[int, float]]:
        """Rows that match an FTS5 expression, best first, and their BM25, greater for better.

        `allowed` is a mask of rows, bool [rows]; None allows every row.
        """
        with self._asking() as db:
            if allowed is None:
                rows = db.execute(_BEST.format("1"), (expression,))
            else:
                self._allowed = np.ascontiguousarray(allowed, np.bool_).tobytes()
                rows = db.execute(_BEST.format("is_allowed(rowid)"), (expression,))
            return [(row, -score) for row, score in rows]

    def mask(self, expression: str, rows: int) -> Mask:
        """The rows below `rows` that match an FTS5 expression: bool [rows]."""
        sql = "SELECT rowid FROM written WHERE written MATCH ?"
        mask = np.zeros(rows, np.bool_)
        with self._asking() as db:
            found = np.array([row for (row,) in db.execute(sql, (expression,))], np.int64)
        mask[found[found < rows]] = True
        return mask

    def some(self, expression: str, count: int) -> list[int]:
        """At most `count` rows that match an FTS5 expression, those that were added last."""
        sql = "SELECT rowid FROM written WHERE written MATCH ? ORDER BY rowid DESC LIMIT ?"
        with self._asking() as db:
            return [row for (row,) in db.execute(sql, (expression, count))]

    def beginning_with(self, begin: str, count: int) -> list[str]:
        """At most `count` words of the gallery that begin so, in alphabetical order."""
        sql = "SELECT word FROM words WHERE word >= ? AND word < ? ORDER BY word LIMIT ?"
        ends = f" {begin}", f" {begin}\U0010ffff"
        with self._asking() as db:
            return [word.strip() for (word,) in db.execute(sql, (*ends, count))]

    def _is_there(self, expression: str) -> bool:
        sql = "SELECT 1 FROM written WHERE written MATCH ? LIMIT 1"
        return bool(self._db.execute(sql, (expression,)).fetchall())

    def _with_part(self, part: str) -> list[str]:
        """Words with this part in them, not at their beginning; the shortest, if there are many."""
        if len(part) < SHORTEST_PART:
            return []
        trigrams = " AND ".join(map(quoted, _trigrams(part)))
        found = self._db.execute(
            "SELECT w.word FROM word_parts p JOIN words w ON w.id = p.rowid "
            "WHERE word_parts MATCH ? AND instr(w.word, ?) > 2 ORDER BY length(w.word), w.word "
            "LIMIT ?",
            (trigrams, part, _MOST_WORDS),
        )
        return [word.strip() for (word,) in found]

    def _near(self, token: str) -> list[str]:
        """Words that a typo parts from a token.

        It changes 4 neighbouring trigrams at most, those at both ends with a blank included. So the
        first or the last few of the others are unchanged.
        """
        trigrams = [quoted(one) for one in _trigrams(f" {token} ")]
        half = max(1, (len(token) - FORGIVEN_LETTERS + 2) // 2)
        first, last = " AND ".join(trigrams[:half]), " AND ".join(trigrams[-half:])
        found = self._db.execute(
            "SELECT w.word FROM word_parts p JOIN words w ON w.id = p.rowid "
            "WHERE word_parts MATCH ? AND length(w.word) BETWEEN ? AND ? LIMIT ?",
            (f"({first}) OR ({last})", len(token) + 1, len(token) + 3, _MOST_CANDIDATES),
        )
        words = [word.strip() for (word,) in found]
        return [word for word in words if near(token, word)][:_MOST_WORDS]


@contextmanager
def _read_errors() -> Iterator[None]:
    try:
        yield
    except sqlite3.DatabaseError as error:
        raise ArtifactCorruptError(
            f"the words cannot be read ({in_one_line(error)}): run deepfood verify --repair"
        ) from error


#: A label, its tokens, and the number of its photos.
LabelCount = tuple[str, list[str], int]


class CatalogueWords:
    """The index in a catalogue, or one in memory where an earlier deepfood wrote the catalogue.

    Methods raise ArtifactCorruptError where the catalogue cannot be read.
    """

    def __init__(self, connection: sqlite3.Connection, lock: threading.RLock) -> None:
        self._db = connection
        self._lock = lock
        self._own = Words(connection, lock)
        # Both by the checksum of a state.
        self._in_memory: tuple[int, Words] | None = None
        self._labels: tuple[int, list[LabelCount]] | None = None

    def are_indexed(self) -> bool:
        """Whether the catalogue has an index, and it is up to date."""
        with self._lock, _read_errors():
            return is_current(self._db)

    def now(self) -> Words:
        """The index of all that is committed. Raises ArtifactError where it must be made first."""
        with self._reading() as state:
            if is_current(self._db):
                return self._own
            if self._in_memory is None or self._in_memory[0] != state:
                self._in_memory = state, self._made()
            return self._in_memory[1]

    def label_counts(self) -> list[LabelCount]:
        """All labels. Counted once for each change."""
        sql = "SELECT label, COUNT(*) FROM photos WHERE label IS NOT NULL GROUP BY label"
        with self._reading() as state:
            if self._labels is None or self._labels[0] != state:
                found = self._db.execute(sql).fetchall()
                counts = [(label, tokens_of(str(label)), count) for label, count in found]
                self._labels = state, counts
            return self._labels[1]

    @contextmanager
    def _reading(self) -> Iterator[int]:
        """A read transaction, and the checksum of the state that it sees."""
        with self._lock, _read_errors():
            self._db.execute("BEGIN")
            try:
                (state,) = self._db.execute("SELECT checksum FROM state").fetchone() or (-1,)
                yield state
            finally:
                self._db.execute("COMMIT")

    def _made(self) -> Words:
        check_fts5(self._db)
        (count,) = self._db.execute("SELECT COUNT(*) FROM photos").fetchone()
        if count > MOST_IN_MEMORY:
            raise ArtifactError(
                f"this gallery of {count:,} photos has no index of words yet, as an earlier "
                "deepfood wrote it last: deepfood verify --repair makes one, and so does any change"
            )
        memory = sqlite3.connect(":memory:", check_same_thread=False)
        with memory:
            index_all_rows(memory, self._db)
        words = Words(memory, threading.RLock())
        weakref.finalize(words, memory.close)
        return words


#: Words of the gallery for the terms of a query, beside those that are or begin like the term.
Spellings = dict[Term, list[str]]


def levels(query: WordsQuery, spelled: Callable[[], Spellings]) -> Iterator[tuple[Level, str]]:
    """The FTS5 expressions that find the photos of each level, the best first.

    One may find photos of a better level too. `spelled` is called where the words themselves, and
    what begins like them, are not enough.
    """
    each = query.wanted
    unwanted = " OR ".join(_phrase(term.tokens) for term in query.unwanted)

    def joined(word: str, groups: Iterable[str]) -> str:
        wanted = word.join(f"({group})" for group in groups)
        return f"({wanted}) NOT ({unwanted})" if unwanted else wanted

    yield Level.WHOLE, joined(" AND ", (_phrase(term.tokens) for term in each))
    if not all(term.exact for term in each):
        yield Level.BEGINNING, joined(" AND ", map(_beginning, each))
    spellings = spelled()
    if any(spellings.values()):
        yield Level.LOOSE, joined(" AND ", (_any(term, spellings) for term in each))
    if len(each) > 1:
        yield Level.SOME, joined(" OR ", (_any(term, spellings) for term in each))


def quoted(token: str) -> str:
    """A string of FTS5. A token has no quotes."""
    return f'"{token}"'


def _phrase(tokens: Sequence[str]) -> str:
    return quoted(" ".join(tokens))


def _beginning(term: Term) -> str:
    return _phrase(term.tokens) + ("" if term.exact else " *")


def _any(term: Term, spellings: Spellings) -> str:
    return " OR ".join([_beginning(term), *map(quoted, spellings.get(term, ()))])


def _trigrams(text: str) -> list[str]:
    return [text[at : at + 3] for at in range(len(text) - 2)]
