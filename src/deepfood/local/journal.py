"""The journal: an append-only file of all manual edits, one record a change.

GALLERY/journal/
    records-000000000001.jsonl     records from that number on, a line each
    checkpoint-000000001234.jsonl  the fold of all records up to that number (see fold.py)
    tables/SHA256.jsonl            values imported from a table, named by a record

A line is `SUM BODY`: BODY is JSON, and SUM the first 32 hex digits of SHA-256 over the SUM of the
previous record and BODY. So the records form a hash chain. A record is flushed to disk before its
change is acknowledged, and the catalogue notes the newest one that it contains (its *head*): each
reveals damage to the other. Only the holder of the gallery's write lock appends.
"""

import contextlib
import hashlib
import json
import os
import re
import stat
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from io import FileIO
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from deepfood.artifacts import sync_folder, write_atomically
from deepfood.errors import ArtifactCorruptError, ArtifactError, raising_disk_full
from deepfood.gallery.record import BEGINNING, SUM_DIGITS, Head, Kind, Record

JOURNAL = "journal"


_LINE = re.compile(rb"([0-9a-f]{32}) (\{.*\})")
_CHECKPOINT = re.compile(r"checkpoint-([0-9]{12})\.jsonl")
_TABLE = re.compile(r"[0-9a-f]{64}\.jsonl")
_SEGMENT = re.compile(r"records-([0-9]{12})\.jsonl")
#: A longer segment is followed by a new one.
_SEGMENT_BYTES = 4 * 2**20
_TAIL_BYTES = 64 * 2**10


class _End(NamedTuple):
    """Where the next record goes: behind the newest complete one, in the last segment if any.

    `torn` bytes of an incomplete line follow it. `stamp` shows whether the segment has changed.
    """

    head: Head
    path: Path | None = None
    torn: int = 0
    stamp: tuple[int, ...] = ()

    @property
    def still_so(self) -> bool:
        with contextlib.suppress(OSError):
            return self.path is not None and _stamp(self.path.stat()) == self.stamp
        return False


