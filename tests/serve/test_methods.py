"""HEAD, Allow, and addresses with a slash too many."""

import socket
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from held import held_server
from test_api import problem

PUBLIC = "https://food.example/search/"


@pytest.fixture(scope="module")
def url(tiny_gallery: Path) -> Iterator[str]:
    with held_server(tiny_gallery) as (port, _):
        yield f"http://127.0.0.1:{port}"


@pytest.fixture(scope="module")
def behind(tiny_gallery: Path) -> Iterator[str]:
    with held_server(tiny_gallery, public_url=PUBLIC) as (port, _):
        yield f"http://127.0.0.1:{port}"


def test_head_is_get_without_its_body(url: str) -> None:
    photo = httpx.get(f"{url}/api/v1/samples?k=1").json()[0]["id"]
    addresses = ["", "healthz", "readyz", "docs", "openapi.json", "static/app.js", "nowhere"]
    addresses += ["api/v1/gallery", f"photos/{photo}", f"thumbnails/{photo}", "photos/none"]
    for address in addresses:
        got, asked = httpx.get(f"{url}/{address}"), httpx.head(f"{url}/{address}")
        assert asked.status_code == got.status_code, address
        kept = {"content-type", "content-length", "cache-control", "etag"}
        for name in kept & set(got.headers):
            if address not in ("nowhere", "photos/none"):  # whose request_id differs
                assert asked.headers[name] == got.headers[name], (address, name)


def test_no_body_follows_a_head(url: str) -> None:
    host, port = url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        head = b"HEAD /docs HTTP/1.1\r\nHost: x\r\n\r\n"
        connection.sendall(head + head.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    assert answer.count(b"HTTP/1.1 200") == 2
    _, second, rest = answer.split(b"\r\n\r\n")
    assert rest == b""
    assert second.startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize(
    ("address", "allowed"),
    [
        ("api/v1/photos/x", {"GET", "HEAD", "PATCH", "DELETE"}),
        ("api/v1/search", {"POST"}),
        ("api/v1/gallery", {"GET", "HEAD"}),
        ("static/app.js", {"GET", "HEAD"}),
        ("openapi.json", {"GET", "HEAD"}),
    ],
)
def test_allow_names_every_method(url: str, address: str, allowed: set[str]) -> None:
    answer = httpx.put(f"{url}/{address}")
    problem(answer, 405)
    assert set(answer.headers["allow"].split(", ")) == allowed


def test_a_slash_too_many_leads_below_the_public_address(url: str, behind: str) -> None:
    named = {"host": "evil.example"}
    for address, there in (("docs/", "docs"), ("api/v1/samples//?seed=3", "api/v1/samples?seed=3")):
        answer = httpx.get(f"{url}/{address}", headers=named)
        assert (answer.status_code, answer.headers["location"]) == (307, f"/{there}")
        answer = httpx.get(f"{behind}/{address}", headers=named)
        assert answer.headers["location"] == PUBLIC + there
        assert httpx.get(f"{url}/{address}", follow_redirects=True).status_code == 200
    problem(httpx.get(f"{url}/nowhere/"), 404)
    for address in ("/evil.example/", "/evil.example//docs/", "photos/%0d%0aX-Evil:%20yes/"):
        answer = httpx.get(f"{url}/{address}")
        assert "evil" not in answer.headers.get("location", "").partition("photos")[0]
        assert "x-evil" not in answer.headers
