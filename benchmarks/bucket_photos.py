"""Photos a second of `build` and `verify` from a bucket against a folder, in turn, in one run.

    python benchmarks/bucket_photos.py FOLDER s3://bucket/prefix [--photos 1000] [--rounds 3]
        [--far-ms 30]

Settings and credentials say which S3 server; the photos are written below the prefix first. With
`--far-ms` each request takes so much longer.
"""

import argparse
import os
import statistics
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from deepfood.config import load_settings
from deepfood.data.bucket import BucketRoot
from deepfood.data.locate import PhotoAccess
from deepfood.data.photos import PhotoSource, list_photos
from deepfood.embed import open_embedder
from deepfood.index import IndexSpec
from deepfood.local import build_gallery
from deepfood.local.verify import gallery_problems
from deepfood.storage import Bucket, S3Options
from far_away import far_away

READS_AHEAD = (0, 4, 16, 64)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("folder", type=Path)
    arguments.add_argument("url")
    arguments.add_argument("--photos", type=int, default=1000)
    arguments.add_argument("--rounds", type=int, default=3)
    arguments.add_argument("--far-ms", type=float, default=0)
    asked = arguments.parse_args()
    whole = list_photos(asked.folder)
    step = max(1, len(whole.files) // asked.photos)
    here = PhotoSource(whole.root, whole.files[::step][: asked.photos])
    bucket = Bucket.open(asked.url, S3Options.of(load_settings()))
    for photo in here.files:
        bucket.write(photo.file, here.root.read(photo.file, lambda _: None))
    with ExitStack() as stack:
        if asked.far_ms:
            near = load_settings().s3_endpoint
            far = stack.enter_context(far_away(near, asked.far_ms / 1000))
            os.environ["DEEPFOOD_S3_ENDPOINT"] = far
        rates = _measure(here, asked.url, asked.rounds)
    print(f"| source | build, photos/s, median of {asked.rounds} | times the folder | verify |")
    print("|---|---:|---:|---:|")
    folder_rate = statistics.median(rates["folder"][0])
    for name, (built, verified) in rates.items():
        rate = statistics.median(built)
        checked = statistics.median(verified)
        print(f"| {name} | {rate:.0f} | {rate / folder_rate:.2f} | {checked:.0f} |")


def _measure(
    here: PhotoSource, url: str, rounds: int
) -> dict[str, tuple[list[float], list[float]]]:
    """Photos built and verified per second, by source, one figure per round."""
    rates: dict[str, tuple[list[float], list[float]]] = {}
    embedder = open_embedder(load_settings())

    def measure(name: str, source: PhotoSource) -> None:
        built, verified = rates.setdefault(name, ([], []))
        with tempfile.TemporaryDirectory() as folder:
            gallery = Path(folder) / "g"
            started = time.perf_counter()
            report = build_gallery(source, gallery, embedder, IndexSpec(kind="exact"), quiet=True)
            built.append(len(here.files) / (time.perf_counter() - started))
            assert report.embedded == len(here.files)
            started = time.perf_counter()
            assert not list(gallery_problems(gallery, PhotoAccess.of(load_settings()), quiet=True))
            verified.append(report.count / (time.perf_counter() - started))

    for _ in range(rounds):
        measure("folder", here)
        for ahead in READS_AHEAD:
            BucketRoot.reads_ahead = ahead
            measure(f"bucket, {ahead} reads ahead", list_photos(url, S3Options.of(load_settings())))
    return rates


if __name__ == "__main__":
    main()
