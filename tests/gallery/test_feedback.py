"""Feedback of a gallery: votes kept one by one, read by columns, pruned, exported and mended."""

import csv
import json
import os
import resource
import shutil
import signal
import sqlite3
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest

from deepfood.config import Settings
from deepfood.embed import Embedder
from deepfood.errors import (
    ArtifactCorruptError,
    ArtifactFormatError,
    ArtifactMissingError,
    DiskFullError,
    SettingError,
)
from deepfood.gallery.feedback import FEEDBACK, Feedback, Vote
from deepfood.info import repair_gallery
from deepfood.local.mend_feedback import mend_feedback
from deepfood.local.verify import gallery_problems
from deepfood.place import Place
from plates import build, write_photos

MODEL, OTHER_MODEL = "a" * 64, "b" * 64


def hashed(text: str) -> str:
    return sha256(text.encode()).hexdigest()


def vector_of(text: str, length: int = 8) -> np.ndarray:
    seed = int(hashed(text)[:8], 16)
    drawn = np.random.default_rng(seed).standard_normal(length).astype(np.float32)
    return drawn / np.linalg.norm(drawn)


def vote(who: str, asked: str, hit: str, right: bool | None = True, at: float = 1000.0) -> Vote:
    return Vote(hashed(who), hashed(asked), hit, right, at, MODEL, vector_of(asked), "photo")


@pytest.fixture
def feedback(tmp_path: Path) -> Iterator[Feedback]:
    with Feedback.open(tmp_path, create=True) as opened:
        yield opened


def said(feedback: Feedback) -> list[tuple[str, str, str, bool]]:
    table = feedback.read()
    rows = zip(table.sessions, table.questions, table.hits, table.right.tolist(), strict=True)
    return sorted(rows)


def test_votes_are_read_by_columns_with_the_vectors_of_their_questions(feedback: Feedback) -> None:
    words = Vote(hashed("eve"), hashed("rice"), "h1", False, 1002.5, MODEL, None, "words")
    feedback.add([vote("eve", "pizza", "h1"), vote("bob", "pizza", "h2", False), words])
    table = feedback.read()
    assert len(table) == 3
    assert table.sessions == [hashed("eve"), hashed("bob"), hashed("eve")]
    assert table.questions == [hashed("pizza"), hashed("pizza"), hashed("rice")]
    assert table.hits == ["h1", "h2", "h1"]
    assert table.right.tolist() == [True, False, False]
    assert table.at.tolist() == [1000.0, 1000.0, 1002.5]
    assert (table.models, table.kinds) == ([MODEL] * 3, ["photo", "photo", "words"])
    assert table.question_of.tolist() == [0, 0, -1]
    assert table.vectors.dtype == np.float32
    np.testing.assert_array_equal(table.vectors, [vector_of("pizza")])


def test_the_last_vote_counts_and_none_takes_it_back(feedback: Feedback) -> None:
    feedback.add([vote("eve", "pizza", "h1"), vote("eve", "pizza", "h2")])
    feedback.add([vote("eve", "pizza", "h1", False, at=1.0), vote("eve", "pizza", "h2", None)])
    assert said(feedback) == [(hashed("eve"), hashed("pizza"), "h1", False)]
    feedback.add([vote("eve", "pizza", "h1", None), vote("eve", "never asked", "h1", None)])
    assert said(feedback) == []
    assert feedback.counts().questions == 0, "the vector of a question stays without a vote"
    undone_and_said_again = [None, True, None, False]
    feedback.add([vote("eve", "pizza", "h1", right) for right in undone_and_said_again])
    assert said(feedback) == [(hashed("eve"), hashed("pizza"), "h1", False)]


def test_sessions_that_disagree_are_all_kept(feedback: Feedback) -> None:
    feedback.add([vote(who, "pizza", "h1", who != "bob") for who in ("eve", "bob", "joe")])
    counts = feedback.counts()
    assert (counts.votes, counts.right, counts.wrong) == (3, 2, 1)
    assert (counts.sessions, counts.questions, counts.conflicting) == (3, 1, 1)
    assert feedback.others_of_session(vote("eve", "pizza", "h1")) == 0
    assert feedback.others_of_session(vote("eve", "pizza", "h2")) == 1
    assert feedback.others_of_session(vote("eve", "rice", "h1")) == 1


