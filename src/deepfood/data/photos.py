"""What photos there are: everything that a command takes as PHOTOS or DATASET.

- A folder of photos, found by file name ending, hidden ones left out.
- A folder of class folders: `curry/1.jpg` has the label curry.
- A folder of `train/ val/ test/` (each with class folders): label and split.
- A CSV with a column `photo` (path relative to the CSV), and perhaps `label`, `name`, `split`.
- A folder with a `photos.csv` in it is what that CSV says.
- Food-101's own folder (`images/` and `meta/`), also one level above it.
- iFood-2019's own folder (`train_labels.csv`, `class_list.txt`, `train_set/` ...).
"""

from pathlib import Path

from deepfood.data.ifood_layout import is_ifood, photos_of_ifood
from deepfood.data.layouts import is_food101, photos_of_folder, photos_of_food101
from deepfood.data.photo_file import PhotoFile, PhotoSource, path_inside
from deepfood.data.tables import photos_of_csv
from deepfood.errors import DatasetError
from deepfood.photo import SUFFIXES

__all__ = ["CATALOGUE", "PhotoFile", "PhotoSource", "list_photos", "path_inside"]

CATALOGUE = "photos.csv"

_FOOD101 = "food-101"


def list_photos(source: Path) -> PhotoSource:
    """Find the photos of a folder or CSV; those that a table names need not be there.

    Raises DatasetError where there are none, or where a table cannot be meant, with its line.
    """
    if source.is_dir():
        root = source
        if (source / CATALOGUE).is_file():
            found, nothing = photos_of_csv(source / CATALOGUE), f"{source / CATALOGUE} names none"
        elif is_food101(source) or is_food101(source / _FOOD101):
            root = source if is_food101(source) else source / _FOOD101
            found, nothing = photos_of_food101(root), f"{root / 'meta'} names none"
        elif is_ifood(source):
            found, nothing = photos_of_ifood(source), "its tables name none"
        else:
            found = photos_of_folder(source)
            nothing = f"looked for files ending in {' '.join(sorted(SUFFIXES))}"
    elif source.suffix.lower() == ".csv" and source.is_file():
        root, found, nothing = source.parent, photos_of_csv(source), "it names none"
    elif source.exists():
        raise DatasetError(f"{source} is neither a folder nor a .csv file")
    else:
        raise DatasetError(
            f"there is no {source}: give a folder of photos or a CSV that names them"
        )
    files = sorted(found, key=lambda photo: photo.file)
    if not files:
        raise DatasetError(f"no photos in {source}: {nothing}")
    return PhotoSource(root.resolve(), tuple(files))
