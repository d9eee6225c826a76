"""Push, pull and cold start of a gallery from S3: seconds, and MiB a second.

    python benchmarks/releases.py PHOTO s3://bucket/prefix [--photos 10000] [--photo-kib 50]

Settings and credentials say which S3 server. Photos and vectors are made up, of one real photo's
gallery; the Model is the one that ships. Each figure is of one run, the prefix being empty before;
of starts it is the median, each cold one with a cache of its own.
"""

import argparse
import hashlib
import re
import secrets
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from deepfood.config import load_settings
from deepfood.data.photos import list_photos
from deepfood.embed import open_embedder
from deepfood.gallery.photo import Photo
from deepfood.index import IndexSpec
from deepfood.local import build_gallery
from deepfood.local.growing_store import GrowingStore
from deepfood.local.manifest import LocalManifest
from deepfood.local.reindex import reindex
from deepfood.release.pull import pull
from deepfood.release.push import push
from vectors import synthetic_few

STARTS = 5


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("photo", type=Path)
    arguments.add_argument("url")
    arguments.add_argument("--photos", type=int, default=10_000)
    arguments.add_argument("--photo-kib", type=int, default=50)
    asked = arguments.parse_args()
    settings = load_settings()
    with tempfile.TemporaryDirectory(prefix="deepfood-bench-") as temporary:
        work = Path(temporary)
        gallery = _gallery(asked.photo, work, asked.photos, asked.photo_kib * 1024)
        sent = push(gallery, asked.url, settings, quiet=True)
        _print_row(f"push, {asked.photos} photos", sent.seconds, sent.sent_bytes)
        again = push(gallery, asked.url, settings, quiet=True)
        _print_row("push, nothing changed", again.seconds, again.sent_bytes)
        got = pull(asked.url, work / "pulled", settings, quiet=True)
        _print_row("pull with photos", got.seconds, got.received_bytes)
        without = pull(asked.url, work / "small", settings, photos=False, quiet=True)
        _print_row("pull without photos", without.seconds, without.received_bytes)
        caches = [work / f"cache-{number}" for number in range(STARTS)]
        for what in ("cold start", "warm start"):
            seconds = [_start_s(asked.url, cache) for cache in caches]
            interval = f"{min(seconds):.1f} to {max(seconds):.1f}"
            median = statistics.median(seconds)
            print(f"| {what}, `serve` to ready | {median:.1f} s | {interval} |", flush=True)


def _gallery(photo: Path, work: Path, count: int, size: int) -> Path:
    photos, out = work / "photos", work / "gallery"
    photos.mkdir()
    shutil.copy(photo, photos)
    embedder = open_embedder(load_settings())
    build_gallery(list_photos(photos), out, embedder, IndexSpec(), quiet=True)
    about = LocalManifest.read(out)
    rows = []
    for number in range(count):
        data = secrets.token_bytes(size)
        (photos / f"{number}.jpg").write_bytes(data)
        rows.append(_row(f"{number}.jpg", data))
    vectors = synthetic_few(count, about.dimension, np.random.default_rng(0))
    store = GrowingStore.open(about.folder(out), about.dimension, about.storage)
    store.append(rows, vectors, announce=True)
    store.close()
    reindex(out, quiet=True)
    return out


def _row(name: str, data: bytes) -> Photo:
    digest = hashlib.sha256(data).hexdigest()
    return Photo(digest, name, None, None, "image/jpeg", 1, 1, len(data), 0)


def _start_s(url: str, cache: Path) -> float:
    started = time.perf_counter()
    command = [sys.executable, "-c", _SERVE, str(cache), url]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        seconds = time.perf_counter() - started
        process.terminate()
        process.stdout.read()  # to its end, or its last words would fail
        assert re.search(r"http://\S+", line), line
    return seconds


_SERVE = """
import sys
from deepfood.config import load_settings
from deepfood.serve.run import bind, run
run(load_settings(cache=sys.argv[1], gallery=sys.argv[2]), bind("127.0.0.1", 0))
"""


def _print_row(what: str, seconds: float, size: int) -> None:
    mib = size / 2**20
    print(f"| {what} | {seconds:.1f} s | {mib:.1f} MiB, {mib / seconds:.0f} MiB/s |", flush=True)


if __name__ == "__main__":
    main()
