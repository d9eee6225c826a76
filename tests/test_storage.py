"""Storage on a real S3 server and in a folder: the same verbs, and every failure in one line."""

import socket
from pathlib import Path

import httpx
import pytest

from deepfood.config import load_settings
from deepfood.errors import SettingError, StorageError, StorageMissingError
from deepfood.storage import Bucket, S3Options, is_remote
from http_thread import QuietHandler, http_server
from seaweed import STRANGER, use_identity


@pytest.fixture(params=[pytest.param("s3", marks=pytest.mark.s3), "folder"])
def bucket(request: pytest.FixtureRequest, tmp_path: Path) -> Bucket:
    if request.param == "folder":
        return Bucket.open(tmp_path / "store")
    url = request.getfixturevalue("s3_bucket")
    return Bucket.open(f"{url}/some/prefix", S3Options.of(load_settings()))


def open_bucket(url: str, **settings: object) -> Bucket:
    return Bucket.open(url, S3Options.of(load_settings(**settings)))


def test_what_is_written_is_read_listed_and_deleted(bucket: Bucket, tmp_path: Path) -> None:
    photo = tmp_path / "photo"
    photo.write_bytes(bytes(range(256)) * 30_000)  # 7.7 MB: in parts
    bucket.write("a/böses k+y.jpg", b"hello", content_type="image/jpeg")
    bucket.write("ab/large", photo)
    assert bucket.read("a/böses k+y.jpg") == b"hello"
    assert bucket.read("ab/large") == photo.read_bytes()
    assert bucket.read_range("a/böses k+y.jpg", 1, 3) == b"el"
    assert bucket.read_range("a/böses k+y.jpg", 3, 99) == b"lo"
    assert {one.key: one.bytes for one in bucket.list()} == {
        "a/böses k+y.jpg": 5,
        "ab/large": 7_680_000,
    }
    assert [one.key for one in bucket.list("a")] == ["a/böses k+y.jpg"]
    bucket.delete("ab/large", "never/there")
    bucket.delete("never/there")
    assert [one.key for one in bucket.list()] == ["a/böses k+y.jpg"]
    with pytest.raises(StorageMissingError, match="ab/large"):
        bucket.read("ab/large")


def test_if_absent_keeps_what_is_there(bucket: Bucket) -> None:
    assert bucket.write("one", b"first", if_absent=True)
    assert not bucket.write("one", b"second", if_absent=True)
    assert bucket.read("one") == b"first"
    assert bucket.write("one", b"third")
    assert bucket.read("one") == b"third"


def test_if_match_replaces_only_what_was_seen(bucket: Bucket) -> None:
    bucket.write("one", b"first")
    contents, tag = bucket.read_tagged("one")
    assert contents == b"first"
    assert bucket.write("one", b"second", if_match=tag)
    assert not bucket.write("one", b"third", if_match=tag)
    contents, tag = bucket.read_tagged("one")
    assert contents == b"second"
    bucket.delete("one")
    assert not bucket.write("one", b"fourth", if_match=tag)
    with pytest.raises(StorageMissingError):
        bucket.read_tagged("one")


def test_buckets_see_only_what_is_below_their_prefix(s3_bucket: str) -> None:
    open_bucket(f"{s3_bucket}/a").write("x", b"1")
    open_bucket(f"{s3_bucket}/ab").write("y", b"2")
    assert [one.key for one in open_bucket(f"{s3_bucket}/a/").list()] == ["x"]
    assert sorted(one.key for one in open_bucket(s3_bucket).list()) == ["a/x", "ab/y"]


def test_only_a_presigned_address_opens_a_private_object(s3_bucket: str) -> None:
    bucket = open_bucket(s3_bucket)
    bucket.write("photo", b"JPEG", content_type="image/jpeg")
    address = bucket.presigned_url("photo", 60)
    answer = httpx.get(address)
    assert (answer.status_code, answer.content) == (200, b"JPEG")
    assert answer.headers["content-type"] == "image/jpeg"
    assert httpx.get(address.partition("?")[0]).status_code == 403
    assert httpx.get(address[:-1] + ("0" if address[-1] != "0" else "1")).status_code == 403


