"""Damaged, foreign and newer galleries; a full disk. Each gets one clear line and loses nothing."""

import json
import re
import shutil
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from deepfood.data.locate import PhotoAccess
from deepfood.embed import Embedder
from deepfood.errors import (
    ArtifactCorruptError,
    ArtifactError,
    ArtifactFormatError,
    ArtifactMissingError,
    ModelMismatchError,
    PhotoNotFoundError,
    QueryError,
)
from deepfood.index import IndexSpec
from deepfood.local import LocalGallery
from deepfood.local.verify import gallery_problems
from limited import deepfood_on_a_small_disk
from live import deepfood_here
from plates import build, edit_manifest, jpeg, tiny_embedder, write_photos, write_tiny_model

pytestmark = pytest.mark.slow


@pytest.fixture
def gallery(tmp_path: Path, embedder: Embedder) -> Path:
    write_photos(tmp_path / "photos", 12)
    build(tmp_path / "photos", tmp_path / "gallery", embedder, IndexSpec(kind="hnsw"))
    return tmp_path / "gallery"


FILES = ["catalogue.sqlite", "vectors.f32", "index-000000012.faiss"]


def problems(gallery: Path) -> list[str]:
    return list(gallery_problems(gallery, quiet=True))


def test_a_whole_gallery_has_no_problems(gallery: Path) -> None:
    assert problems(gallery) == []


@pytest.mark.parametrize("name", FILES[1:])  # of the catalogue: tests/gallery/test_verify.py
@pytest.mark.parametrize("where", [0.0, 0.5, 0.999])
def test_a_flipped_byte(name: str, where: float, gallery: Path, embedder: Embedder) -> None:
    path = next(gallery.glob(f"*/{name}"))
    contents = bytearray(path.read_bytes())
    contents[int(len(contents) * where)] ^= 0x10
    path.write_bytes(contents)
    with pytest.raises(ArtifactCorruptError, match=f"{name} (differs from its SHA-256|is damaged)"):
        LocalGallery.open(gallery, embedder.model)
    assert len(problems(gallery)) == 1
    assert re.search(f"{name} differs|vector of row .* is altered", problems(gallery)[0])


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file(name: str, gallery: Path, embedder: Embedder) -> None:
    next(gallery.glob(f"*/{name}")).unlink()
    with pytest.raises(ArtifactMissingError, match=f"{name} is missing"):
        LocalGallery.open(gallery, embedder.model)
    assert all("missing" in line for line in problems(gallery))
    assert problems(gallery)


@pytest.mark.parametrize("name", FILES[1:])
def test_a_cut_off_file(name: str, gallery: Path, embedder: Embedder) -> None:
    path = next(gallery.glob(f"*/{name}"))
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ArtifactCorruptError, match=r"the manifest says|vectors want"):
        LocalGallery.open(gallery, embedder.model)


@pytest.mark.parametrize("name", FILES)
def test_a_damaged_gallery_is_mended_by_building_again(
    name: str, gallery: Path, tmp_path: Path, embedder: Embedder
) -> None:
    path = next(gallery.glob(f"*/{name}"))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    build(tmp_path / "photos", gallery, embedder, IndexSpec(kind="hnsw"))
    assert problems(gallery) == []
    with LocalGallery.open(gallery, embedder.model) as opened:
        assert opened.search(embedder.embed(jpeg(5)), 1)[0].photo.file == "plate-00005.jpg"


def test_another_model_is_refused_by_fingerprint(
    gallery: Path, tmp_path: Path, embedder: Embedder
) -> None:
    other = tiny_embedder(tmp_path / "other", pool=16)
    with pytest.raises(ModelMismatchError, match=r"--model.*build it again"):
        LocalGallery.open(gallery, other.model)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"format_version": 3}, ArtifactFormatError, "format version 3.*upgrade deepfood"),
        ({"format_version": 99, "shape": "unknown"}, ArtifactFormatError, "upgrade deepfood"),
        ({"kind": "model"}, ArtifactFormatError, "is a model, not a gallery"),
        ({"count": "many"}, ArtifactCorruptError, "count"),
        ({"files": {"../../etc/passwd": {"bytes": 1, "sha256": "0" * 64}}}, ArtifactError, "outs"),
        ({"files": {"/etc/passwd": {"bytes": 1, "sha256": "0" * 64}}}, ArtifactError, "outside"),
        ({"generation": -1}, ArtifactCorruptError, "generation"),
        ({"surprise": 1}, ArtifactCorruptError, "surprise"),
    ],
)
def test_a_manifest_that_cannot_be_used(
    changes: dict[str, Any],
    error: type[ArtifactError],
    message: str,
    gallery: Path,
    embedder: Embedder,
) -> None:
    edit_manifest(gallery, **changes)
    with pytest.raises(error, match=message):
        LocalGallery.open(gallery, embedder.model)


@pytest.mark.parametrize("contents", [b"", b"{", b"[]", b"\xff\xfe", b'{"kind": "gallery"}'])
def test_a_manifest_that_is_no_manifest(contents: bytes, gallery: Path, embedder: Embedder) -> None:
    (gallery / "manifest.json").write_bytes(contents)
    with pytest.raises(ArtifactCorruptError, match=r"manifest\.json is damaged"):
        LocalGallery.open(gallery, embedder.model)


def test_no_gallery_at_all(tmp_path: Path, embedder: Embedder) -> None:
    for nothing in (tmp_path / "nowhere", tmp_path):
        with pytest.raises(ArtifactMissingError, match="is not a gallery"):
            LocalGallery.open(nothing, embedder.model)


