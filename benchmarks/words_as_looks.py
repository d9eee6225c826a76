"""Words as looks: what labels find of photos that have none, with a Model that takes no words.

    python benchmarks/words_as_looks.py ../shared/data/food10

The labels of half of the photos of each class are hidden. Each label is asked as words, and the
first 9 photos without a label are judged by their hidden one. Beside it: what names alone find, and
what a photo of the class finds, asked in the words' place.
"""

import argparse
import random
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
        measure(options.photos, Path(folder) / "gallery", random.Random(options.seed))


def measure(photos: Path, place: Path, draw: random.Random) -> None:
    source = list_photos(str(photos))
    classes: dict[str, list[str]] = {}
    for file in source.files:
        assert file.label is not None
        classes.setdefault(file.label, []).append(file.stored)
    hidden = {file for files in classes.values() for file in draw.sample(files, len(files) // 2)}
    files = [replace(one, label=None) if one.stored in hidden else one for one in source.files]
    report = deepfood.build_gallery(replace(source, files=tuple(files)), place)
    print(f"{report.count:,} photos, the labels of {len(hidden):,} hidden")
    label_of = {file: label for label, some in classes.items() for file in some}

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
                like = gallery.search(photos / file, k=SHOWN, where="label is unknown")
                each.append(right([hit.photo for hit in like.hits], label))
            by_photo[label] = mean(each)
    for label in classes:
        print(
            f"  {label:20} words {by_words[label]:.2f}  names alone {by_names[label]:.2f}  "
            f"one photo {by_photo[label]:.2f}"
        )
    for what, each in (("words", by_words), ("names alone", by_names), ("a photo", by_photo)):
        print(f"precision@{SHOWN}, {what}: {mean(each.values()):.3f}")


if __name__ == "__main__":
    main()
