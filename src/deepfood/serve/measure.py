"""What the service counts and times, for Prometheus; docs/operations.md says what each is for.

A label has only so many values: templates of routes, never paths, and names of our own.
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
IN_LINE = Gauge(
    "deepfood_in_line_requests",
    "Requests that a line works on or that wait in it, over all workers.",
    ["line"],
    multiprocess_mode="livesum",
    registry=_HERE,
)
REFUSED = Counter(
    "deepfood_refused",
    "Requests and connections turned away: the queue was full, no turn came in time, ...",
    ["reason"],
    registry=_HERE,
)
ERRORS = Counter(
    "deepfood_errors", "Errors by their class; those nobody caught too.", ["kind"], registry=_HERE
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
    "When the gallery was last followed, by the worker that is furthest behind; 0 is never.",
    multiprocess_mode="livemin",
    registry=_HERE,
)


#: Starts a span below the one under way, where requests are traced.
start_span: Callable[[str], AbstractContextManager[object]] = nullcontext


@contextmanager
def stage(name: str) -> Iterator[None]:
    """Time a part of a search."""
    with STAGE_SECONDS.labels(name).time(), start_span(name):
        yield


def trace_with(start: Callable[[str], AbstractContextManager[object]]) -> None:
    """Let each stage of this process be a span."""
    global start_span
    start_span = start


def gallery_seen(gallery: SearchedGallery) -> None:
    """Note what is searched now."""
    GALLERY_PHOTOS.set(gallery.count)
    GALLERY_GENERATION.set(gallery.manifest.generation)


@contextmanager
def metrics_served(settings: Settings) -> Iterator[None]:
    """Answer Prometheus on the address that the settings name, for this process and its workers.

    In the parent process, so that one answer has all workers, and overload does not silence it.
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
            registry.register(_OfWorkers(Path(folder)))
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


class _OfWorkers(Collector):
    """What the worker processes have written into their files, dead ones' counts included."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files = MultiProcessCollector(None, str(folder))  # type: ignore[no-untyped-call]

    def collect(self) -> Iterable[Metric]:
        living = {process.pid for process in multiprocessing.active_children()}
        for path in self._folder.glob("gauge_live*.db"):
            pid = int(path.stem.rpartition("_")[2])
            if pid not in living:  # of a worker that was killed, and has been replaced
                mark_process_dead(pid, str(self._folder))  # type: ignore[no-untyped-call]
        return self._files.collect()  # type: ignore[no-any-return, no-untyped-call]
