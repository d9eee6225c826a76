"""Photos by URL: only from listed hosts, only from public addresses, only within limits."""

import asyncio
import base64
import ipaddress
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpcore
import httpx
import pytest
from held import held_server
from test_api import problem
from test_overload import connected, search_bytes, status

from deepfood.config import load_settings
from deepfood.errors import DeepfoodError, PhotoTooLargeError, QueryError, SettingError
from deepfood.photo import Limits
from deepfood.serve.api import url_fetcher
from deepfood.serve.api.url_fetcher import Fetcher, is_public
from plates import jpeg

MAX_BYTES = 100_000
TIMEOUT_S = 1.0
LOOPBACK = [ipaddress.ip_network("127.0.0.0/8"), ipaddress.ip_network("::1")]


class Answers(BaseHTTPRequestHandler):
    """A server that photos are fetched from; `asked` keeps what it was asked for."""

    asked: list[str]

    def do_GET(self) -> None:
        self.asked.append(self.path)
        name, _, rest = self.path[1:].partition("?")
        getattr(self, name)(rest)

    def photo(self, _: str) -> None:
        self._send(200, {"Content-Type": "text/plain"}, jpeg(5))

    def moved(self, to: str) -> None:
        self._send(302, {"Location": to})

    def nowhere(self, _: str) -> None:
        self._send(302, {})

    def missing(self, _: str) -> None:
        self._send(404, {})

    def again(self, _: str) -> None:
        self._send(302, {"Location": "/again"})

    def giant(self, _: str) -> None:
        self._send(200, {"Content-Length": "10000000000"}, bytes(MAX_BYTES + 1))

    def endless(self, _: str) -> None:
        self.send_response(200)
        self.end_headers()
        while True:
            self.wfile.write(bytes(65536))

    def trickle(self, _: str) -> None:
        self.send_response(200)
        self.end_headers()
        while not self.server.ended.wait(0.05):  # type: ignore[attr-defined]
            self.wfile.write(b"x")

    def silent(self, _: str) -> None:
        self.server.ended.wait(20)  # type: ignore[attr-defined]

    def _send(self, status: int, headers: dict[str, str], body: bytes = b"") -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


class Quiet(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: object) -> None:  # a client that hangs up is what we test
        pass


@dataclass(frozen=True)
class Site:
    port: int
    asked: list[str]

    def url(self, path: str, host: str = "localhost") -> str:
        return f"http://{host}:{self.port}/{path}"


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    asked: list[str] = []
    server = Quiet(("127.0.0.1", 0), type("Own", (Answers,), {"asked": asked}))
    server.ended = threading.Event()  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, args=[0.05])
    thread.start()
    yield Site(server.server_address[1], asked)
    server.ended.set()  # type: ignore[attr-defined]
    server.shutdown()
    thread.join()
    server.server_close()


def fetch(
    site: Site,
    url: str,
    *,
    inside: bool = True,
    hosts: str = "http://localhost",
    timeout_s: float = 300,
) -> bytes:
    """What a Fetcher for `hosts` gets; with `inside` it may connect to this machine."""

    async def get() -> bytes:
        fetcher = Fetcher(
            hosts.split(),
            Limits(MAX_BYTES, 10**6),
            timeout_s=timeout_s,
            inside=LOOPBACK if inside else [],
            ports=[site.port],
        )
        try:
            return await fetcher.get(url)
        finally:
            await fetcher.close()

    return asyncio.run(get())


@contextmanager
def names(lookup: Callable[[int], list[str]]) -> Iterator[list[str]]:
    """A name server of our own: `lookup` has the addresses of a name when it is asked once more."""
    asked: list[str] = []
    real = asyncio.base_events.BaseEventLoop.getaddrinfo

    async def answered(loop: Any, host: str, port: int, **how: Any) -> Any:
        if not str(host).endswith(".example"):
            return await real(loop, host, port, **how)
        asked.append(host)
        found = lookup(len(asked))
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (one, port)) for one in found]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(asyncio.base_events.BaseEventLoop, "getaddrinfo", answered)
        yield asked


def test_a_photo_of_a_listed_host_whatever_its_type(site: Site) -> None:
    assert fetch(site, site.url("photo")) == jpeg(5)
    assert fetch(site, site.url("moved?/photo")) == jpeg(5)
    assert fetch(site, site.url("photo", host="LOCALHOST")) == jpeg(5)


