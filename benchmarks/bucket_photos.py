"""Photos a second of a build from a bucket against one from a folder, in turn, in one run.

    python benchmarks/bucket_photos.py FOLDER s3://bucket/prefix [--photos 1000] [--rounds 3]

Settings and credentials say which S3 server; the photos are written below the prefix first.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

from deepfood.config import load_settings
from deepfood.data.bucket import BucketRoot
from deepfood.data.photos import PhotoSource, list_photos
from deepfood.embed import open_embedder
from deepfood.gallery import build_gallery
from deepfood.index import IndexSpec
from deepfood.storage import Bucket

READS_AHEAD = (0, 4, 16, 64)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("folder", type=Path)
    arguments.add_argument("url")
    arguments.add_argument("--photos", type=int, default=1000)
    arguments.add_argument("--rounds", type=int, default=3)
    asked = arguments.parse_args()
    settings = load_settings()
    whole = list_photos(asked.folder)
    step = max(1, len(whole.files) // asked.photos)
    here = PhotoSource(whole.root, whole.files[::step][: asked.photos])
    bucket = Bucket.open(asked.url, settings)
    for photo in here.files:
        bucket.write(photo.file, here.root.read(photo.file, lambda _: None))
    embedder = open_embedder(settings)
    rates: dict[str, list[float]] = {}

    def build(name: str, source: PhotoSource) -> None:
        with tempfile.TemporaryDirectory() as folder:
            started = time.perf_counter()
            spec = IndexSpec(kind="exact")
            report = build_gallery(source, Path(folder) / "g", embedder, spec, quiet=True)
            assert report.embedded == len(here.files)
            rates.setdefault(name, []).append(len(here.files) / (time.perf_counter() - started))

    for _ in range(asked.rounds):
        build("folder", here)
        for ahead in READS_AHEAD:
            BucketRoot.reads_ahead = ahead
            build(f"bucket, {ahead} reads ahead", list_photos(asked.url))
    print(f"| source | photos/s, median of {asked.rounds} | times the folder |\n|---|---:|---:|")
    folder_rate = statistics.median(rates["folder"])
    for name, found in rates.items():
        rate = statistics.median(found)
        print(f"| {name} | {rate:.0f} | {rate / folder_rate:.2f} |")


if __name__ == "__main__":
    main()
