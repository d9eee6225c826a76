"""A gallery that changes while it is open: what is added is found at once, removals are heeded."""

import json
import subprocess
from pathlib import Path

import pytest

from deepfood.embed import Embedder
from deepfood.errors import ArtifactBusyError, ArtifactError, PhotoNotFoundError, QueryError
from deepfood.index import IndexSpec
from deepfood.local import LocalGallery, LocalWriter, gallery_model
from deepfood.local.add import add_photos
from deepfood.local.reindex import reindex
from deepfood.local.verify import gallery_problems
from limited import deepfood_on_a_small_disk
from live import deepfood_here
from plates import build, jpeg, sha256, tiny_embedder, write_photos

KINDS = ["exact", "hnsw", "annoy"]


@pytest.fixture
def gallery(tmp_path: Path, embedder: Embedder) -> Path:
    build(write_photos(tmp_path / "photos", 12), tmp_path / "gallery", embedder)
    return tmp_path / "gallery"


def files_of(gallery: LocalGallery) -> set[str]:
    return {photo.file for photo in gallery.store.photos()}


@pytest.mark.parametrize("kind", KINDS)
def test_an_added_photo_is_found_at_once_and_a_removed_one_never(
    kind: str, tmp_path: Path, embedder: Embedder
) -> None:
    photos, out = write_photos(tmp_path / "photos", 300), tmp_path / "gallery"
    build(photos, out, embedder, IndexSpec(kind=kind))
    index_files = sorted(out.glob("*/index*"))
    new = write_photos(tmp_path / "new", 1, start=900) / "plate-00900.jpg"
    query = embedder.embed(new.read_bytes())
    with LocalGallery.open(out, embedder.model) as opened:
        assert opened.search(query, 1)[0].photo.file != "plate-00900.jpg"
        add_photos(out, [new], embedder, label="soup", quiet=True)
        hit = opened.search(query, 1)[0]
        assert (hit.photo.file, hit.photo.label) == ("plate-00900.jpg", "soup")
        assert hit.score == pytest.approx(1, abs=1e-5)
        assert opened.read(hit.photo) == new.read_bytes()
        assert sorted(out.glob("*/index*")) == index_files, "no rebuild"
        assert opened.count == 301

        with LocalWriter.open(out) as writer:
            writer.remove([hit.photo.id, "plate-00004.jpg"])
        hits = opened.search(query, 400)
        assert len(hits) == 299 == opened.count
        assert not {"plate-00900.jpg", "plate-00004.jpg"} & {one.photo.file for one in hits}
        with pytest.raises(PhotoNotFoundError):
            opened.photo(hit.photo.id)
    assert not list(out.glob("photos/*/*")), "its bytes are deleted"
    assert (photos / "plate-00004.jpg").is_file(), "the user's own file is not"
    assert list(gallery_problems(out, quiet=True)) == []


@pytest.mark.parametrize("kind", KINDS)
def test_a_reader_takes_on_a_new_index(kind: str, tmp_path: Path, embedder: Embedder) -> None:
    out = tmp_path / "gallery"
    build(write_photos(tmp_path / "photos", 30), out, embedder, IndexSpec(kind=kind))
    with LocalGallery.open(out, embedder.model) as opened:
        add_photos(out, [write_photos(tmp_path / "new", 5, start=100)], embedder, quiet=True)
        assert opened.follow().manifest.covered == 30
        assert reindex(out, quiet=True)
        for seed in (3, 102):
            assert (
                opened.search(embedder.embed(jpeg(seed)), 1)[0].photo.id == sha256(jpeg(seed))[:20]
            )
        assert opened.follow().manifest.covered == 35
        assert len(list(out.glob("*/index*"))) == (kind != "exact")
    assert list(gallery_problems(out, quiet=True)) == []