def test_a_vote_asked_with_another_model_takes_the_place_of_the_one_before(
    feedback: Feedback,
) -> None:
    other = replace(
        vote("eve", "pizza", "h1", False), model=OTHER_MODEL, vector=vector_of("pizza", 5)
    )
    feedback.add([vote("eve", "pizza", "h1"), vote("bob", "pizza", "h1")])
    feedback.add([other])
    assert feedback.counts().models == {MODEL: 1, OTHER_MODEL: 1}
    assert feedback.read(MODEL).sessions == [hashed("bob")]
    assert feedback.read(OTHER_MODEL).vectors.shape == (1, 5)
    assert len(feedback.read("c" * 64)) == 0
    with pytest.raises(ValueError, match="name a Model"):
        feedback.read()


def test_the_oldest_votes_make_room_and_are_counted(tmp_path: Path) -> None:
    with Feedback.open(tmp_path, create=True, most=3) as feedback:
        for number, at in enumerate([5.0, 1.0, 4.0, 2.0, 3.0]):
            feedback.add([vote("eve", f"q{number}", "h", at=at)])
        assert sorted(feedback.read().at) == [3.0, 4.0, 5.0]
        counts = feedback.counts()
        assert (counts.displaced, counts.questions, counts.oldest) == (2, 3, 3.0)
        assert list(feedback.faults()) == []
    with Feedback.open(tmp_path, most=1) as feedback:  # the bound is lower from now on
        feedback.add([vote("eve", "q9", "h", at=9.0)])
        assert feedback.counts().oldest == 9.0


def test_votes_are_pruned_by_age_and_by_removed_photos(feedback: Feedback) -> None:
    feedback.add(
        [vote("eve", f"q{number}", f"h{number % 2}", at=float(number)) for number in range(10)]
    )
    assert feedback.hits() == ["h0", "h1"]
    assert feedback.prune(before=4.0) == 4
    assert feedback.prune(photos_removed=["h1", "never there"]) == 3
    assert sorted(feedback.read().at) == [4.0, 6.0, 8.0]
    assert feedback.counts().displaced == 0
    assert feedback.prune() == 0


def test_a_photo_is_kept_within_its_bound_and_goes_with_its_question(feedback: Feedback) -> None:
    data = {name: name.encode() * 100 for name in ("p1", "p2", "p3")}
    assert not feedback.keep_photo(data["p1"], 1000), "kept for no vote"
    for name, photo in data.items():
        asked = replace(vote("eve", name, "h"), question=sha256(photo).hexdigest())
        feedback.add([asked])
        assert feedback.keep_photo(photo, 450)
    assert not feedback.keep_photo(data["p3"], 199)
    assert [photo for _, photo in feedback.photos()] == [data["p2"], data["p3"]]
    assert (feedback.counts().photos, feedback.counts().photo_bytes) == (2, 400)
    feedback.add([replace(asked, right=None)])
    assert dict(feedback.photos()) == {sha256(data["p2"]).hexdigest(): data["p2"]}
    feedback.prune(photos_removed=["h"])
    assert feedback.counts().photo_bytes == 0
    contents = b"".join(path.read_bytes() for path in feedback.path.parent.glob(f"{FEEDBACK}*"))
    with sqlite3.connect(feedback.path) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    db.close()
    contents = feedback.path.read_bytes()
    assert data["p2"] not in contents, "what is deleted can still be read from the file"


def test_votes_are_exported_as_csv_and_json(feedback: Feedback, tmp_path: Path) -> None:
    feedback.add([vote("eve", "pizza", "h1", at=0.25), vote("bob", "pizza", "h2", False)])
    out = tmp_path / "votes.csv"
    assert feedback.export(out) == 2
    with out.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows[0] == {
        "session": hashed("eve"),
        "question": hashed("pizza"),
        "kind": "photo",
        "hit": "h1",
        "right": "true",
        "at": "1970-01-01T00:00:00.250+00:00",
        "model": MODEL,
    }
    assert feedback.export(tmp_path / "votes.json") == 2
    voted = json.loads((tmp_path / "votes.json").read_text())
    assert [one["right"] for one in voted] == [True, False]
    assert [{**one, "right": str(one["right"]).lower()} for one in voted] == rows
    feedback.prune(before=9999.0)
    feedback.export(tmp_path / "votes.json")
    assert json.loads((tmp_path / "votes.json").read_text()) == []
    with pytest.raises(SettingError, match=r"\.csv or \.json"):
        feedback.export(tmp_path / "votes.txt")
    with pytest.raises(SettingError, match="nowhere"):
        feedback.export(tmp_path / "nowhere/votes.csv")
    with pytest.raises(SettingError, match="cannot be written: File name too long"):
        feedback.export(tmp_path / ("x" * 250 + ".csv"))


