"""Building: what goes in comes out, nothing is done twice, nothing stops it."""

import csv
import dataclasses
import os
import re
import signal
import subprocess
import sys
import unicodedata
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from deepfood.data.photos import list_photos
from deepfood.embed import Embedder
from deepfood.errors import ArtifactBusyError, ArtifactMissingError, DatasetError
from deepfood.gallery.photo import Photo
from deepfood.gallery.reports import BuildReport
from deepfood.index import IndexSpec
from deepfood.local import LocalGallery, build_gallery, gallery_model
from deepfood.local.lock import only_writer
from deepfood.local.manifest import LocalManifest
from deepfood.local.store import Store
from deepfood.model import open_model
from deepfood.photo import Limits, read_pixels
from plates import LIMITS, build, jpeg, plate, sha256, tiny_embedder, write_photos
from samples import PHOTOS, bombs, not_photos

#: Several pictures in one file: only the first must be whole, and half of the file holds it.
_SEVERAL = ("animated", "pages", "mpo")


def files_of(gallery: Path) -> dict[str, bytes]:
    return {
        path.relative_to(gallery).as_posix(): path.read_bytes()
        for path in sorted(gallery.rglob("*"))
        if path.is_file()
    }


def test_every_photo_is_in_with_its_vector(tmp_path: Path, embedder: Embedder) -> None:
    photos = write_photos(tmp_path / "photos", 20)
    report = build(photos, tmp_path / "gallery", embedder)
    assert (report.embedded, report.reused, report.skipped) == (20, 0, ())

    gallery = LocalGallery.open(tmp_path / "gallery", embedder.model)
    assert [photo.file for photo in gallery.store.photos()] == sorted(
        path.name for path in photos.iterdir()
    )
    vectors = gallery.photos()[1].take(np.arange(20))
    for row, photo in enumerate(gallery.store.photos()):
        data = (photos / photo.file).read_bytes()
        assert photo.sha256 == sha256(data)
        assert (photo.width, photo.height, photo.media_type) == (96, 72, "image/jpeg")
        pixels = read_pixels(data, embedder.preprocess, LIMITS)
        np.testing.assert_array_equal(vectors[row], embedder.infer(pixels))
        assert gallery.search(embedder.embed(data), 1)[0].photo == photo
        assert gallery.read(photo) == data


def test_labels_from_folders_and_names_from_a_csv(tmp_path: Path, embedder: Embedder) -> None:
    write_photos(tmp_path / "classes/crème brûlée/a", 2)
    write_photos(tmp_path / "classes/पनीर", 2, start=2)
    write_photos(tmp_path / "classes", 1, start=4)
    build(tmp_path / "classes", tmp_path / "g1", embedder)
    with LocalGallery.open(tmp_path / "g1", embedder.model) as gallery:
        found = {(photo.label, photo.file) for photo in gallery.store.photos()}
    assert found == {
        ("crème brûlée", "crème brûlée/a/plate-00000.jpg"),
        ("crème brûlée", "crème brûlée/a/plate-00001.jpg"),
        ("पनीर", "पनीर/plate-00002.jpg"),
        ("पनीर", "पनीर/plate-00003.jpg"),
        (None, "plate-00004.jpg"),
    }

    with (tmp_path / "classes/photos.csv").open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["photo", "label", "name"])
        rows.writerow(["पनीर/plate-00002.jpg", "cheese", 'Paneer, "fresh"'])
        rows.writerow(["plate-00004.jpg", "", ""])
    for source in (tmp_path / "classes", tmp_path / "classes/photos.csv"):
        build(source, tmp_path / "g2", embedder)
        with LocalGallery.open(tmp_path / "g2", embedder.model) as gallery:
            found = {(photo.label, photo.name) for photo in gallery.store.photos()}
        assert found == {("cheese", 'Paneer, "fresh"'), (None, None)}


