"""Killed, or without room, between the journal's flush and the catalogue's commit."""

import os
import resource
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from damages import WRITERS, State, Whole, make_whole, state_of
from deepfood.errors import DiskFullError
from deepfood.local.journal import Journal
from deepfood.local.verify import gallery_problems

CHANGES = ("add", "remove", "update", "attributes")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Whole:
    return make_whole(tmp_path_factory.mktemp("whole"))


def after(whole: Whole, change: str, folder: Path) -> State:
    """What the change comes to, on a copy where nothing goes wrong."""
    return WRITERS[change](whole, whole.copy(folder))


def when_journalled(
    monkeypatch: pytest.MonkeyPatch, change: str, do: Callable[[Journal], None]
) -> None:
    """Have `do` called once the record of the change is durable."""
    kind = {"attributes": "import"}.get(change, change)
    append = Journal.append

    def appended(journal: Journal, *what: object) -> object:
        head = append(journal, *what)  # type: ignore[arg-type]
        if what[0] == kind:
            do(journal)
        return head

    monkeypatch.setattr(Journal, "append", appended)


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_that_was_journalled_is_taken_in_by_whoever_opens_next(
    change: str, whole: Whole, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted, copy = after(whole, change, tmp_path / "other"), whole.copy(tmp_path / "copy")
    sys.stdout.flush()
    embedded = whole.embedder.embed
    known = {data: embedded(data) for data in _new_photos(whole)}
    killed = os.fork()
    if killed == 0:
        try:  # threads of the runtime do not live on in a forked process
            monkeypatch.setattr(type(whole.embedder), "embed", lambda _, data: known[data])
            when_journalled(monkeypatch, change, lambda _: os._exit(9))
            WRITERS[change](whole, copy)
        finally:
            os._exit(1)
    _, status = os.waitpid(killed, 0)
    assert os.waitstatus_to_exitcode(status) == 9
    assert state_of(copy) == wanted
    assert list(gallery_problems(copy, quiet=True)) == []


def _new_photos(whole: Whole) -> list[bytes]:
    return [(whole.root / "new/200.jpg").read_bytes()]


@pytest.mark.parametrize("change", CHANGES)
def test_a_record_whose_commit_fails_is_taken_back(
    change: str, whole: Whole, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk is full for the catalogue's log: no file may grow once the record is durable."""
    wanted, copy = after(whole, change, tmp_path / "other"), whole.copy(tmp_path / "copy")
    head, before = Journal(copy).head(), resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill(_: Journal) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, before[1]))

    with monkeypatch.context() as patch:
        when_journalled(patch, change, fill)
        try:
            with pytest.raises(DiskFullError):
                WRITERS[change](whole, copy)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert Journal(copy).head() == head
    assert state_of(copy) == whole.state
    assert list(gallery_problems(copy, quiet=True)) == []
    assert WRITERS[change](whole, copy) == wanted == state_of(copy)


def test_who_appends_goes_on_from_what_others_wrote_meanwhile(tmp_path: Path) -> None:
    one, other = Journal(tmp_path), Journal(tmp_path)
    one.append("begin", "a", {"format": 1})
    one.close()
    one.head()  # which `append` need not read again, unless the journal is longer now
    other.append("drop", "b", {"attribute": "price"})
    other.close()
    one.append("drop", "a", {"attribute": "vegan"})
    one.close()

    assert [record.number for record in Journal(tmp_path).records()] == [1, 2, 3]


def test_an_unfinished_line_is_cut_off_by_who_has_looked_at_the_head(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.append("begin", "a", {"format": 1})
    journal.close()
    ((_, path),) = journal.segments()
    with path.open("ab") as file:
        file.write(b"0123456789abcdef")
    journal.head()
    journal.append("drop", "a", {"attribute": "vegan"})
    journal.close()

    assert [record.do for record in Journal(tmp_path).records()] == ["begin", "drop"]
