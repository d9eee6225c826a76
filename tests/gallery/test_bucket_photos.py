"""Galleries of photos in a bucket: built, rebuilt, searched and verified as those of a folder."""

import csv
import io
import shutil
from dataclasses import replace
from pathlib import Path
from threading import Barrier, Lock, Thread

import httpx
import numpy as np
import pytest

from deepfood.data.bucket import BucketRoot
from deepfood.data.photos import list_photos
from deepfood.data.root import CheckBytes
from deepfood.embed import Embedder
from deepfood.errors import PhotoNotFoundError, StorageError
from deepfood.gallery import BuildReport
from deepfood.index import IndexSpec
from deepfood.local import LocalGallery, build_gallery
from deepfood.local.add import add_photos
from deepfood.local.embedding_cache import embed_dataset
from deepfood.local.manifest import LocalManifest
from deepfood.local.renew import reembed
from deepfood.local.verify import gallery_problems
from live import run_here
from photo_bucket import bucket, photo_access, s3, upload
from plates import jpeg, sha256, tiny_embedder, write_photos, write_tiny_model
from seaweed import OWNER, seaweed, use_identity
from served import serving_here


@pytest.fixture
def embedder(tmp_path: Path) -> Embedder:
    return tiny_embedder(tmp_path / "model")


def build(url: str, out: Path, embedder: Embedder) -> BuildReport[LocalManifest]:
    return build_gallery(list_photos(url, s3()), out, embedder, IndexSpec(kind="exact"), quiet=True)


def test_a_bucket_gives_the_gallery_of_the_folder(
    tmp_path: Path, embedder: Embedder, s3_bucket: str
) -> None:
    photos = write_photos(tmp_path / "photos", 20)
    (photos / "broken.jpg").write_bytes(jpeg(1)[:300])
    (photos / "copy.jpg").write_bytes(jpeg(1))
    (photos / "text.jpg").write_text("no picture")
    url = upload(photos, f"{s3_bucket}/photos")
    here = build(str(photos), tmp_path / "here", embedder)
    there = build(url, tmp_path / "there", embedder)
    assert (there.embedded, there.count) == (23, 20)
    # A file's time is not an object's; everything else is the same.
    assert [(one.file, one.reason) for one in there.skipped] == [
        (one.file, one.reason) for one in here.skipped
    ]
    assert there.manifest.photos_root == url
    with (
        LocalGallery.open(tmp_path / "here") as one,
        LocalGallery.open(tmp_path / "there", photos=photo_access()) as other,
    ):
        (photos_here, vectors_here, _), (photos_there, vectors_there, _) = (
            one.photos(),
            other.photos(),
        )
        rows = np.arange(20)
        assert np.array_equal(vectors_here.take(rows), vectors_there.take(rows))
        assert [(p.file, p.sha256) for p in photos_here] == [
            (p.file, p.sha256) for p in photos_there
        ]
        assert other.where(photos_there[0]) == f"{url}/{photos_there[0].file}"
        assert [sha256(other.read(photo)) for photo in photos_there] == [
            photo.sha256 for photo in photos_there
        ]


def test_a_rebuild_embeds_only_what_changed(
    tmp_path: Path, embedder: Embedder, s3_bucket: str
) -> None:
    there = bucket(upload(write_photos(tmp_path / "photos", 12), f"{s3_bucket}/x"))
    out = tmp_path / "gallery"
    build(there.url, out, embedder)
    again = build(there.url, out, embedder)
    assert (again.up_to_date, again.embedded, again.reused) == (True, 0, 12)
    before = there.read("plate-00003.jpg")
    there.write("plate-00003.jpg", jpeg(99))
    there.write("plate-00004.jpg", before)  # what another one was
    there.write("new.jpg", jpeg(50))
    there.delete("plate-00007.jpg")
    changed = build(there.url, out, embedder)
    assert (changed.embedded, changed.reused, changed.count) == (3, 9, 12)
    with LocalGallery.open(out, photos=photo_access()) as gallery:
        assert {p.file: p.sha256 for p in gallery.store.photos()}["plate-00003.jpg"] == sha256(
            jpeg(99)
        )


