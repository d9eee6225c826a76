"""The journal by itself: segments, what is read of a damaged one, and a disk that is full."""

import resource
from collections.abc import Callable
from pathlib import Path

import pytest

from deepfood.errors import ArtifactCorruptError, DiskFullError
from deepfood.gallery.record import SUM_DIGITS, Head
from deepfood.local.checkpoints import fold_of
from deepfood.local.journal import Journal

NAMES = ("begin", "one", "two", "three", "four")


def written(folder: Path) -> Journal:
    """A journal of five records."""
    journal = Journal(folder)
    for name in NAMES:
        journal.append("drop", "a", {"attribute": name})
    journal.settle()
    journal.close()
    return journal


def numbers(folder: Path, after: Head | None = None) -> list[int]:
    journal = Journal(folder)
    records = journal.records(after) if after else journal.records()
    return [record.number for record in records]


@pytest.fixture
def short_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    """A segment for each record."""
    monkeypatch.setattr("deepfood.local.journal._SEGMENT_BYTES", 0)


@pytest.mark.usefixtures("short_segments")
def test_a_full_segment_is_followed_by_a_new_one(tmp_path: Path) -> None:
    journal = written(tmp_path / "a")
    assert [first for first, _ in journal.segments()] == [1, 2, 3, 4, 5]
    heads = [Head(one.number, one.sum) for one in journal.records()]
    assert journal.head() == heads[-1]
    assert numbers(tmp_path / "a", heads[2]) == [4, 5]

    copy = Journal(tmp_path / "copy")
    copy.folder.mkdir(parents=True)
    for path, size in journal.files_until(heads[2]):
        (copy.folder / path.name).write_bytes(path.read_bytes()[:size])
    assert copy.head() == heads[2]
    assert numbers(tmp_path / "copy") == [1, 2, 3]


@pytest.mark.usefixtures("short_segments")
@pytest.mark.parametrize("count", [1, 2, 3])
def test_what_is_taken_back_leaves_a_whole_journal(count: int, tmp_path: Path) -> None:
    """Each record began a segment, which is empty then."""
    journal = written(tmp_path)
    head = journal.head()
    for _ in range(count):
        journal.append("drop", "a", {"attribute": "no"})
    journal.take_back()
    assert Journal(tmp_path).head() == head
    assert numbers(tmp_path) == [1, 2, 3, 4, 5]
    again = Journal(tmp_path)
    again.append("drop", "a", {"attribute": "yes"})
    again.close()
    assert numbers(tmp_path) == [1, 2, 3, 4, 5, 6]


@pytest.mark.usefixtures("short_segments")
def test_a_writer_killed_in_the_first_record_of_a_segment(tmp_path: Path) -> None:
    journal = written(tmp_path)
    head = journal.head()
    (journal.folder / "records-000000000006.jsonl").write_bytes(b"0123456789abc")
    assert Journal(tmp_path).head() == head
    assert numbers(tmp_path) == [1, 2, 3, 4, 5]
    assert [one for one in journal.readable() if isinstance(one, str)] == []
    again = Journal(tmp_path)
    again.append("drop", "a", {"attribute": "yes"})
    again.close()
    assert numbers(tmp_path) == [1, 2, 3, 4, 5, 6]


@pytest.mark.usefixtures("short_segments")
@pytest.mark.parametrize("lost", [2, 4])
def test_a_segment_that_is_gone_is_told(lost: int, tmp_path: Path) -> None:
    journal = written(tmp_path)
    journal.segments()[lost - 1][1].unlink()
    with pytest.raises(ArtifactCorruptError, match=f"record {lost} is not what was written"):
        numbers(tmp_path)


