"""The journal of a gallery on Milvus: the records of local/journal.py, as rows of NAME_about.

There are many concurrent writers and no locks. So each writer's session has its own hash chain:
a record has the session's name (`w`), its number in the session (`n`), its version (`v`), and a sum
over the session's previous record and itself. Each record also updates the session's *head*, a
separate row with number and sum of its newest record, so that each reveals damage of the other. All
records together are ordered by version: the time in ns, or more if a later version was seen.

    key                   row                          text
    journal               journal/SESSION/NUMBER/PART  SUM BODY, as a line of a folder's journal
    journal-head          journal-head/SESSION         NUMBER SUM
    journal-table/SHA256  …                            an imported table, compressed
    journal-checkpoint    …                            the fold of the oldest records, compressed
"""

import dataclasses
import hashlib
import json
import secrets
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NamedTuple

from deepfood.errors import ArtifactCorruptError
from deepfood.gallery.fold import TAIL_RECORDS, Fold, touched
from deepfood.gallery.record import BEGINNING, Kind, Record
from deepfood.milvus.metadata import GalleryMetadata

_RECORDS, _HEADS = "journal", "journal-head"
_TABLES, _CHECKPOINT = "journal-table", "journal-checkpoint"
#: No checkpoint has younger records: concurrent ones may still be inserted between them.
_SETTLED_NS = 600 * 10**9
_AT_ONCE = 100
_FIELDS = ("id", "version", "part", "parts", "text")


class Position(NamedTuple):
    """The place of a record; positions sort in the order of the records."""

    version: int
    session: str
    number: int


@dataclass(frozen=True)
class Reading:
    """The fold of a journal at one moment.

    `records` came after the checkpoint, whose newest record has the version `upto`; `news` are the
    SHA-256 of photos in records that the previous reading did not have.
    """

    fold: Fold
    upto: int
    records: frozenset[Position]
    news: frozenset[str]