def test_verify_finds_lost_and_changed_photos(gallery: Path, tmp_path: Path) -> None:
    (tmp_path / "photos/plate-00002.jpg").unlink()
    (tmp_path / "photos/plate-00003.jpg").write_bytes(jpeg(99))
    assert [line.split()[1] for line in problems(gallery)] == ["plate-00002.jpg", "plate-00003.jpg"]


def test_a_changed_photo_is_never_handed_out(
    gallery: Path, tmp_path: Path, embedder: Embedder
) -> None:
    secret = tmp_path / "secret.jpg"
    secret.write_bytes(jpeg(1234))
    with LocalGallery.open(gallery, embedder.model) as opened:
        photos = list(opened.store.photos())
        (tmp_path / "photos" / photos[0].file).unlink()
        (tmp_path / "photos" / photos[0].file).symlink_to(secret)
        (tmp_path / "photos" / photos[1].file).write_bytes(jpeg(77))
        (tmp_path / "photos" / photos[2].file).unlink()
        for photo in photos[:3]:
            with pytest.raises(PhotoNotFoundError, match="build it again"):
                opened.read(photo)
        assert opened.read(photos[3]) == jpeg(3)


def test_photos_that_moved_are_found_where_one_says(
    gallery: Path, tmp_path: Path, embedder: Embedder
) -> None:
    (tmp_path / "photos").rename(tmp_path / "moved")
    photos = PhotoAccess(moved_to=tmp_path / "moved")
    with LocalGallery.open(gallery, embedder.model, photos) as opened:
        assert opened.read(next(opened.store.photos())) == jpeg(0)


@pytest.mark.parametrize("photo_id", ["", "x", "0" * 20, "' OR 1=1 --", "%", "../x", "é" * 20])
def test_unknown_ids(photo_id: str, gallery: Path, embedder: Embedder) -> None:
    with (
        LocalGallery.open(gallery, embedder.model) as opened,
        pytest.raises(PhotoNotFoundError, match="no photo"),
    ):
        opened.photo(photo_id)


def test_more_like_this_leaves_itself_out(gallery: Path, embedder: Embedder) -> None:
    with LocalGallery.open(gallery, embedder.model) as opened:
        photo = next(opened.store.photos())
        for k in (1, 5, 11, 12, 100):
            hits = opened.find(opened.vector(photo.id), k, without=[photo.id]).hits
            assert len(hits) == min(k, 11)
            assert photo.id not in {hit.photo.id for hit in hits}
        with pytest.raises(QueryError, match="k = 0"):
            opened.find(opened.vector(photo.id), 0, without=[photo.id])


# A full disk: a file size limit of the system for any user, a small tmpfs where we may mount one.


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)],
        capture_output=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip("may not mount a tmpfs here; the size-limit test covers a full disk")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.mark.parametrize("kind", ["exact", "hnsw", "annoy"])
def test_a_full_disk_and_then_more_room(kind: str, small_disk: Path, tmp_path: Path) -> None:
    photos = write_photos(tmp_path / "photos", 1200)  # 0.9 MB of vectors, twice while assembling
    model = write_tiny_model(tmp_path / "model")
    arguments = ["build", str(photos), "--out", str(small_disk / "g"), "--model", str(model)]
    arguments += ["--index", kind]
    full = deepfood_here(*arguments)
    assert full.returncode == 2
    assert "no space left on the disk of" in full.stderr.splitlines()[-1]
    assert "Traceback" not in full.stderr
    assert not (small_disk / "g/manifest.json").exists()

    # How many depends on the machine: a slow one commits small batches, and fills the disk sooner.
    finished = committed(small_disk / "g/building/catalogue.sqlite", tmp_path)
    assert finished > 0

    subprocess.run(["mount", "-o", "remount,size=16m", str(small_disk)], check=True)
    done = deepfood_here(*arguments, "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["photos"] == 1200
    assert report["reused"] == finished


def committed(catalogue: Path, room: Path) -> int:
    """The photos in a catalogue, and in its log, read from a copy: the disk is full."""
    for path in catalogue.parent.glob(f"{catalogue.name}*"):
        shutil.copy(path, room)
    with closing(sqlite3.connect(room / catalogue.name)) as db:
        (count,) = db.execute("SELECT count(*) FROM photos").fetchone()
    return int(count)


def test_a_disk_that_fills_while_rebuilding_leaves_the_old_gallery(
    small_disk: Path, tmp_path: Path
) -> None:
    photos = write_photos(tmp_path / "photos", 50)
    model = write_tiny_model(tmp_path / "model", pool=4)
    arguments = ["build", str(photos), "--out", str(small_disk / "g"), "--model", str(model)]
    assert deepfood_here(*arguments).returncode == 0
    write_photos(photos, 300, start=50)  # 1.1 MB of vectors
    assert deepfood_here(*arguments).returncode == 2
    assert problems(small_disk / "g") == []


@pytest.mark.parametrize("kilobytes", [1, 60, 600])
def test_a_file_size_limit_is_a_full_disk_too(kilobytes: int, tmp_path: Path) -> None:
    photos = write_photos(tmp_path / "photos", 225)
    model = write_tiny_model(tmp_path / "model", pool=4)  # 0.7 MB of vectors
    arguments = ["build", str(photos), "--out", str(tmp_path / "g"), "--model", str(model)]
    full = deepfood_on_a_small_disk(kilobytes * 1024, *arguments)
    assert full.returncode == 2
    assert "no space left" in full.stderr.splitlines()[-1]
    assert deepfood_here(*arguments).returncode == 0
    assert problems(tmp_path / "g") == []