def test_records_longer_than_what_is_read_at_first(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    for length in (10, 200_000, 300_000):
        head = journal.append("drop", "a", {"attribute": "x" * length})
        assert Journal(tmp_path).head() == head
    journal.close()


@pytest.mark.parametrize(
    "after", [Head(3, "0" * SUM_DIGITS), Head(9, "0" * SUM_DIGITS)], ids=["another", "beyond"]
)
def test_a_head_that_is_not_in_it_is_refused(after: Head, tmp_path: Path) -> None:
    written(tmp_path)
    with pytest.raises(ArtifactCorruptError, match=f"record {after.number} is not what was"):
        numbers(tmp_path, after)


def altered(line: bytes) -> bytes:
    """Still a record, but not the one that was written."""
    return line.replace(b"drop", b"DROP")


#: What is done to the five lines, and what is read of them then.
DAMAGED: dict[str, tuple[Callable[[list[bytes]], list[bytes]], list[int | str]]] = {
    "the last altered": (
        lambda lines: [*lines[:4], altered(lines[4])],
        [1, 2, 3, 4, "record 5 of the journal has been altered"],
    ),
    "one altered, the next unreadable": (
        lambda lines: [*lines[:2], altered(lines[2]), b"?", lines[4]],
        [
            *(1, 2),
            "record 3 of the journal has been altered",
            "record 4 of the journal cannot be read",
            "record 5 of the journal has been altered",
        ],
    ),
    "one lost": (
        lambda lines: [*lines[:2], *lines[3:]],
        [1, 2, "record 3 of the journal does not follow the one before it", 5],
    ),
    "one lost, the next unreadable": (
        lambda lines: [lines[0], lines[2].rstrip(b"}"), *lines[3:]],
        [
            1,
            "record 2 of the journal cannot be read",
            "records 3 to 3 of the journal are missing",
            *(4, 5),
        ],
    ),
    "the last unfinished": (lambda lines: [*lines[:4], lines[4][:50]], [1, 2, 3, 4]),
}


@pytest.mark.parametrize("what", DAMAGED)
def test_what_is_readable_of_a_damaged_journal(what: str, tmp_path: Path) -> None:
    damage, wanted = DAMAGED[what]
    ((_, path),) = written(tmp_path).segments()
    end = b"" if what == "the last unfinished" else b"\n"
    path.write_bytes(b"\n".join(damage(path.read_bytes().splitlines())) + end)
    found = Journal(tmp_path).readable()
    assert [one if isinstance(one, str) else one.number for one in found] == wanted


def test_a_table_that_is_another_is_refused(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    sha256 = journal.write_table({"a" * 64: {"price": 3}})
    journal.table(sha256).write_bytes(b"[]\n")
    with pytest.raises(ArtifactCorruptError, match="is not the table that was imported"):
        list(journal.read_table(sha256))


def test_a_record_for_which_there_is_no_room_leaves_nothing(tmp_path: Path) -> None:
    journal = written(tmp_path)
    ((_, path),) = journal.segments()
    whole, before = path.read_bytes(), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(whole) + 20, before[1]))
    try:
        with pytest.raises(DiskFullError):
            journal.append("drop", "a", {"attribute": "no"})
        assert path.read_bytes() == whole
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    journal.append("drop", "a", {"attribute": "yes"})
    journal.take_back()
    assert path.read_bytes() == whole
    journal.append("drop", "a", {"attribute": "yes"})
    journal.close()
    assert [one.what["attribute"] for one in Journal(tmp_path).records()] == [*NAMES, "yes"]


def test_a_record_of_a_newer_deepfood_is_told(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.append("vote", "a", {})  # type: ignore[arg-type]
    journal.close()
    with pytest.raises(
        ArtifactCorruptError, match=r"record 1 .* is a 'vote', .*: upgrade deepfood"
    ):
        fold_of(journal)


def test_who_looked_at_a_journal_that_was_moved_away_begins_another(tmp_path: Path) -> None:
    written(tmp_path)
    journal = Journal(tmp_path)
    journal.head()
    journal.folder.rename(tmp_path / "away")
    journal.append("begin", "a", {"format": 1})
    journal.close()
    assert numbers(tmp_path) == [1]


def test_a_segment_that_links_to_nothing_is_told(tmp_path: Path) -> None:
    ((_, path),) = written(tmp_path).segments()
    path.rename(tmp_path / "away")
    path.symlink_to(tmp_path / "nowhere")
    with pytest.raises(ArtifactCorruptError, match="cannot be read: No such file"):
        numbers(tmp_path)


@pytest.mark.usefixtures("short_segments")
def test_the_head_behind_a_segment_without_a_record_is_refused(tmp_path: Path) -> None:
    journal = written(tmp_path)
    journal.segments()[3][1].write_bytes(b"no record")
    with pytest.raises(ArtifactCorruptError, match="record 5 is not what was written"):
        journal.head()
