"""What it costs to list photos, labels and facets of a gallery in a folder.

    python benchmarks/browsing.py [--photos 10000 100000]

Photos are made up as in benchmarks/written.py, with five attributes. "First" is the time after a
change, and "then" that of the next requests.
"""

import argparse
import random
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path

from deepfood.gallery.browse import Selected, Sort
from deepfood.gallery.declared import Definition
from deepfood.gallery.filters import parse_filter
from deepfood.gallery.values import Type, Value
from deepfood.gallery.written import parse_words
from deepfood.local import LocalGallery
from made_up_gallery import made_up_gallery
from written import CHUNK, DIMENSION, Dishes, seconds, vectors

TIMES = 20
COLUMNS: dict[str, Type] = {
    "cuisine": "text",
    "price": "number",
    "grams": "number",
    "season": "list",
    "vegan": "boolean",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photos", type=int, nargs="*", default=[10_000])
    for count in parser.parse_args().photos:
        with tempfile.TemporaryDirectory(prefix="deepfood-browsing-") as folder:
            measure(Path(folder) / "gallery", count)


def measure(folder: Path, count: int) -> None:
    draw = random.Random(count)
    dishes = Dishes(draw)
    store = made_up_gallery(folder, DIMENSION)
    store.declare({name: Definition(type_) for name, type_ in COLUMNS.items()})
    for start in range(0, count, CHUNK):
        rows = range(start, min(start + CHUNK, count))
        photos = [dishes.photo(f"{row}") for row in rows]
        store.append(photos, vectors(len(rows)), attributes=[values(draw) for _ in rows])
    store.close()
    print(f"{count:,} photos")
    narrowed = Selected(parse_filter("vegan = true AND price < 20"))
    word = Selected(None, parse_words(dishes.word()))
    with LocalGallery.open(folder) as gallery:
        deep = gallery.browse(Selected(), Sort.parse("price"), 50)
        for _ in range(20):
            deep = gallery.browse(Selected(), Sort.parse("price"), 50, deep.next)
        asked: dict[str, Callable[[], object]] = {
            "newest": lambda: gallery.browse(Selected(), Sort.parse("newest"), 50),
            "by name": lambda: gallery.browse(Selected(), Sort.parse("name"), 50),
            "by price, page 20": lambda: gallery.browse(
                Selected(), Sort.parse("price"), 50, deep.next
            ),
            "by price, a filter": lambda: gallery.browse(narrowed, Sort.parse("price"), 50),
            "newest, a word": lambda: gallery.browse(word, Sort.parse("newest"), 50),
            "labels": lambda: gallery.label_page("", 50),
            "facets": lambda: gallery.facets(Selected(), 20),
            "facets, a filter": lambda: gallery.facets(narrowed, 20),
            "facets, a word": lambda: gallery.facets(word, 20),
        }
        for name, ask in asked.items():
            gallery.store.attributes._masks._version = None  # as after a change
            first = seconds(ask)
            then = [seconds(ask) for _ in range(TIMES)]
            usual = statistics.median(then)
            print(f"  {name:20} first {first * 1000:6.1f} ms, then {usual * 1000:5.1f}")


def values(draw: random.Random) -> dict[str, Value]:
    every: dict[str, Value] = {
        "cuisine": f"cuisine {draw.randrange(20)}",
        "price": round(draw.lognormvariate(2.5, 0.6), 2),
        "grams": draw.randrange(10, 900),
        "season": draw.sample(["spring", "summer", "autumn", "winter"], draw.randrange(3)),
        "vegan": draw.random() < 0.3,
    }
    return {name: value for name, value in every.items() if draw.random() < 0.9}


if __name__ == "__main__":
    main()