class MilvusJournal:
    """The journal of one gallery. Appended records name `by` as their author."""

    def __init__(self, metadata: GalleryMetadata, by: str = "") -> None:
        self._metadata = metadata
        self._by = by
        self._newest = _session_begins()
        self._sum = BEGINNING.sum
        #: Records that this object has appended.
        self.own: set[Position] = set()

    @property
    def is_there(self) -> bool:
        return bool(
            self._metadata.rows(f'key == "{_HEADS}"', ["count(*)"], "Strong")[0]["count(*)"]
        )

    def count(self) -> int:
        """The number of records, unfinished ones included."""
        return self._count(2**63 - 1)

    def forget(self) -> None:
        """Delete the whole journal, before it is made again."""
        for key in (_HEADS, _RECORDS, _CHECKPOINT):
            self._metadata.forget(key)
        self._metadata.forget_all(f"{_TABLES}/")

    def append(self, do: Kind, what: Mapping[str, Any]) -> None:
        """Append a record, which is in Milvus' log when this returns. Raises EngineError."""
        newest = self._newest
        place = Position(max(self._now(), newest.version + 1), newest.session, newest.number + 1)
        at = datetime.now(UTC).isoformat(timespec="milliseconds")
        facts = {"n": place.number, "at": at, "by": self._by, "do": do}
        body = json.dumps({**facts, **what, "w": place.session, "v": place.version})
        total = _sum(self._sum, body)
        head = (f"{_HEADS}/{place.session}", _HEADS, place.version, 0, 1, f"{place.number} {total}")
        row = f"{_RECORDS}/{place.session}/{place.number}"
        self._newest, self._sum = (
            _session_begins(),
            BEGINNING.sum,
        )  # after a failure it may be written or not
        self._metadata.put_text(row, _RECORDS, place.version, f"{total} {body}", [head])
        self._newest, self._sum = place, total
        self.own.add(place)

    def records(self) -> Iterator[Record]:
        """All records in order, each verified. Raises ArtifactCorruptError."""
        yield from _numbered(self._checked(0).values(), 0)

    def recent(self, since: int) -> dict[Position, Record]:
        """Records from a version on, in order, without verifying their chains.

        All acknowledged records are seen.
        """
        where = f'key == "{_RECORDS}" and version >= {since}'
        texts = dict(_texts(self._metadata.rows(where, _FIELDS, "Strong")))
        return {
            place: _parsed(text)[0] for place, text in sorted(texts.items()) if text is not None
        }

    def read(self, before: Reading | None = None) -> Reading:
        """The fold of all records. Raises ArtifactCorruptError if the journal is damaged.

        A checkpoint that does not fit is ignored: the records contain everything.
        """
        fold, upto = self._newest_checkpoint()
        known = before.records if before else frozenset()
        found = self._checked(min(upto, before.upto) if before else upto)
        news: set[str] = set()
        for place, record in found.items():
            if place not in known:
                news |= touched(record, self)
        self._fold(fold, found, upto)
        return Reading(fold, upto, frozenset(found), frozenset(news))

    def write_checkpoint_if_long(self, reading: Reading) -> None:
        """Store the fold of the older records, if there are many."""
        if len(reading.records) < TAIL_RECORDS:
            return
        fold, before = self._newest_checkpoint()
        upto = time.time_ns() - _SETTLED_NS
        count = self._count(upto)
        found = self._checked(before)
        self._fold(fold, {at: one for at, one in found.items() if at.version <= upto}, before)
        if count == self._count(upto):
            first = json.dumps({"upto": upto, "count": count}).encode()
            self._metadata.write_long(_CHECKPOINT, first + b"\n" + b"".join(fold.lines()))

    def write_table(self, values: Mapping[str, Mapping[str, Any]]) -> str:
        """Like the journal of a folder. Raises EngineError."""
        lines = (json.dumps(one, ensure_ascii=False) + "\n" for one in values.items())
        content = "".join(lines).encode()
        sha256 = hashlib.sha256(content).hexdigest()
        self._metadata.write_long(f"{_TABLES}/{sha256}", content)
        return sha256

    def read_table(self, sha256: str) -> Iterator[tuple[str, dict[str, Any]]]:
        """Like the journal of a folder. Raises ArtifactCorruptError."""
        content = self._metadata.read_long(f"{_TABLES}/{sha256}")
        if content is None or hashlib.sha256(content).hexdigest() != sha256:
            raise self._damaged(f"the imported table {sha256[:12]} is missing or altered")
        for line in content.splitlines():
            photo, values = json.loads(line)
            yield photo, values

    def _fold(self, fold: Fold, found: Mapping[Position, Record], after: int) -> None:
        """Apply the records with later versions than `after`."""
        news = (record for place, record in found.items() if place.version > after)
        for record in _numbered(news, fold.head.number):
            fold.apply(record, self)

    def _now(self) -> int:
        """The time in ns; if another clock is ahead, one more than the version it has written."""
        now = time.time_ns()
        where = f'key == "{_RECORDS}" and part == 0 and version >= {now}'
        ahead = self._metadata.rows(where, ["version"], "Bounded")
        return max([now, *(int(row["version"]) + 1 for row in ahead)])

    def _newest_checkpoint(self) -> tuple[Fold, int]:
        """The fold of the oldest records, and the version of the newest of them."""
        try:
            text = self._metadata.read_long(_CHECKPOINT)
            if text is not None:
                first, _, lines = text.partition(b"\n")
                head = json.loads(first)
                if self._count(head["upto"]) == head["count"]:
                    return Fold.from_lines(lines, _CHECKPOINT), head["upto"]
        except (ArtifactCorruptError, ValueError, KeyError):
            pass
        return Fold(), 0

    def _count(self, upto: int) -> int:
        """The number of records up to a version."""
        where = f'key == "{_RECORDS}" and part == 0 and version <= {upto}'
        return int(self._metadata.rows(where, ["count(*)"], "Strong")[0]["count(*)"])

    def _checked(self, after: int) -> dict[Position, Record]:
        """Verified records with later versions than `after`, in order; they have no numbers yet.

        Raises ArtifactCorruptError if one is missing or altered.
        """
        heads = {
            str(row["id"]).split("/")[1]: str(row["text"]).split(" ")
            for row in self._metadata.every(_HEADS, after + 1, ["id", "text"])
        }
        sessions: dict[str, dict[int, tuple[Position, str | None]]] = {one: {} for one in heads}
        for place, text in _texts(self._metadata.every(_RECORDS, after + 1, _FIELDS)):
            sessions.setdefault(place.session, {})[place.number] = place, text
        sums = self._sums_before(min(one.values())[0] for one in sessions.values() if one)
        found: dict[Position, Record] = {}
        for session, texts in sessions.items():
            newest, total = heads.get(session, ("0", ""))
            last, before = max([int(newest), *texts]), sums.get(session, BEGINNING.sum)
            for number in range(min(texts, default=1), last + 1):
                at, text = texts.get(number, (None, None))
                if at and text is None and number == last > int(newest):
                    break  # unfinished: its writer was killed, or is writing it now
                record = _record_of(text, at, before) if at and text else None
                if not at or record is None or (number == int(newest) and record.sum != total):
                    raise self._damaged(
                        f"record {number} of the session {session} is missing or altered"
                    )
                found[at], before = record, record.sum
        return dict(sorted(found.items()))

    def _sums_before(self, places: Iterable[Position]) -> dict[str, str]:
        """By session, the sum of the record before its first one in `places`, if there is one."""
        ids = [f'"{_RECORDS}/{one.session}/{one.number - 1}/0"' for one in places if one.number > 1]
        sums: dict[str, str] = {}
        for start in range(0, len(ids), _AT_ONCE):
            where = f"id in [{', '.join(ids[start : start + _AT_ONCE])}]"
            for row in self._metadata.rows(where, ["id", "text"], "Strong"):
                sums[str(row["id"]).split("/")[1]] = row["text"].partition(" ")[0]
        return sums

    def _damaged(self, fault: str) -> ArtifactCorruptError:
        return ArtifactCorruptError(
            f"the journal of {self._metadata.name} in {self._metadata.collection} is damaged: "
            f"{fault}: restore that collection from a backup of Milvus"
        )


