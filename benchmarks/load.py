"""Load on a server of deepfood: throughput, latency, errors and memory, by number of clients.

    python benchmarks/load.py GALLERY PHOTOS --clients 1,16,64,256 --seconds 20
    python benchmarks/load.py GALLERY PHOTOS --workers 2 --clients 16 --overload 10
    python benchmarks/load.py GALLERY PHOTOS --clients 16 --seconds 600     # does memory grow?

Starts `deepfood serve GALLERY` and searches with the photos of a folder, as multipart uploads, over
kept connections. Each client sends its next request as soon as the last one is answered; a refused
client first waits for the time in Retry-After, as deepfood's own client does. With `--overload 10`,
requests are then sent at ten times the best of these rates, answered or not, on up to 800
connections: what counts then is how many are still answered with 200 (goodput), and how soon the
others are refused.

Client and server share the cores, so that the client's share is missing from the goodput; it has
the lower priority, and "client cores" is its share of a core. With `--apart` the client has the
last core and the server the others, in all measurements, as if the client were on another machine.
"MB" is the server's memory over the first and the last tenth of the time. Linux only.
"""

import argparse
import asyncio
import itertools
import json
import os
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean

import uvloop

from servers import Server, deepfood_server

_PHOTOS = 100
_MAX_CONNECTIONS = 800
_PATIENCE_S = 60.0
_MEMORY_EVERY_S = 1.0