@pytest.mark.slow
def test_a_vote_that_was_acknowledged_survives_kill_9(tmp_path: Path) -> None:
    """By its own process, between two votes of the same file."""
    code = """
        import sys
        from pathlib import Path
        from deepfood.gallery.feedback import Feedback, Vote
        feedback = Feedback.open(Path(sys.argv[1]), create=True)
        for number in range(10_000):
            feedback.add([Vote("s", f"q{number}", "h", True, 1.0, "m", None, "words")])
            print(number, flush=True)
    """
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code), tmp_path], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout
    for line in process.stdout:
        if int(line) == 20:
            process.kill()
            break
    acknowledged = 20 + len(process.stdout.readlines())
    process.wait()
    process.stdout.close()
    with Feedback.open(tmp_path) as feedback:
        assert acknowledged < len(feedback.read()) <= acknowledged + 2
        assert list(feedback.faults()) == []


@pytest.mark.slow
def test_processes_that_vote_at_once_lose_nothing(tmp_path: Path) -> None:
    """They also create the file at once."""
    code = """
        import sys
        from pathlib import Path
        from deepfood.gallery.feedback import Feedback, Vote
        for number in range(20):
            with Feedback.open(Path(sys.argv[1]), create=True) as feedback:
                vote = Vote(sys.argv[2], f"q{number}", "h", True, 1.0, "m", None, "words")
                feedback.add([vote])
    """
    command = [sys.executable, "-c", textwrap.dedent(code), str(tmp_path)]
    processes = [subprocess.Popen([*command, f"s{number}"]) for number in range(3)]
    assert [process.wait() for process in processes] == [0, 0, 0]
    with Feedback.open(tmp_path) as feedback:
        assert feedback.counts().votes == 60
        assert list(feedback.faults()) == []
    assert [path.name for path in tmp_path.iterdir()] == [FEEDBACK]


def test_a_full_disk_loses_no_vote(feedback: Feedback) -> None:
    feedback.add([vote("eve", "pizza", "h1")])
    size = sum(path.stat().st_size for path in feedback.path.parent.glob(f"{FEEDBACK}*"))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 10_000, before[1]))
    try:
        with pytest.raises(DiskFullError, match=FEEDBACK):
            feedback.add(vote("eve", f"q{number}", "h2") for number in range(2000))
        assert said(feedback) == [(hashed("eve"), hashed("pizza"), "h1", True)]
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)
    feedback.add([vote("eve", "pizza", "h2")])
    assert len(feedback.read()) == 2
    assert list(feedback.faults()) == []


@pytest.mark.parametrize("contents", [b"", b"no database" * 1000])
def test_a_file_that_is_no_feedback_is_refused_with_the_way_out(
    tmp_path: Path, contents: bytes
) -> None:
    (tmp_path / FEEDBACK).write_bytes(contents)
    for create in (False, True):
        with pytest.raises(ArtifactCorruptError, match="verify --repair"):
            Feedback.open(tmp_path, create=create)
    assert (tmp_path / FEEDBACK).read_bytes() == contents


def test_what_is_altered_is_never_returned(tmp_path: Path) -> None:
    for what, told, is_altered in [
        ("UPDATE votes SET right = 0", "1 vote is altered", True),
        ("UPDATE questions SET vector = zeroblob(32)", "1 question is altered", True),
        ("DELETE FROM questions", "1 vote without a question", False),
        ("UPDATE totals SET votes = 2", "it has 1 vote, and should have 2", False),
    ]:
        with Feedback.open(tmp_path, create=True) as feedback:
            feedback.add([vote("eve", "pizza", "h1")])
            with sqlite3.connect(feedback.path) as db:
                db.execute(what)
            db.close()
            assert list(feedback.faults()) == [f"{FEEDBACK}: {told}"]
            if is_altered:
                with pytest.raises(ArtifactCorruptError, match="altered"):
                    feedback.read()
        (tmp_path / FEEDBACK).unlink()


