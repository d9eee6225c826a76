"""More clients than can be served, and clients that are slow, go away, or never end."""

import asyncio
import concurrent.futures
import contextlib
import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from held import HeldService, held_server
from PIL import Image

from deepfood.heatmap import MatchExplainer, MatchHeat
from deepfood.photo_box import Box
from deepfood.serve.edge.door import Door
from deepfood.serve.edge.drain import Drain
from deepfood.serve.edge.queue import WorkQueue
from live import run_deepfood
from plates import jpeg, write_tiny_model

pytestmark = pytest.mark.slow

THREADS = 2  # of a held server
QUEUED = 3
BODY_TIMEOUT_S = 0.5


@pytest.fixture(scope="module")
def busy(tiny_gallery: Path) -> Iterator[tuple[int, HeldService]]:
    """Room for five searches, two at work and three waiting."""
    with held_server(tiny_gallery, max_queued=QUEUED, max_connections=30) as one:
        yield one


@pytest.fixture(scope="module")
def hurried(tiny_gallery: Path) -> Iterator[tuple[int, HeldService]]:
    """The same room, and one second for a search."""
    with held_server(tiny_gallery, max_queued=QUEUED, request_timeout_s=1.0) as one:
        yield one


@pytest.fixture(scope="module")
def strict(tiny_gallery: Path) -> Iterator[tuple[int, HeldService]]:
    """Half a second for a request to come in."""
    with held_server(tiny_gallery, max_queued=0, body_timeout_s=BODY_TIMEOUT_S) as one:
        yield one


@contextlib.contextmanager
def connected(port: int) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", port), timeout=300) as connection:
        yield connection


def search_bytes(*, body_follows: bool = True, headers: bytes = b"") -> bytes:
    body = b'--b\r\nContent-Disposition: form-data; name="photo"; filename="p"\r\n\r\n'
    body += jpeg(3) + b"\r\n--b--\r\n"
    head = (
        "POST /api/v1/search HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=b"
        f"\r\nContent-Length: {len(body)}\r\n"
    )
    return head.encode() + headers + b"\r\n" + (body if body_follows else b"")


JSON = b"POST /api/v1/search HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
GET_HEALTH = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"


