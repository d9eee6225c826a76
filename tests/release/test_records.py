"""Records, lists and marks of releases that others changed are not believed."""

import json
import os
import resource
import shutil
import sys
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from shelves import settings

from deepfood.errors import ArtifactMissingError, SettingError, StorageError
from deepfood.release import marks
from deepfood.release.exchange import exchange
from deepfood.release.fetch import same_file
from deepfood.release.objects import LATEST, MARKS, Latest, StoredFile, blob_key, release_key
from deepfood.release.prune import prune
from deepfood.release.pull import Origin, pull
from deepfood.release.push import push
from deepfood.release.shelf import Shelf
from deepfood.storage import Bucket
from plates import build, sha256, tiny_embedder, write_photos


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("made")
    photos = write_photos(made / "photos", 2)
    build(photos, made / "gallery", tiny_embedder(made / "model"))
    push(made / "gallery", str(made / "share"), settings(), name="one", quiet=True)
    return made


@pytest.fixture
def gallery(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made / "gallery", tmp_path / "gallery"))


@pytest.fixture
def shelf(made: Path, tmp_path: Path) -> Shelf:
    """One release, `one`, which is the latest."""
    return Shelf.open(str(shutil.copytree(made / "share", tmp_path / "share")), settings())


def change(shelf: Shelf, what: Callable[[Any], object]) -> None:
    """Change the record of the release `one`."""
    about = json.loads(shelf.bucket.read(release_key("one")))
    what(about)
    shelf.bucket.write(release_key("one"), json.dumps(about).encode())


def pulled(shelf: Shelf, out: Path) -> None:
    pull(shelf.bucket.url, out, settings(), quiet=True)


@pytest.mark.parametrize(
    ("what", "said"),
    [
        (lambda one: one.update(name="two"), "another name inside"),
        (lambda one: one["files"]["manifest.json"]["chunks"].append("0" * 64), "2 chunks cannot"),
        (
            lambda one: one["files"]["manifest.json"].update(sha256="0" * 64),
            r"manifest\.json of release one is damaged: push it again",
        ),
    ],
)
def test_a_record_that_contradicts_itself_is_not_pulled(
    what: Callable[[Any], object], said: str, shelf: Shelf, tmp_path: Path
) -> None:
    change(shelf, what)
    with pytest.raises(StorageError, match=said):
        pulled(shelf, tmp_path / "pulled")
    assert not (tmp_path / "pulled").exists()


@pytest.mark.parametrize("altered", [b"no list", b"0" * 64 + b" 1\n"])
def test_of_photos_in_an_altered_list_none_is_pulled_or_deleted(
    altered: bytes, shelf: Shelf, tmp_path: Path
) -> None:
    listed = shelf.read("one").photos
    assert listed is not None
    shelf.bucket.write(blob_key(listed.chunks[0]), altered)
    before = {one.key for one in shelf.bucket.list()}
    with pytest.raises(StorageError, match="list of photos is damaged: push again"):
        pulled(shelf, tmp_path / "pulled")
    with pytest.raises(StorageError, match="list of photos is damaged: push again"):
        prune(shelf.bucket.url, settings(), keep=1, grace_s=0)
    assert {one.key for one in shelf.bucket.list()} == before


def test_a_list_of_photos_never_names_a_file(shelf: Shelf, tmp_path: Path) -> None:
    evil = b"../../evil 1\n"
    shelf.bucket.write(blob_key(sha256(evil)), evil)
    listed = {"bytes": len(evil), "sha256": sha256(evil), "chunks": [sha256(evil)]}
    change(shelf, lambda one: one.update(photos=listed))
    with pytest.raises(StorageError, match="list of photos is damaged"):
        pulled(shelf, tmp_path / "pulled")


def test_what_a_stopped_pull_of_another_release_has_left_is_gone(
    shelf: Shelf, tmp_path: Path
) -> None:
    left = tmp_path / ".pulled.pulling" / "generation-000009" / "vectors.f32"
    left.parent.mkdir(parents=True)
    left.write_bytes(b"of another release")
    pulled(shelf, tmp_path / "pulled")
    assert not list((tmp_path / "pulled").rglob("generation-000009/*"))