def test_this_machine_is_not_reached_though_its_name_is_listed(site: Site) -> None:
    before = len(site.asked)
    for host in ("localhost", "127.0.0.1"):
        with pytest.raises(QueryError, match="cannot be reached"):
            fetch(site, site.url("photo", host), inside=False, hosts=f"http://{host}")
    assert len(site.asked) == before


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:{port}/photo",
        "http://2130706433:{port}/photo",
        "http://0177.0.0.1:{port}/photo",
        "http://0x7f.1:{port}/photo",
        "http://127.1:{port}/photo",
        "http://[::1]:{port}/photo",
        "http://[::ffff:127.0.0.1]:{port}/photo",
        "http://localhost.:{port}/photo",
        "http://localhost.evil.example:{port}/photo",
        "http://evil.example:{port}/photo",
        "http://localhost:80/photo",
        "http://localhost:22/photo",
        "https://localhost:{port}/photo",
        "ftp://localhost:{port}/photo",
        "file:///etc/passwd",
        "gopher://localhost:{port}/photo",
        "http://user@localhost:{port}/photo",
        "http://user:secret@localhost:{port}/photo",  # pragma: allowlist secret
        "http://localhost:{port}@evil.example/photo",
        "http://evil.example#@localhost:{port}/photo",
        "http://localhost\\@evil.example:{port}/photo",
        "http:///photo",
        "//localhost:{port}/photo",
        "localhost",
        "",
        "http://localhost:{port}/\r\nX: y",
        "http://local\u2024host:{port}/photo",
        "http://[::1",
        "http://localhost:99999999/",
    ],
)
def test_other_addresses_are_refused_at_once_and_as_redirects(url: str, site: Site) -> None:
    before = len(site.asked)
    with pytest.raises(QueryError):
        fetch(site, url.format(port=site.port))
    assert len(site.asked) == before
    if url.isprintable() and url.isascii() and "://" in url and url != "http:///photo":
        with pytest.raises(QueryError):
            fetch(site, site.url("moved?" + url.format(port=site.port)))
        assert len(site.asked) == before + 1


@pytest.mark.parametrize(
    ("path", "error"),
    [
        ("missing", "answers 404"),
        ("nowhere", "redirects to no address"),
        ("again", "redirects more than 3 times"),
        ("giant", "max_photo_bytes"),
        ("endless", "max_photo_bytes"),
        pytest.param("trickle", "within 1 seconds", marks=pytest.mark.slow),
        pytest.param("silent", "within 1 seconds", marks=pytest.mark.slow),
    ],
)
def test_what_is_no_photo_within_the_limits(path: str, error: str, site: Site) -> None:
    kind = PhotoTooLargeError if "max" in error else QueryError
    with pytest.raises(kind, match=error):
        fetch(site, site.url(path), timeout_s=TIMEOUT_S if "seconds" in error else 300)


def test_a_name_is_looked_up_once_for_each_connection(site: Site) -> None:
    # Rebinding: public when it is checked, this machine when it is connected to. There is no second
    # time: what was checked is what is connected to, and 192.0.2.1 is not public.
    with names(lambda time: ["127.0.0.1"] if time == 1 else ["10.0.0.1"]) as asked:
        assert fetch(site, site.url("photo", "img.example"), hosts="http://img.example")
        assert asked == ["img.example"]
    with names(lambda time: ["127.0.0.1"] if time == 1 else ["10.0.0.1"]) as asked:
        to = site.url("photo", "img.example")
        with pytest.raises(QueryError, match="cannot be reached"):
            fetch(site, site.url(f"moved?{to}", "img.example"), hosts="http://img.example")
        assert len(asked) == 2, "a redirect is looked up and checked anew"


def test_one_private_address_among_several_condemns_a_name(site: Site) -> None:
    for found in (["127.0.0.1", "10.0.0.1"], ["10.0.0.1", "127.0.0.1"], []):
        with names(lambda _, found=found: found), pytest.raises(QueryError):
            fetch(site, site.url("photo", "img.example"), hosts="http://img.example")


INSIDE = """
    127.0.0.1 127.255.255.254 10.1.2.3 172.16.0.1 172.31.255.255 192.168.0.1 169.254.169.254
    100.64.0.1 0.0.0.0 255.255.255.255 224.0.0.1 239.1.2.3 240.0.0.1 192.0.2.1 198.18.0.1
    ::1 :: fe80::1 fc00::1 fd12::1 ff02::1 ::ffff:127.0.0.1 ::ffff:8.8.8.8 64:ff9b::7f00:1
    64:ff9b:1::a00:1 2002:7f00:1:: 2001:0:4136:e378:8000:63bf:3fff:fdd2 2001:db8::1
    ::127.0.0.1 fec0::1
"""


