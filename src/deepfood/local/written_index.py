"""The index of what is written in a catalogue: SQLite's FTS5, kept in each writer's transaction.

- `written` has the folded tokens of each photo's texts, a column for each kind of text. BM25 orders
  by it.
- `words` has every token that was ever written, between blanks; `word_parts` its trigrams, by which
  parts of words and typos are found (C. D. Manning and others, Introduction to Information
  Retrieval, 2008, chapter 3).
- `written_for` has the checksum of the state that the index belongs to. With another, the index is
  not up to date: earlier versions of deepfood did not keep one.

The index is a cache of the rows: each hit is compared with its row before it is shown.
"""

import json
import sqlite3
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence

from deepfood.batches import batches
from deepfood.errors import ArtifactError
from deepfood.gallery.written import WEIGHTS, WrittenText, texts_of

_COLUMNS = ", ".join(WEIGHTS)
SCHEMA = f"""
CREATE VIRTUAL TABLE IF NOT EXISTS written USING fts5({_COLUMNS}, tokenize = 'ascii');
CREATE TABLE IF NOT EXISTS words (id INTEGER PRIMARY KEY, word TEXT NOT NULL UNIQUE) STRICT;
CREATE VIRTUAL TABLE IF NOT EXISTS word_parts USING fts5(
    word, content = 'words', content_rowid = 'id', tokenize = 'trigram case_sensitive 1',
    detail = none, columnsize = 0
);
CREATE TABLE IF NOT EXISTS written_for (
    id INTEGER PRIMARY KEY CHECK (id = 0), state INTEGER NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS photos_name ON photos (name);
"""
_DROP = "".join(
    f"DROP TABLE IF EXISTS {table};" for table in ("written_for", "word_parts", "words", "written")
)

#: FTS5 finds no phrase across this token, which stands between two texts of a column.
BETWEEN_TEXTS = "\ue000"

#: The rows whose texts a transaction has changed, however it did.
_CHANGED = """
CREATE TEMP TABLE IF NOT EXISTS changed_rows (row INTEGER PRIMARY KEY);
"""
_TRIGGER = """
CREATE TEMP TRIGGER IF NOT EXISTS {table}_{name} AFTER {event} ON main.{table} BEGIN
    INSERT OR IGNORE INTO changed_rows VALUES ({row}.row);
END;
"""
_EVENTS = (
    ("photos", "inserted", "INSERT", "new"),
    ("photos", "deleted", "DELETE", "old"),
    ("photos", "updated", "UPDATE OF label, name, file", "new"),
    ("attribute_values", "inserted", "INSERT", "new"),
    ("attribute_values", "deleted", "DELETE", "old"),
)
_TRIGGERS = _CHANGED + "".join(
    _TRIGGER.format(table=table, name=name, event=event, row=row)
    for table, name, event, row in _EVENTS
)

_SOME = "IN (SELECT value FROM json_each(?))"
_PHOTOS = f"SELECT row, name, label, file FROM photos WHERE row {_SOME}"  # noqa: S608
_VALUES = (
    "SELECT v.row, a.name, v.value FROM attribute_values v JOIN attributes a ON a.id = v.attribute "  # noqa: S608
    f"WHERE a.type IN ('text', 'list') AND v.row {_SOME}"
)
_INSERT = f"INSERT INTO written (rowid, {_COLUMNS}) VALUES (?{', ?' * len(WEIGHTS)})"  # noqa: S608
#: Rows that are read and indexed at a time.
_BATCH = 1000


def check_fts5(db: sqlite3.Connection) -> None:
    """Raise ArtifactError where this SQLite has no FTS5."""
    found = db.execute("SELECT 1 FROM pragma_module_list WHERE name = 'fts5'").fetchall()
    if not found:  # pragma: no cover - every Python that tests run on has it
        raise ArtifactError(
            f"SQLite {sqlite3.sqlite_version} of this Python has no FTS5, by which words are found:"
            " use a Python whose sqlite3 has it, such as that of python.org, Debian or conda"
        )


def is_current(db: sqlite3.Connection) -> bool:
    """Whether the index belongs to the state of the catalogue, as it was last committed."""
    if not db.execute("SELECT 1 FROM sqlite_master WHERE name = 'written_for'").fetchall():
        return False
    found = db.execute("SELECT f.state = s.checksum FROM written_for f, state s").fetchall()
    return found == [(1,)]


def note_changed_rows(db: sqlite3.Connection) -> None:
    """Note the rows whose texts this connection changes, for `index_changed_rows`."""
    db.executescript(_TRIGGERS)


def index_changed_rows(db: sqlite3.Connection) -> None:
    """Index the rows that were changed, in the caller's transaction."""
    changed = [row for (row,) in db.execute("SELECT row FROM changed_rows ORDER BY row")]
    if not changed:
        return
    for rows in batches(changed, _BATCH):
        db.execute(f"DELETE FROM written WHERE rowid {_SOME}", (json.dumps(rows),))  # noqa: S608
        _insert(db, written_in(db, rows))
    db.execute("DELETE FROM changed_rows")