def test_with_too_many_files_open_nothing_is_said_of_a_file(shelf: Shelf, tmp_path: Path) -> None:
    pulled(shelf, tmp_path / "pulled")
    manifest = tmp_path / "pulled" / "manifest.json"
    stored = StoredFile(bytes=0, sha256="0" * 64, chunks=())
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    free = os.dup(0)
    os.close(free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (free, before[1]))
    try:
        with pytest.raises(OSError, match="Too many open files"):
            same_file(manifest, stored)
        with pytest.raises(OSError, match="Too many open files"):
            Origin.of(tmp_path / "pulled")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert not same_file(manifest, stored)


def test_names_are_not_exchanged_where_the_system_cannot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    one.mkdir()
    other.write_bytes(b"")
    monkeypatch.setattr(sys, "platform", "darwin")  # whose call this C library lacks
    assert not exchange(one, other)
    assert one.is_dir()
    assert other.is_file()


# latest, and marks


def test_without_a_release_before_there_is_no_way_back(shelf: Shelf) -> None:
    with pytest.raises(StorageError, match="no earlier latest release: choose one with deepfood"):
        shelf.rollback()
    assert shelf.latest() == Latest(release="one")


def test_of_a_promote_whose_answer_was_lost_the_result_is_read(
    shelf: Shelf, gallery: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    push(gallery, shelf.bucket.url, settings(), name="two", promote=False, quiet=True)
    writing = Bucket.write

    def answer_lost(bucket: Bucket, key: str, *contents: Any, **how: Any) -> bool:
        # The client repeats a request without an answer; the tag is by then another.
        return writing(bucket, key, *contents, **how) and key != LATEST

    monkeypatch.setattr(Bucket, "write", answer_lost)
    assert shelf.promote("two") == Latest(release="two", before="one")


def test_a_latest_that_others_change_all_the_time_is_given_up(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    reading, times = Bucket.read_tagged, list[Latest]()

    def changed_since(bucket: Bucket, key: str) -> tuple[bytes, str | None]:
        found = reading(bucket, key)
        times.append(Latest(release="one", before=f"r{len(times)}"))
        bucket.write(LATEST, times[-1].model_dump_json().encode())
        return found

    push_two(shelf)
    monkeypatch.setattr(Bucket, "read_tagged", changed_since)
    with pytest.raises(StorageError, match="latest is being changed by others: try again"):
        shelf.promote("two")
    assert shelf.latest() == times[-1]


def push_two(shelf: Shelf) -> None:
    release = shelf.read("one").model_copy(update={"name": "two"})
    shelf.publish(release)


def test_a_mark_is_renewed_and_work_that_was_cut_off_ends(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    def written() -> datetime:
        [mark] = shelf.bucket.list(MARKS)
        return mark.modified

    monkeypatch.setattr(marks, "BEAT_S", 0.01)
    with marks.marked(shelf.bucket, "push") as mark:
        first, until = written(), time.monotonic() + 60
        while written() == first:
            assert time.monotonic() < until
            time.sleep(0.01)
        mark.check()
        monkeypatch.setattr(marks, "STALE_S", 0.0)
        with pytest.raises(StorageError, match="out of reach for minutes: run the same command"):
            mark.check()
    assert not list(shelf.bucket.list(MARKS))


def test_work_whose_mark_somebody_deleted_does_not_begin(shelf: Shelf) -> None:
    mark = marks.Mark(shelf.bucket, "prune")
    shelf.bucket.delete(*[one.key for one in shelf.bucket.list(MARKS)])
    with pytest.raises(StorageError, match="is gone: run it again"):
        mark.conflicting()


def test_prune_keeps_one_release_and_needs_no_latest(shelf: Shelf) -> None:
    with pytest.raises(SettingError, match="--keep 0: keep 1 release at least"):
        prune(shelf.bucket.url, settings(), keep=0, grace_s=0)
    push_two(shelf)
    shelf.bucket.delete(LATEST)
    done = prune(shelf.bucket.url, settings(), keep=1, grace_s=0)
    assert (done.kept, done.dropped, done.blobs) == (["two"], ["one"], 0)


def test_a_file_that_is_missing_is_named_and_nothing_is_pushed(
    gallery: Path, tmp_path: Path
) -> None:
    [onnx] = gallery.glob("models/*/model.onnx")
    onnx.unlink()
    with pytest.raises(ArtifactMissingError, match=r"model\.onnx cannot be read: No such file"):
        push(gallery, str(tmp_path / "share"), settings(), quiet=True)
    assert Shelf.open(str(tmp_path / "share"), settings()).names() == []
