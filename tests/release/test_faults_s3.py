"""What goes wrong between us and S3, before a real server: said in one line, nothing half done."""

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from shelves import assert_whole, photos_of, settings

from deepfood.errors import StorageError
from deepfood.release.pull import pull
from deepfood.release.push import PushReport, push
from deepfood.release.shelf import Shelf
from plates import build, tiny_embedder, write_photos
from s3_proxy import Proxy, s3_proxy
from seaweed import OWNER, Seaweed, seaweed, use_identity


@pytest.fixture(scope="module")
def gallery(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("faults")
    build(write_photos(root / "photos", 30), root / "gallery", tiny_embedder(root / "model"))
    return root / "gallery"


@pytest.fixture
def proxy(s3_server: Seaweed, s3_bucket: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    with s3_proxy(s3_server.url) as proxy:
        monkeypatch.setenv("DEEPFOOD_S3_ENDPOINT", proxy.url)
        yield proxy


def push_to(url: str, gallery: Path) -> PushReport:
    return push(gallery, url, settings(), quiet=True)


def nothing_published(url: str) -> bool:
    shelf = Shelf.open(url, settings())
    return shelf.names() == [] and shelf.latest() is None


def comes_back_whole(url: str, out: Path, gallery: Path) -> None:
    pull(url, out, settings(), quiet=True)
    assert photos_of(out) == photos_of(gallery)
    assert_whole(out)


@pytest.mark.parametrize(
    ("status", "code", "says"),
    [
        (503, "SlowDown", "overloaded"),
        (500, "InternalError", "went on failing"),
        (400, "ExpiredToken", "have expired"),
        (403, "RequestTimeTooSkewed", "clock of this machine"),
        (403, "AccessDenied", "may not do that"),
    ],
)
def test_what_goes_on_failing_is_said_and_nothing_is_published(
    proxy: Proxy,
    s3_bucket: str,
    gallery: Path,
    status: int,
    code: str,
    says: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DEEPFOOD_S3_RETRY_S", "0.5")
    proxy.answers, proxy.for_ever = [(status, code)], True
    proxy.fails = lambda method, path: method == "PUT" and "/blobs/" in path
    with pytest.raises(StorageError, match=says) as caught:
        push_to(s3_bucket, gallery)
    assert "\n" not in str(caught.value)
    assert s3_bucket in str(caught.value)
    proxy.answers = []
    assert nothing_published(s3_bucket)


def test_what_fails_for_a_while_is_tried_again(
    proxy: Proxy, s3_bucket: str, gallery: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DEEPFOOD_S3_RETRY_S", "60")
    proxy.answers = [(503, "SlowDown"), (500, "InternalError")] * 3
    assert push_to(s3_bucket, gallery).pushed
    assert proxy.answers == []
    proxy.cuts, proxy.answers = 5, [(503, "SlowDown")] * 5
    comes_back_whole(s3_bucket, tmp_path / "pulled", gallery)
    assert (proxy.cuts, proxy.answers) == (0, [])


def test_slow_and_silent_answers_are_lived_with(
    proxy: Proxy, s3_bucket: str, gallery: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DEEPFOOD_S3_TIMEOUT_S", "1")
    monkeypatch.setenv("DEEPFOOD_S3_RETRY_S", "20")
    proxy.delay_s, proxy.hangs = 0.05, 2
    push_to(s3_bucket, gallery)
    proxy.hangs = 2
    comes_back_whole(s3_bucket, tmp_path / "pulled", gallery)
    assert proxy.hangs == 0


@pytest.mark.s3
def test_a_server_killed_in_mid_upload_is_gone_on_with(
    gallery: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "s3").mkdir()
    with seaweed(tmp_path / "s3") as server, s3_proxy(server.url) as proxy:
        monkeypatch.setenv("DEEPFOOD_S3_ENDPOINT", proxy.url)
        monkeypatch.setenv("DEEPFOOD_S3_RETRY_S", "0.5")
        use_identity(monkeypatch, OWNER)
        url = server.new_bucket()

        def kill_it(method: str, path: str) -> None:
            sent = [one for one, where in proxy.requests if one == "PUT" and "/blobs/" in where]
            if len(sent) == 20 and method == "PUT":
                server.kill()

        proxy.before = kill_it
        with pytest.raises(StorageError):
            push_to(url, gallery)
        proxy.before = lambda _method, _path: None
        server.start()
        monkeypatch.setenv("DEEPFOOD_S3_RETRY_S", "10")
        assert nothing_published(url)
        there = {one.key for one in Shelf.open(url, settings()).bucket.list("blobs")}
        # Twenty were begun and sixteen travel at a time: of the first four the server has answered.
        assert len(there) >= 4
        proxy.requests.clear()
        again = push_to(url, gallery)
        # Not counted by a listing: this server may leave out an object, which it gives if asked,
        # where it was killed while it wrote that.
        sent = {path.split("/", 2)[2] for method, path in proxy.requests if method == "PUT"}
        blobs = {key for key in sent if key.startswith("blobs/")}
        assert len(blobs) == again.sent_blobs
        assert not blobs & there
        comes_back_whole(url, tmp_path / "pulled", gallery)


def killed_after(proxy: Proxy, blobs: int, *command: object) -> None:
    """Run a command, and kill it once so many blobs have been asked for."""
    del proxy.requests[:]
    with subprocess.Popen(
        [sys.executable, "-m", "deepfood.cli", *map(str, command)], stderr=subprocess.DEVNULL
    ) as process:
        while len([path for _, path in proxy.requests if "/blobs/" in path]) < blobs:
            assert process.poll() is None, "it ended too soon to be killed"
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)


def test_a_push_and_a_pull_that_are_killed_leave_nothing_half(
    proxy: Proxy, s3_bucket: str, gallery: Path, tmp_path: Path
) -> None:
    proxy.delay_s = 0.3
    killed_after(proxy, 12, "push", gallery, s3_bucket)
    proxy.delay_s = 0.0
    assert nothing_published(s3_bucket)
    assert push_to(s3_bucket, gallery).sent_blobs < 40
    proxy.delay_s = 0.3
    killed_after(proxy, 12, "pull", s3_bucket, "--out", tmp_path / "pulled")
    proxy.delay_s = 0.0
    assert not (tmp_path / "pulled").exists()
    comes_back_whole(s3_bucket, tmp_path / "pulled", gallery)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".pulled.pull.lock", "pulled"]