def status(connection: socket.socket) -> int:
    """The status of the next answer, which is read to its end; 0 where the server closed."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        one = connection.recv(1)
        if not one:
            return 0
        head += one
    length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
    while length:
        length -= len(connection.recv(length))
    return int(head.split()[1])


def until(holds: Callable[[], bool]) -> None:
    ends = time.monotonic() + 300
    while not holds():
        assert time.monotonic() < ends
        time.sleep(0.01)


def quiet(service: HeldService) -> None:
    service.gate.set()
    time.sleep(0.1)  # for what still waits in the line
    until(lambda: service.begun == service.ended)


@contextlib.contextmanager
def crowd(port: int, service: HeldService, count: int) -> Iterator[list[socket.socket]]:
    """So many searches under way, one by one, behind a closed gate."""
    service.gate.clear()
    service.begun = service.ended = 0
    with contextlib.ExitStack() as stack:
        stack.callback(quiet, service)
        clients = [stack.enter_context(connected(port)) for _ in range(count)]
        for number, client in enumerate(clients):
            client.sendall(search_bytes())
            if number < THREADS:
                until(lambda wanted=number + 1: service.begun == wanted)  # type: ignore[misc]
        time.sleep(0.1)  # the rest can be seen to wait only by what comes after them
        yield clients


def test_beyond_the_queue_it_is_503_before_the_body_and_at_once(
    busy: tuple[int, HeldService],
) -> None:
    port, service = busy
    with crowd(port, service, THREADS + QUEUED) as clients, connected(port) as late:
        late.sendall(search_bytes(body_follows=False))
        answer = late.recv(4096)  # the gate is closed: nothing else comes before it
        assert answer.startswith(b"HTTP/1.1 503")
        assert b"retry-after: 1\r\n" in answer.lower()
        assert b"application/problem+json" in answer
        service.gate.set()
        assert [status(client) for client in clients] == [200] * 5
        with connected(port) as after:
            after.sendall(search_bytes())
            assert status(after) == 200


def test_who_is_turned_away_is_asked_for_no_body(busy: tuple[int, HeldService]) -> None:
    port, service = busy
    head = search_bytes(body_follows=False, headers=b"Expect: 100-continue\r\n")
    with crowd(port, service, THREADS + QUEUED), connected(port) as late:
        late.sendall(head)
        assert late.recv(4096).startswith(b"HTTP/1.1 503")
    with connected(port) as after:
        after.sendall(head)
        assert after.recv(4096).startswith(b"HTTP/1.1 100")


def test_who_is_turned_away_keeps_the_connection_unless_told(busy: tuple[int, HeldService]) -> None:
    port, service = busy
    with crowd(port, service, THREADS + QUEUED) as clients, connected(port) as late:
        late.sendall(2 * search_bytes() + GET_HEALTH)
        assert [status(late) for _ in range(3)] == [503, 503, 200]
        late.sendall(search_bytes(body_follows=False))
        assert status(late) == 503
        service.gate.set()
        assert [status(client) for client in clients] == [200] * 5
        # Its body comes when there is room; it has been answered, and is dropped.
        late.sendall(search_bytes()[len(search_bytes(body_follows=False)) :] + search_bytes())
        assert status(late) == 200
    with crowd(port, service, THREADS + QUEUED), connected(port) as late:
        late.sendall(search_bytes(headers=b"Connection: close\r\n"))
        answer = b"".join(iter(lambda: late.recv(4096), b""))
        assert answer.startswith(b"HTTP/1.1 503")
        assert b"\r\nconnection: close\r\n" in answer


def test_a_crowd_that_comes_at_once_is_let_in_as_far_as_there_is_room() -> None:
    async def crowd_at_once() -> None:
        with WorkQueue("test", 1, QUEUED, 60) as queue:
            door = Door(queue, Drain(), [])
            for _ in range(2):  # those of the first turn have not joined the line
                let_in = [door.admits(b"POST") for _ in range(10)]
                assert let_in == [True] * (1 + QUEUED) + [False] * (9 - QUEUED)
                assert door.admits(b"GET")
                await asyncio.sleep(0)

    asyncio.run(crowd_at_once())


def test_who_is_turned_away_meets_nothing_but_the_door(
    tiny_gallery: Path, caplog: pytest.LogCaptureFixture
) -> None:
    room, shop, beyond = THREADS + QUEUED, "https://shop.example", 20
    settings: dict[str, Any] = {"rate_limit_per_minute": room + 1, "cors_origins": shop}
    others = {thread.ident for thread in threading.enumerate()}  # servers of other tests log too

    def lines(logger: str) -> list[logging.LogRecord]:
        return [one for one in caplog.records if one.name == logger and one.thread not in others]

    with held_server(tiny_gallery, max_queued=QUEUED, **settings) as (port, service):
        url, sent = f"http://127.0.0.1:{port}/api/v1/search", {"photo": jpeg(3)}
        with crowd(port, service, room) as clients, httpx.Client(headers={"Origin": shop}) as late:
            for number in range(beyond):
                answer = late.post(url, files=sent, headers={"X-Request-ID": f"late-{number}"})
                assert answer.status_code == 503
                assert answer.json()["request_id"] == f"late-{number}"
            # It has what other answers have.
            assert answer.headers["x-request-id"] == f"late-{number}"
            assert answer.headers["access-control-allow-origin"] == shop
            assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
            page = late.post(f"http://127.0.0.1:{port}/search", headers={"Accept": "text/html"})
            assert page.status_code == 503
            assert page.headers["content-type"].startswith("text/html")

            def counted() -> int:
                said = lines("deepfood.serve.edge.door")
                assert len(said) < beyond
                return sum(line.args[0] for line in said)  # type: ignore[index, misc]

            until(lambda: counted() == beyond + 1)
            assert service.begun == THREADS
            service.gate.set()
            assert [status(client) for client in clients] == [200] * room
        # It took nothing of what the client may ask in a minute, and left no line of its own.
        last = [httpx.post(url, files=sent).status_code for _ in range(2)]
        assert last == [200, 429]
    assert not [line for line in lines("deepfood.request") if line.args[2] == 503]  # type: ignore[index]


def test_who_is_turned_away_is_told_so_whatever_the_origin(tiny_gallery: Path) -> None:
    with held_server(tiny_gallery, max_queued=QUEUED, cors_origins="*") as (port, service):
        url, sent = f"http://127.0.0.1:{port}/api/v1/search", {"photo": jpeg(3)}
        from_a_page = {"Origin": "https://any.example"}
        let_in = httpx.post(url, files=sent, headers=from_a_page)
        with crowd(port, service, THREADS + QUEUED):
            refused = httpx.post(url, files=sent, headers=from_a_page)
            assert "access-control-allow-origin" not in httpx.post(url, files=sent).headers
        assert (let_in.status_code, refused.status_code) == (200, 503)
        for name in ("access-control-allow-origin", "access-control-expose-headers"):
            assert refused.headers[name] == let_in.headers[name]
        assert refused.headers["access-control-allow-origin"] == "*"


def test_heat_maps_keep_nobody_from_searching(tiny_gallery: Path) -> None:
    with held_server(tiny_gallery) as (port, service):
        begun, gate = threading.Semaphore(0), threading.Event()

        class Held(MatchExplainer):
            def explain(self, query: bytes, hit: bytes, box: Box | None = None) -> MatchHeat:
                begun.release()
                assert gate.wait(300)
                return super().explain(query, hit, box)

        service.explainer = Held(service.embedder.model, service.embedder.limits, 1)
        photo = service.gallery.sample(1, 0)[0].id
        url = f"http://127.0.0.1:{port}/api/v1"
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            asked = {"id": photo, "hit": photo}
            maps = [pool.submit(httpx.post, f"{url}/explain", json=asked) for _ in range(8)]
            try:
                assert begun.acquire(timeout=300)
                for _ in range(3 * THREADS):
                    found = httpx.post(f"{url}/search", files={"photo": jpeg(3)}, timeout=300)
                    assert found.status_code == 200
                assert not begun.acquire(blocking=False), "one heat map at a time"
            finally:
                gate.set()
            assert {one.result().status_code for one in maps} == {422}  # a Model that has none


def test_a_client_that_reads_nothing_is_cut_off_and_a_slow_one_is_not(tmp_path: Path) -> None:
    write_tiny_model(tmp_path / "model")
    (tmp_path / "photos").mkdir()
    noise = np.random.default_rng(0).integers(0, 256, (2500, 2500, 3), np.uint8)
    photo = tmp_path / "photos" / "noise.bmp"  # more than the sockets of both sides hold
    Image.fromarray(noise).save(photo)
    gallery = tmp_path / "gallery"
    run_deepfood("build", tmp_path / "photos", "--out", gallery, "--model", tmp_path / "model")
    size = photo.stat().st_size
    with held_server(gallery, body_timeout_s=BODY_TIMEOUT_S, max_connections=2) as (port, service):
        address = f"/photos/{service.gallery.sample(1, 0)[0].id}"
        ask = f"GET {address} HTTP/1.1\r\nHost: x\r\n\r\n".encode()
        with connected(port) as silent, connected(port) as slow:
            silent.sendall(ask)
            slow.sendall(ask)
            came = 0
            while came < size:  # in all, longer than a client may be silent
                came += len(slow.recv(2**20))
                time.sleep(BODY_TIMEOUT_S / 10)
            until(lambda: _health(port) == 200)  # there is room for another connection
            assert len(b"".join(iter(lambda: silent.recv(2**20), b""))) < size


def test_who_came_in_before_it_was_full_is_counted_once_the_body_is_there(
    busy: tuple[int, HeldService],
) -> None:
    port, service = busy
    head = search_bytes(body_follows=False)
    with connected(port) as early:
        early.sendall(head)
        with crowd(port, service, THREADS + QUEUED) as clients:
            early.sendall(search_bytes()[len(head) :])
            assert status(early) == 503
            service.gate.set()
            assert [status(client) for client in clients] == [200] * 5


def test_health_photos_and_the_page_are_quick_meanwhile(busy: tuple[int, HeldService]) -> None:
    port, service = busy
    photo = service.gallery.sample(1, 0)[0].id
    with crowd(port, service, THREADS + QUEUED), connected(port) as other:
        for path in ("/healthz", "/readyz", "/", f"/photos/{photo}", f"/thumbnails/{photo}"):
            other.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            assert status(other) == 200, path
        assert service.ended == 0


def test_who_went_away_is_not_computed_for(busy: tuple[int, HeldService]) -> None:
    port, service = busy
    with crowd(port, service, THREADS + QUEUED) as clients:
        for client in clients[THREADS:]:
            client.close()
        time.sleep(0.2)
        with connected(port) as other:  # there is room again
            other.sendall(search_bytes())
            time.sleep(0.1)
            service.gate.set()
            assert status(other) == 200
        assert [status(client) for client in clients[:THREADS]] == [200] * THREADS
        assert service.begun == THREADS + 1


def test_time_spent_waiting_is_a_503_and_at_work_a_504(hurried: tuple[int, HeldService]) -> None:
    port, service = hurried
    with crowd(port, service, THREADS + QUEUED) as clients:
        assert [status(client) for client in clients] == [504] * THREADS + [503] * QUEUED
        assert service.begun == THREADS
        # The threads are still at work, and so there is room in the queue only.
        with contextlib.ExitStack() as stack:
            more = [stack.enter_context(connected(port)) for _ in range(QUEUED + 1)]
            for client in more:
                client.sendall(search_bytes())
                time.sleep(0.05)
            assert status(more[-1]) == 503
            service.gate.set()
            assert [status(client) for client in more[:-1]] == [200] * QUEUED


def test_connections_beyond_the_limit_are_closed(busy: tuple[int, HeldService]) -> None:
    port, _ = busy
    with contextlib.ExitStack() as stack:
        some = [stack.enter_context(connected(port)) for _ in range(30)]
        for one in some:
            one.sendall(GET_HEALTH)
            assert status(one) == 200
        with connected(port) as beyond:
            assert b"503 Service Unavailable" in beyond.recv(200)
            assert beyond.recv(1) == b""
        some.pop().close()
        until(lambda: _health(port) == 200)


def _health(port: int) -> int:
    with connected(port) as one:
        one.sendall(GET_HEALTH)
        return status(one)


@pytest.mark.parametrize(
    ("first", "drop"),
    [
        (b"", b""),
        (b"", b"\r\n"),
        (b"POST /api/v1/search HTTP/1.1\r\nHost: x\r\n", b"X-More: y\r\n"),
        (JSON + b"Content-Length: 9999\r\n\r\n", b" "),
        (JSON + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n"),
        # Answered early, before its body, and read on.
        (b"POST /nowhere HTTP/1.1\r\nHost: x\r\nContent-Length: 9999\r\n\r\n", b"-"),
        # A good request first, then a slow one.
        (GET_HEALTH + b"GET /hea", b"l"),
        (GET_HEALTH + b"GET /hea", b""),
        (GET_HEALTH, b"\r\n"),
    ],
    ids=["silence", "lines", "head", "body", "chunks", "answered", "second", "half", "between"],
)
def test_a_request_that_trickles_in_is_cut_off(
    first: bytes, drop: bytes, strict: tuple[int, HeldService]
) -> None:
    port, _ = strict
    started = time.monotonic()
    with connected(port) as slow:
        slow.settimeout(0.1)
        slow.sendall(first)
        answer = b""
        while time.monotonic() - started < 300:
            try:
                if drop:
                    slow.sendall(drop)
                received = slow.recv(4096)
                answer += received
                if not received:
                    break
            except TimeoutError:
                continue
            except OSError:
                break
        else:
            pytest.fail(f"it is never cut off: {answer!r}")
    assert answer.startswith(b"HTTP/1.1 ")
    assert (b"408 Request Timeout" in answer) == (not first.startswith((GET_HEALTH, b"POST /now")))


def test_who_is_prompt_keeps_the_connection(strict: tuple[int, HeldService]) -> None:
    port, service = strict
    with connected(port) as client:
        for _ in range(3):
            client.sendall(GET_HEALTH)
            assert status(client) == 200
            time.sleep(0.3)
        # Our own time does not count, nor does that of one that was sent along with another.
        service.gate.clear()
        client.sendall(search_bytes() + GET_HEALTH[:9])
        time.sleep(3 * BODY_TIMEOUT_S)
        service.gate.set()
        assert status(client) == 200


def test_only_so_many_bytes_are_uploaded_at_once(tiny_gallery: Path) -> None:
    photo = search_bytes()
    limits: dict[str, Any] = {
        "max_upload_bytes_at_once": len(photo),
        "max_photo_bytes": 2 * len(photo),
    }
    with held_server(tiny_gallery, **limits) as (port, _):
        with connected(port) as first, connected(port) as second:
            first.sendall(photo[:-10])
            time.sleep(0.2)
            second.sendall(photo)
            answer = second.recv(4096).lower()
            assert answer.startswith(b"http/1.1 503")
            assert b"retry-after: 1\r\n" in answer
            assert b"connection: close\r\n" in answer
            first.sendall(photo[-10:])
            assert status(first) == 200
        with connected(port) as third:  # what was held is given back
            for _ in range(2):
                third.sendall(photo)
                assert status(third) == 200


def test_a_body_alone_is_always_let_in(tiny_gallery: Path) -> None:
    with (
        held_server(tiny_gallery, max_upload_bytes_at_once=1024) as (port, _),
        connected(port) as one,
    ):
        one.sendall(search_bytes())
        assert status(one) == 200
