"""The load: one process, asyncio, plain HTTP/1.1 over connections that stay open.

    python benchmarks/client.py PORT FOLDER --clients 16 --seconds 5
    python benchmarks/client.py PORT FOLDER --clients 1 --requests 70

Posts photos of the folder as data URLs, in the original's form, and prints what it saw as JSON.
Bodies are made before the clock starts. `--healthz` asks for /healthz instead, which shows the
client's own cost. A general HTTP client costs several times as much a request, and on few cores
that would slow the server down.
"""

import argparse
import asyncio
import base64
import itertools
import json
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlencode

WANTED_URLS = 9
_WARM_UP = 5
_PHOTOS = 100


async def client(
    port: int, requests: list[bytes], numbers: Iterator[int], ends: float, most: int
) -> tuple[list[float], int]:
    """Latencies in seconds, and the number of failures, until `ends` or `most` requests."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    latencies, errors = [], 0
    while time.perf_counter() < ends and (number := next(numbers)) < most:
        started = time.perf_counter()
        writer.write(requests[number % len(requests)])
        head = await reader.readuntil(b"\r\n\r\n")
        length = head.lower().partition(b"content-length:")[2].split(b"\r\n")[0]
        body = await reader.readexactly(int(length))
        latencies.append(time.perf_counter() - started)
        errors += not _is_right(head, body)
    writer.close()
    return latencies, errors


def _is_right(head: bytes, body: bytes) -> bool:
    answer = json.loads(body)
    urls = answer.get("urls", [None] * WANTED_URLS)  # /healthz has none
    return head.startswith(b"HTTP/1.1 200") and len(urls) == WANTED_URLS


async def load(
    port: int, requests: list[bytes], clients: int, seconds: float, most: int
) -> dict[str, object]:
    await client(port, requests, itertools.count(), float("inf"), _WARM_UP)
    numbers = itertools.count()
    started = time.perf_counter()
    seen = await asyncio.gather(
        *(client(port, requests, numbers, started + seconds, most) for _ in range(clients)),
        return_exceptions=True,
    )
    took = time.perf_counter() - started
    whole = [one for one in seen if not isinstance(one, BaseException)]
    return {
        "latencies_s": [latency for latencies, _ in whole for latency in latencies],
        "errors": sum(errors for _, errors in whole) + len(seen) - len(whole),
        "seconds": took,
    }


def search_form(photo: Path) -> bytes:
    url = "data:image/jpeg;base64," + base64.b64encode(photo.read_bytes()).decode()
    return urlencode({"image": url}).encode()


def search_request(photo: Path) -> bytes:
    body = search_form(photo)
    head = (
        "POST /search HTTP/1.1\r\nHost: localhost\r\n"
        "Content-Type: application/x-www-form-urlencoded\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("port", type=int)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--clients", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=float("inf"))
    parser.add_argument("--requests", type=int, default=10**9)
    parser.add_argument("--healthz", action="store_true")
    options = parser.parse_args()
    if options.healthz:
        requests = [b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"]
    else:
        requests = [search_request(photo) for photo in sorted(options.folder.iterdir())[:_PHOTOS]]
    seen = asyncio.run(
        load(options.port, requests, options.clients, options.seconds, options.requests)
    )
    print(json.dumps(seen))


if __name__ == "__main__":
    main()
