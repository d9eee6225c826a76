"""Releases on a real S3 server: what travels, what a release is, and what is never done."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from shelves import assert_whole, out_of, photos_of, settings, small_chunks

from deepfood.data.locate import PhotoAccess
from deepfood.embed import Embedder
from deepfood.errors import ArtifactError, SettingError, StorageError, StorageMissingError
from deepfood.gallery.feedback import FEEDBACK, Feedback
from deepfood.local import LocalGallery, LocalWriter
from deepfood.local.add import add_photos
from deepfood.release import marks
from deepfood.release.objects import LATEST, Latest, Release, blob_key, release_key
from deepfood.release.prune import prune
from deepfood.release.pull import Origin, PullReport, pull
from deepfood.release.push import PushReport, push
from deepfood.release.shelf import Shelf
from deepfood.storage import Bucket
from live import run_here
from plates import build, jpeg, sha256, tiny_embedder, write_photos


@pytest.fixture
def gallery(tmp_path: Path, embedder: Embedder) -> Path:
    build(write_photos(tmp_path / "photos", 12), tmp_path / "gallery", embedder)
    return tmp_path / "gallery"


@pytest.fixture
def shelf(s3_bucket: str) -> Shelf:
    return Shelf.open(f"{s3_bucket}/food", settings())


def push_to(shelf: Shelf, artifact: Path, **how: Any) -> PushReport:
    return push(artifact, shelf.bucket.url, settings(), quiet=True, **how)


def pull_from(shelf: Shelf, out: Path, release: str = "", **how: Any) -> PullReport:
    address = shelf.bucket.url + (f"@{release}" if release else "")
    return pull(address, out, settings(), quiet=True, **how)


def test_a_gallery_comes_back_as_it_was_with_its_photos(
    shelf: Shelf, gallery: Path, embedder: Embedder, tmp_path: Path
) -> None:
    add_photos(gallery, [write_photos(tmp_path / "new", 1, start=50)], embedder, quiet=True)
    before = photos_of(gallery)
    pushed = push_to(shelf, gallery)
    shutil.rmtree(tmp_path / "photos")
    shutil.rmtree(gallery)
    pulled = pull_from(shelf, tmp_path / "pulled")
    assert pulled.release == pushed.release
    assert len(before) == 13
    assert photos_of(tmp_path / "pulled") == before
    assert_whole(tmp_path / "pulled")
    with LocalGallery.open(tmp_path / "pulled", embedder.model) as opened:
        hit = opened.search(embedder.embed(jpeg(3)), 1)[0]
        assert (hit.photo.file, round(hit.score, 4)) == ("plate-00003.jpg", 1)


def test_a_photo_is_a_private_object_named_by_its_content(shelf: Shelf, gallery: Path) -> None:
    push_to(shelf, gallery)
    key = blob_key(sha256(jpeg(3)))
    answer = httpx.get(shelf.bucket.presigned_url(key, 60))
    assert (answer.content, answer.headers["content-type"]) == (jpeg(3), "image/jpeg")
    assert httpx.get(shelf.bucket.presigned_url(key, 60).partition("?")[0]).status_code == 403


def test_the_same_again_sends_nothing_and_makes_no_release(shelf: Shelf, gallery: Path) -> None:
    first = push_to(shelf, gallery)
    again = push_to(shelf, gallery)
    assert (first.pushed, again.pushed) == (True, False)
    assert (again.sent_bytes, again.sent_blobs) == (0, 0)
    assert shelf.names() == [first.release.name]


def test_a_gallery_that_grew_sends_only_what_is_new(
    shelf: Shelf,
    gallery: Path,
    embedder: Embedder,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    small_chunks(monkeypatch)
    push_to(shelf, gallery)
    new = write_photos(tmp_path / "new", 1, start=50)
    add_photos(gallery, [new], embedder, quiet=True)
    grown = push_to(shelf, gallery)
    stored = grown.release.files["generation-000001/vectors.f32"]
    assert len(stored.chunks) == 3
    older = shelf.all()[0].files["generation-000001/vectors.f32"]
    assert stored.chunks[:2] == older.chunks[:2]
    photo = (new / "plate-00050.jpg").stat().st_size
    assert photo < grown.sent_bytes < grown.release.file_bytes / 2 + photo
    first = pull_from(shelf, tmp_path / "pulled", shelf.names()[0])
    then = pull_from(shelf, tmp_path / "pulled")
    assert then.received_bytes < first.received_bytes / 2
    assert_whole(tmp_path / "pulled")
    assert len(photos_of(tmp_path / "pulled")) == 13


def test_a_pull_that_was_stopped_goes_on(
    shelf: Shelf, gallery: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_chunks(monkeypatch)
    release = push_to(shelf, gallery).release
    vectors = "generation-000001/vectors.f32"
    missing = blob_key(release.files[vectors].chunks[-1])
    kept = shelf.bucket.read(missing)
    shelf.bucket.delete(missing)
    with pytest.raises(StorageMissingError, match=missing):
        pull_from(shelf, tmp_path / "pulled")
    assert not (tmp_path / "pulled").exists()
    shelf.bucket.write(missing, kept)
    # What was under way beside the missing chunk, sixteen at a time, has come and is kept.
    resumed = pull_from(shelf, tmp_path / "pulled").received_blobs
    assert resumed < pull_from(shelf, tmp_path / "elsewhere").received_blobs
    assert_whole(tmp_path / "pulled")


@pytest.mark.slow
def test_a_gallery_is_pushed_while_a_writer_changes_it(
    shelf: Shelf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_chunks(monkeypatch, 64 * 1024)
    embedder = tiny_embedder(tmp_path / "model")
    build(write_photos(tmp_path / "photos", 4), tmp_path / "gallery", embedder)
    script = Path(__file__).parents[1] / "gallery_writing.py"
    with subprocess.Popen(
        [sys.executable, script, tmp_path / "gallery"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as writers:
        assert writers.stdin
        assert writers.stdout
        writers.stdin.write("1\n")
        writers.stdin.flush()
        first = json.loads(writers.stdout.readline())
        while "did" not in writers.stdout.readline():
            pass
        draining = threading.Thread(target=writers.stdout.read)
        draining.start()
        try:
            releases = [push_to(shelf, tmp_path / "gallery") for _ in range(4)]
        finally:
            writers.kill()  # first: it would go on with the next
            os.kill(first["pid"], signal.SIGKILL)
            draining.join()
    assert len({one.release.content for one in releases}) > 1, "it changed in between"
    for number, one in enumerate(releases):
        out = tmp_path / f"pulled-{number}"
        pull_from(shelf, out, one.release.name, photos=False)
        with LocalGallery.open(out) as opened:
            assert opened.count >= 4
        problems = [str(problem) for problem in _problems(out)]
        assert not [problem for problem in problems if "photo" not in problem], problems


def _problems(gallery: Path) -> list[str]:
    from deepfood.local.verify import gallery_problems

    return list(gallery_problems(gallery, PhotoAccess.of(settings()), quiet=True))


def test_a_model_is_released_too(shelf: Shelf, embedder: Embedder, tmp_path: Path) -> None:
    pushed = push_to(shelf, embedder.model.folder)
    assert pushed.release.model_fingerprint == embedder.model.fingerprint
    pull_from(shelf, tmp_path / "pulled")
    there = {path.name for path in (tmp_path / "pulled").iterdir()}
    assert there == {*(path.name for path in embedder.model.folder.iterdir()), "release.json"}
    assert run_here("verify", tmp_path / "pulled") == 0


def test_releases_promote_and_rollback(
    shelf: Shelf,
    gallery: Path,
    embedder: Embedder,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    url = shelf.bucket.url
    assert run_here("push", gallery, url, "--name", "one", "--json") == 0
    add_photos(gallery, [write_photos(tmp_path / "new", 1, start=50)], embedder, quiet=True)
    assert run_here("push", gallery, url, "--name", "two", "--no-promote", "--json") == 0
    assert shelf.latest().release == "one"  # type: ignore[union-attr]
    assert run_here("promote", f"{url}@two") == 0
    capsys.readouterr()
    assert run_here("releases", url, "--json") == 0
    said = out_of(capsys)
    assert said["latest"] == {"release": "two", "before": "one"}  # type: ignore[index]
    assert [(r["name"], r["photos"]) for r in said["releases"]] == [("one", 12), ("two", 13)]  # type: ignore[index]
    for back in ("one", "two"):
        assert run_here("rollback", url) == 0
        assert shelf.latest().release == back  # type: ignore[union-attr]
    assert run_here("push", gallery, url, "--name", "one") == 2
    assert "already has a release one" in capsys.readouterr().err
    assert run_here("promote", f"{url}@three") == 2
    assert "there is no release three" in capsys.readouterr().err


def test_commands_read_a_release_and_never_change_it(
    s3_bucket: str,
    gallery: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("DEEPFOOD_CACHE", str(tmp_path / "cache"))
    url = f"{s3_bucket}/g"
    assert run_here("push", gallery, url, "--name", "one") == 0
    shutil.rmtree(tmp_path / "photos")
    capsys.readouterr()
    query = tmp_path / "query.jpg"
    query.write_bytes(jpeg(3))
    for address in (url, f"{url}@one", f"{url}@latest"):
        assert run_here("search", address, query, "-k", "1", "--json") == 0
        assert out_of(capsys)["hits"][0]["file"] == "plate-00003.jpg"  # type: ignore[index]
        assert run_here("info", address, "--json") == 0
        assert out_of(capsys)["photos"] == 12  # type: ignore[index]
        assert run_here("verify", address) == 0
        capsys.readouterr()
    capsys.readouterr()
    for command in (("remove", url, "plate-00003.jpg"), ("verify", url, "--repair")):
        assert run_here(*command) == 2
        assert "never changes" in capsys.readouterr().err


def test_photos_that_cannot_be_read_do_not_travel(
    shelf: Shelf, gallery: Path, tmp_path: Path
) -> None:
    (tmp_path / "photos" / "plate-00003.jpg").unlink()
    (tmp_path / "photos" / "plate-00004.jpg").write_bytes(b"other")
    pushed = push_to(shelf, gallery)
    assert sorted(pushed.unreadable) == ["plate-00003.jpg", "plate-00004.jpg"]
    assert pushed.release.photo_count == 10
    assert push_to(shelf, gallery, photos=False).release.photo_count == 0


def test_prune_keeps_what_others_need(
    shelf: Shelf, gallery: Path, embedder: Embedder, tmp_path: Path
) -> None:
    for number in range(4):
        push_to(shelf, gallery, name=f"r{number}")
        new = write_photos(tmp_path / f"new{number}", 1, start=50 + number)
        add_photos(gallery, [new], embedder, quiet=True)
        with LocalWriter.open(gallery) as writer:
            writer.remove([f"plate-0000{number}.jpg"])
    shelf.promote("r0")  # so r3 is the one before
    url, before = shelf.bucket.url, {one.key for one in shelf.bucket.list()}
    tried = prune(url, settings(), keep=1, grace_s=0, dry_run=True)
    assert {one.key for one in shelf.bucket.list()} == before
    assert (tried.kept, tried.dropped) == (["r0", "r3"], ["r1", "r2"])
    kept_young = prune(url, settings(), keep=3, grace_s=3600)
    assert (kept_young.dropped, kept_young.blobs) == ([], 0)
    done = prune(url, settings(), keep=1, grace_s=0)
    assert (done.blobs, done.bytes) == (tried.blobs, tried.bytes)
    assert done.blobs > 2
    assert shelf.names() == ["r0", "r3"]
    for name in shelf.names():
        pull_from(shelf, tmp_path / name, name)
        assert_whole(tmp_path / name)
    assert prune(url, settings(), keep=1, grace_s=0).blobs == 0
    assert not list(shelf.bucket.list("marks"))


def test_prune_keeps_out_of_the_way_of_push_and_promote(
    shelf: Shelf, gallery: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    push_to(shelf, gallery, name="one")
    push_to(shelf, gallery, name="two")
    for work in ("push", "promote"):
        with (
            marks.marked(shelf.bucket, work),
            pytest.raises(StorageError, match=f"running a {work}"),
        ):
            prune(shelf.bucket.url, settings(), keep=1, grace_s=0)
    with marks.marked(shelf.bucket, "prune"):
        for change in (
            lambda: push_to(shelf, gallery),
            lambda: shelf.promote("one"),
            shelf.rollback,
        ):
            with pytest.raises(StorageError, match="running a prune"):
                change()
    with marks.marked(shelf.bucket, "push"), marks.marked(shelf.bucket, "push"):
        shelf.promote("one")  # neither minds the others
    marks.Mark(shelf.bucket, "push")  # of one that was killed
    monkeypatch.setattr(marks, "STALE_S", -1)
    monkeypatch.setattr(marks.Mark, "check", lambda _: None)
    prune(shelf.bucket.url, settings(), keep=1, grace_s=0)


def test_a_push_has_its_mark_until_its_release_is_the_latest(
    shelf: Shelf, gallery: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    promoting, seen = Shelf.make_latest, []

    def pruned_meanwhile(shelf: Shelf, name: str, mark: marks.Mark) -> object:
        with pytest.raises(StorageError, match="running a push"):
            prune(shelf.bucket.url, settings(), keep=1, grace_s=0)
        seen.append(name)
        return promoting(shelf, name, mark)

    monkeypatch.setattr(Shelf, "make_latest", pruned_meanwhile)
    push_to(shelf, gallery, name="one")
    assert seen == ["one"]


def test_prune_deletes_nothing_where_the_latest_has_moved_since_it_looked(
    shelf: Shelf, gallery: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("one", "two", "three"):
        push_to(shelf, gallery, name=name)
    looking = Shelf.photos

    def moved_meanwhile(shelf: Shelf, release: Release) -> dict[str, int]:
        # As a deepfood that knows no marks does.
        shelf.bucket.write(LATEST, Latest(release="one", before="three").model_dump_json().encode())
        return looking(shelf, release)

    monkeypatch.setattr(Shelf, "photos", moved_meanwhile)
    with pytest.raises(StorageError, match="changed meanwhile: run prune again"):
        prune(shelf.bucket.url, settings(), keep=1, grace_s=0)
    assert shelf.names() == ["one", "three", "two"]


@pytest.mark.parametrize("kind", ["s3", "folder"])
def test_of_many_promotes_at_once_none_is_lost(
    kind: str, shelf: Shelf, gallery: Path, tmp_path: Path
) -> None:
    if kind == "folder":
        shelf = Shelf.open(str(tmp_path / "share"), settings(), make=True)
    names = [f"r{number}" for number in range(8)]
    for name in names:
        push_to(shelf, gallery, name=name, promote=False)
    assert shelf.latest() is None
    with ThreadPoolExecutor(len(names)) as pool:
        done = list(pool.map(shelf.promote, names))
    # Each took over from another one: a chain from nothing to what is the latest now.
    steps = {one.before: one.release for one in done}
    chain: list[str] = []
    while (after := steps.get(chain[-1] if chain else None)) is not None:
        chain.append(after)
    assert sorted(chain) == names
    assert shelf.latest() == Latest(release=chain[-1], before=chain[-2])
    assert shelf.rollback() == Latest(release=chain[-2], before=chain[-1])


def test_a_damaged_latest_is_mended_by_promoting(shelf: Shelf, gallery: Path) -> None:
    push_to(shelf, gallery, name="one")
    for text in (b"", b"{"):
        shelf.bucket.write(LATEST, text)
        with pytest.raises(StorageError, match="damaged: promote a release"):
            shelf.rollback()
        assert shelf.promote("one") == shelf.latest() == Latest(release="one")


def test_a_release_never_reaches_beyond_its_folder(
    shelf: Shelf, gallery: Path, tmp_path: Path
) -> None:
    release = push_to(shelf, gallery).release
    key = release_key(release.name)
    text = json.loads(shelf.bucket.read(key))
    for evil in ("../evil", "/tmp/evil", "a/../../evil", "..\\evil", ""):
        files = {**text["files"], evil: text["files"]["manifest.json"]}
        shelf.bucket.write(key, json.dumps({**text, "files": files}).encode())
        with pytest.raises(StorageError, match="damaged"):
            pull_from(shelf, tmp_path / "in" / "pulled")
    assert not (tmp_path / "evil").exists()
    assert not list((tmp_path / "in").glob("[!.]*"))


@pytest.mark.parametrize("place", ["latest", "release"])
@pytest.mark.parametrize("text", [b"", b"{", b"[]", b'{"release": "../x"}', b"\xff"])
def test_damaged_records_are_errors(
    shelf: Shelf, gallery: Path, place: str, text: bytes, tmp_path: Path
) -> None:
    name = push_to(shelf, gallery).release.name
    shelf.bucket.write("latest" if place == "latest" else release_key(name), text)
    with pytest.raises(StorageError, match="damaged"):
        pull_from(shelf, tmp_path / "pulled")


def test_a_damaged_blob_is_noticed(shelf: Shelf, gallery: Path, tmp_path: Path) -> None:
    release = push_to(shelf, gallery).release
    key = blob_key(release.files["generation-000001/vectors.f32"].chunks[0])
    data = bytearray(shelf.bucket.read(key))
    data[100] ^= 1
    shelf.bucket.write(key, bytes(data))
    with pytest.raises(StorageError, match=r"damaged: delete it"):
        pull_from(shelf, tmp_path / "pulled")
    assert not (tmp_path / "pulled").exists()
    shelf.bucket.delete(key)
    push_to(shelf, gallery)
    pull_from(shelf, tmp_path / "pulled")


def test_a_damaged_artifact_is_not_pushed(shelf: Shelf, embedder: Embedder) -> None:
    onnx = embedder.model.onnx
    onnx.write_bytes(onnx.read_bytes()[:-1] + b"?")
    with pytest.raises(ArtifactError, match=r"model\.onnx"):
        push_to(shelf, embedder.model.folder)
    assert shelf.names() == []


def test_pull_overwrites_nothing_of_ones_own(
    shelf: Shelf, gallery: Path, embedder: Embedder, tmp_path: Path
) -> None:
    push_to(shelf, gallery)
    with pytest.raises(SettingError, match="an artifact of your own"):
        pull_from(shelf, gallery)
    with pytest.raises(SettingError, match="something else"):
        pull_from(shelf, tmp_path / "photos")
    pull_from(shelf, tmp_path / "pulled")
    pull_from(shelf, tmp_path / "pulled")
    Feedback.open(tmp_path / "pulled", create=True).close()
    with pytest.raises(SettingError, match=FEEDBACK):
        pull_from(shelf, tmp_path / "pulled")
    (tmp_path / "pulled" / FEEDBACK).unlink()
    add_photos(
        tmp_path / "pulled", [write_photos(tmp_path / "n", 1, start=70)], embedder, quiet=True
    )
    with pytest.raises(SettingError, match="was changed since"):
        pull_from(shelf, tmp_path / "pulled")
    with LocalGallery.open(tmp_path / "pulled") as opened:
        assert opened.count == 13


def test_a_pull_killed_between_its_renames_is_put_right(
    shelf: Shelf, gallery: Path, tmp_path: Path
) -> None:
    push_to(shelf, gallery)
    pull_from(shelf, tmp_path / "pulled")
    (tmp_path / "pulled").rename(tmp_path / ".pulled.before")
    assert pull_from(shelf, tmp_path / "pulled").received_bytes == 0
    assert_whole(tmp_path / "pulled")
    assert not (tmp_path / ".pulled.before").exists()


@pytest.mark.parametrize("able", [True, False])
def test_a_pull_over_a_folder_leaves_no_moment_without_a_gallery(
    able: bool, shelf: Shelf, gallery: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    push_to(shelf, gallery, name="with")
    push_to(shelf, gallery, name="without", photos=False)
    out = tmp_path / "pulled"
    pull_from(shelf, out, "with")
    if not able:  # as on a file system that cannot exchange names
        monkeypatch.setattr("deepfood.release.pull.exchange", lambda *_: False)
    renaming, there = Path.rename, []

    def watched(path: Path, to: Path) -> Path:
        renamed = renaming(path, to)
        there.append((out / "manifest.json").is_file())
        return renamed

    monkeypatch.setattr(Path, "rename", watched)
    pull_from(shelf, out, "without")
    assert Origin.of(out).release.name == "without"  # type: ignore[union-attr]
    assert there == ([] if able else [False, True])
    assert not (out / "photos").exists()
    assert {path.name for path in tmp_path.glob(".pulled*")} == {".pulled.pull.lock"}


def test_a_pull_into_a_link_keeps_the_link(shelf: Shelf, gallery: Path, tmp_path: Path) -> None:
    push_to(shelf, gallery)
    (tmp_path / "disk").mkdir()
    (tmp_path / "pulled").symlink_to(tmp_path / "disk")
    for _ in range(2):
        pull_from(shelf, tmp_path / "pulled")
        assert (tmp_path / "pulled").readlink() == tmp_path / "disk"
        assert_whole(tmp_path / "disk")


def test_a_folder_serves_as_well_as_a_bucket(gallery: Path, tmp_path: Path) -> None:
    shelf = Shelf(Bucket.open(tmp_path / "share"))
    push_to(shelf, gallery, name="one")
    assert push_to(shelf, gallery, name="two").sent_bytes == 0
    pull_from(shelf, tmp_path / "pulled", "one")
    assert photos_of(tmp_path / "pulled") == photos_of(gallery)
    assert prune(shelf.bucket.url, settings(), keep=1, grace_s=0).dropped == []
