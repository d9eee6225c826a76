"""Serving a release from a real S3 server: followed, kept when S3 is away, never changed."""

import asyncio
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from shelves import settings

from deepfood.artifacts import MANIFEST, with_checksum
from deepfood.config import load_settings
from deepfood.errors import ArtifactError, StorageError
from deepfood.local.add import add_photos
from deepfood.release.objects import LATEST, Latest, Release, StoredFile, blob_key, release_key
from deepfood.release.push import push
from deepfood.release.shelf import Shelf
from deepfood.serve.service import open_service
from live import free_address, serving
from plates import build, jpeg, sha256, tiny_embedder, write_photos
from seaweed import OWNER, Seaweed, seaweed, use_identity

pytestmark = pytest.mark.s3


@dataclass
class Kitchen:
    """A gallery, pushed as `one` with 12 photos and as `two` with 13; `one` is the latest."""

    url: str
    server: Seaweed


@pytest.fixture(scope="module")
def kitchen(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kitchen]:
    root = tmp_path_factory.mktemp("kitchen")
    embedder = tiny_embedder(root / "model")
    build(write_photos(root / "photos", 12), root / "gallery", embedder)
    (root / "s3").mkdir()
    with seaweed(root / "s3") as server, pytest.MonkeyPatch.context() as patch:
        patch.setenv("DEEPFOOD_S3_ENDPOINT", server.url)
        patch.setenv("DEEPFOOD_S3_RETRY_S", "2")
        patch.setenv("DEEPFOOD_CACHE", str(root / "cache"))
        use_identity(patch, OWNER)
        url = f"{server.new_bucket()}/kitchen"
        push(root / "gallery", url, settings(), name="one", quiet=True)
        add_photos(root / "gallery", [write_photos(root / "n", 1, start=50)], embedder, quiet=True)
        push(root / "gallery", url, settings(), name="two", promote=False, quiet=True)
        shutil.rmtree(root / "photos")
        shutil.rmtree(root / "gallery")
        yield Kitchen(url, server)


def search(url: str, seed: int) -> httpx.Response:
    return httpx.post(f"{url}/api/v1/search", files={"photo": jpeg(seed)}, timeout=20)


def photo_id(seed: int) -> str:
    return sha256(jpeg(seed))[:20]


async def hammer(url: str, until: asyncio.Event, statuses: list[int]) -> None:
    async with httpx.AsyncClient(timeout=20) as client:
        while not until.is_set():
            answer = await client.post(f"{url}/api/v1/search", files={"photo": jpeg(3)})
            assert answer.json()["hits"][0]["id"] == photo_id(3)
            photo = await client.get(f"{url}/photos/{photo_id(3)}")
            statuses += [answer.status_code, photo.status_code]


async def swap_under_load(kitchen: Kitchen, url: str) -> list[int]:
    """Promote `two`, then go back, while four clients search; the status of every answer."""
    statuses: list[int] = []
    until = asyncio.Event()
    shelf = Shelf.open(kitchen.url, settings())
    async with asyncio.TaskGroup() as group:
        clients = [group.create_task(hammer(url, until, statuses)) for _ in range(4)]
        for name, count in (("two", 13), ("one", 12)):
            await asyncio.to_thread(shelf.promote, name)
            seen = 0
            async with asyncio.timeout(60), httpx.AsyncClient() as client:
                while seen < 4:  # whichever of the workers answers
                    ready = (await client.get(f"{url}/readyz")).json()
                    seen = seen + 1 if ready["photos"] == count else 0
                    await asyncio.sleep(0.05)
        until.set()
        await asyncio.gather(*clients)
    return statuses