def test_same_names_in_two_folders_and_two_unicode_forms(
    tmp_path: Path, embedder: Embedder
) -> None:
    composed, decomposed = (unicodedata.normalize(form, "é.jpg") for form in ("NFC", "NFD"))
    for seed, name in enumerate(["a/1.jpg", "b/1.jpg", "c/1.JPG", composed, decomposed, "🍛 .jpg"]):
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(jpeg(seed))
    report = build(tmp_path / "photos", tmp_path / "gallery", embedder)
    assert report.count == 6
    with LocalGallery.open(tmp_path / "gallery", embedder.model) as gallery:
        assert len({photo.id for photo in gallery.store.photos()}) == 6


def test_bad_files_are_recorded_and_never_stop_it(tmp_path: Path, embedder: Embedder) -> None:
    photos = write_photos(tmp_path / "photos", 5)
    (photos / "zero.jpg").touch()
    (photos / "text.jpg").write_text("no photo")
    (photos / "half.jpg").write_bytes(jpeg(7)[:900])
    (photos / "gone.jpg").symlink_to(photos / "nowhere.jpg")
    (photos / "outside.jpg").symlink_to(write_photos(tmp_path / "else", 1) / "plate-00000.jpg")
    (photos / "copy.jpg").write_bytes(jpeg(3))
    (photos / "folder.jpg").mkdir()
    os.mkfifo(photos / "pipe.jpg")
    (photos / ".hidden.jpg").write_bytes(jpeg(8))
    (photos / "notes.txt").write_text("not looked at")
    (photos / os.fsdecode(b"caf\xe9.jpg")).write_bytes(jpeg(9))
    report = build(photos, tmp_path / "gallery", embedder)
    reasons = {one.file: one.reason for one in report.skipped}
    assert report.count == 5
    assert set(reasons) == {
        "zero.jpg",
        "text.jpg",
        "half.jpg",
        "gone.jpg",
        "pipe.jpg",
        "outside.jpg",
        "plate-00003.jpg",
        r"caf\udce9.jpg",
    }
    assert "empty" in reasons["zero.jpg"]
    assert "no such file" in reasons["gone.jpg"]
    assert "not a regular file" in reasons["pipe.jpg"]
    assert "not JPEG" in reasons["text.jpg"]
    assert "cut off" in reasons["half.jpg"]
    assert "outside" in reasons["outside.jpg"]
    assert reasons["plate-00003.jpg"] == "the same photo as copy.jpg"
    assert "Unicode" in reasons[r"caf\udce9.jpg"]
    # Recorded means known: nothing of it is tried again, and it is all there to be shown.
    again = build(photos, tmp_path / "gallery", embedder)
    assert again.up_to_date
    assert {one.file: one.reason for one in again.skipped} == reasons


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_an_unreadable_file_is_recorded(tmp_path: Path, embedder: Embedder) -> None:
    photos = write_photos(tmp_path / "photos", 2)
    (photos / "plate-00000.jpg").chmod(0)
    report = build(photos, tmp_path / "gallery", embedder)
    assert "cannot be read" in report.skipped[0].reason
    assert build(photos, tmp_path / "gallery", embedder).up_to_date
    # Whoever may read a file does not show in its time of change.
    (photos / "plate-00000.jpg").chmod(0o644)
    report = build(photos, tmp_path / "gallery", embedder)
    assert (report.count, report.embedded, report.skipped) == (2, 1, ())