@pytest.mark.parametrize(
    ("identity", "says"),
    [
        (STRANGER, "may not do that"),
        (("owner", "wrong"), "the secret key is not the access key's"),
        (("nobody", "x"), "this access key does not exist"),
    ],
)
def test_refused_credentials_are_named(
    s3_bucket: str, identity: tuple[str, str], says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_bucket(s3_bucket).write("one", b"1")
    use_identity(monkeypatch, identity)
    bucket = open_bucket(s3_bucket)
    for attempt in (
        lambda: bucket.read("one"),
        lambda: bucket.write("one", b"2"),
        lambda: list(bucket.list()),
        lambda: bucket.delete("one"),
    ):
        with pytest.raises(StorageError, match=says) as caught:
            attempt()
        assert str(caught.value).startswith(s3_bucket)
        assert "\n" not in str(caught.value)


def test_a_wrong_bucket_is_named(s3_bucket: str) -> None:
    bucket = open_bucket("s3://no-such-bucket-here/prefix")
    with pytest.raises(StorageError, match=r"s3://no-such-bucket-here/prefix.* no such bucket"):
        bucket.read("one")
    with pytest.raises(StorageError, match="no such bucket"):
        list(bucket.list())


def test_a_server_that_is_away_is_named() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    with pytest.MonkeyPatch.context() as patch:
        use_identity(patch, STRANGER)
        bucket = open_bucket("s3://some-bucket", s3_endpoint=url, s3_retry_s=0.3)
        with pytest.raises(StorageError, match="cannot be reached, it refuses connections"):
            bucket.read("one")


def test_a_server_that_is_silent_is_given_up() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent, pytest.MonkeyPatch.context() as patch:
        use_identity(patch, STRANGER)
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        bucket = open_bucket("s3://some-bucket", s3_endpoint=url, s3_timeout_s=0.3, s3_retry_s=0.5)
        with pytest.raises(StorageError, match="does not answer in time"):
            bucket.read("one")


class Answers(QuietHandler):
    """Says the same to whatever is asked."""

    status, body = 500, b""

    def do_GET(self) -> None:
        self.send_response(self.status)
        self.send_header("Content-Length", str(len(self.body)))
        self.end_headers()
        self.wfile.write(self.body)


_LISTED = """<ListBucketResult><Name>b</Name><IsTruncated>false</IsTruncated>
<Contents><Key>a/../b</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified><Size>3</Size></Contents></ListBucketResult>"""


@pytest.mark.parametrize(
    ("status", "body", "says"),
    [
        (500, b"no", "the server answers 500 Internal Server Error, and went on so"),
        (501, b"", "the server answers 501 Not Implemented, and went on so"),
        (200, _LISTED.encode(), "an object's key has .* an odd part"),
        (200, b"<html>Sign in", "Got invalid list response"),
    ],
)
def test_a_server_that_is_no_s3_server_is_told_in_one_line(
    status: int, body: bytes, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_identity(monkeypatch, STRANGER)
    handler = type("Handler", (Answers,), {"status": status, "body": body})
    with http_server(handler) as url:
        bucket = open_bucket("s3://some-bucket", s3_endpoint=url, s3_retry_s=0.3)
        with pytest.raises(StorageError, match=says) as caught:
            list(bucket.list())
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("endpoint", ["nonsense", "http://", "https://[", "ftp://x", "http://a b"])
def test_a_server_without_an_address_is_refused(
    endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    with pytest.raises(SettingError, match=r"is not an address .*: set s3_endpoint, or AWS_END"):
        open_bucket("s3://some-bucket")


def test_a_server_that_only_obstore_knows_of(monkeypatch: pytest.MonkeyPatch) -> None:
    use_identity(monkeypatch, STRANGER)
    monkeypatch.setenv("AWS_ENDPOINT", "http://127.0.0.1:9")  # no variable of AWS's own tools
    with pytest.raises(StorageError, match="plain http is used only for an endpoint that says"):
        open_bucket("s3://some-bucket", s3_retry_s=0.3).read("one")


def test_a_machine_without_credentials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_METADATA_ENDPOINT", "http://169.254.1.1")  # nobody has it
    bucket = open_bucket("s3://some-bucket", s3_timeout_s=0.3, s3_retry_s=0.3)
    with pytest.raises(StorageError, match="there are no credentials: set AWS_ACCESS_KEY_ID"):
        bucket.read("one")


def test_a_region_is_signed(monkeypatch: pytest.MonkeyPatch) -> None:
    use_identity(monkeypatch, STRANGER)
    bucket = open_bucket("s3://some-bucket", s3_region="eu-north-7")
    assert "%2Feu-north-7%2Fs3%2F" in bucket.presigned_url("one", 60)


def test_what_a_folder_cannot_do(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    for url in (tmp_path / "file", tmp_path / "file" / "below", tmp_path / "a\0b"):
        with pytest.raises(SettingError, match="is not a usable folder: ") as refused:
            Bucket.open(url)
        assert "\n" not in str(refused.value)
    folder = Bucket.open(tmp_path)
    with pytest.raises(StorageError, match="is a local file, which has no presigned address"):
        folder.presigned_url("file", 60)
    with pytest.raises(StorageError, match=r"Requested range was invalid$"):
        folder.read_range("file", 5, 9)


def test_a_profile_that_has_gone_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "credentials"
    file.write_text("[default]\naws_access_key_id = a\naws_secret_access_key = b\n")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(file))
    bucket = open_bucket("s3://some-bucket", s3_endpoint="http://127.0.0.1:9", s3_retry_s=0.3)
    for contents in ("[default]\n", "not an ini file"):
        file.write_text(contents)
        with pytest.raises(StorageError, match="AWS_PROFILE"):
            bucket.read("one")
    monkeypatch.setenv("AWS_PROFILE", "work")
    with pytest.raises(SettingError, match=r"AWS_PROFILE is work, and .* cannot be read"):
        open_bucket("s3://some-bucket")


def test_a_profile_gives_credentials(
    s3_bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "credentials"
    file.write_text(
        "[default]\naws_access_key_id = stranger\naws_secret_access_key = stranger-secret\n"
        "[work]\naws_access_key_id = owner\naws_secret_access_key = owner-secret\n[empty]\n"
    )
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(file))
    with pytest.raises(StorageError, match="may not"):
        open_bucket(s3_bucket).write("one", b"1")
    monkeypatch.setenv("AWS_PROFILE", "work")
    bucket = open_bucket(s3_bucket)
    bucket.write("one", b"1")
    assert httpx.get(bucket.presigned_url("one", 60)).content == b"1"
    monkeypatch.setenv("AWS_PROFILE", "empty")
    with pytest.raises(SettingError, match=r"empty, and .* has no keys"):
        open_bucket(s3_bucket)


@pytest.mark.parametrize("url", ["s3://", "s3://No", "s3://bucket/a//b", "s3://bucket/a/../b"])
def test_names_that_cannot_be_are_refused(url: str) -> None:
    with pytest.raises(SettingError):
        open_bucket(url)


def test_remote_is_told_from_local() -> None:
    assert is_remote("s3://bucket/x")
    assert is_remote(Path("s3://bucket/x"))
    assert not is_remote("folder/s3:/x")
    assert not is_remote(Path("/srv/s3"))
