"""What parts of photos bring: is the photo of a table found by a photo of one of its dishes?

    python benchmarks/parts.py FOLDER [--each 60] [--tables 150] [--queries 20] [--model MODEL]

FOLDER has a folder of photos for each dish. The gallery has `--each` of them, and made tables
(plate/collage.py) of two to four dishes of other photos; the queries are `--queries` further photos
of each dish. Asked are those, among all photos and among the tables alone, and the very photos of
which the tables are made. It is built without parts, and with them in both storages.
"""

import argparse
import io
import shutil
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np
from PIL import Image

from deepfood.api import Gallery, build_gallery, open_gallery
from deepfood.config import Settings, load_settings
from deepfood.engine import engine_at
from deepfood.plate.collage import collage

#: Hits that are looked at, as many as the page shows first.
K = 9
TABLES = "tables"


@dataclass(frozen=True)
class Made:
    """A table: its file's name, the labels of its dishes, and the photos that it is made of."""

    file: str
    labels: frozenset[str]
    pieces: Sequence[tuple[str, Path]]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--each", type=int, default=60)
    parser.add_argument("--tables", type=int, default=150)
    parser.add_argument("--queries", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--model", type=Path)
    options = parser.parse_args()
    rng = np.random.default_rng(options.seed)
    known, pieces, queries = {}, {}, {}
    for dish in sorted(one for one in options.folder.iterdir() if one.is_dir()):
        files = sorted(dish.iterdir())
        mixed = [files[place] for place in rng.permutation(len(files))]
        known[dish.name] = mixed[: options.each]
        queries[dish.name] = mixed[options.each :][: options.queries]
        pieces[dish.name] = mixed[options.each + options.queries :]
    with tempfile.TemporaryDirectory(prefix="deepfood-parts-") as folder:
        photos, place = Path(folder) / "photos", Path(folder) / "gallery"
        for label, files in known.items():
            (photos / label).mkdir(parents=True)
            for file in files:
                shutil.copy(file, photos / label)
        (photos / TABLES).mkdir()
        tables = [
            make(photos / TABLES / f"{number}.jpg", pieces, rng) for number in range(options.tables)
        ]
        print(
            "| | a right table | right tables of 9 | the very table first | right hits of 9 "
            "| vectors | MB | build, s | search, ms |\n"
            "|---|---:|---:|---:|---:|---:|---:|---:|---:|"
        )
        for storage in (None, "f16", "i8"):
            settings = load_settings(
                model=options.model, parts_storage=storage, cursor_key="benchmark"
            )
            shutil.rmtree(place, ignore_errors=True)
            start = time.perf_counter()
            build_gallery(photos, place, settings, parts=storage is not None)
            took_s = time.perf_counter() - start
            with open_gallery(place, settings) as gallery:
                print(line(gallery, settings, place, storage, tables, queries, took_s), flush=True)


def make(out: Path, pieces: dict[str, list[Path]], rng: np.random.Generator) -> Made:
    count = int(rng.integers(2, 5))
    labels = [str(one) for one in rng.choice(list(pieces), count, replace=False)]
    chosen = [(one, pieces[one][rng.integers(len(pieces[one]))]) for one in labels]
    made = collage([Image.open(file) for _, file in chosen], int(rng.integers(2**31)))
    data = io.BytesIO()
    made.image.save(data, "JPEG", quality=90)
    out.write_bytes(data.getvalue())
    return Made(f"{TABLES}/{out.name}", frozenset(labels), chosen)


def line(
    gallery: Gallery,
    settings: Settings,
    place: Path,
    storage: str | None,
    tables: Sequence[Made],
    queries: dict[str, list[Path]],
    took_s: float,
) -> str:
    on = {one.file: one.labels for one in tables}
    with_one, of_nine, hits_right, asked, took = 0, 0, 0, 0, []
    for label, files in queries.items():
        for file in files:
            start = time.perf_counter()
            hits = gallery.search(file, k=K).hits
            took.append(time.perf_counter() - start)
            right = [label in on.get(hit.photo.file, {hit.photo.label}) for hit in hits]
            asked += 1
            hits_right += sum(right)
            with_one += any(
                good and hit.photo.file in on for good, hit in zip(right, hits, strict=True)
            )
            among = gallery.search(file, k=K, where=f'label = "{TABLES}"').hits
            of_nine += sum(label in on[hit.photo.file] for hit in among)
    very, dishes = 0, 0
    for table in tables:
        for _, file in table.pieces:
            dishes += 1
            very += gallery.search(file, k=1).hits[0].photo.file == table.file
    about = engine_at(place, settings).describe()["parts"] or {"count": 0, "bytes": 0}
    return (
        f"| {storage or 'without'} | {with_one / asked:.3f} | {of_nine / asked / K:.3f} "
        f"| {very / dishes:.3f} | {hits_right / asked / K:.3f} | {about['count']} "
        f"| {about['bytes'] / 1e6:.1f} | {took_s:.0f} | {median(took) * 1000:.1f} |"
    )


if __name__ == "__main__":
    main()