@pytest.mark.parametrize("address", INSIDE.split())
def test_addresses_that_are_not_public(address: str) -> None:
    assert not is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize("address", ["8.8.8.8", "93.184.216.34", "2606:4700::1111"])
def test_addresses_that_are(address: str) -> None:
    assert is_public(ipaddress.ip_address(address))


def test_over_http(tiny_gallery: Path, site: Site) -> None:
    photo = {"url": site.url("photo")}
    with held_server(tiny_gallery) as (port, _):
        search = f"http://127.0.0.1:{port}/api/v1/search"
        assert "takes no URLs" in problem(httpx.post(search, json=photo), 422)
        assert not httpx.get(f"http://127.0.0.1:{port}/api/v1/gallery").json()["query_urls"]
    local = Fetcher(
        ["http://localhost"], Limits(MAX_BYTES, 10**6), inside=LOOPBACK, ports=[site.port]
    )
    with held_server(tiny_gallery, local, query_url_hosts="http://localhost") as (port, _):
        assert httpx.get(f"http://127.0.0.1:{port}/api/v1/gallery").json()["query_urls"]
        search = f"http://127.0.0.1:{port}/api/v1/search"
        url = "data:image/jpeg;base64," + base64.b64encode(jpeg(5)).decode()
        by_url = httpx.post(search, json=photo).json()
        assert by_url == httpx.post(search, json={"photo": url}).json()
        assert by_url["hits"]
        assert httpx.post(search, data=photo).status_code == 422, "only in JSON"
        no_photo = httpx.post(search, json={"url": site.url("missing")})
        assert "answers 404" in problem(no_photo, 422)
        problem(httpx.post(search, json={"url": "http://169.254.169.254/"}), 422)
        problem(httpx.post(search, json={"url": 5}), 422)


def test_what_is_fetched_counts_among_the_bytes_at_once(tiny_gallery: Path, site: Site) -> None:
    upload = search_bytes()
    local = Fetcher(
        ["http://localhost"], Limits(MAX_BYTES, 10**6), inside=LOOPBACK, ports=[site.port]
    )
    with held_server(tiny_gallery, local, max_upload_bytes_at_once=len(upload)) as (port, _):
        search, photo = f"http://127.0.0.1:{port}/api/v1/search", {"url": site.url("photo")}
        with connected(port) as sending:
            sending.sendall(upload[:-10])
            time.sleep(0.2)
            answer = httpx.post(search, json=photo)
            assert "too much is being uploaded" in problem(answer, 503)
            assert answer.headers["retry-after"] == "1"
            sending.sendall(upload[-10:])
            assert status(sending) == 200
        assert httpx.post(search, json=photo).status_code == 200, "what was held is given back"


@pytest.mark.parametrize("hosts", ["*", "https://", "http://a/b", "ftp://a", "a:80", "user@a"])
def test_hosts_that_would_not_do_what_they_say_are_refused(hosts: str) -> None:
    with pytest.raises(SettingError, match="query_url_hosts"):
        load_settings(query_url_hosts=hosts)


@pytest.mark.slow
def test_errors_are_ours(site: Site) -> None:
    with pytest.raises(DeepfoodError) as told:
        fetch(site, site.url("silent"), timeout_s=TIMEOUT_S)
    assert "127.0.0.1" not in str(told.value)


def test_a_name_none_of_whose_addresses_answers(site: Site) -> None:
    nobody = "127.0.0.2"  # listens there
    with names(lambda _: [nobody, nobody]), pytest.raises(QueryError, match="cannot be reached"):
        fetch(site, site.url("photo", "img.example"), hosts="http://img.example")
    with names(lambda _: [nobody, "127.0.0.1"]):
        assert fetch(site, site.url("photo", "img.example"), hosts="http://img.example")


def test_a_socket_of_this_machine_is_no_public_address() -> None:
    backend = url_fetcher._PublicOnly(frozenset())
    with pytest.raises(httpcore.ConnectError, match="not a public address"):
        asyncio.run(backend.connect_unix_socket("/run/some.sock"))
