"""The CSV that Kaggle's iFood-2019 competition takes: three guesses for each test photo.

    img_name,label
    test_000000.jpg,12 7 101

The ids of the labels are those of the data's `class_list.txt`, a line "id name" each.
"""

import contextlib
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from deepfood.artifacts import check_can_write, write_result
from deepfood.config import Settings
from deepfood.counted import counted
from deepfood.data.ifood_layout import CLASS_LIST, class_list_of, read_class_list
from deepfood.data.photos import PhotoFile, PhotoSource, list_photos
from deepfood.data.root import Root
from deepfood.data.splits import TEST
from deepfood.embed import open_embedder
from deepfood.engine import engine_at
from deepfood.errors import DatasetError
from deepfood.evaluate.metrics import Labels, Vectors, measure, rank
from deepfood.evaluate.trial import LabelledVectors, labelled_photos
from deepfood.local.embedding_cache import embed_dataset
from deepfood.place import Place
from deepfood.storage import S3Options

GUESSES = 3


@dataclass(frozen=True)
class Submission:
    """The number of lines; `unreadable` photos got the gallery's most frequent labels."""

    photos: int
    unreadable: tuple[str, ...]


def write_submission(
    place: Place, dataset: Path | str, out: Path, settings: Settings, *, k: int, quiet: bool
) -> Submission:
    """Guess the labels of the dataset's test photos by the vote of their k nearest in a gallery.

    Raises DatasetError where the dataset has no test photos or no class list, or the list lacks a
    label of the gallery; SettingError where `out` cannot be written.
    """
    check_can_write(out)
    source = list_photos(dataset, S3Options.of(settings))
    asked = _test_photos(source)
    ids = _class_ids(source.root)
    opened, model = engine_at(place, settings).open()
    with contextlib.closing(opened) as gallery:
        embedder = open_embedder(settings, model)
        photos, _ = labelled_photos(gallery, gallery.photos())
        names = sorted(set(photos.labels))
        if strange := [name for name in names if name not in ids]:
            raise DatasetError(
                f"{place} has {counted(strange, 'label')}, {strange[0]!r} among them, that "
                f"{CLASS_LIST} of {source.root} lacks: build the gallery from the same dataset"
            )
        if len(names) < GUESSES:
            raise DatasetError(
                f"{place} has {counted(names, 'label')}, and each photo gets {GUESSES}"
            )
        cache = settings.cache.expanduser()
        embedded = embed_dataset(source, embedder, cache, files=asked, quiet=quiet)
        number = {name: i for i, name in enumerate(names)}
        labels = np.array([number[label] for label in photos.labels], np.int64)
        guesses = guess(embedded.vectors, photos, labels, k)
    rows = {photo.file: row for row, photo in enumerate(embedded.files)}
    common = np.argsort(-np.bincount(labels), kind="stable")[:GUESSES]
    lines = ["img_name,label"]
    for photo in asked:
        chosen = guesses[rows[photo.file]] if photo.file in rows else common
        of_photo = " ".join(ids[names[one]] for one in chosen)
        lines.append(f"{PurePosixPath(photo.file).name},{of_photo}")
    write_result(out, "".join(f"{line}\n" for line in lines).encode())
    return Submission(len(asked), tuple(one.file for one in embedded.skipped))


def guess(queries: Vectors, photos: LabelledVectors, labels: Labels, k: int) -> Labels:
    """Three different labels for each query, int64 [q, 3].

    First those that the k nearest vote for, then the labels that follow in the ranking.
    """
    nobody = np.full(len(queries), -1)
    guesses = measure(queries, nobody, photos.vectors, labels, k=k).guesses
    for row in np.flatnonzero((guesses < 0).any(axis=1)):
        ranked = labels[rank(photos.vectors @ queries[row])]
        first = np.sort(np.unique(ranked, return_index=True)[1])
        voted = guesses[row][guesses[row] >= 0]
        more = [label for label in ranked[first] if label not in voted]
        guesses[row] = [*voted, *more][:GUESSES]
    return guesses


def _class_ids(root: Root) -> dict[str, str]:
    """The id of each label, from iFood's class list. Raises DatasetError."""
    file = class_list_of(root)
    if file is None:
        raise DatasetError(f"{root} has no {CLASS_LIST}: --submission needs an iFood-2019 folder")
    return {name: str(number) for number, name in read_class_list(root, file).items()}


def _test_photos(source: PhotoSource) -> list[PhotoFile]:
    asked = [photo for photo in source.files if photo.split == TEST]
    if not asked:
        raise DatasetError(f"{source.root} has no test photos: --submission needs an iFood folder")
    return asked
