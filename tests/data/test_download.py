"""Downloads against a real server on 127.0.0.1 that does each thing wrong that servers do."""

import base64
import hashlib
import resource
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock

from deepfood.data.download import download
from deepfood.errors import DiskFullError, DownloadError
from file_server import FileServer, file_server

BODY = np.random.default_rng(0).bytes(3 * 2**20 + 17)
OTHER = np.random.default_rng(1).bytes(len(BODY))
SHA256, MD5 = hashlib.sha256(BODY).hexdigest(), hashlib.md5(BODY).hexdigest()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FileServer]:
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    with file_server() as state:
        state.files["/f.bin"] = BODY
        yield state


def fetch(server: FileServer, to: Path, path: str = "/f.bin", **how: object) -> Path:
    how = {"what": "the file", "backoff_s": 0.001, "quiet": True, "timeout_s": 10, **how}
    return download(f"{server.url}{path}", to, **how)  # type: ignore[arg-type]


def refused(server: FileServer, to: Path, path: str = "/f.bin", **how: object) -> str:
    with pytest.raises(DownloadError) as caught:
        fetch(server, to, path, **how)
    assert not to.exists()
    said = str(caught.value)
    assert "\n" not in said
    assert "the file" in said or "is not an address" in said or "redirects" in said
    return said


def leftovers(to: Path) -> list[str]:
    return sorted(path.name for path in to.parent.iterdir() if not path.name.endswith(".lock"))


@pytest.mark.parametrize("pinned", [{}, {"sha256": SHA256}, {"md5": MD5.upper()}])
def test_a_file_comes_whole_and_only_once(
    pinned: dict[str, str],
    server: FileServer,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)  # bars are drawn on terminals only
    to = tmp_path / "new" / "f.bin"
    assert fetch(server, to, quiet=False, **pinned) == to
    assert to.read_bytes() == BODY
    assert leftovers(to) == ["f.bin"]
    printed = capfd.readouterr()
    assert "downloading the file: 100%" in printed.err
    assert "3.15M" in printed.err
    assert printed.out == ""
    fetch(server, to, **pinned)
    assert len(server.requests) == 1


def test_a_file_that_is_not_the_pinned_one_is_replaced(server: FileServer, tmp_path: Path) -> None:
    to = tmp_path / "f.bin"
    to.write_bytes(b"old")
    fetch(server, to, sha256=SHA256)
    assert to.read_bytes() == BODY


def test_a_dropped_connection_goes_on_where_it_broke(server: FileServer, tmp_path: Path) -> None:
    server.drops = [2**20 + 5, 2**20]
    to = tmp_path / "f.bin"
    fetch(server, to, sha256=SHA256)
    assert to.read_bytes() == BODY
    first, second, third = server.ranges_asked()
    assert first is None
    assert second == f"bytes={2**20 + 5}-"
    assert third == f"bytes={2**21 + 5}-"
    assert "If-Range" in server.requests[1][1]


def test_another_run_goes_on_where_the_first_stopped(server: FileServer, tmp_path: Path) -> None:
    server.drops = [700, 0, 0]
    to = tmp_path / "f.bin"
    said = refused(server, to, attempts=3)
    assert "broke" in said
    assert "3 times in a row (700 bytes of it are kept)" in said
    assert leftovers(to) == [".f.bin.part.json", "f.bin.part"]
    server.requests.clear()
    fetch(server, to, sha256=SHA256)
    assert server.ranges_asked() == ["bytes=700-"]
    assert leftovers(to) == ["f.bin"]


def test_progress_renews_patience(server: FileServer, tmp_path: Path) -> None:
    server.drops = [2**20 + 1, 2**20 + 1]
    fetch(server, tmp_path / "f.bin", sha256=SHA256, attempts=2)
    assert len(server.requests) == 3


@pytest.mark.parametrize("fault", ["no ranges", "no etag"])
def test_a_server_that_cannot_go_on_starts_over(
    fault: str, server: FileServer, tmp_path: Path
) -> None:
    server.ranges, server.etags = fault != "no ranges", fault != "no etag"
    server.drops = [5000]
    to = tmp_path / "f.bin"
    fetch(server, to, sha256=SHA256)
    assert to.read_bytes() == BODY
    assert server.ranges_asked()[1] == ("bytes=5000-" if fault == "no ranges" else None)


