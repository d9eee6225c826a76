"""Thousands of damaged photos: none may crash, hang or exhaust a reader, or cause a 5xx.

    python benchmarks/hostile.py [--each COUNT] [--sent COUNT]

Needs no photos. Mutants of valid files (tests/mutants.py) are read in a separate, supervised
process for each format, and a sample of them is sent to a real server.
"""

import argparse
import multiprocessing
import os
import resource
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import httpx

from contenders import embedder
from deepfood.config import load_settings
from deepfood.data.photos import list_photos
from deepfood.errors import PhotoError
from deepfood.index import IndexSpec
from deepfood.local import build_gallery
from deepfood.model import open_model
from deepfood.photo import Limits, read_header, read_pixels, thumbnail
from report import Bound, Section, Table
from servers import Server, deepfood_server

sys.path.append(str(Path(__file__).parents[1] / "tests"))
from mutants import mutant, seeds

LIMIT_S = 10.0
SEED = 1
_CLIENTS = 4


@dataclass
class Seen:
    """The outcomes for one format's mutants."""

    outcomes: Counter[str] = field(default_factory=Counter)
    slowest_s: float = 0.0
    peak_mb: float = 0.0
    faults: list[str] = field(default_factory=list)

    def fault(self, kind: str, which: str) -> None:
        self.outcomes[kind] += 1
        self.faults.append(f"{which}: {kind}")
        print(f"  {which}: {kind}", file=sys.stderr, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description="Read and send damaged photos.")
    parser.add_argument("--each", type=int, default=5_000, help="mutants of each format")
    parser.add_argument("--sent", type=int, default=500, help="of them to a real server")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="deepfood-hostile-") as temporary:
        section = measure(Path(temporary), options.each, options.sent)
    print(section.markdown())
    sys.exit(not all(bound.met for bound in section.bounds))


def measure(work: Path, each: int, sent: int) -> Section:
    section = Section("Hostile photos")
    read = {name: _read_all(name, each) for name in seeds()}
    answers, memory = _send(work, sent)
    columns = ("format", "mutants", "read", "refused", "other errors", "crashes", "hangs")
    rows: list[tuple[Any, ...]] = [
        (
            name,
            seen.outcomes.total(),
            seen.outcomes["read"],
            seen.outcomes["refused"],
            *(seen.outcomes[kind] for kind in ("error", "crash", "hang")),
            seen.slowest_s * 1000,
            seen.peak_mb,
        )
        for name, seen in read.items()
    ]
    section.tables = [
        Table(
            "Mutants read in-process: pixels, header and thumbnail",
            (*columns, "slowest, ms", "peak memory of the process, MB"),
            rows,
            f"Seed {SEED}. A hang is more than {LIMIT_S:g} s.",
        ),
        Table(
            f"{sent} of them to a real server, {_CLIENTS} at once",
            ("answer", "count"),
            sorted(answers.items()),
            f"Its memory: {memory[0]:,.0f} MB before, {memory[1]:,.0f} MB at the peak.",
        ),
    ]
    total: Counter[str] = sum((seen.outcomes for seen in read.values()), Counter())
    fives = sum(count for answer, count in answers.items() if not answer.startswith(("2", "4")))
    section.bounds = [
        Bound("mutants of each format", min(s.outcomes.total() for s in read.values()), each),
        Bound("errors that are not PhotoError", total["error"], 0, at_most=True),
        Bound("crashes", total["crash"], 0, at_most=True),
        Bound("hangs", total["hang"], 0, at_most=True),
        Bound("answers 5xx, or none within the limit", fives, 0, at_most=True),
        Bound("the server's peak memory, MB", memory[1], 2048, at_most=True),
    ]
    return section


def _read_all(name: str, count: int) -> Seen:
    """Read a format's mutants in another process; one that dies or hangs is replaced."""
    seen, start = Seen(), 0
    processes = multiprocessing.get_context("spawn")
    while start < count:
        ours, theirs = processes.Pipe(duplex=False)
        reader = processes.Process(target=_read, args=(name, start, count, theirs))
        reader.start()
        theirs.close()
        try:
            ours.recv()  # it has imported what it needs
            while start < count:
                if not ours.poll(LIMIT_S):
                    seen.fault("hang", f"{name} {start}")
                    reader.kill()
                    start += 1
                    break
                kind, detail, seconds, peak_mb = ours.recv()
                if kind == "error":
                    seen.fault(kind, f"{name} {start}: {detail}")
                else:
                    seen.outcomes[kind] += 1
                seen.slowest_s = max(seen.slowest_s, seconds)
                seen.peak_mb = max(seen.peak_mb, peak_mb)
                start += 1
        except EOFError:
            seen.fault("crash", f"{name} {start}")
            start += 1
        reader.join()
    print(f"  {name}: {dict(seen.outcomes)}", file=sys.stderr, flush=True)
    return seen


def _read(name: str, start: int, stop: int, results: Connection) -> None:
    """In the supervised process: send the outcome of each mutant."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # libtiff writes its errors to stderr
    preprocess = open_model().manifest.preprocess
    settings = load_settings()
    limits = Limits.of(settings)
    results.send("ready")
    for number in range(start, stop):
        data = mutant(name, number, SEED)
        began = time.perf_counter()
        kind, detail = "read", ""
        try:
            read_pixels(data, preprocess, limits)
            read_header(data, limits)
            thumbnail(data, settings.thumbnail_pixels, limits)
        except PhotoError:
            kind = "refused"
        except Exception as error:
            kind, detail = "error", repr(error)
        peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6
        results.send((kind, detail, time.perf_counter() - began, peak_mb))


def _send(work: Path, count: int) -> tuple[Counter[str], tuple[float, float]]:
    """Statuses of the answers, and the server's memory before and at its peak, in MB."""
    with deepfood_server(_gallery(work)) as server:
        before_mb = server.rss_mb
        names = list(seeds())

        def ask(number: int) -> str:
            data = mutant(names[number % len(names)], number // len(names), SEED)
            try:
                answer = http.post("/api/v1/search", files={"photo": data})
            except httpx.HTTPError as error:
                return type(error).__name__
            return str(answer.status_code)

        address = f"http://127.0.0.1:{server.port}"
        with (
            httpx.Client(base_url=address, timeout=LIMIT_S) as http,
            ThreadPoolExecutor(_CLIENTS) as clients,
        ):
            answers = Counter(clients.map(ask, range(count)))
            assert http.get("/readyz").status_code == 200, "the server has not survived"
        return answers, (before_mb, _peak_mb(server))


def _gallery(work: Path) -> Path:
    """A gallery of the intact files that the mutants are made from."""
    folder = work / "hostile-photos"
    folder.mkdir()
    for name, files in seeds().items():
        for number, data in enumerate(files):
            (folder / f"{number}.{name.lower()}").write_bytes(data)
    out = work / "hostile-gallery"
    build_gallery(list_photos(folder), out, embedder(open_model()), IndexSpec(), quiet=True)
    return out


def _peak_mb(server: Server) -> float:
    status = Path(f"/proc/{server.pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024 / 1e6


if __name__ == "__main__":
    main()