def test_a_release_is_served_followed_and_kept_when_s3_is_away(kitchen: Kitchen) -> None:
    key = "k" * 40
    how = {"follow_s": 0.3, "api_key_hashes": sha256(key.encode())}
    with serving(kitchen.url, "--workers", "2", **how) as server:
        found = search(server.url, 3).json()["hits"][0]
        assert found["id"] == photo_id(3)
        photo = httpx.get(server.url + found["url"])
        assert (photo.content, photo.headers["content-type"]) == (jpeg(3), "image/jpeg")
        assert httpx.get(server.url + found["thumbnail_url"]).status_code == 200

        statuses = asyncio.run(swap_under_load(kitchen, server.url))
        assert set(statuses) == {200}
        assert len(statuses) > 20

        kitchen.server.kill()
        try:
            assert search(server.url, 4).json()["hits"][0]["id"] == photo_id(4)
            assert httpx.get(f"{server.url}/photos/{photo_id(5)}", timeout=20).status_code == 503
            reload, headers = (
                f"{server.url}/api/v1/admin/reload",
                {"Authorization": f"Bearer {key}"},
            )
            assert httpx.post(reload, headers=headers, timeout=20).status_code == 503
            # So does one that is started now, from the cache.
            with serving(kitchen.url, follow_s=0.3) as second:
                assert search(second.url, 4).json()["hits"][0]["id"] == photo_id(4)
                assert "continuing with release one" in second.log.read_text()
        finally:
            kitchen.server.start()


def test_photos_by_presigned_links_and_no_changes(kitchen: Kitchen) -> None:
    key = "k" * 40
    hashes = sha256(key.encode())
    how = {"photo_links": "presigned", "presigned_s": 120, "api_key_hashes": hashes}
    with serving(f"{kitchen.url}@one", **how) as server:
        answer = httpx.get(f"{server.url}/photos/{photo_id(3)}")
        assert answer.status_code == 307
        link = answer.headers["location"]
        assert link.startswith(kitchen.server.url)
        assert "X-Amz-Expires=120" in link
        assert answer.headers["cache-control"] == "private, max-age=60"
        photo = httpx.get(link)
        assert photo.status_code == 200, photo.text
        assert (photo.content, photo.headers["content-type"]) == (jpeg(3), "image/jpeg")
        assert httpx.get(link.partition("?")[0]).status_code == 403
        assert httpx.get(f"{server.url}/photos/{'0' * 20}").status_code == 404
        policy = httpx.get(server.url).headers["content-security-policy"]
        assert f"img-src 'self' {kitchen.server.url} blob: data:" in policy

        headers = {"Authorization": f"Bearer {key}"}
        place = f"{server.url}/api/v1/photos"
        for answer in (
            httpx.post(place, files={"photo": jpeg(90)}, headers=headers),
            httpx.patch(f"{place}/{photo_id(3)}", json={"name": "x"}, headers=headers),
            httpx.delete(f"{place}/{photo_id(3)}", headers=headers),
        ):
            assert answer.status_code == 409
            assert "push a new one" in answer.json()["detail"]
        assert httpx.delete(f"{place}/{photo_id(3)}").status_code == 401
        reloaded = httpx.post(f"{server.url}/api/v1/admin/reload", headers=headers)
        assert reloaded.json()["photos"] == 12


def promote_blindly(shelf: Shelf, name: str, before: str | None) -> None:
    """As a deepfood that can read the release promotes it."""
    shelf.bucket.write(LATEST, Latest(release=name, before=before).model_dump_json().encode())


def of_tomorrow(shelf: Shelf, good: Release) -> None:
    text = good.model_dump_json().replace('"format_version":1', '"format_version":99')
    shelf.bucket.write(release_key("bad"), text.replace('"good"', '"bad"').encode())


def no_json(shelf: Shelf, good: Release) -> None:
    shelf.bucket.write(release_key("bad"), good.model_dump_json().encode()[:100])


def lacking_a_blob(shelf: Shelf, good: Release) -> None:
    with_other_files(shelf, good, b"never written", write=False)


def holding_a_gallery_of_tomorrow(shelf: Shelf, good: Release) -> None:
    [chunk] = good.files[MANIFEST].chunks
    about = json.loads(shelf.bucket.read(blob_key(chunk)))
    del about["checksum"]
    text = json.dumps(about | {"format_version": 99}, indent=2).encode()
    with_other_files(shelf, good, with_checksum(text))


def holding_half_a_manifest(shelf: Shelf, good: Release) -> None:
    [chunk] = good.files[MANIFEST].chunks
    with_other_files(shelf, good, shelf.bucket.read(blob_key(chunk))[:100])


