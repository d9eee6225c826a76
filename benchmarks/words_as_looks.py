"""Words as looks: what labels find of photos that have none, with a Model that takes no words.

    python benchmarks/words_as_looks.py ../shared/data/food10

The labels of half of the photos of each class are hidden. Each label is asked as words, and the
first 9 photos without a label are judged by their hidden one. Beside it: what names alone find, and
what a photo of the class finds, asked in the words' place.
"""

import argparse
import random
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import mean

import deepfood
from deepfood.data.photos import list_photos
from deepfood.gallery import Photo

SHOWN = 9
#: Photos of each class that ask.
ASKING = 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("photos", type=Path, help="class folders")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="deepfood-looks-") as folder:
        measure(options.photos, Path(folder), random.Random(options.seed))


def measure(photos: Path, folder: Path, draw: random.Random) -> None:
    (folder / "photos").mkdir()
    label_of: dict[str, str] = {}  # files that say nothing, also not by their folder
    every = list(list_photos(str(photos)).files)
    draw.shuffle(every)
    for number, one in enumerate(every):
        assert one.label is not None
        label_of[f"{number:05}.jpg"] = one.label
        shutil.copy(photos / one.file, folder / "photos" / f"{number:05}.jpg")
    classes: dict[str, list[str]] = {}
    for file, label in label_of.items():
        classes.setdefault(label, []).append(file)
    hidden = {file for files in classes.values() for file in draw.sample(files, len(files) // 2)}
    source = list_photos(str(folder / "photos"))
    files = [
        replace(one, label=None if one.stored in hidden else label_of[one.stored])
        for one in source.files
    ]
    place = folder / "gallery"
    report = deepfood.build_gallery(replace(source, files=tuple(files)), place)
    print(f"{report.count:,} photos, the labels of {len(hidden):,} hidden")

    def right(found: Sequence[Photo], label: str) -> float:
        return sum(label_of[one.file] == label for one in found[:SHOWN]) / SHOWN

    by_words, by_names, by_photo = {}, {}, {}
    with deepfood.open_gallery(place) as gallery:
        for label, some in classes.items():
            words = label.replace("_", " ")
            pages = list(gallery.pages(words=words, k=100))
            hits = [hit for page in pages for hit in page.hits if hit.photo.label is None]
            by_words[label] = right([hit.photo for hit in hits], label)
            by_names[label] = right([hit.photo for hit in hits if hit.matched], label)
            known = draw.sample([file for file in some if file not in hidden], ASKING)
            each = []
            for file in known:
                like = gallery.search(folder / "photos" / file, k=SHOWN, where="label is unknown")
                each.append(right([hit.photo for hit in like.hits], label))
            by_photo[label] = mean(each)
    for label in sorted(classes):
        print(
            f"  {label:20} words {by_words[label]:.2f}  names alone {by_names[label]:.2f}  "
            f"one photo {by_photo[label]:.2f}"
        )
    for what, found_by in (("words", by_words), ("names alone", by_names), ("a photo", by_photo)):
        print(f"precision@{SHOWN}, {what}: {mean(found_by.values()):.3f}")


if __name__ == "__main__":
    main()