def test_bytes_are_handed_out_only_while_they_are_the_photo(
    tmp_path: Path, embedder: Embedder, s3_bucket: str
) -> None:
    there = bucket(upload(write_photos(tmp_path / "photos", 4), f"{s3_bucket}/x"))
    out = tmp_path / "gallery"
    build(there.url, out, embedder)
    assert not list(gallery_problems(out, photo_access(), quiet=True))
    same_size = bytearray(there.read("plate-00000.jpg"))
    same_size[-1] ^= 1
    there.write("plate-00000.jpg", bytes(same_size))
    there.write("plate-00001.jpg", b"longer" * 10_000)
    there.delete("plate-00002.jpg")
    said = sorted(gallery_problems(out, photo_access(), quiet=True))
    assert [line.split(")")[1] for line in said] == [
        " has changed since the gallery was built",
        " has changed since the gallery was built",
        f" is missing from {there.url}",
    ]
    with LocalGallery.open(out, photos=photo_access()) as gallery:
        for photo in list(gallery.store.photos())[:3]:
            with pytest.raises(PhotoNotFoundError, match="no longer what"):
                gallery.read(photo)
    moved = upload(write_photos(tmp_path / "photos", 4), f"{s3_bucket}/moved")
    assert not list(gallery_problems(out, replace(photo_access(), moved_to=moved), quiet=True))


