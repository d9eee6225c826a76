"""Calibrate a gallery that is there already, on photos that it does not hold."""

from pathlib import Path

from deepfood.data.photo_file import photo_id
from deepfood.data.photos import PhotoFile, PhotoSource
from deepfood.data.splits import TEST, VAL
from deepfood.embed import Embedder
from deepfood.errors import DatasetError
from deepfood.gallery.calibration import Calibration, Labelled, calibrate
from deepfood.gallery.embedded import embed_dataset
from deepfood.gallery.gallery import Gallery
from deepfood.gallery.lock import only_writer
from deepfood.gallery.manifest import GalleryManifest


def recalibrate(
    folder: Path, source: PhotoSource, embedder: Embedder, cache: Path, *, quiet: bool = False
) -> Calibration:
    """Calibrate the gallery on the labelled photos of `source` and commit its manifest.

    Taken are those of the test split, of the validation split where there is none, or all. `cache`
    keeps their embeddings. Raises DatasetError where they are too few, an ArtifactError, or
    DiskFullError; the gallery then stays as it was.
    """
    GalleryManifest.read(folder)  # before the lock, which would make the folder
    with only_writer(folder), Gallery.open(folder, embedder.model) as gallery:
        known, vectors, rows = gallery.photos()
        own = Labelled(
            vectors.take(rows), [photo.label for photo in known], [photo.id for photo in known]
        )
        calibration = calibrate_on(own, source, embedder, cache, quiet=quiet)
        changed = {"calibration": calibration, "uncalibrated": None}
        gallery.manifest.model_copy(update=changed).write(folder)
    return calibration


def calibrate_on(
    own: Labelled, source: PhotoSource, embedder: Embedder, cache: Path, *, quiet: bool
) -> Calibration:
    """Calibrate a gallery's `own` photos on labelled ones of `source`. Raises DatasetError."""
    photos = embed_dataset(source, embedder, cache, files=_held_out(source), quiet=quiet)
    asked = Labelled(
        photos.vectors,
        [file.label for file in photos.files],
        [photo_id(sha256) for sha256 in photos.sha256],
    )
    return calibrate(own, embedder.model.trained_on, asked, quiet=quiet)


def _held_out(source: PhotoSource) -> list[PhotoFile]:
    labelled = [file for file in source.files if file.label]
    if not labelled:
        raise DatasetError(
            f"{source.root} has no labels: put each label's photos into a folder of its name, or "
            "give a CSV with the columns photo and label"
        )
    for split in (TEST, VAL):
        if held_out := [file for file in labelled if file.split == split]:
            return held_out
    return labelled