def _session_begins() -> Position:
    return Position(0, secrets.token_hex(8), 0)


def _record_of(text: str, place: Position, before: str) -> Record | None:
    """The record in a text; None if it is not the one written at that place."""
    total, _, body = text.partition(" ")
    if _sum(before, body) != total:
        return None
    record, written = _parsed(text)
    return record if written == place else None


def _parsed(text: str) -> tuple[Record, Position]:
    """A record, and its position according to the text."""
    total, _, body = text.partition(" ")
    what = json.loads(body)
    number, at, by, do, session, version = (
        what.pop(name) for name in ("n", "at", "by", "do", "w", "v")
    )
    return Record(number, at, by, do, what, total), Position(version, session, number)


def _texts(rows: Iterable[Mapping[str, Any]]) -> Iterator[tuple[Position, str | None]]:
    """The text of each record; None if a part of it is missing."""
    parts: dict[tuple[Position, int], dict[int, str]] = {}
    for row in rows:
        _, session, number, _ = str(row["id"]).split("/")
        place = Position(int(row["version"]), session, int(number))
        parts.setdefault((place, int(row["parts"])), {})[row["part"]] = row["text"]
    for (place, wanted), texts in parts.items():
        whole = len(texts) == wanted
        yield place, "".join(texts[part] for part in sorted(texts)) if whole else None


def _numbered(records: Iterable[Record], before: int) -> Iterator[Record]:
    for number, record in enumerate(records, before + 1):
        yield dataclasses.replace(record, number=number)


def _sum(before: str, body: str) -> str:
    return hashlib.sha256(f"{before}{body}".encode()).hexdigest()[: len(BEGINNING.sum)]
