"""The same photos embedded by this machine alone and by Ray's workers on it, in turn."""

import shutil
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

from contenders import embedder
from deepfood.config import load_settings
from deepfood.data.photos import PhotoFile, PhotoSource, list_photos
from deepfood.embed import Embedder
from deepfood.gallery.embedding import Reading, read_photos
from deepfood.gallery.photo import EmbeddedPhoto, Skipped
from deepfood.index import IndexSpec
from deepfood.local import build_gallery
from deepfood.model import open_model
from deepfood.on_ray import on_ray
from photos import PhotoSet
from report import Bound, Section, Table, interleave, medians

_COUNT, _SHARD = 3_072, 256
LOCAL, ONE, TWO = "local build", "Ray, 1 worker of 2 cores", "Ray, 2 workers of 1 core"
_OVERHEAD = 0.15


def measure(photos: PhotoSet, work: Path, rounds: int) -> Section:
    folder = _many(photos, work / "many")
    one = embedder(open_model())
    readings = {
        LOCAL: (read_photos, _SHARD),
        ONE: (on_ray(load_settings(engine="ray", ray_workers=1, ray_cpus=2)), _SHARD),
        TWO: (on_ray(load_settings(engine="ray", ray_workers=2, ray_cpus=1)), 2 * _SHARD),
    }
    clocks: dict[str, list[float]] = {name: [] for name in readings}

    def run(name: str) -> float:
        reading, first = readings[name]
        clock = Clock(reading, first)
        out = work / "gallery"
        started = time.perf_counter()
        report = build_gallery(
            list_photos(folder), out, one, IndexSpec(), reading=clock.reading, quiet=True
        )
        clocks[name].append(time.perf_counter() - started)
        if report.count != _COUNT:
            raise SystemExit(f"{name}: {report.count} of {_COUNT} photos")
        shutil.rmtree(out)
        return clock.rate

    rates = interleave({name: (lambda name=name: run(name)) for name in readings}, rounds)
    middle = medians(rates)
    rows: list[tuple[Any, ...]] = [
        (name, middle[name], min(rates[name]), max(rates[name]), median(clocks[name]))
        for name in readings
    ]
    return Section(
        "Building on Ray",
        [
            Table(
                f"{_COUNT:,} photos",
                ("build", "photos/s", "least", "most", "whole build s"),
                rows,
                f"{photos.about}, each used several times, with other bytes at its end. Median of "
                f"{rounds} rounds in turn. Photos a second count from when the first shard of "
                f"{_SHARD} is there (of two workers two) to the last photo; the start of Ray and "
                "its workers is in the whole build, as is the index.",
            )
        ],
        [
            Bound(
                "Ray, 1 worker: seconds a photo, more than local",
                middle[LOCAL] / middle[ONE] - 1,
                _OVERHEAD,
                at_most=True,
            )
        ],
    )


class Clock:
    """A reading that notes when its first `first` photos have arrived, and its last."""

    def __init__(self, reading: Reading, first: int) -> None:
        self._reading = reading
        self._first = first
        self.rate = 0.0

    @contextmanager
    def reading(
        self, source: PhotoSource, files: Iterable[PhotoFile], embedder: Embedder
    ) -> Iterator[Iterator[EmbeddedPhoto | Skipped]]:
        with self._reading(source, files, embedder) as results:
            yield self._counted(results)

    def _counted(
        self, results: Iterator[EmbeddedPhoto | Skipped]
    ) -> Iterator[EmbeddedPhoto | Skipped]:
        count, since = 0, 0.0
        for one in results:
            count += 1
            if count == self._first:
                since = time.perf_counter()
            yield one
        self.rate = (count - self._first) / (time.perf_counter() - since)


def _many(photos: PhotoSet, folder: Path) -> Path:
    """The photos repeated, made different by extra bytes after the JPEG's end."""
    folder.mkdir()
    for number in range(_COUNT):
        data = photos.files[number % len(photos.files)].read_bytes()
        (folder / f"{number:05}.jpg").write_bytes(data + number.to_bytes(4, "big"))
    return folder
