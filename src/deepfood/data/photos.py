"""List photos: everything that commands accept as PHOTOS or DATASET.

- A folder of photos, found by file name ending. Hidden ones, links to folders, and folders that NAS
  devices and operating systems create are skipped; `PhotoSource.passed_over` counts them.
- A folder of class folders: `curry/1.jpg` has the label curry.
- A folder of `train/ val/ test/` (each with class folders): label and split.
- A CSV with a column `photo` or `file` (path below the CSV's folder), optionally `label`, `name`,
  `split` and attributes.
- A folder with a `photos.csv`: the photos that this CSV lists.
- Food-101's own folder (`images/` and `meta/`), also one level above it.
- iFood-2019's own folder (`train_labels.csv`, `class_list.txt`, `train_set/` ...).

Each may be on this machine or in a bucket, `s3://BUCKET/PREFIX`.
"""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from deepfood.data.ifood_layout import is_ifood, photos_of_ifood
from deepfood.data.layouts import is_food101, photos_of_folder, photos_of_food101
from deepfood.data.locate import locate
from deepfood.data.passed_over import Tally, in_words
from deepfood.data.photo_file import PhotoFile, PhotoSource
from deepfood.data.root import Root
from deepfood.data.tables import photos_of_csv
from deepfood.errors import DatasetError
from deepfood.photo import SUFFIXES
from deepfood.storage import AWS, S3Options

__all__ = ["CATALOGUE", "PhotoFile", "PhotoSource", "list_photos"]

CATALOGUE = "photos.csv"

_FOOD101 = "food-101"


def list_photos(source: Path | str, s3: S3Options = AWS, *, empty: bool = False) -> PhotoSource:
    """Find the photos of a folder, CSV or s3:// prefix; photos that a table lists need not exist.

    `s3` is the server that has the bucket of an s3:// URL. Raises DatasetError where there are
    none, unless `empty` allows it, or where a table is invalid, with its line, and StorageError
    where the bucket cannot be read.
    """
    try:
        return _list_photos(source, s3)
    except NoPhotosError as error:
        if not empty:
            raise
        return error.source


class NoPhotosError(DatasetError):
    """A source without photos, `source`."""

    def __init__(self, source: PhotoSource, nothing: str) -> None:
        also = f"; passed over: {in_words(source.passed_over)}" if source.passed_over else ""
        super().__init__(f"no photos in {source.root}: {nothing}{also}")
        self.source = source


def _list_photos(source: Path | str, s3: S3Options) -> PhotoSource:
    root, file = locate(source, s3)
    if not file:
        return _photos_of(root)
    if not file.lower().endswith(".csv"):
        raise DatasetError(f"{root.where(file)} is neither a folder nor a .csv file")
    return _of_table(root, file, "it names none")


def _photos_of(root: Root) -> PhotoSource:
    if root.is_file(CATALOGUE):
        return _of_table(root, CATALOGUE, f"{root.where(CATALOGUE)} names none")
    for inner in (root, root.below(_FOOD101)):
        if is_food101(inner):
            found = photos_of_food101(inner)
            return _sorted(inner, found, f"{inner.where('meta')} names none")
    tally = Tally()
    if is_ifood(root):
        return _sorted(root, photos_of_ifood(root, tally), "its tables name none", tally)
    looked = f"looked for files ending in {' '.join(sorted(SUFFIXES))}"
    return _sorted(root, photos_of_folder(root, tally), looked, tally)


def _of_table(root: Root, file: str, nothing: str) -> PhotoSource:
    named = photos_of_csv(root, file)
    found = _sorted(root, named.photos, nothing)
    return replace(found, table=file, rows_without_photo=named.rows_without_photo)


def _sorted(
    root: Root, found: Iterable[PhotoFile], nothing: str, tally: Tally | None = None
) -> PhotoSource:
    files = sorted(found, key=lambda photo: photo.file)
    source = PhotoSource(root.resolve(), tuple(files), passed_over=tally.result() if tally else ())
    if not files:
        raise NoPhotosError(source, nothing)
    return source