def test_each_format_and_each_defect_as_a_file(tmp_path: Path, embedder: Embedder) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    half = {n: d[: len(d) // 2] for n, d in PHOTOS.items() if not n.endswith(_SEVERAL)}
    kinds = {
        "good": PHOTOS,
        "not JPEG": not_photos(),
        "max_photo_pixels": bombs(),
        "damaged|cut off": half,
    }
    for what, files in kinds.items():
        for name, data in files.items():
            # Every name is wrong for nearly every content: what the bytes are is what counts.
            (photos / f"{what} {name}.jpg").write_bytes(data)
    report = build(photos, tmp_path / "gallery", embedder)
    assert report.count == len(PHOTOS)
    assert len(report.skipped) == sum(len(files) for files in kinds.values()) - len(PHOTOS)
    for one in report.skipped:
        what = next(kind for kind in kinds if one.file.startswith(kind))
        assert re.search(what, one.reason), one


def test_limits_count_for_files_too(tmp_path: Path) -> None:
    photos = write_photos(tmp_path / "photos", 2)
    (photos / "large.jpg").write_bytes(jpeg(5, (400, 300)))
    small = tiny_embedder(tmp_path / "m", limits=Limits(max_bytes=10**6, max_pixels=10_000))
    report = build(photos, tmp_path / "g", small)
    assert [one.file for one in report.skipped] == ["large.jpg"]
    assert "max_photo_pixels" in report.skipped[0].reason


@pytest.mark.parametrize(
    ("limit", "low"),
    [
        ("max_bytes", 10_000),
        pytest.param("max_pixels", 10_000, marks=pytest.mark.slow),
        pytest.param("max_decoding_bytes", 3 * 10**7, marks=pytest.mark.slow),
    ],
)
def test_what_a_limit_refused_is_tried_again_when_it_is_raised(
    limit: str, low: int, tmp_path: Path
) -> None:
    photos = write_photos(tmp_path / "photos", 2)
    out = tmp_path / "gallery"
    plate(5, (2400, 1800)).save(photos / "large.png")
    (photos / "text.jpg").write_text("hello")

    def built(value: int) -> BuildReport[LocalManifest]:
        base = Limits(max_bytes=10**7, max_pixels=10**7)
        limits = dataclasses.replace(base, **{limit: value})
        return build(photos, out, tiny_embedder(tmp_path / "m", limits=limits))

    assert sorted(one.file for one in built(low).skipped) == ["large.png", "text.jpg"]
    assert built(low).up_to_date
    assert built(low // 2).up_to_date  # it can only be refused again
    # Still too low: it is looked at, and the reason says so.
    (again,) = (one for one in built(low + 1).skipped if one.file == "large.png")
    assert f"{low + 1:,}" in again.reason
    assert built(low + 1).up_to_date
    report = built(10**8)
    assert [one.file for one in report.skipped] == ["text.jpg"]
    assert (report.count, report.embedded) == (3, 1)
    assert built(low).up_to_date  # what is there stays


@pytest.mark.parametrize("what", ["empty folder", "no photos", "only bad", "nowhere", "bad csv"])
def test_nothing_to_build_from(what: str, tmp_path: Path, embedder: Embedder) -> None:
    source = tmp_path / "photos"
    if what != "nowhere":
        source.mkdir()
    if what == "no photos":
        (source / "readme.txt").write_text("hello")
    if what == "only bad":
        (source / "a.jpg").write_text("hello")
    if what == "bad csv":
        (source / "photos.csv").write_text("file,label\na.jpg,b\n")
    with pytest.raises(DatasetError, match=str(source)):
        build(source, tmp_path / "gallery", embedder)
    assert not (tmp_path / "gallery/manifest.json").exists()


def test_one_photo(tmp_path: Path, embedder: Embedder) -> None:
    build(write_photos(tmp_path / "photos", 1), tmp_path / "gallery", embedder)
    with LocalGallery.open(tmp_path / "gallery", embedder.model) as gallery:
        assert len(gallery.search(embedder.embed(jpeg(5)), 9)) == 1


@pytest.mark.slow
def test_ten_thousand_photos_in_order_and_found(tmp_path: Path, embedder: Embedder) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    base = jpeg(0, (32, 32))
    for number in range(10_000):  # the same picture, another comment: other bytes, other photo
        comment = f"{number:05d}".encode()
        marked = base[:2] + b"\xff\xfe\x00\x07" + comment + base[2:]
        (photos / f"{number:05d}.jpg").write_bytes(marked)
    report = build(photos, tmp_path / "gallery", embedder)
    assert report.count == 10_000
    assert report.manifest.index.kind == "exact"
    with LocalGallery.open(tmp_path / "gallery", embedder.model) as gallery:
        assert [p.file for p in gallery.store.photos()] == [f"{n:05d}.jpg" for n in range(10_000)]
        assert len(gallery.search(embedder.embed(base), 9)) == 9


def test_a_second_build_does_nothing_and_a_changed_one_only_what_changed(
    tmp_path: Path, embedder: Embedder
) -> None:
    photos, out = write_photos(tmp_path / "photos", 10), tmp_path / "gallery"
    build(photos, out, embedder)
    before = files_of(out)
    assert build(photos, out, embedder).up_to_date
    assert files_of(out) == before

    (photos / "plate-00003.jpg").unlink()
    (photos / "plate-00004.jpg").write_bytes(jpeg(44))
    write_photos(photos, 1, start=70)
    report = build(photos, out, embedder)
    assert (report.embedded, report.reused, report.count) == (2, 8, 10)
    fresh = tmp_path / "fresh"
    build(photos, fresh, embedder)
    assert vectors_of(out, embedder) == vectors_of(fresh, embedder)


def vectors_of(out: Path, embedder: Embedder) -> dict[str, bytes]:
    with LocalGallery.open(out, embedder.model) as gallery:
        photos, vectors, rows = gallery.photos()
        taken = vectors.take(rows)
        return {photo.file: taken[at].tobytes() for at, photo in enumerate(photos)}


def test_removing_the_first_of_two_copies_keeps_the_photo(
    tmp_path: Path, embedder: Embedder
) -> None:
    photos, out = write_photos(tmp_path / "photos", 3), tmp_path / "gallery"
    (photos / "z-copy.jpg").write_bytes(jpeg(0))
    assert build(photos, out, embedder).count == 3
    (photos / "plate-00000.jpg").unlink()
    report = build(photos, out, embedder)
    assert (report.count, report.embedded) == (3, 0)
    assert "z-copy.jpg" in vectors_of(out, embedder)


def test_another_index_reuses_every_vector(tmp_path: Path, embedder: Embedder) -> None:
    photos, out = write_photos(tmp_path / "photos", 30), tmp_path / "gallery"
    build(photos, out, embedder)
    for kind in ("annoy", "hnsw", "exact"):
        report = build(photos, out, embedder, IndexSpec(kind=kind))
        assert (report.manifest.index.kind, report.embedded) == (kind, 0)
        with LocalGallery.open(out, embedder.model) as gallery:
            assert gallery.search(embedder.embed(jpeg(4)), 1)[0].photo.file == "plate-00004.jpg"
    assert build(photos, out, embedder, IndexSpec(kind="annoy", annoy_trees=7)).embedded == 0
    assert not build(photos, out, embedder, IndexSpec(kind="annoy", annoy_trees=8)).up_to_date


def test_another_model_embeds_everything_again(tmp_path: Path, embedder: Embedder) -> None:
    photos, out = write_photos(tmp_path / "photos", 5), tmp_path / "gallery"
    build(photos, out, embedder)
    other = tiny_embedder(tmp_path / "other", pool=16)
    report = build(photos, out, other)
    assert (report.embedded, report.manifest.dimension) == (5, other.dimension)


def test_two_builds_at_once(
    tmp_path: Path, embedder: Embedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deepfood.local.build.WAIT_S", 0.1)
    photos, out = write_photos(tmp_path / "photos", 5), tmp_path / "gallery"
    out.mkdir()
    with only_writer(out), pytest.raises(ArtifactBusyError, match="another process is writing"):
        build(photos, out, embedder)
    assert build(photos, out, embedder).count == 5


@pytest.mark.parametrize("there", ["file", "folder"])
def test_a_folder_of_something_else_is_left_alone(
    there: str, tmp_path: Path, embedder: Embedder
) -> None:
    photos, out = write_photos(tmp_path / "photos", 2), tmp_path / "mine"
    if there == "file":
        out.write_text("mine")
    else:
        out.mkdir()
        (out / "thesis.txt").write_text("mine")
    with pytest.raises(DatasetError, match=str(out)):
        build(photos, out, embedder)
    assert (out if there == "file" else out / "thesis.txt").read_text() == "mine"


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """60 photos, and a gallery `fresh` of them beside, by the default Model."""
    root = tmp_path_factory.mktemp("many")
    photos = write_photos(root / "photos", 60)
    build(photos, root / "fresh", Embedder(open_model(), LIMITS))
    return photos


#: `deepfood` that flushes every ten photos, and halts at the third after the second flush.
HALTING = """
import time
from contextlib import contextmanager
from types import SimpleNamespace

from deepfood.cli import main
from deepfood.local import embed_photos

done = 0

@contextmanager
def bar(*_, **__):
    def update():
        global done
        done += 1
        if done == 23:
            print("halted", flush=True)
            time.sleep(3600)
    yield SimpleNamespace(update=update)

embed_photos.bar = bar
embed_photos.FLUSH_PHOTOS, embed_photos.FLUSH_S = 10, 3600
main()
"""


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_stopped_build_goes_on_where_it_was(
    how: signal.Signals, many: Path, tmp_path: Path
) -> None:
    photos, out = many, tmp_path / "gallery"
    command = [sys.executable, "-c", HALTING, "build", str(photos), "--out", str(out)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"halted\n"
    process.send_signal(how)
    _, said = process.communicate(timeout=300)
    assert process.returncode == (-9 if how is signal.SIGKILL else 130), said
    assert (b"the same command goes on where it was" in said) == (how is signal.SIGINT)
    assert not (out / "manifest.json").exists()
    with pytest.raises(ArtifactMissingError, match="unfinished: run the build again"):
        gallery_model(out)

    embedder = Embedder(open_model(), LIMITS)
    report = build(photos, out, embedder)
    # Killed, it keeps what was flushed; stopped, what was embedded too.
    assert report.reused == (20 if how is signal.SIGKILL else 23)
    assert report.reused + report.embedded == 60
    assert vectors_of(out, embedder) == vectors_of(many.parent / "fresh", embedder)
    assert not (out / "building").exists()


def test_a_kill_between_vectors_and_catalogue_loses_only_the_tail(
    tmp_path: Path, embedder: Embedder
) -> None:
    photos, out = write_photos(tmp_path / "photos", 4), tmp_path / "gallery"
    source = list_photos(photos)
    build_gallery(source, out, embedder, IndexSpec(), quiet=True)
    # An unfinished build whose last vectors were written, but not their catalogue rows.
    (out / "manifest.json").unlink()
    (out / "generation-000001").rename(out / "building")
    (out / "building/model").write_text(embedder.model.fingerprint)
    with (out / "building/vectors.f32").open("ab") as file:
        file.write(b"torn" * 100)
    report = build(photos, out, embedder)
    assert (report.embedded, report.reused) == (0, 4)
    assert len(vectors_of(out, embedder)) == 4


def test_photos_that_are_mended_are_read_after_a_build_that_had_none(
    tmp_path: Path, embedder: Embedder
) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    for seed in range(3):
        (photos / f"{seed}.jpg").write_bytes(b"no photo")
    with pytest.raises(DatasetError, match="none of the 3 files"):
        build(photos, tmp_path / "gallery", embedder)
    for seed in range(2):
        (photos / f"{seed}.jpg").write_bytes(jpeg(seed))
    report = build(photos, tmp_path / "gallery", embedder)
    assert report.count == 2
    assert [one.file for one in report.skipped] == ["2.jpg"]


def test_a_build_reads_the_rows_of_the_living_gallery_once(
    tmp_path: Path, embedder: Embedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos, out = write_photos(tmp_path / "photos", 4), tmp_path / "gallery"
    build(photos, out, embedder)
    read: list[str] = []
    sound_rows = Store.sound_rows

    def counted(store: Store) -> Iterator[tuple[int, Photo]]:
        read.append(store.folder.name)
        return sound_rows(store)

    monkeypatch.setattr(Store, "sound_rows", counted)
    assert build(photos, out, embedder).up_to_date
    write_photos(photos, 1, start=10)
    assert build(photos, out, embedder).embedded == 1
    assert read.count("generation-000001") == 2