class Journal:
    """The journal of one gallery. Reading takes no lock; only the one writer may `append`."""

    def __init__(self, gallery: Path) -> None:
        self.folder = gallery / JOURNAL
        self._file: FileIO | None = None
        self._head = BEGINNING
        #: The result of the last `head`, so that the next append need not read it again.
        self._end = _End(BEGINNING)
        #: The records appended since `settle`: the head before each, and its place.
        self._unsettled: list[tuple[Head, Path, int]] = []

    @property
    def is_there(self) -> bool:
        return any(self.segments())

    def segments(self) -> list[tuple[int, Path]]:
        """The number of the first record of each segment, and its file, in order.

        One that is empty, as its records were taken back, does not count.
        """
        found = [(_SEGMENT.fullmatch(path.name), path) for path in self.listed()]
        return sorted((int(name[1]), path) for name, path in found if name and not _is_empty(path))

    def head(self) -> Head:
        """The newest complete record. Raises ArtifactCorruptError where its sum is wrong."""
        self._end = self._read_end()
        return self._end.head

    def _read_end(self) -> _End:
        end = _End(BEGINNING)
        for first, path in reversed(self.segments()):
            lines, torn, stamp = _last_lines(path)
            if end.path is None:
                end = _End(BEGINNING, path, torn, stamp)
            if not lines:  # the writer was killed before its first record
                continue
            number, total = _parse(lines[-1], path).number, lines[-1][:SUM_DIGITS].decode()
            if len(lines) > 1:
                before = lines[-2][:SUM_DIGITS].decode("ascii", "replace")
            else:
                before = self._sum_before(first)
            if _sum(before, lines[-1][SUM_DIGITS + 1 :]) != total:
                raise _damaged(path, number)
            return end._replace(head=Head(number, total))
        return end

    def records(self, after: Head = BEGINNING) -> Iterator[Record]:
        """The complete records after one, each checked against the one before.

        Raises ArtifactCorruptError at a damaged or missing one. An incomplete line at the very end,
        of a writer that was killed or is writing, is ignored.
        """
        segments = self.segments()
        places = [
            place for place, (first, _) in enumerate(segments) if first <= max(after.number, 1)
        ]
        start = places[-1] if places else 0
        expected, before = 1, BEGINNING.sum
        if start:
            expected, before = segments[start][0], self._sum_before(segments[start][0])
        for first, path in segments[start:]:
            if first != expected:
                raise _damaged(path, expected)
            with reading(path) as file:
                for line in file:
                    if not line.endswith(b"\n"):
                        break
                    record = _parse(line[:-1], path)
                    body = line[SUM_DIGITS + 1 : -1]
                    if record.number != expected or _sum(before, body) != record.sum:
                        raise _damaged(path, expected)
                    expected, before = expected + 1, record.sum
                    if record.number > after.number:
                        yield record
                    elif record.number == after.number and record.sum != after.sum:
                        raise _damaged(path, record.number)
        if after.number >= expected:
            raise _damaged(self.folder, after.number)

    def readable(self) -> Iterator[Record | str]:
        """For repair: every record that is intact by itself, and a line about each that is not.

        A record is confirmed by its own sum, or by that of the next record.
        """
        before, expected = {BEGINNING.sum}, 1
        doubtful: tuple[Record, str] | None = None
        for line in self._lines():
            try:
                record = _parse(line, self.folder)
            except ArtifactError:
                if doubtful:
                    yield f"record {doubtful[0].number} of the journal has been altered"
                yield f"record {expected} of the journal cannot be read"
                doubtful, expected = None, expected + 1
                before = {line[:SUM_DIGITS].decode("ascii", "replace")}
                continue
            sums = {_sum(one, line[SUM_DIGITS + 1 :]): one for one in before}
            if doubtful and sums.get(record.sum) == doubtful[1]:
                yield doubtful[0]
            elif doubtful:
                yield f"record {doubtful[0].number} of the journal has been altered"
            doubtful = None
            if record.sum in sums:
                if record.number > expected:
                    yield f"records {expected} to {record.number - 1} of the journal are missing"
                yield record
                before, expected = {record.sum}, record.number + 1
            elif len(sums) == 1 and record.number == expected:
                (computed,) = sums
                doubtful, before = (record, computed), {record.sum, computed}
                expected += 1
            else:
                yield f"record {expected} of the journal does not follow the one before it"
                before, expected = {record.sum}, record.number + 1
        if doubtful:
            yield f"record {doubtful[0].number} of the journal has been altered"

    def _lines(self) -> Iterator[bytes]:
        """All readable lines of all segments, without an incomplete last one."""
        for _, path in self.segments():
            with contextlib.suppress(ArtifactError), reading(path) as file:
                for line in file:
                    if line.endswith(b"\n"):
                        yield line[:-1]

    def files_until(self, head: Head) -> Iterator[tuple[Path, int]]:
        """The files that hold all up to a record, and how many bytes of each.

        For copying a gallery that others may change. Raises ArtifactCorruptError.
        """
        for sha256 in self.tables():
            yield self.table(sha256), self.table(sha256).stat().st_size
        for path in self.listed():
            if (found := _CHECKPOINT.fullmatch(path.name)) and int(found[1]) <= head.number:
                yield path, path.stat().st_size
        for first, path in self.segments():
            if first > head.number:
                break
            size = 0
            with reading(path) as file:
                for line in file:
                    if not line.endswith(b"\n") or _parse(line[:-1], path).number > head.number:
                        break
                    size += len(line)
            yield path, size

    def append(self, do: Kind, by: str, what: Mapping[str, Any]) -> Head:
        """Write a record, durable on return. Raises DiskFullError, and has then written none."""
        if self._file is None:
            self._open()
        number = self._head.number + 1
        at = datetime.now(UTC).isoformat(timespec="milliseconds")
        text = json.dumps(
            {"n": number, "at": at, "by": by, "do": do, **what}, ensure_ascii=False
        ).encode()
        head = Head(number, _sum(self._head.sum, text))
        with raising_disk_full(self.folder), _written(self.folder):
            file, path = self._roomy(number)
            start = file.tell()
            try:
                _write(file, b"%s %s\n" % (head.sum.encode(), text))
            except BaseException:
                file.truncate(start)
                file.seek(start)
                raise
        self._unsettled.append((self._head, path, start))
        self._head = head
        return head

    def settle(self) -> None:
        """Accept what was appended: `take_back` no longer removes it."""
        self._unsettled.clear()

    def take_back(self) -> None:
        """Remove what was appended since `settle`, as its change could not be made."""
        while self._unsettled:
            self._head, path, start = self._unsettled.pop()
            with path.open("r+b") as file:
                file.truncate(start)
                os.fsync(file.fileno())
        self.close()

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def write_table(self, values: Mapping[str, Mapping[str, Any]]) -> str:
        """Keep values by photo. Returns the SHA-256 by which a record names them."""
        lines = (json.dumps(one, ensure_ascii=False) + "\n" for one in values.items())
        content = "".join(lines).encode()
        sha256 = hashlib.sha256(content).hexdigest()
        with raising_disk_full(self.folder):
            self.table(sha256).parent.mkdir(parents=True, exist_ok=True)
            write_atomically(self.table(sha256), content)
        return sha256

    def tables(self) -> list[str]:
        """The SHA-256 of each kept table."""
        return [path.stem for path in self.listed("tables") if _TABLE.fullmatch(path.name)]

    def table(self, sha256: str) -> Path:
        return self.folder / "tables" / f"{sha256}.jsonl"

    def read_table(self, sha256: str) -> Iterator[tuple[str, dict[str, Any]]]:
        """SHA-256 and values of each photo in a table, None for unknown."""
        path = self.table(sha256)
        with reading(path) as file:
            content = file.read()
        if hashlib.sha256(content).hexdigest() != sha256:
            raise ArtifactCorruptError(
                f"{path} is not the table that was imported: run deepfood verify --repair"
            )
        for line in content.splitlines():
            photo, values = json.loads(line)
            yield photo, values

    def _open(self) -> None:
        """Open for appending, and cut off the incomplete line of a killed writer."""
        with raising_disk_full(self.folder), _written(self.folder):
            end = self._end if self._end.still_so else self._read_end()
            self._end = _End(BEGINNING)
            if end.path is None:
                self.folder.mkdir(parents=True, exist_ok=True)
            self._head = end.head
            self._file = (end.path or self._segment(1)).open("a+b", buffering=0)
            if end.path is None:
                sync_folder(self.folder)
                sync_folder(self.folder.parent)
            if end.torn:
                self._file.truncate(self._file.seek(0, os.SEEK_END) - end.torn)
            self._file.seek(0, os.SEEK_END)

    def _roomy(self, number: int) -> tuple[FileIO, Path]:
        """The file for the next record."""
        assert self._file is not None
        if self._file.tell() > _SEGMENT_BYTES:
            self._file.close()
            self._file = self._segment(number).open("a+b", buffering=0)
            sync_folder(self.folder)
        return self._file, Path(self._file.name)

    def _segment(self, number: int) -> Path:
        return self.folder / f"records-{number:012d}.jsonl"

    def _sum_before(self, first: int) -> str:
        """The sum of the last record before the segment that starts at number `first`."""
        for _, path in reversed([one for one in self.segments() if one[0] < first]):
            lines, _, _ = _last_lines(path)
            if lines:
                return lines[-1][:SUM_DIGITS].decode("ascii", "replace")
        return BEGINNING.sum

    def listed(self, inside: str = "") -> list[Path]:
        """Its files by name. Raises ArtifactError where this user may not read the folder."""
        folder = self.folder / inside
        try:
            return sorted(folder.iterdir())
        except FileNotFoundError:
            return []
        except OSError as error:
            raise ArtifactError(f"{folder} cannot be read: {error.strerror}") from error


