"""The cost of the journal: opening, searching and adding, and reading back a large import.

    python benchmarks/journal.py [--photos 10000] [--import]

Uses synthetic photos and vectors. To compare with an earlier deepfood, run it with that version's
`src` on PYTHONPATH, on the same idle machine. `--import` imports five attributes of each photo and
reads the journal back; it needs the journal.
"""

import argparse
import hashlib
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from deepfood.gallery.photo import EmbeddedPhoto, Photo
from deepfood.local import LocalGallery, LocalManifest, LocalWriter
from deepfood.local.checkpoints import fold_of, write_checkpoint
from made_up_gallery import made_up_gallery

DIMENSION = 64
CHUNK = 10_000
SINGLES, BATCHES, BATCH = 200, 8, 256
SEARCHES, OPENINGS = 200, 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photos", type=int, default=10_000)
    parser.add_argument("--import", action="store_true", dest="imports")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="deepfood-journal-") as temporary:
        folder = Path(temporary) / "gallery"
        rng = np.random.default_rng(1)
        make(folder, options.photos, rng)
        show("open", seconds(lambda: LocalGallery.open(folder).close(), OPENINGS), "ms", 1e3)
        with LocalGallery.open(folder) as gallery:
            query = unit(rng, 1)[0]
            show("search, k = 9", seconds(lambda: gallery.search(query, 9), SEARCHES), "ms", 1e3)
        number = iter(range(10**9))
        one = seconds(lambda: add(folder, 1, rng, number), SINGLES)
        print(f"adds a second, each with a writer of its own: {1 / statistics.median(one):.0f}")
        many = seconds(lambda: add(folder, BATCH, rng, number), BATCHES)
        print(f"adds a second, {BATCH} at a time: {BATCH / statistics.median(many):.0f}")
        if options.imports:
            import_attributes(folder)


def make(folder: Path, count: int, rng: np.random.Generator) -> None:
    store = made_up_gallery(folder, DIMENSION)
    for start in range(0, count, CHUNK):
        rows = range(start, min(start + CHUNK, count))
        store.append([photo(f"built-{row}") for row in rows], unit(rng, len(rows)))
    store.close()


def photo(name: str) -> Photo:
    sha256 = hashlib.sha256(name.encode()).hexdigest()
    return Photo(sha256, f"{name}.jpg", "dish", None, "image/jpeg", 640, 480, 40_000, 1)


def unit(rng: np.random.Generator, count: int) -> np.ndarray:
    vectors = rng.standard_normal((count, DIMENSION)).astype(np.float32)
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))


def add(folder: Path, count: int, rng: np.random.Generator, number: Iterator[int]) -> None:
    new = []
    for vector in unit(rng, count):
        data = f"bytes of photo {next(number)}".encode() * 1000
        about = photo("added")
        sha256 = hashlib.sha256(data).hexdigest()
        new.append(EmbeddedPhoto(Photo(sha256, *list(vars(about).values())[1:9]), vector, data))
    with LocalWriter.open(folder) as writer:
        writer.add(new)


def import_attributes(folder: Path) -> None:
    """Import five attributes of every photo at once, and read the journal back."""
    from deepfood.gallery.declared import Definition
    from deepfood.local.journal import Journal
    from deepfood.local.recover import open_to_change

    columns = {
        "price": Definition("number"),
        "cuisine": Definition("text"),
        "vegan": Definition("boolean"),
        "allergens": Definition("list", safety=True),
        "url": Definition("text"),
    }
    with open_to_change(folder, LocalManifest.read(folder)) as store:
        rows = [row for row, _ in store.rows()]
        values = {
            "price": [(row, row % 100 / 4) for row in rows],
            "cuisine": [(row, f"cuisine {row % 40}") for row in rows],
            "vegan": [(row, row % 3 == 0) for row in rows],
            "allergens": [(row, ["peanut", "milk"][: row % 3]) for row in rows],
            "url": [(row, f"https://example.org/dishes/{row}") for row in rows],
        }
        (took,) = seconds(lambda: store.import_values(columns, values), 1)
    print(f"importing 5 attributes of {len(rows):,} photos: {took:.1f} s")
    journal = Journal(folder)
    size = sum(path.stat().st_size for path in journal.folder.rglob("*") if path.is_file())
    print(f"the journal: {size / 2**20:.0f} MB")
    (took,) = seconds(lambda: fold_of(journal), 1)
    print(f"folding it: {took:.1f} s")
    fold = fold_of(journal)
    (took,) = seconds(lambda: write_checkpoint(fold, journal), 1)
    print(f"writing a checkpoint: {took:.1f} s")
    (took,) = seconds(lambda: fold_of(journal), 1)
    print(f"folding it from the checkpoint: {took:.1f} s")


def seconds(work: Callable[[], object], times: int) -> list[float]:
    found = []
    for _ in range(times):
        begun = time.perf_counter()
        work()
        found.append(time.perf_counter() - begun)
    return found


def show(what: str, found: list[float], unit_name: str, factor: float) -> None:
    median = statistics.median(found) * factor
    print(f"{what}: {median:.2f} {unit_name} (least {min(found) * factor:.2f})")


if __name__ == "__main__":
    main()