def index_all_rows(db: sqlite3.Connection, photos: sqlite3.Connection | None = None) -> None:
    """Make the index anew, in the caller's transaction. `photos` has the rows, by default `db`."""
    photos = photos or db
    for statement in (_DROP + SCHEMA).split(";"):  # executescript would commit first
        if photos is db or "ON photos" not in statement:
            db.execute(statement)
    rows = [row for (row,) in photos.execute("SELECT row FROM photos ORDER BY row")]
    for some in batches(rows, _BATCH):
        _insert(db, written_in(photos, some))
    for table in ("written", "word_parts"):
        db.execute(f"INSERT INTO {table} ({table}) VALUES ('optimize')")  # noqa: S608


def mark_current(db: sqlite3.Connection, state: int) -> None:
    """Note the checksum of the state that the index belongs to, in the caller's transaction."""
    db.execute("INSERT OR REPLACE INTO written_for VALUES (0, ?)", (state,))


def written_in(
    db: sqlite3.Connection, rows: Sequence[int]
) -> Iterator[tuple[int, tuple[str, ...]]]:
    """The rows with a photo, and what each column of `written` has for it."""
    some = (json.dumps(list(rows)),)
    values: dict[int, dict[str, object]] = defaultdict(dict)
    for row, attribute, value in db.execute(_VALUES, some):
        try:
            values[row][attribute] = json.loads(value)
        except (ValueError, TypeError):  # it is altered, which `verify` says
            continue
    for row, *texts in db.execute(_PHOTOS, some).fetchall():
        name, label, file = (text if isinstance(text, str) else "" for text in texts)
        yield row, _columns(texts_of(name, label, file, values.get(row, {})))


def _columns(texts: Iterable[WrittenText]) -> tuple[str, ...]:
    columns: dict[str, list[str]] = {column: [] for column in WEIGHTS}
    for text in texts:
        columns[text.column].append(" ".join(text.tokens))
    return tuple(f" {BETWEEN_TEXTS} ".join(filter(None, some)) for some in columns.values())


def _insert(db: sqlite3.Connection, entries: Iterable[tuple[int, tuple[str, ...]]]) -> None:
    found = list(entries)
    db.executemany(_INSERT, ((row, *columns) for row, columns in found))
    tokens = {token for _, columns in found for text in columns for token in text.split()}
    tokens.discard(BETWEEN_TEXTS)
    (last,) = db.execute("SELECT COALESCE(MAX(id), 0) FROM words").fetchone()
    db.executemany(
        "INSERT OR IGNORE INTO words (word) VALUES (?)", ((f" {one} ",) for one in sorted(tokens))
    )
    db.execute(
        "INSERT INTO word_parts (rowid, word) SELECT id, word FROM words WHERE id > ?", (last,)
    )


def written_faults(db: sqlite3.Connection) -> Iterator[str]:
    """A line about each fault of an index that should be current.

    `db` is a copy of the catalogue, as FTS5 checks itself only where it may write.
    """
    if not is_current(db):
        return
    try:
        for command in (
            "INSERT INTO written (written) VALUES ('integrity-check')",
            "INSERT INTO word_parts (word_parts, rank) VALUES ('integrity-check', 1)",
        ):
            db.execute(command)
        for table in ("written", "word_parts"):
            for term in _lost_terms(db, table):
                yield f"the index of words does not find {term[:40]!r}, which it has"
        lacking = "SELECT term FROM terms_of_written WHERE NOT EXISTS "
        lacking += "(SELECT 1 FROM words WHERE word = ' ' || term || ' ') AND term <> ?"
        for (term,) in db.execute(lacking, (BETWEEN_TEXTS,)):
            yield f"the index of words lacks a word, {term[:40]!r}"
        yield from _row_faults(db)
    except sqlite3.DatabaseError as error:
        yield f"the index of words is damaged ({' '.join(str(error).split())})"


def _lost_terms(db: sqlite3.Connection, table: str) -> Iterator[str]:
    """Terms of an FTS5 table that its search tree does not lead to, which FTS5 does not check."""
    db.execute(f"CREATE VIRTUAL TABLE temp.terms_of_{table} USING fts5vocab(main, {table}, row)")
    find = f"SELECT 1 FROM {table} WHERE {table} MATCH ? LIMIT 1"  # noqa: S608
    for (term,) in db.execute(f"SELECT term FROM terms_of_{table}"):  # noqa: S608
        if not db.execute(find, (f'"{term}"',)).fetchall():
            yield term


def _row_faults(db: sqlite3.Connection) -> Iterator[str]:
    rows = {row for (row,) in db.execute("SELECT row FROM photos UNION SELECT rowid FROM written")}
    for some in batches(sorted(rows), _BATCH):
        there = {
            row: tuple(columns)
            for row, *columns in db.execute(
                f"SELECT rowid, {_COLUMNS} FROM written WHERE rowid {_SOME}",  # noqa: S608
                (json.dumps(some),),
            )
        }
        wanted = dict(written_in(db, some))
        for row in some:
            if there.get(row) != wanted.get(row):
                yield f"the index of words has other words than row {row}"