@contextlib.contextmanager
def reading(path: Path) -> Iterator[BinaryIO]:
    """Open a file to read. Raises ArtifactCorruptError where it is missing or not a regular file.

    Raises ArtifactError where this user may not read it.
    """
    try:
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
        with os.fdopen(handle, "rb") as file:
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                raise ArtifactCorruptError(f"{path} is damaged: it is not a regular file")
            yield file
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as error:
        raise ArtifactCorruptError(f"{path} cannot be read: {error.strerror}") from error
    except OSError as error:
        raise ArtifactError(f"{path} cannot be read: {error.strerror}") from error


@contextlib.contextmanager
def _written(folder: Path) -> Iterator[None]:
    """Raise ArtifactError where the journal cannot be written. A full disk is not handled here."""
    try:
        yield
    except (PermissionError, NotADirectoryError, IsADirectoryError) as error:
        raise ArtifactError(f"{folder} cannot be written: {error.strerror}") from error


def _is_empty(path: Path) -> bool:
    with contextlib.suppress(OSError):
        found = path.stat()
        return stat.S_ISREG(found.st_mode) and not found.st_size
    return False


def _write(file: FileIO, line: bytes) -> None:
    """Write all of a line, to the disk. An unbuffered file keeps nothing of one that has failed."""
    left = memoryview(line)
    while left:
        left = left[file.write(left) :]
    os.fsync(file.fileno())


def _sum(before: str, body: bytes) -> str:
    return hashlib.sha256(before.encode() + body).hexdigest()[:SUM_DIGITS]


def _parse(line: bytes, path: Path) -> Record:
    found = _LINE.fullmatch(line)
    try:
        if found:
            what = json.loads(found[2])
            return Record(
                what.pop("n"),
                what.pop("at"),
                what.pop("by"),
                what.pop("do"),
                what,
                found[1].decode(),
            )
    except (ValueError, KeyError, RecursionError):
        pass
    raise ArtifactCorruptError(
        f"{path} is damaged: a line of it is not a record: run deepfood verify --repair"
    )


def _damaged(path: Path, number: int) -> ArtifactCorruptError:
    return ArtifactCorruptError(
        f"{path} is damaged: record {number} is not what was written: run deepfood verify --repair"
    )


def _stamp(found: os.stat_result) -> tuple[int, ...]:
    """Changes whenever the file changes."""
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def _last_lines(path: Path) -> tuple[list[bytes], int, tuple[int, ...]]:
    """The last two complete lines of a file, or fewer; the bytes after them; and its stamp."""
    with reading(path) as file:
        stamp = _stamp(os.fstat(file.fileno()))
        size = file.seek(0, os.SEEK_END)
        wanted = _TAIL_BYTES
        while True:
            start = max(size - wanted, 0)
            file.seek(start)
            data = file.read(size - start)
            whole, newline, torn = data.rpartition(b"\n")
            lines = whole.split(b"\n") if newline else []
            if start:
                lines = lines[1:]  # the first may be incomplete
            if len(lines) >= 2 or not start:
                return lines[-2:], len(torn), stamp
            wanted *= 4