@dataclass
class Seen:
    """The clients' observations; latencies in seconds, of answers of 200 and of refusals."""

    seconds: float = 0.0
    good_s: list[float] = field(default_factory=list)
    refused_s: list[float] = field(default_factory=list)
    faults: Counter[str] = field(default_factory=Counter)
    not_sent: int = 0
    memory_mb: list[float] = field(default_factory=list)
    server_cpu_s: float = 0.0
    client_cpu_s: float = 0.0

    @property
    def goodput(self) -> float:
        return len(self.good_s) / self.seconds

    def _tenth(self, number: int) -> list[float]:
        count = len(self.memory_mb)
        return self.memory_mb[number * count // 10 :][: max(1, count // 10)]

    def row(self, name: str) -> dict[str, object]:
        return {
            "load": name,
            "answered/s": round(self.goodput, 1),
            "p50 ms": _percentile_ms(self.good_s, 50),
            "p99 ms": _percentile_ms(self.good_s, 99),
            "refused/s": round(len(self.refused_s) / self.seconds, 1),
            "refused p50 ms": _percentile_ms(self.refused_s, 50),
            "refused p99 ms": _percentile_ms(self.refused_s, 99),
            "errors": sum(self.faults.values()),
            "not sent": self.not_sent,
            "server cores": round(self.server_cpu_s / self.seconds, 2),
            "client cores": round(self.client_cpu_s / self.seconds, 2),
            "MB": f"{mean(self._tenth(0)):.0f} to {mean(self._tenth(9)):.0f}",
        }


class Connection:
    """One kept connection; `ask` opens it if needed."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._writer: asyncio.StreamWriter | None = None
        self._reader: asyncio.StreamReader

    async def ask(self, request: bytes, seen: Seen) -> float:
        """Send a request; returns the seconds to wait according to Retry-After."""
        started = time.perf_counter()
        try:
            status, wait_s = await asyncio.wait_for(self._answer(request), _PATIENCE_S)
        except (OSError, EOFError, TimeoutError, ValueError) as error:
            seen.faults[type(error).__name__] += 1
            self.close()
            return 0.0
        took = time.perf_counter() - started
        if status == 200:
            seen.good_s.append(took)
        elif status == 503:
            seen.refused_s.append(took)
        else:
            seen.faults[str(status)] += 1
        return wait_s

    async def _answer(self, request: bytes) -> tuple[int, float]:
        if self._writer is None or self._reader.at_eof():  # the server closes idle connections
            self.close()
            self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)
        self._writer.write(request)
        head = (await self._reader.readuntil(b"\r\n\r\n")).lower()
        length = int(head.partition(b"content-length:")[2].split(b"\r\n")[0])
        body = await self._reader.readexactly(length)
        if b"\r\nconnection: close" in head:
            self.close()
        status = int(head.split()[1])
        if status == 200 and not json.loads(body)["hits"]:
            raise ValueError("no hits")
        wait = head.partition(b"retry-after:")[2].split(b"\r\n")[0]
        return status, float(wait or 0)

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None


def search_requests(photos: Path) -> Iterator[bytes]:
    """Searches with photos of a folder, over and over."""
    files = sorted(path for path in photos.rglob("*") if path.is_file())[:_PHOTOS]
    return itertools.cycle([search_request(path) for path in files])


async def closed_loop(port: int, requests: Iterator[bytes], clients: int, seconds: float) -> Seen:
    """Each client sends its next request after the answer, or when it may retry."""
    seen = Seen()
    started = time.perf_counter()

    async def client() -> None:
        connection = Connection(port)
        while time.perf_counter() < started + seconds:
            wait_s = await connection.ask(next(requests), seen)
            seen.seconds = time.perf_counter() - started
            await asyncio.sleep(wait_s)
        connection.close()

    await asyncio.gather(*(client() for _ in range(clients)))
    return seen


async def open_loop(port: int, requests: Iterator[bytes], rate: float, seconds: float) -> Seen:
    """Requests are sent at `rate` per second, whether the previous ones are answered or not."""
    seen = Seen()
    free = [Connection(port) for _ in range(_MAX_CONNECTIONS)]
    started = time.perf_counter()
    asking = set()

    async def ask(connection: Connection, request: bytes) -> None:
        await connection.ask(request, seen)
        free.append(connection)

    for number in itertools.count():
        now = time.perf_counter() - started
        if now > seconds:
            break
        if (due := number / rate) > now:
            await asyncio.sleep(due - now)
        if not free:
            seen.not_sent += 1
            await asyncio.sleep(0)
            continue
        task = asyncio.create_task(ask(free.pop(), next(requests)))
        asking.add(task)
        task.add_done_callback(asking.discard)
    await asyncio.gather(*asking)
    seen.seconds = time.perf_counter() - started
    for connection in free:
        connection.close()
    return seen


def search_request(photo: Path) -> bytes:
    body = b'--b\r\nContent-Disposition: form-data; name="photo"; filename="p.jpg"\r\n\r\n'
    body += photo.read_bytes() + b"\r\n--b--\r\n"
    head = (
        "POST /api/v1/search HTTP/1.1\r\nHost: localhost\r\n"
        f"Content-Type: multipart/form-data; boundary=b\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def memory_mb(server: Server) -> float:
    """Memory of the server's processes in MB (10^6 bytes), with shared memory counted once."""
    total = 0
    for pid in _processes(server.pid):
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        total += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return total * 1024 / 1e6


def cpu_s(server: Server) -> float:
    """Processor time of the server's processes so far."""
    ticks = 0
    for pid in _processes(server.pid):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def _processes(pid: int) -> Iterator[int]:
    yield pid
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            yield from _processes(int(child))


async def measured(server: Server, load: "asyncio.Future[Seen]") -> Seen:
    """The load's observations, with the server's memory and processor time."""
    memory, server_before_s, own_before_s = [], cpu_s(server), time.process_time()
    while True:
        done, _ = await asyncio.wait({load}, timeout=_MEMORY_EVERY_S)
        memory.append(memory_mb(server))
        if done:
            seen = load.result()
            seen.memory_mb = memory
            seen.server_cpu_s = cpu_s(server) - server_before_s
            seen.client_cpu_s = time.process_time() - own_before_s
            return seen


async def run(server: Server, options: argparse.Namespace) -> list[dict[str, object]]:
    requests = search_requests(options.photos)
    port, seconds, best, rows = server.port, options.seconds, 0.0, []
    await closed_loop(port, requests, 4, 2)  # to warm up
    for clients in map(int, options.clients.split(",")):
        load = asyncio.ensure_future(closed_loop(port, requests, clients, seconds))
        seen = await measured(server, load)
        best = max(best, seen.goodput)
        rows.append(seen.row(f"{clients} clients"))
        print(json.dumps({**rows[-1], "faults": seen.faults}), flush=True)
    if options.overload:
        rate = best * options.overload
        load = asyncio.ensure_future(open_loop(port, requests, rate, seconds))
        seen = await measured(server, load)
        rows.append(seen.row(f"{rate:.0f} requests/s"))
        print(json.dumps({**rows[-1], "faults": seen.faults}), flush=True)
        print(f"goodput, share of the best: {seen.goodput / best:.2f}")
    return rows


def _percentile_ms(seconds: list[float], percent: int) -> float | None:
    if not seconds:
        return None
    ordered = sorted(seconds)
    return round(1000 * ordered[min(len(ordered) - 1, len(ordered) * percent // 100)], 1)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("gallery", type=Path)
    parser.add_argument("photos", type=Path)
    parser.add_argument("--clients", default="1,16,64,256")
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--overload", type=float, default=0, help="times the best rate")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--apart", action="store_true", help="the last core for the client alone")
    options = parser.parse_args()
    cores = sorted(os.sched_getaffinity(0))
    if options.apart:
        os.sched_setaffinity(0, cores[:-1])  # inherited by the server
    with deepfood_server(
        options.gallery.absolute(), more=("--workers", str(options.workers))
    ) as server:
        if options.apart:
            os.sched_setaffinity(0, cores[-1:])
        os.nice(10)
        rows = uvloop.run(run(server, options))
    print("| " + " | ".join(rows[0]) + " |")
    print("|---" * len(rows[0]) + "|")
    for row in rows:
        print("| " + " | ".join("" if v is None else str(v) for v in row.values()) + " |")


if __name__ == "__main__":
    main()