def test_a_server_that_sends_less_than_was_asked_for_is_asked_again(
    server: FileServer, tmp_path: Path
) -> None:
    server.drops, server.at_most = [700], 2**20
    to = tmp_path / "f.bin"
    fetch(server, to, sha256=SHA256, attempts=2)
    assert to.read_bytes() == BODY
    assert server.ranges_asked()[1:] == [f"bytes={700 + i * 2**20}-" for i in range(3)]


def test_a_part_that_says_not_which_is_no_answer(server: FileServer, tmp_path: Path) -> None:
    server.statuses = [206] * 2
    said = refused(server, tmp_path / "f.bin", attempts=2)
    assert "a partial file without Content-Range" in said


def test_last_modified_serves_where_there_is_no_etag(server: FileServer, tmp_path: Path) -> None:
    changed = "Wed, 21 Oct 2015 07:28:00 GMT"
    server.etags, server.believes_if_range = False, False
    server.headers = {"Last-Modified": changed}
    server.drops = [5000]
    fetch(server, tmp_path / "f.bin", sha256=SHA256)
    assert server.requests[1][1]["If-Range"] == changed


@pytest.mark.parametrize("believes", [True, False], ids=["If-Range works", "and does not"])
def test_a_file_that_changes_between_two_parts(
    believes: bool, server: FileServer, tmp_path: Path
) -> None:
    server.files["/f.bin"] = OTHER
    server.drops = [10_000, 0]
    to = tmp_path / "f.bin"
    refused(server, to, attempts=2)
    server.files["/f.bin"], server.believes_if_range = BODY, believes
    fetch(server, to)
    assert to.read_bytes() == BODY


def test_a_change_that_the_server_hides_is_found_by_the_hash(
    server: FileServer, tmp_path: Path
) -> None:
    server.headers = {"ETag": '"always the same"'}
    server.believes_if_range = False
    server.files["/f.bin"], server.drops = OTHER, [10_000, 0]
    to = tmp_path / "f.bin"
    refused(server, to, attempts=2)
    server.files["/f.bin"] = BODY
    server.requests.clear()
    fetch(server, to, sha256=SHA256)
    assert to.read_bytes() == BODY
    assert server.ranges_asked() == ["bytes=10000-", None]


def test_a_part_that_has_grown_too_long_is_thrown_away(server: FileServer, tmp_path: Path) -> None:
    server.drops = [10_000, 0]
    to = tmp_path / "f.bin"
    refused(server, to, attempts=2)
    (tmp_path / "f.bin.part").write_bytes(BODY + b"more")
    fetch(server, to, sha256=SHA256)
    assert server.ranges_asked()[-2:] == [f"bytes={len(BODY) + 4}-", None]


def test_a_whole_part_needs_no_server(server: FileServer, tmp_path: Path) -> None:
    """As if it had been killed between the last byte and the rename."""
    server.drops = [10_000, 0]
    to = tmp_path / "f.bin"
    refused(server, to, attempts=2)
    (tmp_path / "f.bin.part").write_bytes(BODY)
    server.requests.clear()
    fetch(server, to, sha256=SHA256)
    assert server.requests == []


def test_a_part_of_another_address_is_not_used(server: FileServer, tmp_path: Path) -> None:
    server.files["/other.bin"] = OTHER
    server.drops = [10_000, 0]
    to = tmp_path / "f.bin"
    refused(server, to, "/other.bin", attempts=2)
    fetch(server, to, sha256=SHA256)
    assert server.ranges_asked()[-1] is None


@pytest.mark.parametrize("pinned", ["sha256", "md5"])
def test_wrong_contents(pinned: str, server: FileServer, tmp_path: Path) -> None:
    server.files["/f.bin"] = OTHER
    said = refused(server, tmp_path / "f.bin", **{pinned: {"sha256": SHA256, "md5": MD5}[pinned]})
    assert f"its {pinned.upper()} is" in said
    assert "nothing of it was kept" in said
    assert leftovers(tmp_path / "f.bin") == []
    assert len(server.requests) == 1


def stated_by_google(body: bytes) -> dict[str, str]:
    md5 = base64.b64encode(hashlib.md5(body).digest()).decode()
    return {"x-goog-hash": f"crc32c=AAAAAA==, md5={md5}"}


