"""Releases in a folder do all that those in a bucket do; and paths that are not there say so."""

import json
import shutil
from contextlib import closing
from pathlib import Path

import httpx
import pytest
from shelves import out_of, settings

from deepfood.artifacts import MANIFEST, with_checksum
from deepfood.engine import engine_at
from deepfood.errors import ArtifactMissingError, SettingError
from deepfood.local.add import add_photos
from deepfood.release.objects import StoredFile, blob_key
from deepfood.release.push import push
from deepfood.release.shelf import Shelf, is_release
from live import run_here, serving
from plates import build, jpeg, sha256, tiny_embedder, write_photos


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """`one` with 3 photos, `two` with 4, which is the latest; nothing but the releases is left."""
    monkeypatch.setenv("DEEPFOOD_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    embedder = tiny_embedder(tmp_path / "model")
    gallery, shelf = tmp_path / "gallery", tmp_path / "share" / "food"
    build(write_photos(tmp_path / "photos", 3), gallery, embedder)
    push(gallery, str(shelf), settings(), name="one", quiet=True)
    add_photos(gallery, [write_photos(tmp_path / "new", 1, start=50)], embedder, quiet=True)
    push(gallery, str(shelf), settings(), name="two", quiet=True)
    for folder in ("photos", "new", "gallery"):
        shutil.rmtree(tmp_path / folder)
    (tmp_path / "query.jpg").write_bytes(jpeg(50))
    return shelf


def test_a_release_is_told_from_a_gallery_and_from_nothing(shelf: Path, tmp_path: Path) -> None:
    for place in (shelf, f"{shelf}@one", "share/food", "s3://bucket/prefix", Path("s3://b/p")):
        assert is_release(place), place
    gallery = tmp_path / "one@two"
    build(write_photos(tmp_path / "photos", 3), gallery, tiny_embedder(tmp_path / "model"))
    for place in (gallery, tmp_path, "nowhere", "nowhere@one", shelf / "blobs"):
        assert not is_release(place), place


def test_commands_take_a_folder_of_releases(
    shelf: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for address, count in ((shelf, 4), ("share/food", 4), (f"{shelf}@one", 3)):
        assert run_here("info", address, "--json") == 0
        assert out_of(capsys)["photos"] == count  # type: ignore[index]
        assert run_here("verify", address, "--json") == 0
        assert out_of(capsys) == {"artifact": str(address), "ok": True, "problems": []}
    assert run_here("search", "share/food", "query.jpg", "-k", "1") == 0
    assert "  plate-00050.jpg  " in capsys.readouterr().out
    assert run_here("rollback", "share/food") == 0
    capsys.readouterr()
    assert run_here("info", "share/food", "--json") == 0
    assert out_of(capsys)["photos"] == 3  # type: ignore[index]
    for command in (
        ("remove", "share/food", "plate-00000.jpg"),
        ("verify", "share/food", "--repair"),
        ("push", "share/food", "elsewhere"),
    ):
        assert run_here(*command) == 2
        assert "never changes" in capsys.readouterr().err
    assert run_here("rollback", "share/food@one") == 2
    assert "deepfood promote share/food@one makes that the latest" in capsys.readouterr().err


def test_what_is_printed_for_people(
    shelf: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def printed(*command: object) -> list[str]:
        assert run_here(*command) == 0
        return capsys.readouterr().out.splitlines()

    one, two = printed("releases", shelf)
    assert one.startswith("one  ")
    assert one.endswith("  3 photos  before")
    assert two.endswith("  4 photos  latest")
    assert printed("pull", shelf, "--out", "got")[0].startswith("got: release two; ")
    pulled = json.loads("\n".join(printed("pull", shelf, "--out", "got", "--json")))
    assert (pulled["out"], pulled["received_blobs"], pulled["photos"]) == ("got", 0, 4)

    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").write_bytes(jpeg(7))
    (tmp_path / "photos" / "b.jpg").write_bytes(jpeg(8))
    build(tmp_path / "photos", tmp_path / "small", tiny_embedder(tmp_path / "model"))
    (tmp_path / "photos" / "b.jpg").unlink()
    pushed, advice, lost, name = printed("push", "small", shelf, "--name", "new", "--no-promote")
    assert pushed.startswith(f"{shelf}@new: ")
    assert " 1 photo; " in pushed
    assert advice == f"not the latest yet: deepfood promote {shelf}@new"
    assert (lost, name) == ("1 photo could not be read, and did not travel:", "  b.jpg")

    assert printed("promote", f"{shelf}@one") == [f"{shelf}: one is the latest; before it was two"]
    printed("promote", f"{shelf}@new")
    again = printed("push", "small", shelf, "--no-promote")
    assert again[:2] == [f"{shelf}@new is the same already: nothing travelled", lost]
    printed("promote", f"{shelf}@one")
    assert run_here("promote", shelf) == 2
    assert f"name the release, as {shelf}@RELEASE" in capsys.readouterr().err
    prune = ("prune", shelf, "--keep", "1", "--grace-hours", "0")
    line, total = printed(*prune, "--dry-run")
    assert line == "would be deleted: two"
    assert total.startswith("would be deleted: 1 release and ")
    assert total.endswith("; 2 releases stay")
    assert printed(*prune)[0] == "deleted: two"
    assert [line.split()[0] for line in printed("releases", shelf)] == ["one", "new"]


@pytest.mark.slow
def test_a_folder_of_releases_is_served_and_followed(shelf: Path) -> None:
    with serving(shelf, follow_s=0.2, photo_links="presigned") as server:
        photo = {"photo": jpeg(50)}
        hit = httpx.post(f"{server.url}/api/v1/search", files=photo).json()["hits"][0]
        assert hit["id"] == sha256(jpeg(50))[:20]
        assert httpx.get(f"{server.url}/photos/{hit['id']}").content == jpeg(50)
        Shelf.open(str(shelf), settings()).promote("one")
        while httpx.get(f"{server.url}/readyz").json()["photos"] != 3:
            assert server.process.poll() is None


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (("search", "share/fod", "query.jpg"), "there is {top}/share/food"),
        (("info", "shar/food"), "there is {top}/share"),
        (("info", "share/food@three"), "there is no release three"),
        (("verify", "nowhere/at/all"), "there is only {top}"),
        (("serve", "share/foo", "--port", "0"), "there is {top}/share/food"),
        (("pull", "share/fod", "--out", "new"), "there is {top}/share/food"),
        (("releases", "shares"), "there is {top}/share"),
        (("rollback", "share/fodo"), "there is {top}/share/food"),
        (("search", "share/food", "quary.jpg"), "there is {top}/query.jpg"),
        (("build", "querys", "--out", "new"), "there is {top}/query.jpg"),
    ],
)
def test_a_path_that_is_not_there_says_so_with_the_nearest(
    command: tuple[str, ...],
    said: str,
    shelf: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run_here(*command) == 2
    told = capsys.readouterr().err.splitlines()
    [line] = [one for one in told if one.startswith("deepfood: ")]
    assert said.format(top=tmp_path) in line
    assert not (tmp_path / "share/fod").exists()
    assert not (tmp_path / "new").exists()


def test_a_release_is_read_as_a_gallery_and_never_changed(shelf: Path) -> None:
    engine = engine_at(shelf, settings())
    gallery, model = engine.open()
    with closing(gallery), closing(engine.open_to_read()) as to_read:
        assert gallery.count == to_read.count == engine.describe()["photos"] == 4
    assert engine.own_model().fingerprint == model.fingerprint
    assert [event.do for event in engine.history()] == ["add"]
    with pytest.raises(ArtifactMissingError, match="embedded"), engine.beside(model):
        pass
    with pytest.raises(SettingError, match="is a release, which never changes"):
        engine.compact()


def test_a_release_of_a_model_is_verified(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DEEPFOOD_CACHE", str(tmp_path / "cache"))
    shelf = tmp_path / "share"
    push(tiny_embedder(tmp_path / "model").model.folder, str(shelf), settings(), quiet=True)
    assert run_here("verify", shelf, "--json") == 0
    assert out_of(capsys) == {"artifact": str(shelf), "ok": True, "problems": []}


def test_a_release_of_a_gallery_of_tomorrow_is_no_gallery_here(
    shelf: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    opened = Shelf.open(str(shelf), settings())
    two = opened.read("two")
    [chunk] = two.files[MANIFEST].chunks
    about = json.loads(opened.bucket.read(blob_key(chunk)))
    del about["checksum"]
    text = with_checksum(json.dumps(about | {"format_version": 99}, indent=2).encode())
    opened.bucket.write(blob_key(sha256(text)), text)
    stored = StoredFile(bytes=len(text), sha256=sha256(text), chunks=(sha256(text),))
    files = {**two.files, MANIFEST: stored}
    opened.publish(two.model_copy(update={"name": "three", "files": files}))
    assert run_here("verify", f"{shelf}@three", "--json") == 1
    [problem] = out_of(capsys)["problems"]  # type: ignore[index]
    assert "has format version 99" in problem