def test_a_kept_photo_that_is_altered_is_never_returned(feedback: Feedback) -> None:
    asked = [sha256(name).hexdigest() for name in (b"p1", b"p2")]
    feedback.add(replace(vote("eve", "", "h"), question=one) for one in asked)
    for photo in (b"p1", b"p2"):
        feedback.keep_photo(photo, 100)
    photos = feedback.photos()
    assert next(photos) == (asked[0], b"p1")
    with closing(sqlite3.connect(feedback.path)) as db, db:
        db.execute("UPDATE photos SET bytes = CAST('p3' AS BLOB) WHERE sha256 = ?", asked[1:])
    assert list(feedback.faults()) == [f"{FEEDBACK}: 1 photo is altered"]
    with pytest.raises(ArtifactCorruptError, match="a photo is altered"):
        next(photos)
    photos = feedback.photos()
    next(photos)
    feedback.add([replace(vote("eve", "", "h", None), question=asked[1])])
    assert list(photos) == [], "a photo that was deleted meanwhile"


def test_votes_that_are_missing_or_have_no_question_are_faults(feedback: Feedback) -> None:
    """As a page of a table that an older one took the place of."""
    feedback.add(vote("eve", f"q{number}", "h") for number in range(5))
    with closing(sqlite3.connect(feedback.path)) as db, db:
        for trigger in ("vote_gone", "question_gone"):
            db.execute(f"DROP TRIGGER {trigger}")
        db.execute("DELETE FROM votes WHERE number = 1")
        db.execute("DELETE FROM questions WHERE number IN (2, 3)")
        # An index that was cut off from its table.
        db.execute("PRAGMA writable_schema = ON")
        db.execute(
            "UPDATE sqlite_master SET sql = 'CREATE INDEX votes_at ON votes (hit)' "
            "WHERE name = 'votes_at'"
        )
    with closing(Feedback.open(feedback.path.parent)) as again:
        wrong, *others = again.faults()
        while "votes_at" in wrong:
            assert wrong.startswith(f"{FEEDBACK}: ")
            wrong, *others = others
    assert [wrong, *others] == [
        f"{FEEDBACK}: 2 votes without a question",
        f"{FEEDBACK}: it has 4 votes, and should have 5",
    ]


def test_votes_that_are_only_in_the_log_are_kept_with_a_damaged_file(tmp_path: Path) -> None:
    """As after a power failure: the log is of more votes than the file, and one is altered."""
    (tmp_path / "running").mkdir()
    (tmp_path / "gallery").mkdir()
    with Feedback.open(tmp_path / "running", create=True) as feedback:
        feedback.add(vote("eve", f"q{number}", "h") for number in range(5))
        with closing(sqlite3.connect(feedback.path)) as db, db:
            db.execute("UPDATE votes SET right = 0 WHERE number = 3")
        for name in (FEEDBACK, f"{FEEDBACK}-wal"):
            shutil.copy(tmp_path / "running" / name, tmp_path / "gallery")
    said = mend_feedback(tmp_path / "gallery")
    assert said == (
        f"{FEEDBACK} is kept in lost+found/{FEEDBACK}, "
        "and the 4 votes that could be read in a new file"
    )
    with Feedback.open(tmp_path / "gallery") as feedback:
        assert feedback.read().questions == [hashed(f"q{number}") for number in (0, 1, 3, 4)]
        assert list(feedback.faults()) == []


def test_votes_go_to_the_new_file_once_the_damaged_one_is_moved_away(tmp_path: Path) -> None:
    """As by a server that has it open while `verify --repair` runs."""
    with (
        Feedback.open(tmp_path, create=True) as running,
        Feedback.open(tmp_path) as reading,
    ):
        running.add([vote("eve", "pizza", "h1")])
        with closing(sqlite3.connect(running.path)) as db, db:
            db.execute("UPDATE totals SET votes = 7")
        mend_feedback(tmp_path)
        running.add([vote("eve", "rice", "h2")])
        with Feedback.open(tmp_path) as new:
            assert new.read().questions == [hashed("pizza"), hashed("rice")]
        assert reading.read().questions == [hashed("pizza"), hashed("rice")]
        for path in tmp_path.glob(f"{FEEDBACK}*"):
            path.rename(tmp_path / "lost+found" / f"again-{path.name}")
        with pytest.raises(ArtifactMissingError, match="nobody has voted"):
            reading.read()
        running.add([vote("eve", "soup", "h3")])
        assert reading.read().questions == [hashed("soup")]
        assert list(running.faults()) == []