def test_an_index_that_covers_all_is_never_written_over(tmp_path: Path, embedder: Embedder) -> None:
    out = tmp_path / "gallery"
    build(write_photos(tmp_path / "photos", 30), out, embedder, IndexSpec(kind="hnsw"))
    add_photos(out, [write_photos(tmp_path / "new", 5, start=100)], embedder, quiet=True)
    assert reindex(out, quiet=True)
    (index,) = out.glob("*/index*")
    before = index.stat().st_ino, index.stat().st_mtime_ns
    # Another file under its name, before the manifest says so, would be one too many for a kill.
    assert reindex(out, quiet=True)
    assert (index.stat().st_ino, index.stat().st_mtime_ns) == before


def test_a_long_tail_is_taken_into_the_index(
    tmp_path: Path, embedder: Embedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "gallery"
    build(write_photos(tmp_path / "photos", 10), out, embedder, IndexSpec(kind="hnsw"))
    monkeypatch.setattr("deepfood.local.reindex.TAIL_ROWS", 4)
    add_photos(out, [write_photos(tmp_path / "few", 4, start=100)], embedder, quiet=True)
    with LocalGallery.open(out) as opened:
        assert opened.manifest.covered == 10
        add_photos(out, [write_photos(tmp_path / "more", 1, start=200)], embedder, quiet=True)
        assert opened.follow().manifest.covered == 15


def test_a_reader_takes_on_a_new_generation(
    gallery: Path, tmp_path: Path, embedder: Embedder
) -> None:
    with LocalGallery.open(gallery, embedder.model) as opened:
        write_photos(tmp_path / "photos", 1, start=50)
        build(tmp_path / "photos", gallery, embedder)
        assert opened.search(embedder.embed(jpeg(50)), 1)[0].photo.file == "plate-00050.jpg"
        assert opened.manifest.generation == 2

        # One of another Model is not taken on: the queries still come from the old one.
        other = tiny_embedder(tmp_path / "other", pool=16)
        build(tmp_path / "photos", gallery, other)
        assert opened.search(embedder.embed(jpeg(50)), 1)[0].photo.file == "plate-00050.jpg"
        assert opened.superseded
    with LocalGallery.open(gallery, gallery_model(gallery)) as opened:
        assert not opened.superseded
        assert opened.manifest.dimension == other.dimension


def test_the_same_photo_twice_is_one(gallery: Path, tmp_path: Path, embedder: Embedder) -> None:
    new = write_photos(tmp_path / "new", 2, start=100)
    (new / "again.jpg").write_bytes(jpeg(100))
    done = add_photos(gallery, [new], embedder, quiet=True)
    assert [outcome for _, outcome in done.photos] == ["added", "unchanged", "added"]
    done = add_photos(gallery, [new], embedder, quiet=True)
    assert {outcome for _, outcome in done.photos} == {"unchanged"}
    # A photo of the build, by another name: what is given is taken over, the rest stays.
    (tmp_path / "other.jpg").write_bytes(jpeg(3))
    done = add_photos(gallery, [tmp_path / "other.jpg"], embedder, label="soup", quiet=True)
    assert [outcome for _, outcome in done.photos] == ["updated"]
    done = add_photos(gallery, [tmp_path / "other.jpg"], embedder, name="Hot", quiet=True)
    with LocalGallery.open(gallery) as opened:
        assert opened.count == 14
        photo = opened.photo(sha256(jpeg(3))[:20])
        assert (photo.file, photo.label, photo.name) == ("plate-00003.jpg", "soup", "Hot")


def test_a_build_follows_its_folder_and_keeps_what_was_done_by_hand(
    gallery: Path, tmp_path: Path, embedder: Embedder
) -> None:
    photos = tmp_path / "photos"
    add_photos(gallery, [write_photos(tmp_path / "new", 2, start=100)], embedder, quiet=True)
    with LocalWriter.open(gallery) as writer:
        writer.remove(["plate-00001.jpg", "plate-00002.jpg"])
        writer.update("plate-00003.jpg", label="soup")
        writer.update("plate-00100.jpg", photo_name="Kept")
    (photos / "plate-00005.jpg").unlink()
    (photos / "plate-00002.jpg").write_bytes(jpeg(77))
    (photos / "copy.jpg").write_bytes(jpeg(1))
    (photos / "copy-of-added.jpg").write_bytes(jpeg(101))
    write_photos(photos, 1, start=60)

    def check(report_embedder: Embedder) -> None:
        with LocalGallery.open(gallery, report_embedder.model) as opened:
            kept = {photo.file: photo for photo in opened.store.photos()}
            assert kept.keys() == {
                # copy.jpg stays out: its content was removed, under another name.
                *(f"plate-{n:05}.jpg" for n in (0, 2, 3, 4, *range(6, 12), 60, 100, 101)),
            }
            assert kept["plate-00003.jpg"].label == "soup"
            assert kept["plate-00100.jpg"].name == "Kept"
            assert kept["plate-00100.jpg"].added
            assert opened.read(kept["plate-00100.jpg"]) == jpeg(100)
            for seed in (77, 101):
                assert opened.search(report_embedder.embed(jpeg(seed)), 1)[0].score > 0.999
        assert list(gallery_problems(gallery, quiet=True)) == []
        assert build(photos, gallery, report_embedder).up_to_date

    build(photos, gallery, embedder)
    check(embedder)
    other = tiny_embedder(tmp_path / "other", pool=16)
    build(photos, gallery, other)
    check(other)


def test_what_is_no_photo_is_left_out_and_changes_nothing(
    gallery: Path, tmp_path: Path, embedder: Embedder
) -> None:
    (tmp_path / "broken.jpg").write_bytes(b"no photo")
    with LocalGallery.open(gallery) as opened:
        query, seq = embedder.embed(jpeg(3)), opened.store.seq()
        report = add_photos(gallery, [tmp_path / "broken.jpg"], embedder, quiet=True)
        assert (report.photos, [one.file for one in report.left_out]) == ([], ["broken.jpg"])
        with LocalWriter.open(gallery) as writer:
            assert writer.remove([]) == []
        assert opened.store.seq() == seq
        assert opened.find(query, 3, without=["0" * 20]).hits == opened.find(query, 3).hits


def test_names_that_mean_no_photo_or_several_change_nothing(
    gallery: Path, tmp_path: Path, embedder: Embedder
) -> None:
    for folder, seed in (("a", 100), ("b", 101)):
        write_photos(tmp_path / folder, 1, start=seed)
        (tmp_path / folder / f"plate-00{seed}.jpg").rename(tmp_path / folder / "same.jpg")
        add_photos(gallery, [tmp_path / folder], embedder, quiet=True)
    with LocalWriter.open(gallery) as writer:
        with pytest.raises(PhotoNotFoundError, match="nowhere"):
            writer.remove(["plate-00001.jpg", "nowhere.jpg"])
        with pytest.raises(QueryError, match="2 photos are called"):
            writer.remove(["plate-00001.jpg", "same.jpg"])
    with LocalGallery.open(gallery) as opened:
        assert opened.count == 14


def test_a_second_writer_is_refused_in_one_line(
    gallery: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deepfood.cli.add.WAIT_S", 0.1)
    with LocalWriter.open(gallery):
        with (
            pytest.raises(ArtifactBusyError, match="another process is writing"),
            LocalWriter.open(gallery),
        ):
            pass
        done = deepfood_here("remove", gallery, "plate-00001.jpg")
        assert done.returncode == 2
        assert "another process is writing" in done.stderr
        assert done.stderr.count("\n") == 1
    assert deepfood_here("remove", gallery, "plate-00001.jpg").returncode == 0


@pytest.fixture
def read_only(gallery: Path) -> "object":
    """The gallery mounted read-only, with a catalogue whose last change is in its log only."""
    there = gallery.parent / "read-only"
    there.mkdir()
    subprocess.run(["mount", "--bind", gallery, there], capture_output=True, check=False)
    done = subprocess.run(
        ["mount", "-o", "remount,ro,bind", there], capture_output=True, check=False
    )
    if done.returncode:
        subprocess.run(["umount", "-l", there], capture_output=True, check=False)
        pytest.skip("may not mount here")
    yield there
    subprocess.run(["umount", "-l", there], check=True)


@pytest.mark.slow
def test_a_gallery_on_a_read_only_disk_opens(read_only: Path, embedder: Embedder) -> None:
    with LocalGallery.open(read_only, embedder.model) as opened:
        assert opened.search(embedder.embed(jpeg(4)), 1)[0].photo.file == "plate-00004.jpg"
    with pytest.raises(ArtifactError, match="cannot be written"), LocalWriter.open(read_only):
        pass


@pytest.mark.slow
def test_a_log_on_a_read_only_disk_is_read_too(
    read_only: Path, gallery: Path, embedder: Embedder
) -> None:
    with LocalGallery.open(gallery) as keeps_the_log, LocalWriter.open(gallery) as writer:
        assert keeps_the_log.count == 12
        writer.remove(["plate-00004.jpg"])
        assert next(gallery.glob("*/*-wal")).stat().st_size > 0
        with LocalGallery.open(read_only, embedder.model) as opened:
            assert "plate-00004.jpg" not in files_of(opened)


@pytest.mark.slow
def test_the_commands(gallery: Path, tmp_path: Path) -> None:
    new = write_photos(tmp_path / "new/curry", 2, start=100)
    (new / "bad.jpg").write_text("no photo")
    done = deepfood_here("add", gallery, new.parent, "--json")
    assert done.returncode == 1
    said = json.loads(done.stdout)
    assert [(one["label"], one["done"]) for one in said["photos"]] == [("curry", "added")] * 2
    assert [one["file"] for one in said["left_out"]] == ["curry/bad.jpg"]
    photo_id = said["photos"][0]["id"]
    done = deepfood_here("update", gallery, photo_id, "--label", "", "--name", "Hot pot", "--json")
    assert json.loads(done.stdout)["name"] == "Hot pot"
    assert json.loads(done.stdout)["label"] is None
    assert "nothing to change" in deepfood_here("update", gallery, photo_id).stderr
    priced = ("update", gallery, photo_id, "--attributes", '{"price": 4}')
    assert "--declare price=number" in deepfood_here(*priced).stderr
    assert deepfood_here("attributes", gallery, "--declare", "price=number").returncode == 0
    done = deepfood_here(*priced)
    assert done.returncode == 0, done.stderr
    listed = json.loads(deepfood_here("attributes", gallery, "--json").stdout)["attributes"]
    assert listed == [{"name": "price", "type": "number", "safety": False, "known": 1}]
    assert (
        "give an object" in deepfood_here("update", gallery, photo_id, "--attributes", "[]").stderr
    )
    found = deepfood_here("search", gallery, new / "plate-00100.jpg", "-k", 1)
    assert "Hot pot" in found.stdout, "searched with the gallery's own copy of its Model"
    assert "1 photo removed" in deepfood_here("remove", gallery, photo_id).stdout
    assert (
        "Hot pot" not in deepfood_here("search", gallery, new / "plate-00100.jpg", "-k", 1).stdout
    )
    assert json.loads(deepfood_here("info", gallery, "--json").stdout)["photos"] == 13


@pytest.mark.slow
@pytest.mark.parametrize("limit", [500, 6000, 10_000, 40_000])
def test_a_disk_that_fills_while_adding_loses_nothing(
    limit: int, gallery: Path, tmp_path: Path, embedder: Embedder
) -> None:
    new = write_photos(tmp_path / "new", 40, start=100)
    done = deepfood_on_a_small_disk(limit, "add", gallery, new)
    assert done.returncode == 2, done
    assert "no space left" in done.stderr.splitlines()[-1]
    with LocalGallery.open(gallery, embedder.model) as opened:
        assert opened.count == 12
        assert opened.search(embedder.embed(jpeg(4)), 1)[0].photo.file == "plate-00004.jpg"
    assert list(gallery_problems(gallery, quiet=True)) == []
    assert len(add_photos(gallery, [new], embedder, quiet=True).photos) == 40
    assert list(gallery_problems(gallery, quiet=True)) == []
