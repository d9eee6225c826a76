"""A labelled dataset of drawn plates, to learn from."""

import csv
import shutil
from pathlib import Path

from PIL import Image, ImageOps

from plates import plate
from samples import picture

#: Names that a file system would not take.
LABELS = ("Süßes/Kuchen", "麻婆豆腐", "soup")


def write_dishes(folder: Path, each: int = 12) -> Path:
    """`each` photos of each of LABELS, named by a photos.csv; the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "photos.csv").open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["photo", "label"])
        for number in range(each * len(LABELS)):
            label = number % len(LABELS)
            # A label's photos have a background and a dish in common.
            image = plate(number, (80 + number, 72))
            image.paste(plate(1000 + label, (48, 48)), (number % 8, number % 5))
            image.save(folder / f"{number:02}.jpg", quality=92)
            rows.writerow([f"{number:02}.jpg", LABELS[label]])
    return folder


def write_leaky(folder: Path, each: int = 6) -> Path:
    """`train/ val/ test/` of two labels, `each` photos a label to train on, 2 in the other splits.

    `val/soup/same.jpg` is a copy of `train/soup/0.jpg`, `val/soup/near.jpg` a smaller one of
    `train/curry/1.jpg`, and `test/curry/mirrored.jpg` one of `train/curry/2.jpg` seen in a mirror.
    """
    for split, start, count in (("train", 0, each), ("val", 100, 2), ("test", 200, 2)):
        for number, label in enumerate(("curry", "soup")):
            (folder / split / label).mkdir(parents=True)
            for photo in range(count):
                # Soft, as photos are: plain ground has no difference hash. A label's photos have a
                # tinge in common.
                tinge = Image.new("RGB", (160, 144), ((180, 60, 20), (20, 90, 160))[number])
                image = Image.blend(picture(160, 144, start + photo + 1000 * number), tinge, 0.4)
                image.save(folder / split / label / f"{photo}.jpg", quality=92)
    train = folder / "train"
    shutil.copy(train / "soup/0.jpg", folder / "val/soup/same.jpg")
    with Image.open(train / "curry/1.jpg") as image:
        image.resize((120, 108)).save(folder / "val/soup/near.jpg", quality=80)
    with Image.open(train / "curry/2.jpg") as image:
        ImageOps.mirror(image).save(folder / "test/curry/mirrored.jpg", quality=85)
    return folder