def test_no_feedback_and_that_of_a_newer_deepfood(tmp_path: Path) -> None:
    with pytest.raises(ArtifactMissingError, match="nobody has voted"):
        Feedback.open(tmp_path)
    Feedback.open(tmp_path, create=True).close()
    with sqlite3.connect(tmp_path / FEEDBACK) as db:
        db.execute("PRAGMA user_version = 99")
    db.close()
    with pytest.raises(ArtifactFormatError, match="newer deepfood"):
        Feedback.open(tmp_path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_feedback_is_read_from_a_read_only_folder(tmp_path: Path) -> None:
    with Feedback.open(tmp_path, create=True) as feedback:
        feedback.add([vote("eve", "pizza", "h1")])
    tmp_path.chmod(0o500)
    try:
        with Feedback.open(tmp_path) as feedback:
            assert feedback.counts().votes == 1
    finally:
        tmp_path.chmod(0o700)


def test_verify_knows_feedback_and_repair_keeps_what_can_be_read(
    tmp_path: Path, embedder: Embedder
) -> None:
    """One whole page of votes is overwritten, as a failing disk does."""
    gallery = tmp_path / "gallery"
    build(write_photos(tmp_path / "photos", 3), gallery, embedder)
    with Feedback.open(gallery, create=True) as feedback:
        feedback.add(vote("eve", f"q{number}", "h") for number in range(500))
        kept = replace(vote("eve", "", "h"), question=sha256(b"photo").hexdigest())
        feedback.add([kept])
        feedback.keep_photo(b"photo", 100)
    assert list(gallery_problems(gallery, quiet=True)) == []
    path = gallery / FEEDBACK
    with sqlite3.connect(path) as db:
        ((size,),) = db.execute("PRAGMA page_size")
    db.close()
    data = bytearray(path.read_bytes())
    pages = [data[at : at + size] for at in range(0, len(data), size)]
    leaf_of_a_table = b"\x0d"
    rows = [
        number
        for number, page in enumerate(pages)
        if page.startswith(leaf_of_a_table) and hashed("eve").encode() in page
    ]
    data[rows[5] * size : (rows[5] + 1) * size] = b"\xff" * size
    path.write_bytes(data)
    assert any(FEEDBACK in line for line in gallery_problems(gallery, quiet=True))
    with Feedback.open(gallery) as feedback, pytest.raises(ArtifactCorruptError, match="repair"):
        feedback.read()
    done, left = repair_gallery(Place.parse(gallery), Settings(), quiet=True)
    assert left == []
    assert any(f"kept in lost+found/{FEEDBACK}" in line for line in done)
    with Feedback.open(gallery) as feedback:
        assert 300 < len(feedback.read()) < 501
        assert dict(feedback.photos()) == {kept.question: b"photo"}
    assert (gallery / "lost+found" / FEEDBACK).read_bytes() == data
    path.write_bytes(b"no database")
    done, left = repair_gallery(Place.parse(gallery), Settings(), quiet=True)
    assert left == []
    with Feedback.open(gallery) as feedback:
        assert feedback.counts().votes == 0
        feedback.add([vote("eve", "pizza", "h1"), vote("eve", "pizza", "h2")])
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("UPDATE votes SET right = 0 WHERE hit = 'h2'")
    assert list(gallery_problems(gallery, quiet=True)) == [f"{FEEDBACK}: 1 vote is altered"]
    done, left = repair_gallery(Place.parse(gallery), Settings(), quiet=True)
    assert left == []
    assert any("and the 1 vote that could be read in a new file" in line for line in done)
    with Feedback.open(gallery) as feedback:
        assert said(feedback) == [(hashed("eve"), hashed("pizza"), "h1", True)]