def stated_by_digest(body: bytes) -> dict[str, str]:
    sha256 = base64.b64encode(hashlib.sha256(body).digest()).decode()
    return {"Repr-Digest": f"sha-512=:AAAA:, sha-256=:{sha256}:"}


def stated_by_s3(body: bytes) -> dict[str, str]:
    return {"ETag": f'"{hashlib.md5(body).hexdigest()}"', "x-amz-request-id": "1"}


@pytest.mark.parametrize("stated", [stated_by_google, stated_by_digest, stated_by_s3])
def test_the_servers_own_hash_counts_where_none_is_pinned(
    stated: object, server: FileServer, tmp_path: Path
) -> None:
    server.headers = stated(OTHER)  # type: ignore[operator]
    assert "should be" in refused(server, tmp_path / "f.bin")
    fetch(server, tmp_path / "pinned.bin", sha256=SHA256)
    server.headers = stated(BODY)  # type: ignore[operator]
    fetch(server, tmp_path / "f.bin")


@pytest.mark.parametrize("digest", ["_" * 43 + "=", "\u00e9" * 43 + "=", "short=", ""])
def test_a_digest_that_is_none_is_not_compared(
    digest: str, server: FileServer, tmp_path: Path
) -> None:
    server.headers = {"Repr-Digest": f"sha-256=:{digest}:", "x-goog-hash": f"md5={digest}="}
    assert fetch(server, tmp_path / "f.bin").read_bytes() == BODY


@pytest.mark.parametrize("etag", ['"0123456789abcdef0123456789abcdef"', 'W/"x"', "bare"])
def test_an_etag_that_is_no_hash(etag: str, server: FileServer, tmp_path: Path) -> None:
    server.headers = {"ETag": etag}
    fetch(server, tmp_path / "f.bin")


@pytest.mark.parametrize(("status", "hint"), [(401, "a key"), (403, "the rules"), (404, None)])
def test_a_refusal_is_final(
    status: int, hint: str | None, server: FileServer, tmp_path: Path
) -> None:
    server.statuses = [status] * 9
    said = refused(
        server,
        tmp_path / "f.bin",
        "/f.bin?token=secret",
        hints={401: "a key"} | ({403: "the rules"}),
    )
    assert f"{server.url}/f.bin answers {status}" in said
    assert (hint or "check the address") in said
    assert "secret" not in said
    assert len(server.requests) == 1


@pytest.mark.parametrize("status", [500, 503, 429])
def test_a_fault_of_the_server_may_pass(status: int, server: FileServer, tmp_path: Path) -> None:
    server.statuses = [status, status]
    fetch(server, tmp_path / "f.bin", sha256=SHA256, attempts=3)
    server.statuses = [status] * 3
    said = refused(server, tmp_path / "g.bin", attempts=3)
    assert f"answers {status}" in said
    assert "3 times in a row" in said


@pytest.mark.parametrize("chunked", [False, True])
def test_an_empty_file(chunked: bool, server: FileServer, tmp_path: Path) -> None:
    server.files["/f.bin"], server.chunked = b"", chunked
    server.drops = [0] if chunked else []
    said = refused(server, tmp_path / "f.bin", attempts=1)
    assert ("is empty" in said) or ("broke" in said)


def test_a_length_that_is_not_told(server: FileServer, tmp_path: Path) -> None:
    server.chunked = True
    fetch(server, tmp_path / "f.bin", sha256=SHA256)
    assert "more than 1,000 bytes" in refused(server, tmp_path / "g.bin", max_bytes=1000)


def test_too_large(server: FileServer, tmp_path: Path) -> None:
    said = refused(server, tmp_path / "f.bin", max_bytes=1000)
    assert "has 3,145,745 bytes, and the limit is 1,000" in said
    assert leftovers(tmp_path / "f.bin") == []


def test_no_server_and_a_silent_one(server: FileServer, tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match=r"no connection to http://127\.0\.0\.1:9/x .*2 times"):
        download(
            "http://127.0.0.1:9/x",
            tmp_path / "f",
            what="f",
            attempts=2,
            backoff_s=0.001,
            quiet=True,
        )
    server.silent = threading.Event()
    said = refused(server, tmp_path / "g", timeout_s=0.1, attempts=1)
    assert "did not answer within 0.1 s, 1 time in a row" in said