def with_other_files(shelf: Shelf, good: Release, manifest: bytes, *, write: bool = True) -> None:
    digest = sha256(manifest)
    if write:
        shelf.bucket.write(blob_key(digest), manifest)
    stored = StoredFile(bytes=len(manifest), sha256=digest, chunks=(digest,))
    files = {**good.files, MANIFEST: stored}
    shelf.publish(good.model_copy(update={"name": "bad", "files": files}))


SPOILERS = [
    of_tomorrow,
    no_json,
    lacking_a_blob,
    holding_a_gallery_of_tomorrow,
    holding_half_a_manifest,
]


@pytest.fixture
def good(kitchen: Kitchen, tmp_path: Path) -> tuple[Shelf, Release]:
    """A shelf of one's own with one release, the latest."""
    gallery = tmp_path / "gallery"
    build(write_photos(tmp_path / "photos", 12), gallery, tiny_embedder(tmp_path / "model"))
    url = f"{kitchen.server.new_bucket()}/{tmp_path.name}"
    pushed = push(gallery, url, settings(), name="good", quiet=True)
    return Shelf.open(url, settings()), pushed.release


@pytest.mark.parametrize("spoil", SPOILERS, ids=lambda spoil: spoil.__name__)
def test_a_service_that_starts_goes_on_with_the_last_good_release(
    good: tuple[Shelf, Release],
    spoil: Callable[[Shelf, Release], None],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    shelf, release = good
    spoil(shelf, release)
    kept, bare = (
        load_settings(gallery=shelf.bucket.url, cache=tmp_path / name) for name in ("kept", "bare")
    )
    with closing(open_service(kept)) as before:
        assert (Path(before.gallery.place).name, caplog.messages) == ("good", [])
    promote_blindly(shelf, "bad", None)  # so that only the cache has it
    with closing(open_service(kept)) as service:
        assert service.gallery.place == before.gallery.place
        assert service.gallery.count == 12
    with pytest.raises((StorageError, ArtifactError)):
        open_service(bare)
    promote_blindly(shelf, "bad", "good")
    with closing(open_service(bare)) as service:
        assert Path(service.gallery.place).name == "good"
    assert [line.rpartition("; ")[2] for line in caplog.messages] == [
        "continuing with release good, the last good one"
    ] * 2
    # Who names the bad one gets it, or nothing.
    with pytest.raises((StorageError, ArtifactError)):
        open_service(load_settings(gallery=f"{shelf.bucket.url}@bad", cache=kept.cache))


def test_a_bad_release_is_told_by_log_and_metric_until_a_good_one_is_there(
    good: tuple[Shelf, Release], tmp_path: Path
) -> None:
    shelf, release = good
    holding_a_gallery_of_tomorrow(shelf, release)
    promote_blindly(shelf, "bad", "good")
    key, metrics = "k" * 40, free_address()
    how = {"api_key_hashes": sha256(key.encode()), "metrics_address": metrics, "follow_s": 0.2}
    with serving(shelf.bucket.url, **how, cache=tmp_path / "cache") as server:
        reload, headers = f"{server.url}/api/v1/admin/reload", {"Authorization": f"Bearer {key}"}
        assert search(server.url, 3).json()["hits"][0]["id"] == photo_id(3)
        assert "continuing with release good" in server.log.read_text()
        assert httpx.post(reload, headers=headers).status_code == 500
        assert followed(metrics) == 0
        shelf.promote("good")
        assert httpx.post(reload, headers=headers).status_code == 200
        assert followed(metrics) > 0


def followed(metrics: str) -> float:
    text = httpx.get(f"http://{metrics}/metrics").text
    [line] = re.findall(r"^deepfood_followed_timestamp_seconds (\S+)", text, re.MULTILINE)
    return float(line)


def test_what_cannot_be_served_is_said_at_once(kitchen: Kitchen) -> None:
    command = [sys.executable, "-m", "deepfood.cli", "serve", f"{kitchen.url}@three", "--port", "0"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("deepfood: there is no release three in s3://")
