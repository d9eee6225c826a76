"""The end of real server processes: told to end while they are asked, and killed."""

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import httpx
from test_overload import search_bytes, status

from deepfood.config import available_cores
from live import Server, serving

DRAIN_S = 3


def ready(server: Server) -> int:
    """The status of /readyz, by a connection of its own; 0 where nobody listens any more."""
    try:
        return httpx.get(f"{server.url}/readyz", timeout=30).status_code
    except (httpx.ConnectError, httpx.ReadError, httpx.RemoteProtocolError):
        # The latter two in the moment of closing: taken by the system, and by nobody else.
        return 0


def until(holds: Callable[[], bool]) -> None:
    ends = time.monotonic() + 60
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
    with socket.create_connection(("127.0.0.1", port), timeout=60) as slow:
        slow.sendall(photo[:-100])
        until(lambda: ready(server) == 200)
        server.process.send_signal(signal.SIGTERM)
        until(lambda: ready(server) == 503)
        server.process.send_signal(signal.SIGTERM)  # once more: it does not hurry
        last = httpx.get(f"{server.url}/api/v1/gallery", timeout=30)
        assert last.status_code == 200, "it answers while it drains"
        assert last.headers["connection"] == "close"
        seen: list[int] = []
        until(lambda: seen.append(ready(server)) or seen[-1] == 0)  # type: ignore[func-returns-value]
        assert set(seen) <= {503, 0}
        slow.sendall(photo[-100:])
        assert status(slow) == 200, "what is under way is answered"
    assert server.process.wait(timeout=60) == 0
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
