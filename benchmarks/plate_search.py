"""How well the dishes on one photo of a table are found, on made tables (plate/collage.py).

    python benchmarks/plate_search.py FOLDER [--plates 300] [--seed 0] [--work FOLDER]
        [--model MODEL]

FOLDER has a folder of photos for each dish. 200 of each are the gallery; the tables are made of the
others, two to four different dishes each, so that no photo is in both. `--work` keeps the gallery
for the next run. A dish is found if a part with its label overlaps it (intersection over union of
0.1); a part is right if its label is that of the dish that it overlaps most. Before that, the same
is asked with the true box of each dish, and of the nine first hits of the whole photo.
"""

import argparse
import io
import shutil
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

import numpy as np
from PIL import Image

from deepfood.api import Gallery, build_gallery, open_gallery
from deepfood.config import load_settings
from deepfood.photo_box import Box
from deepfood.plate import iou
from deepfood.plate.collage import TOUCHES, collage

#: Photos of each dish in the gallery.
IN_GALLERY = 200


@dataclass(frozen=True)
class Table:
    """A JPEG, and the labels and boxes of what is on it."""

    photo: bytes
    dishes: Sequence[tuple[str, Box]]


@dataclass
class Score:
    """Counts of dishes and of the parts that were shown for them."""

    dishes: int = 0
    found: int = 0
    well_boxed: int = 0
    shown: int = 0
    right: int = 0
    took_s: list[float] = field(default_factory=list)

    def add(self, table: Table, parts: Sequence[tuple[str, Box]], took_s: float) -> None:
        overlaps = np.array([[iou(box, there) for _, there in table.dishes] for _, box in parts])
        overlaps = overlaps.reshape(len(parts), len(table.dishes))
        self.took_s.append(took_s)
        self.dishes += len(table.dishes)
        self.shown += len(parts)
        for column, (label, _) in enumerate(table.dishes):
            of_it = [
                overlaps[row, column]
                for row, (guess, _) in enumerate(parts)
                if guess == label and overlaps[row, column] >= TOUCHES
            ]
            self.found += bool(of_it)
            self.well_boxed += max(of_it, default=0) >= 0.5
        for row, (guess, _) in enumerate(parts):
            nearest = int(overlaps[row].argmax())
            self.right += overlaps[row, nearest] >= TOUCHES and table.dishes[nearest][0] == guess

    def line(self, name: str) -> str:
        return (
            f"| {name} | {self.found / self.dishes:.3f} | {self.right / max(1, self.shown):.3f} "
            f"| {self.well_boxed / max(1, self.found):.3f} | {median(self.took_s) * 1000:.0f} |"
        )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--plates", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--work", type=Path)
    parser.add_argument("--model", type=Path)
    options = parser.parse_args()
    known, others = split(options.folder)
    with tempfile.TemporaryDirectory(prefix="deepfood-plates-") as folder:
        place = options.work or Path(folder)
        settings = load_settings(model=options.model, cursor_key="benchmark")
        if not (place / "gallery").is_dir():
            for label, files in known.items():
                (place / "photos" / label).mkdir(parents=True)
                for file in files:
                    shutil.copy(file, place / "photos" / label)
            build_gallery(place / "photos", place / "gallery", settings)
        with open_gallery(place / "gallery", settings) as gallery:
            report(gallery, others, options.plates, options.seed)


def split(folder: Path) -> tuple[dict[str, list[Path]], dict[str, list[Path]]]:
    """The files of each dish in the gallery, and the others; the same in every run."""
    rng = np.random.default_rng(0)
    known, others = {}, {}
    for dish in sorted(one for one in folder.iterdir() if one.is_dir()):
        files = sorted(dish.iterdir())
        mixed = [files[place] for place in rng.permutation(len(files))]
        known[dish.name], others[dish.name] = mixed[:IN_GALLERY], mixed[IN_GALLERY:]
    return known, others


def make(others: dict[str, list[Path]], seed: int, number: int, dishes: int) -> Table:
    rng = np.random.default_rng([seed, number])
    labels = [str(one) for one in rng.choice(list(others), dishes, replace=False)]
    pieces = [Image.open(others[one][rng.integers(len(others[one]))]) for one in labels]
    made = collage(pieces, int(rng.integers(2**31)))
    out = io.BytesIO()
    made.image.save(out, "JPEG", quality=90)
    return Table(out.getvalue(), [(labels[one.piece], one.box) for one in made.dishes])


def report(gallery: Gallery, others: dict[str, list[Path]], plates: int, seed: int) -> None:
    whole, true, found = Score(), Score(), Score()
    for number in range(plates):
        count = int(np.random.default_rng([seed, number, 1]).integers(2, 5))
        table = make(others, seed, number, count)
        start = time.perf_counter()
        hits = gallery.search(table.photo).hits
        took_s = time.perf_counter() - start
        whole.add(table, [], took_s)
        whole.found += len({hit.photo.label for hit in hits} & {one for one, _ in table.dishes})
        parts = []
        start = time.perf_counter()
        for _, box in table.dishes:
            answer = gallery.search(table.photo, box=(box.x, box.y, box.width, box.height))
            parts.append((answer.label.label if answer.label else "", box))
        true.add(table, parts, time.perf_counter() - start)
        start = time.perf_counter()
        shown = gallery.search(table.photo, plate=True).parts or ()
        took_s = time.perf_counter() - start
        parts = [(part.label.label if part.label else "", part.box) for part in shown]
        found.add(table, parts, took_s)
    print(
        f"{plates} plates, {whole.dishes} dishes, {found.shown} parts shown, seed {seed}\n\n"
        "| | dishes found | parts right | of those found, IoU at least 0.5 | ms |\n"
        "|---|---:|---:|---:|---:|"
    )
    print(
        f"| whole photo, nine hits | {whole.found / whole.dishes:.3f} | | "
        f"| {median(whole.took_s) * 1000:.0f} |"
    )
    print(true.line("true boxes"))
    print(found.line("deepfood"))
    times = median(each / plain for each, plain in zip(found.took_s, whole.took_s, strict=True))
    print(f"\na plate takes {times:.1f} times a plain search with the same photo", flush=True)
    alone = [file for files in others.values() for file in files[:: max(1, 3000 // plates)]]
    counts = [len(gallery.search(file, plate=True).parts or ()) for file in alone]
    print(
        f"{len(alone)} photos of one dish: {np.mean(np.array(counts) == 1):.3f} one part, "
        f"{np.mean(np.array(counts) == 0):.3f} none"
    )
    bare = [make(others, seed, number, 0).photo for number in range(plates // 3)]
    counts = [len(gallery.search(photo, plate=True).parts or ()) for photo in bare]
    print(f"{len(bare)} tables without a dish: {np.mean(np.array(counts) == 0):.3f} no part")


if __name__ == "__main__":
    main()