def watched(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many reads of a bucket are under way, each time that one begins.

    None ends before eight have begun.
    """
    read, lock, together = BucketRoot.read, Lock(), Barrier(8)
    under_way, seen = 0, list[int]()

    def counted(root: BucketRoot, file: str, check_bytes: CheckBytes) -> bytes:
        nonlocal under_way
        with lock:
            under_way += 1
            seen.append(under_way)
        try:
            together.wait(300)  # broken, and the test with it, where fewer than eight are asked for
            return read(root, file, check_bytes)
        finally:
            with lock:
                under_way -= 1

    monkeypatch.setattr(BucketRoot, "read", counted)
    return seen


def test_verify_reads_many_objects_at_once_but_not_all(
    tmp_path: Path, embedder: Embedder, s3_bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = bucket(upload(write_photos(tmp_path / "photos", 48), f"{s3_bucket}/x"))
    out = tmp_path / "gallery"
    build(there.url, out, embedder)
    lost = ["plate-00040.jpg", "plate-00003.jpg", "plate-00021.jpg"]
    there.delete(*lost)
    under_way = watched(monkeypatch)
    said = list(gallery_problems(out, photo_access(), quiet=True))
    assert [line.split()[1] for line in said] == sorted(lost)
    assert 8 <= max(under_way) <= BucketRoot.reads_ahead + 1


def test_another_model_reads_many_objects_at_once_but_not_all(
    tmp_path: Path, embedder: Embedder, s3_bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = upload(write_photos(tmp_path / "photos", 48), f"{s3_bucket}/x")
    build(url, tmp_path / "gallery", embedder)
    other = tiny_embedder(tmp_path / "other", pool=16)
    under_way = watched(monkeypatch)
    assert (
        reembed(tmp_path / "gallery", other, photos=photo_access(), quiet=True).made
        == len(under_way)
        == 48
    )
    assert 8 <= max(under_way) <= BucketRoot.reads_ahead + other.threads + 1


def test_adding_and_embedding_again(tmp_path: Path, embedder: Embedder, s3_bucket: str) -> None:
    there = bucket(upload(write_photos(tmp_path / "photos", 4), f"{s3_bucket}/x"))
    out = tmp_path / "gallery"
    build(there.url, out, embedder)
    there.write("more/one.jpg", jpeg(70))
    table = io.StringIO()
    csv.writer(table).writerows([["photo", "label"], ["one.jpg", "soup"], ["../x.jpg", "?"]])
    there.write("more/dishes.csv", table.getvalue().encode())
    report = add_photos(out, [f"{there.url}/more/dishes.csv"], embedder, s3=s3(), quiet=True)
    assert [(photo.label, done) for photo, done in report.photos] == [("soup", "added")]
    assert [one.file for one in report.left_out] == ["../x.jpg"]
    report = add_photos(out, [f"{there.url}/more/one.jpg"], embedder, s3=s3(), quiet=True)
    assert [done for _, done in report.photos] == ["unchanged"]
    there.delete("more/one.jpg")  # its bytes are the gallery's now
    other = tiny_embedder(tmp_path / "other", pool=16)
    done = reembed(out, other, photos=photo_access(), quiet=True)
    assert (done.swapped, done.count, done.made) == (True, 5, 5)


def test_datasets_in_a_bucket_are_embedded_once(
    tmp_path: Path, embedder: Embedder, s3_bucket: str
) -> None:
    there = bucket(upload(write_photos(tmp_path / "photos", 6), f"{s3_bucket}/x"))
    first = embed_dataset(list_photos(there.url, s3()), embedder, tmp_path / "cache", quiet=True)
    assert first.embedded == 6
    there.write("plate-00002.jpg", jpeg(44))
    second = embed_dataset(list_photos(there.url, s3()), embedder, tmp_path / "cache", quiet=True)
    assert (second.embedded, len(second.files)) == (1, 6)


@pytest.mark.slow
def test_a_server_that_dies_in_mid_build(
    tmp_path: Path, embedder: Embedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "s3").mkdir()
    with seaweed(tmp_path / "s3") as server:
        use_identity(monkeypatch, OWNER)
        monkeypatch.setenv("DEEPFOOD_S3_ENDPOINT", server.url)
        monkeypatch.setenv("DEEPFOOD_S3_RETRY_S", "1")
        url = upload(write_photos(tmp_path / "photos", 150), server.new_bucket())
        embed, count = embedder.embed, 0

        def embed_until_the_server_dies(data: bytes) -> object:
            nonlocal count
            count += 1
            if count == 40:
                server.kill()
            return embed(data)

        monkeypatch.setattr(embedder, "embed", embed_until_the_server_dies)
        with pytest.raises(StorageError, match=r"cannot be reached|broke, again"):
            build(url, tmp_path / "gallery", embedder)
        monkeypatch.setattr(embedder, "embed", embed)
        server.start()
        # Just started, it answers 500 for a while.
        monkeypatch.setenv("DEEPFOOD_S3_RETRY_S", "60")
        done = build(url, tmp_path / "gallery", embedder)
        assert done.count == 150
        assert not done.skipped
        assert done.reused >= 20
        # A server that is away for less than s3_retry_s costs time, and nothing else.
        server.kill()
        with LocalGallery.open(tmp_path / "gallery", photos=photo_access()) as gallery:
            starting = Thread(target=server.start)
            starting.start()
            assert gallery.read(gallery.photo(sha256(jpeg(3))[:20])) == jpeg(3)
            starting.join()


def test_commands_and_the_service_over_a_bucket(
    tmp_path: Path,
    s3_bucket: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("DEEPFOOD_CACHE", str(tmp_path / "cache"))
    for label in range(3):
        write_photos(tmp_path / "photos" / f"dish {label}", 4, start=10 * label)
    url = upload(tmp_path / "photos", f"{s3_bucket}/photos")
    shutil.rmtree(tmp_path / "photos")
    model, gallery = write_tiny_model(tmp_path / "model"), tmp_path / "gallery"
    assert run_here("build", url, "--out", gallery, "--model", model) == 0
    assert run_here("evaluate", gallery, url) == 0
    assert run_here("data", "combine", url, "--out", tmp_path / "all") == 0
    assert run_here("verify", gallery) == 0
    assert run_here("verify", gallery, "--photos-root", f"{s3_bucket}/nowhere") == 1
    assert "Traceback" not in capsys.readouterr().err
    with serving_here(gallery) as at, httpx.Client(base_url=at) as client:
        answer = client.post("/api/v1/search", files={"photo": jpeg(21)})
        assert answer.status_code == 200, answer.text
        found = answer.json()["hits"][0]
        assert found["label"] == "dish 2"
        whole = client.get(f"/photos/{found['id']}")
        assert (whole.status_code, whole.content) == (200, jpeg(21))
        bucket(url).write("dish 2/plate-00021.jpg", jpeg(999))
        assert client.get(f"/photos/{found['id']}").status_code == 404
