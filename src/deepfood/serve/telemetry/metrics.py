"""Metrics for Prometheus; docs/operations.md explains each.

A label has few values: templates of routes, never paths, and names from this code.
"""

import multiprocessing
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Metric,
    start_http_server,
)
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead
from prometheus_client.registry import Collector

from deepfood.config import Settings, export_metrics_folder
from deepfood.errors import SettingError
from deepfood.gallery.protocol import SearchedGallery

_HERE = CollectorRegistry()

REQUEST_SECONDS = Histogram(
    "deepfood_request_seconds",
    "From a request's head to the end of its answer.",
    ["method", "route", "status"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
    registry=_HERE,
)
STAGE_SECONDS = Histogram(
    "deepfood_stage_seconds",
    "Parts of a search: decode, embed, search.",
    ["stage"],
    buckets=(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5),
    registry=_HERE,
)
IN_QUEUE = Gauge(
    "deepfood_in_line_requests",
    "Requests in a queue, running or waiting, over all workers.",
    ["line"],
    multiprocess_mode="livesum",
    registry=_HERE,
)
REFUSED = Counter(
    "deepfood_refused",
    "Refused requests and connections: the queue was full, the wait timed out, ...",
    ["reason"],
    registry=_HERE,
)
ERRORS = Counter(
    "deepfood_errors", "Errors by class, including unhandled ones.", ["kind"], registry=_HERE
)
GALLERY_PHOTOS = Gauge(
    "deepfood_gallery_photos",
    "Photos that are searched.",
    multiprocess_mode="livemostrecent",
    registry=_HERE,
)
GALLERY_GENERATION = Gauge(
    "deepfood_gallery_generation",
    "Generation that is searched, by the worker that is furthest behind.",
    multiprocess_mode="livemin",
    registry=_HERE,
)
FOLLOWED = Gauge(
    "deepfood_followed_timestamp_seconds",
    "When the gallery was last followed, by the worker that is furthest behind; 0 means never.",
    multiprocess_mode="livemin",
    registry=_HERE,
)


#: Starts a child span, where requests are traced.
start_span: Callable[[str], AbstractContextManager[object]] = nullcontext


@contextmanager
def stage(name: str) -> Iterator[None]:
    """Time a part of a search."""
    with STAGE_SECONDS.labels(name).time(), start_span(name):
        yield


def trace_with(start: Callable[[str], AbstractContextManager[object]]) -> None:
    """Make each stage of this process a span."""
    global start_span
    start_span = start


def set_gallery(gallery: SearchedGallery) -> None:
    """Set the gauges of the gallery that is searched now."""
    GALLERY_PHOTOS.set(gallery.count)
    GALLERY_GENERATION.set(gallery.manifest.generation)


@contextmanager
def metrics_served(settings: Settings) -> Iterator[None]:
    """Answer Prometheus on the address that the settings name, for this process and its workers.

    The parent process answers, so one answer has all workers, and overload does not stop it.
    Raises SettingError.
    """
    if not settings.metrics_address:
        yield
        return
    host, _, port = settings.metrics_address.rpartition(":")
    with tempfile.TemporaryDirectory(prefix="deepfood-metrics-") as folder:
        registry = _HERE
        if settings.workers > 1:
            export_metrics_folder(Path(folder))
            registry = CollectorRegistry()
            registry.register(_WorkersCollector(Path(folder)))
        try:
            server, thread = start_http_server(int(port), host.strip("[]"), registry)
        except (OSError, OverflowError) as error:  # the latter is a port beyond 65535
            raise SettingError(
                f"metrics_address {settings.metrics_address}: {error}; name another"
            ) from error
        try:
            yield
        finally:
            server.shutdown()
            server.server_close()
            thread.join()


class _WorkersCollector(Collector):
    """Reads the files of the worker processes, including the counts of those that have ended."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files = MultiProcessCollector(None, str(folder))  # type: ignore[no-untyped-call]

    def collect(self) -> Iterable[Metric]:
        living = {process.pid for process in multiprocessing.active_children()}
        for path in self._folder.glob("gauge_live*.db"):
            pid = int(path.stem.rpartition("_")[2])
            if pid not in living:  # its worker was killed and replaced
                mark_process_dead(pid, str(self._folder))  # type: ignore[no-untyped-call]
        return self._files.collect()  # type: ignore[no-any-return, no-untyped-call]
