"""The end of real server processes: told to end while they are asked, killed, and broken."""

import multiprocessing
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import httpx
import pytest
from test_api import problem
from test_overload import search_bytes, status

from deepfood.config import available_cores
from deepfood.serve.edge.workers import Workers
from live import Server, serving
from plates import jpeg

pytestmark = pytest.mark.slow

DRAIN_S = 3


def ready(server: Server) -> int:
    """The status of /readyz, by a connection of its own; 0 where nobody listens any more."""
    try:
        return httpx.get(f"{server.url}/readyz", timeout=300).status_code
    except (httpx.ConnectError, httpx.ReadError, httpx.RemoteProtocolError):
        # The latter two in the moment of closing: taken by the system, and by nobody else.
        return 0


def until(holds: Callable[[], bool]) -> None:
    ends = time.monotonic() + 300
    while not holds():
        assert time.monotonic() < ends
        time.sleep(0.02)


def workers(server: Server) -> set[int]:
    found = subprocess.run(
        ["ps", "-ww", "-o", "pid=,args=", "--ppid", str(server.process.pid)],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    return {int(line.split()[0]) for line in found if "spawn_main" in line}


def end(server: Server) -> None:
    """SIGTERM while a photo is being sent; see that it is answered, and that the process ends."""
    port = int(server.url.rpartition(":")[2])
    photo = search_bytes()
    with socket.create_connection(("127.0.0.1", port), timeout=300) as slow:
        slow.sendall(photo[:-100])
        until(lambda: ready(server) == 200)
        server.process.send_signal(signal.SIGTERM)
        until(lambda: ready(server) == 503)
        server.process.send_signal(signal.SIGTERM)  # once more: it does not hurry
        last = httpx.get(f"{server.url}/api/v1/gallery", timeout=300)
        assert last.status_code == 200, "it answers while it drains"
        assert last.headers["connection"] == "close"
        seen: list[int] = []
        until(lambda: seen.append(ready(server)) or seen[-1] == 0)  # type: ignore[func-returns-value]
        assert set(seen) <= {503, 0}
        slow.sendall(photo[-100:])
        assert status(slow) == 200, "what is under way is answered"
    assert server.process.wait(timeout=300) == 0
    assert "Traceback" not in server.log.read_text()


def test_sigterm_drains(tiny_gallery: Path) -> None:
    with serving(tiny_gallery, drain_s=DRAIN_S) as server:
        end(server)
        assert "deepfood: ended" in server.log.read_text()


def test_a_killed_worker_is_replaced_and_workers_drain(tiny_gallery: Path) -> None:
    with serving(tiny_gallery, "--workers", "2", drain_s=DRAIN_S) as server:
        log = server.log.read_text
        until(lambda: log().count("startup complete") == 2)
        before = workers(server)
        for one in before:
            told = Path(f"/proc/{one}/environ").read_bytes().split(b"\0")
            assert b"DEEPFOOD_THREADS=%d" % max(1, available_cores() // 2) in told
        killed = min(before)
        os.kill(killed, signal.SIGKILL)
        while log().count("startup complete") < 3:
            assert ready(server) == 200, "the other one answers meanwhile"
            time.sleep(0.02)
        assert len(workers(server)) == 2
        assert killed not in workers(server)
        end(server)


def searched(server: Server) -> int:
    """The status of a search by a connection of its own; 0 where it is cut off."""
    try:
        with httpx.Client(timeout=300) as client:
            return client.post(f"{server.url}/api/v1/search", files={"photo": jpeg(3)}).status_code
    except (httpx.ConnectError, httpx.ReadError, httpx.RemoteProtocolError):
        return 0


@pytest.fixture
def own_gallery(tiny_gallery: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_gallery, tmp_path / "gallery"))


def cut_off(gallery: Path) -> Callable[[], None]:
    """Overwrite the vectors where they lie, as `cp` would; gives what writes the rest of them."""
    (vectors,) = gallery.glob("generation-*/vectors.*")
    data = vectors.read_bytes()
    os.truncate(vectors, 0)

    def go_on() -> None:
        with vectors.open("r+b") as file:
            file.write(data)

    return go_on


def test_a_worker_that_a_file_was_cut_off_under_is_named_and_replaced(own_gallery: Path) -> None:
    with serving(own_gallery, "--workers", "2") as server:
        log = server.log.read_text
        until(lambda: log().count("startup complete") == 2)
        before = workers(server)
        assert searched(server) == 200
        go_on = cut_off(own_gallery)
        assert searched(server) == 0
        go_on()
        until(
            lambda: "ended by SIGBUS; a file of the gallery or the Model was overwritten" in log()
        )
        until(lambda: log().count("startup complete") >= 3)
        until(lambda: searched(server) == 200)
        assert len(before & workers(server)) == 1
        assert server.process.poll() is None


def test_a_single_process_says_where_a_file_was_cut_off(own_gallery: Path) -> None:
    with serving(own_gallery) as server:
        assert searched(server) == 200
        go_on = cut_off(own_gallery)
        assert searched(server) == 0
        go_on()
        assert server.process.wait(timeout=300) == -signal.SIGBUS
        assert "Fatal Python error: Bus error" in server.log.read_text()


def test_workers_end_when_their_parent_is_killed(tiny_gallery: Path) -> None:
    with serving(tiny_gallery, "--workers", "2") as server:
        log = server.log.read_text
        until(lambda: log().count("startup complete") == 2)
        orphans = workers(server)
        server.process.kill()
        server.process.wait()
        until(lambda: not any(Path(f"/proc/{one}").exists() for one in orphans))
        assert log().count("the parent process is gone") == 2
        # The port can be had again.
        with serving(tiny_gallery, "--port", server.url.rpartition(":")[2]) as next_one:
            assert ready(next_one) == 200


def test_a_stopped_worker_does_not_keep_the_server_from_ending(tiny_gallery: Path) -> None:
    with serving(tiny_gallery, "--workers", "2") as server:
        until(lambda: server.log.read_text().count("startup complete") == 2)
        stopped = min(workers(server))
        os.kill(stopped, signal.SIGSTOP)
        time.sleep(2)  # for the parent to ask it whether it lives
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(timeout=300) == 0
        assert not Path(f"/proc/{stopped}").exists()


def test_a_worker_that_does_not_end_is_killed(caplog: pytest.LogCaptureFixture) -> None:
    spawn = multiprocessing.get_context("spawn")
    busy, done = (spawn.Process(target=time.sleep, args=(seconds,)) for seconds in (10_000, 0))
    for one in (busy, done):
        one.start()
    done.join(300)
    parent = Workers.__new__(Workers)
    parent.processes = [  # type: ignore[misc]
        SimpleNamespace(process=one, pid=one.pid) for one in (busy, done)
    ]
    parent._ends_within_s = 0.01
    parent.join_all()
    assert (busy.exitcode, done.exitcode) == (-signal.SIGKILL, 0)
    assert [one.getMessage() for one in caplog.records] == [
        f"worker {busy.pid} does not end, and is killed"
    ]


def test_workers_that_cannot_start_are_an_error(own_gallery: Path) -> None:
    with serving(own_gallery, "--workers", "2") as server:
        log = server.log.read_text
        until(lambda: log().count("startup complete") == 2)
        (own_gallery / "manifest.json").rename(own_gallery / "away.json")
        os.kill(min(workers(server)), signal.SIGKILL)
        until(lambda: "ended by SIGKILL" in log())
        until(lambda: "startup failed" in log())
        assert server.process.poll() is None, "the other one still serves"
        (own_gallery / "away.json").rename(own_gallery / "manifest.json")
        until(lambda: log().count("startup complete") == 3)
        (own_gallery / "manifest.json").unlink()
        for one in workers(server):
            os.kill(one, signal.SIGKILL)
        assert server.process.wait(timeout=300) == 2
        assert "deepfood: no worker could start" in log()


def test_a_gallery_that_is_away_is_not_ready_and_no_fault(own_gallery: Path) -> None:
    with serving(own_gallery) as server:
        assert ready(server) == 200
        away = own_gallery.rename(own_gallery.with_name("away"))
        assert "cannot be read" in problem(httpx.get(f"{server.url}/readyz"), 503)
        assert "cannot be read" in problem(httpx.get(f"{server.url}/api/v1/gallery"), 503)
        assert httpx.get(f"{server.url}/healthz").status_code == 200
        away.rename(own_gallery)
        assert ready(server) == 200
        assert searched(server) == 200
        assert "Traceback" not in server.log.read_text()
