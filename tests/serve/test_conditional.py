"""What is not sent again, or only in part, or compressed; and changes that come too late."""

import gzip
import shutil
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from test_api import problem

from deepfood.serve import STATIC
from deepfood.serve.api.keys import new_key
from deepfood.serve.edge.compress import LEAST_BYTES, accepts_gzip
from live import SmallGallery
from served import serving_here

KEY, HASH = new_key()
PLAIN = {"accept-encoding": "identity"}


@pytest.fixture(scope="module")
def client(
    small_gallery: SmallGallery, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[httpx.Client]:
    gallery = tmp_path_factory.mktemp("conditional") / "gallery"
    shutil.copytree(small_gallery.folder, gallery)
    with (
        serving_here(gallery, api_key_hashes=HASH) as url,
        httpx.Client(base_url=url, timeout=300, headers=PLAIN) as client,
    ):
        yield client


@pytest.fixture(scope="module")
def photo_id(client: httpx.Client) -> str:
    found = client.get("/api/v1/photos", params={"words": '"no 15"'}).json()
    return str(found["photos"][0]["id"])


def readable(photo_id: str) -> list[str]:
    """Addresses that are read again and again."""
    pages = ["/", "/docs", "/openapi.json", "/static/app.js", "/static/icon.svg"]
    read = ["gallery", "photos?limit=5", f"photos/{photo_id}", "labels", "facets", "suggest?q=c"]
    pictures = [f"/photos/{photo_id}", f"/thumbnails/{photo_id}"]
    return [*pages, *(f"/api/v1/{one}" for one in read), *pictures]


def test_what_a_client_has_is_not_sent_again(client: httpx.Client, photo_id: str) -> None:
    for address in readable(photo_id):
        got = client.get(address)
        tag = got.headers["etag"]
        assert client.get(address).headers["etag"] == tag, address
        for known in (tag, f'"other", {tag}', "*", f"W/{tag.removeprefix('W/')}"):
            again = client.get(address, headers={"if-none-match": known})
            assert (again.status_code, again.content) == (304, b""), address
            for name in ("etag", "cache-control", "x-content-type-options"):
                assert again.headers[name] == got.headers[name], (address, name)
            assert "content-type" not in again.headers
        other = client.get(address, headers={"if-none-match": '"other"'})
        assert (other.status_code, other.content) == (200, got.content)
        assert client.head(address, headers={"if-none-match": tag}).status_code == 304


def test_errors_and_answers_to_posts_have_no_tag(client: httpx.Client, photo_id: str) -> None:
    for answer in (
        client.get("/api/v1/photos/none", headers={"if-none-match": "*"}),
        client.post("/api/v1/search", json={"id": photo_id}, headers={"if-none-match": "*"}),
    ):
        assert answer.status_code in (200, 404)
        assert "etag" not in answer.headers


@pytest.mark.slow
def test_a_change_of_what_others_have_changed_is_refused(
    client: httpx.Client, photo_id: str
) -> None:
    address, key = f"/api/v1/photos/{photo_id}", {"authorization": f"Bearer {KEY}"}

    def change(tag: str | None, name: str) -> httpx.Response:
        headers = key | ({} if tag is None else {"if-match": tag})
        return client.patch(address, json={"name": name}, headers=headers)

    tag = client.get(address).headers["etag"]
    changed = change(tag, "Korma")
    assert (changed.status_code, changed.json()["name"]) == (200, "Korma")
    assert changed.headers["etag"] == client.get(address).headers["etag"] != tag
    assert "read it again" in problem(change(tag, "Madras"), 412)
    assert client.get(address).json()["name"] == "Korma"
    problem(client.delete(address, headers=key | {"if-match": tag}), 412)
    assert client.get(address, headers={"if-none-match": tag}).status_code == 200
    assert change(f"W/{changed.headers['etag']}", "Dal").status_code == 200
    assert change("*", "Raita").status_code == 200
    assert change(None, "Curry no. 15").headers["etag"] == tag  # all is as it was
    problem(
        client.patch("/api/v1/photos/none", json={"name": ""}, headers=key | {"if-match": tag}), 404
    )


@pytest.mark.parametrize(
    ("asked", "part"),
    [
        ("bytes=0-99", slice(0, 100)),
        ("bytes=100-", slice(100, None)),
        ("bytes=-100", slice(-100, None)),
        ("bytes=5-5", slice(5, 6)),
        ("bytes=0-99999999", slice(0, None)),
        ("bytes=-99999999", slice(0, None)),
        ("Bytes=1-2", slice(1, 3)),
    ],
)
def test_a_part_of_an_original(
    client: httpx.Client, photo_id: str, asked: str, part: slice
) -> None:
    address = f"/photos/{photo_id}"
    whole = client.get(address)
    assert whole.headers["accept-ranges"] == "bytes"
    got = client.get(address, headers={"range": asked})
    assert (got.status_code, got.content) == (206, whole.content[part])
    start, stop, _ = part.indices(len(whole.content))
    assert got.headers["content-range"] == f"bytes {start}-{stop - 1}/{len(whole.content)}"
    assert got.headers["content-type"] == whole.headers["content-type"]
    tag = whole.headers["etag"]
    assert client.get(address, headers={"range": asked, "if-range": tag}).status_code == 206
    assert client.get(address, headers={"range": asked, "if-range": '"x"'}).content == whole.content


def test_ranges_that_are_none(client: httpx.Client, photo_id: str) -> None:
    address = f"/photos/{photo_id}"
    whole = client.get(address).content
    for asked in ("bytes=-", "bytes=2-1", "bytes=0-1,4-5", "lines=0-1", "bytes=a-b", "bytes=٣-"):
        got = client.get(address, headers={b"range": asked.encode()})
        assert (got.status_code, got.content) == (200, whole), asked
    for asked in (f"bytes={len(whole)}-", "bytes=-0", "bytes=99999999999-"):
        got = client.get(address, headers={"range": asked})
        assert f"the photo has {len(whole):,} bytes" in problem(got, 416)
        assert got.headers["content-range"] == f"bytes */{len(whole)}"


def raw(client: httpx.Client, address: str, **headers: str) -> tuple[httpx.Response, bytes]:
    """An answer, and its bytes as they were sent."""
    with client.stream("GET", address, headers=headers) as answer:
        return answer, b"".join(answer.iter_raw())


def test_text_is_compressed_and_pictures_are_not(client: httpx.Client, photo_id: str) -> None:
    for address in readable(photo_id):
        plain = client.get(address)
        answer, sent = raw(client, address, **{"accept-encoding": "br, gzip;q=0.8"})
        text = not plain.headers["content-type"].startswith("image/") or "svg" in address
        assert ("accept-encoding" in answer.headers.get("vary", "").lower()) == text, address
        worth_it = text and len(plain.content) >= LEAST_BYTES
        assert (answer.headers.get("content-encoding") == "gzip") == worth_it, address
        assert (gzip.decompress(sent) if worth_it else sent) == plain.content
        if worth_it:
            assert len(sent) < len(plain.content) / 1.5
            assert answer.headers["etag"].removeprefix("W/") == plain.headers["etag"].removeprefix(
                "W/"
            )
            again = client.get(address, headers={"if-none-match": answer.headers["etag"]})
            assert again.status_code == 304


def test_answers_to_searches_are_compressed(client: httpx.Client, photo_id: str) -> None:
    asked: dict[str, Any] = {"json": {"id": photo_id, "k": 24}}
    plain = client.post("/api/v1/search", **asked)
    packed = client.post("/api/v1/search", headers={"accept-encoding": "gzip"}, **asked)
    assert packed.headers["content-encoding"] == "gzip"
    assert packed.json() == plain.json()


@pytest.mark.parametrize(
    ("header", "accepted"),
    [
        ("gzip", True),
        ("GZIP, deflate", True),
        ("gzip;q=0", False),
        ("gzip; q=0.0, *", False),
        ("*", True),
        ("*;q=0", False),
        ("br", False),
        ("", False),
        ("gzip;q=..", True),
    ],
)
def test_who_takes_gzip(header: str, accepted: bool) -> None:
    assert accepts_gzip(header) == accepted


def test_a_long_text_arrives_whole(client: httpx.Client) -> None:
    """Files are sent in pieces, of which each is compressed as it comes."""
    for path in filter(Path.is_file, STATIC.rglob("*")):
        address = f"/static/{path.relative_to(STATIC).as_posix()}"
        _, sent = raw(client, address, **{"accept-encoding": "gzip"})
        found = zlib.decompress(sent, 16 + zlib.MAX_WBITS) if sent[:2] == b"\x1f\x8b" else sent
        assert found == path.read_bytes(), path.name
