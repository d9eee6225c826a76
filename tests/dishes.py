"""A labelled dataset of drawn plates, to learn from."""

import csv
from pathlib import Path

from plates import plate

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
