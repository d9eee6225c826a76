"""A changing gallery: adds per second, searches meanwhile, and what is left after 50 kills.

The vectors are synthetic, as embedding is measured elsewhere; everything else is real: the photos'
files, the catalogue, the durable commit of each batch, a writer in a separate process.
"""

import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from os import kill
from pathlib import Path
from typing import Any

import numpy as np

from changing_writer import DIMENSION, synthetic_photo, synthetic_vector
from contenders import embedder
from deepfood.data.photos import list_photos
from deepfood.index import IndexSpec
from deepfood.local import LocalGallery, LocalWriter, build_gallery
from deepfood.local.reindex import reindex
from deepfood.model import open_model
from photos import PhotoSet
from report import Section, Table
from vectors import Vectors, synthetic_few

_FILLED, _BATCH = 30_000, 256
_SEARCH_S = 8.0
_KILLS = 50
_FILLING_SEED, _FIRST_SEED = 1_000_000, 2_000_000


def measure(photos: PhotoSet, work: Path) -> Section:
    gallery = work / "changing"
    one = embedder(open_model())
    build_gallery(list_photos(photos.folder), gallery, one, IndexSpec(kind="hnsw"), quiet=True)
    for start in range(0, _FILLED, _BATCH):
        with LocalWriter.open(gallery) as writer:
            writer.add([synthetic_photo(_FILLING_SEED, start + i) for i in range(_BATCH)])
    reindex(gallery, quiet=True)
    with LocalGallery.open(gallery) as opened:
        title = f"Changing a gallery of {opened.count:,} photos, {DIMENSION} numbers a vector"
    return Section(title, [_while_adding(gallery), _after_kills(gallery)])


def _while_adding(gallery: Path) -> Table:
    queries = synthetic_few(300, DIMENSION, np.random.default_rng(1))
    rows: list[tuple[Any, ...]] = []
    with LocalGallery.open(gallery) as opened, _writers(gallery) as writers:
        for name, batch in (("nothing", 0), ("single photos", 1), (f"batches of {_BATCH}", _BATCH)):
            if not batch:
                times, _ = _search(opened, queries)
                rows.append((name, "", *_percentiles(times)))
                continue
            pid = _begin(writers, _FIRST_SEED + batch, batch)
            times, seconds = _search(opened, queries)
            added = _end(writers, pid)
            reindex(gallery, quiet=True)
            rows.append((name, added / seconds, *_percentiles(times)))
    return Table(
        "Searches while photos are added",
        ("a writer adds", "adds/s", "searches", "median µs", "p99 µs"),
        rows,
        "Searches one after the other from one thread, k = 9; each sees what was committed before.",
    )


def _after_kills(gallery: Path) -> Table:
    draw = random.Random(0)
    acknowledged: list[tuple[int, int]] = []
    with _writers(gallery) as writers:
        for seed in range(_KILLS):
            pid = _begin(writers, seed, draw.choice((1, 2, 8)))
            time.sleep(draw.uniform(0, 0.4))
            acknowledged += [(seed, number) for number in range(_end(writers, pid))]
    with LocalGallery.open(gallery) as opened:
        found = sum(_is_found(opened, *one) for one in acknowledged)
    row = (_KILLS, len(acknowledged), found, len(acknowledged) - found)
    columns = ("kills -9 of a writer", "photos acknowledged", "found again", "lost")
    return Table("What is left after kills", columns, [row])


def _is_found(gallery: LocalGallery, seed: int, number: int) -> bool:
    wanted = synthetic_photo(seed, number)
    (hit,) = gallery.search(synthetic_vector(seed, number), 1)
    return hit.photo.id == wanted.photo.id and gallery.read(hit.photo) == wanted.data


def _search(gallery: LocalGallery, queries: Vectors) -> tuple[list[float], float]:
    times: list[float] = []
    started = time.perf_counter()
    while time.perf_counter() < started + _SEARCH_S:
        before = time.perf_counter()
        gallery.search(queries[len(times) % len(queries)], 9)
        times.append((time.perf_counter() - before) * 1e6)
    return times, time.perf_counter() - started


def _percentiles(times: list[float]) -> tuple[int, float, float]:
    return len(times), float(np.median(times)), float(np.percentile(times, 99))


@contextmanager
def _writers(gallery: Path) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, str(Path(__file__).parent / "changing_writer.py"), str(gallery)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as process:
        yield process


def _begin(writers: subprocess.Popen[str], seed: int, batch: int) -> int:
    """Start a writer; returns its process id."""
    assert writers.stdin is not None
    assert writers.stdout is not None
    print(seed, batch, file=writers.stdin, flush=True)
    return int(writers.stdout.readline())


def _end(writers: subprocess.Popen[str], pid: int) -> int:
    """Kill it; returns the number of photos that were acknowledged to it."""
    assert writers.stdout is not None
    kill(pid, signal.SIGKILL)
    counts = list(iter(writers.stdout.readline, "ended\n"))
    return int(counts[-1]) if counts else 0
