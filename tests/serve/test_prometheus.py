"""What Prometheus reads from a real server of two workers: exact counts, bounded labels."""

import concurrent.futures
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from live import Server, SmallGallery, free_address, serving
from samples import photo

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Measured:
    server: Server
    address: str
    files: Path

    def read(self) -> dict[tuple[str, ...], float]:
        """Each sample, by its name and its labels' values in the order of their names."""
        answer = httpx.get(f"http://{self.address}/metrics", timeout=300)
        assert answer.headers["content-type"].startswith("text/plain")
        return {
            (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
            for family in text_string_to_metric_families(answer.text)
            for sample in family.samples
        }

    def wait_for(self, wanted: Callable[[dict[tuple[str, ...], float]], bool]) -> None:
        """A request is counted after its answer; a worker looks at the gallery each second."""
        deadline = time.monotonic() + 300
        while not wanted(now := self.read()):
            assert time.monotonic() < deadline, now
            time.sleep(0.05)

    def wrote(self, kind: str) -> set[int]:
        """The processes that have noted something of a kind."""
        return {int(p.stem.rpartition("_")[2]) for p in self.files.glob(f"*/{kind}_*.db")}

    def workers(self) -> set[int]:
        pid = self.server.process.pid
        found = set()
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes():
                found.add(int(child))
        return found


@pytest.fixture(scope="module")
def measured(
    small_gallery: SmallGallery, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Measured]:
    files, address = tmp_path_factory.mktemp("files"), free_address()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TMPDIR", str(files))
        with serving(
            small_gallery.folder, "--workers", "2", metrics_address=address, log_level="warning"
        ) as server:
            measured = Measured(server, address, files)
            # Both have opened the gallery, else one would get all requests.
            measured.wait_for(lambda _: len(measured.wrote("gauge_livemin")) == 2)
            httpx.get(server.url + "/readyz", timeout=300)
            yield measured
    assert list(files.iterdir()) == [], "the workers' files outlive the server"


def search(url: str, body: bytes) -> int:
    return httpx.post(f"{url}/api/v1/search", files={"photo": body}, timeout=300).status_code


def test_counts_are_exact_over_all_workers(measured: Measured) -> None:
    requests = ("deepfood_request_seconds_count", "POST", "/api/v1/search", "200")
    stages = [("deepfood_stage_seconds_count", one) for one in ("decode", "embed", "search")]
    before = measured.read()
    body, sent = photo(), 0
    deadline = time.monotonic() + 300
    with concurrent.futures.ThreadPoolExecutor(8) as clients:
        # The system chooses which worker gets a connection, so go on until both had some.
        while sent < 40 or not measured.workers() <= measured.wrote("histogram"):
            assert time.monotonic() < deadline, "only one worker has requests"
            done = list(clients.map(lambda _: search(measured.server.url, body), range(20)))
            assert done == [200] * 20
            sent += 20
    measured.wait_for(lambda now: now.get(requests, 0) - before.get(requests, 0) == sent)
    now = measured.read()
    assert [now[one] - before.get(one, 0) for one in stages] == [sent, sent, sent]
    parts = sum(now[("deepfood_stage_seconds_sum", one[1])] for one in stages)
    assert 0 < parts < now[("deepfood_request_seconds_sum", *requests[1:])]


def test_labels_come_from_the_routes_alone(measured: Measured) -> None:
    with httpx.Client(base_url=measured.server.url, timeout=300) as client:
        paths = client.get("/openapi.json").json()["paths"]
        for number in range(20):
            client.get(f"/photos/{number:020x}")
            client.get(f"/api/v1/photos/{number:020x}")
            client.get(f"/static/{number}")
            client.get(f"/wp-{number}", params={"q": number})
            client.request("PROPFIND", f"/{number}")
    missing = ("deepfood_request_seconds_count", "GET", "/photos/{id}", "404")
    measured.wait_for(lambda now: now.get(missing, 0) >= 20)
    seen = {key[1:] for key in measured.read() if key[0] == "deepfood_request_seconds_count"}
    assert {route for _, route, _ in seen} <= {*paths, "/static", "/openapi.json", "unmatched"}
    assert {method for method, _, _ in seen} <= {"GET", "POST", "other"}


def test_errors_are_counted_by_their_class(measured: Measured) -> None:
    kind = ("deepfood_errors_total", "PhotoUnsupportedError")
    before = measured.read().get(kind, 0)
    assert search(measured.server.url, b"no photo") == 415
    measured.wait_for(lambda now: now.get(kind, 0) == before + 1)


def test_it_tells_which_gallery_is_searched(measured: Measured) -> None:
    now = measured.read()
    assert now[("deepfood_gallery_photos",)] == 24
    assert now[("deepfood_gallery_generation",)] == 1
    assert time.time() - now[("deepfood_followed_timestamp_seconds",)] < 10
    assert now[("deepfood_in_line_requests", "search")] == 0


def test_a_killed_worker_leaves_its_counts_and_nothing_stale(measured: Measured) -> None:
    searched = ("deepfood_request_seconds_count", "POST", "/api/v1/search", "200")
    assert search(measured.server.url, photo()) == 200
    before, workers = measured.read(), measured.workers()
    killed = min(workers)
    os.kill(killed, signal.SIGKILL)
    when = time.time()
    measured.wait_for(lambda now: now.get(("deepfood_followed_timestamp_seconds",), 0) > when + 1)
    assert measured.read()[searched] >= before[searched]
    assert not list(measured.files.glob(f"*/gauge_live*_{killed}.db"))
    measured.wait_for(lambda _: len(measured.workers()) == 2)


def test_visitors_cannot_read_metrics(measured: Measured) -> None:
    assert httpx.get(measured.server.url + "/metrics").status_code == 404


def test_what_is_turned_away_is_counted(small_gallery: SmallGallery) -> None:
    address = free_address()
    with serving(small_gallery.folder, metrics_address=address, threads=1, max_queued=0) as server:
        measured = Measured(server, address, Path())
        large = photo(2000, 1500)
        with concurrent.futures.ThreadPoolExecutor(12) as clients:
            done = list(clients.map(lambda _: search(server.url, large), range(24)))
        assert set(done) == {200, 503}
        refused = ("deepfood_refused_total", "queue")
        assert measured.read()[refused] == done.count(503)
        measured.wait_for(lambda now: now[("deepfood_in_line_requests", "search")] == 0)


@pytest.mark.parametrize("port", ["taken", "99999"])
def test_an_address_that_cannot_be_had_is_said_in_one_line(
    port: str, small_gallery: SmallGallery
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = other.getsockname()[1]
        address = f"127.0.0.1:{taken if port == 'taken' else port}"
        done = subprocess.run(
            [sys.executable, "-m", "deepfood.cli", "serve", small_gallery.folder, "--port", "0"],
            env=os.environ | {"DEEPFOOD_METRICS_ADDRESS": address},
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert address in done.stderr


def test_every_metric_is_documented_and_no_other(measured: Measured) -> None:
    text = (ROOT / "docs/operations.md").read_text(encoding="utf-8")
    documented = set(re.findall(r"^\| `(deepfood_\w+)`", text, re.MULTILINE))
    answer = httpx.get(f"http://{measured.address}/metrics", timeout=300).text
    served = set(re.findall(r"^# TYPE (deepfood_\w+)", answer, re.MULTILINE))
    # In files of several workers, a metric without a sample is not there yet.
    assert served | {"deepfood_refused_total"} == documented