def test_redirects(server: FileServer, tmp_path: Path) -> None:
    server.redirects = {"/a": "/b?signed=1", "/b": "http:c", "/c": f"{server.url}/f.bin"}
    fetch(server, tmp_path / "f.bin", "/a", sha256=SHA256, headers={"Authorization": "Basic x"})
    assert [headers.get("Authorization") for _, headers in server.requests] == ["Basic x"] * 4


def test_credentials_stay_with_their_host(server: FileServer, tmp_path: Path) -> None:
    with file_server() as stranger:
        stranger.files["/f.bin"] = BODY
        server.redirects = {"/a": f"{stranger.url}/f.bin"}
        fetch(server, tmp_path / "f.bin", "/a", headers={"Authorization": "Basic x"})
        assert server.requests[0][1]["Authorization"] == "Basic x"
        assert "Authorization" not in stranger.requests[0][1]


@pytest.mark.parametrize("to", ["file:///etc/passwd", "ftp://127.0.0.1/x", "data:text/plain,x"])
def test_a_redirect_to_another_scheme(to: str, server: FileServer, tmp_path: Path) -> None:
    server.redirects = {"/a": to}
    said = refused(server, tmp_path / "f.bin", "/a")
    assert (
        f"redirects from http to {to.partition(':')[0]}: refused" in said
        or "redirects to an invalid address: " in said
    )


@pytest.mark.parametrize(
    "to",
    [
        *("http://[", "//[::1", "http://a:b/", "/\x01", "https:///f", "http://xn--/"),
        *("http://..../", f"http://{'a' * 64}.example/"),
    ],
)
def test_a_redirect_to_what_is_no_address_is_asked_for_once(
    to: str, server: FileServer, tmp_path: Path
) -> None:
    server.redirects = {"/a": to}
    said = refused(server, tmp_path / "f.bin", "/a")
    assert said.startswith(f"{server.url}/a redirects to an invalid address: ")
    assert len(server.requests) == 1


def test_a_circle_of_redirects(server: FileServer, tmp_path: Path) -> None:
    server.redirects = {"/a": "/a"}
    assert "redirects more than 10 times" in refused(server, tmp_path / "f.bin", "/a")


@pytest.mark.parametrize(
    "url",
    [
        *("file:///etc/passwd", "f.bin", "http://", "http://[", "ftp://x/y", "http://a:b/"),
        *("http://a\n/", "http://xn--/", "http://..../", f"http://{'a' * 64}.example/"),
    ],
)
def test_what_is_no_address(url: str, tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match="is not an address"):
        download(url, tmp_path / "f", what="f", quiet=True)


def test_two_at_once_are_told_apart(server: FileServer, tmp_path: Path) -> None:
    with FileLock(tmp_path / ".f.bin.lock"):
        assert "another process is downloading" in refused(server, tmp_path / "f.bin")


def test_a_folder_that_cannot_be_written(server: FileServer, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert "cannot be written" in refused(server, tmp_path / "file" / "f.bin", what="the file")


def test_a_disk_without_room(
    server: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: full)
    with pytest.raises(DiskFullError, match=r"needs 3,145,745 bytes, and the disk of .* has 1,000"):
        fetch(server, tmp_path / "f.bin")


def test_a_disk_that_fills_up(server: FileServer, tmp_path: Path) -> None:
    """A limit on the size of files is the nearest to a full disk that a test can have."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (2**20, hard))
        with pytest.raises(DiskFullError, match="no space left on the disk of"):
            fetch(server, tmp_path / "f.bin")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)
    assert not (tmp_path / "f.bin").exists()
    fetch(server, tmp_path / "f.bin", sha256=SHA256)
    assert server.ranges_asked()[-1] == f"bytes={2**20}-"


@pytest.mark.slow
def test_killed_half_way_the_next_run_goes_on(server: FileServer, tmp_path: Path) -> None:
    server.drops = [2**20]
    to = tmp_path / "f.bin"
    code = (
        "from pathlib import Path; from deepfood.data.download import download\n"
        f"download({server.url + '/f.bin'!r}, Path({str(to)!r}), what='f', backoff_s=60)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL) as child:
        part = tmp_path / "f.bin.part"
        while not (part.is_file() and part.stat().st_size == 2**20):
            assert child.poll() is None
        child.kill()
    fetch(server, to, sha256=SHA256)
    assert server.ranges_asked() == [None, f"bytes={2**20}-"]
