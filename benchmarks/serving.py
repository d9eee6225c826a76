"""Search over HTTP: how soon one client is answered, and how many requests a second sixteen get.

Both servers run as processes of their own over the same photos, each idle while the other is asked;
the client is a third process.
"""

import json
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from statistics import median, quantiles
from typing import Any

from contenders import DEFAULT, RESNET34, embedder, resnet34_model
from deepfood.data.photos import list_photos
from deepfood.index import IndexSpec
from deepfood.local import build_gallery
from deepfood.model import open_model
from photos import PhotoSet
from report import Bound, Section, Table, interleave
from servers import Server, deepfood_server, reference_server

REFERENCE = "reference"
CLIENTS = 16
_REQUESTS, _SECONDS = 210, 12.0  # of each server and photo set, over all rounds

Seen = dict[str, Any]


def measure(sets: list[PhotoSet], work: Path, rounds: int) -> Section:
    section = Section("Serving")
    model = work / "resnet34-serving"
    galleries = {
        name: _gallery(sets[0], one, work / f"gallery-{number}")
        for number, (name, one) in enumerate(
            {DEFAULT: open_model(), RESNET34: resnet34_model(model)}.items()
        )
    }
    rows: list[tuple[Any, ...]] = []
    with ExitStack() as running:
        servers = {
            REFERENCE: running.enter_context(reference_server(sets[0].folder)),
            DEFAULT: running.enter_context(deepfood_server(galleries[DEFAULT])),
            RESNET34: running.enter_context(deepfood_server(galleries[RESNET34], model)),
        }
        started_mb = {name: server.rss_mb for name, server in servers.items()}
        for photos in sets:
            one = _ask(servers, photos.folder, rounds, 1, f"--requests={_REQUESTS // rounds}")
            many = _ask(servers, photos.folder, rounds, CLIENTS, f"--seconds={_SECONDS / rounds}")
            rows += _rows(photos, one, many)
            section.bounds += _bounds(photos, one, many)
        cost = _ask(
            {DEFAULT: servers[DEFAULT]}, sets[0].folder, 1, 1, "--requests=500", "--healthz"
        )
        memory = [(name, started_mb[name], server.rss_mb) for name, server in servers.items()]
    section.tables = [
        Table(
            "POST /search with a data URL",
            (
                "server",
                "queries",
                "1 client: median ms",
                "p99 ms",
                "share of reference",
                f"{CLIENTS} clients: requests/s",
                "times the reference",
                "errors",
            ),
            rows,
            f"{len(sets[0].files)} photos indexed; {rounds} rounds in turn, in all {_REQUESTS} "
            f"requests of one client and {_SECONDS:.0f} s of {CLIENTS}. "
            f"{'; '.join(photos.about for photos in sets)}. The client's own cost and HTTP's: "
            f"{_median_ms(cost[DEFAULT]):.2f} ms for GET /healthz.",
        ),
        Table("Memory of the servers", ("server", "MB at start", "MB at the end"), memory),
    ]
    return section


def _gallery(photos: PhotoSet, model: Any, out: Path) -> Path:
    build_gallery(list_photos(photos.folder), out, embedder(model), IndexSpec(), quiet=True)
    return out


def _ask(
    servers: dict[str, Server], folder: Path, rounds: int, clients: int, *options: str
) -> dict[str, Seen]:
    """What the client saw of each server, all rounds together."""
    seen: dict[str, Seen] = {
        name: {"latencies_s": [], "errors": 0, "rates": []} for name in servers
    }

    def ask(name: str) -> float:
        client = Path(__file__).with_name("client.py")
        command = [sys.executable, str(client), str(servers[name].port), str(folder)]
        command += [f"--clients={clients}", *options]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        answer = json.loads(done.stdout)
        seen[name]["latencies_s"] += answer["latencies_s"]
        seen[name]["errors"] += answer["errors"]
        return float(len(answer["latencies_s"]) / answer["seconds"])

    for name, rates in interleave({n: lambda n=n: ask(n) for n in servers}, rounds).items():
        seen[name]["rates"] = rates
    return seen


def _rows(photos: PhotoSet, one: dict[str, Seen], many: dict[str, Seen]) -> list[tuple[Any, ...]]:
    return [
        (
            name,
            photos.name,
            _median_ms(one[name]),
            1000 * quantiles(one[name]["latencies_s"], n=100)[98],
            _median_ms(one[name]) / _median_ms(one[REFERENCE]),
            median(many[name]["rates"]),
            median(many[name]["rates"]) / median(many[REFERENCE]["rates"]),
            one[name]["errors"] + many[name]["errors"],
        )
        for name in one
    ]


def _bounds(photos: PhotoSet, one: dict[str, Seen], many: dict[str, Seen]) -> list[Bound]:
    share = _median_ms(one[DEFAULT]) / _median_ms(one[REFERENCE])
    times = median(many[DEFAULT]["rates"]) / median(many[REFERENCE]["rates"])
    errors = one[DEFAULT]["errors"] + many[DEFAULT]["errors"]
    return [
        Bound(f"median time, share of the reference, {photos.name}", share, 0.2, at_most=True),
        Bound(f"requests/s, times the reference, {photos.name}", times, 8.0),
        Bound(f"errors, {photos.name}", errors, 0, at_most=True),
    ]


def _median_ms(seen: Seen) -> float:
    return 1000 * float(median(seen["latencies_s"]))
