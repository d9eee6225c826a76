"""Calibrate an existing gallery on photos that it does not hold."""

from pathlib import Path

from deepfood.gallery.calibration import Calibration, Labelled, calibrate
from deepfood.local.gallery import LocalGallery
from deepfood.local.lock import only_writer
from deepfood.local.manifest import LocalManifest
from deepfood.model import Model
from deepfood.words import word_embedder

#: How long it waits for another writer.
_WAIT_S = 30.0


def recalibrate(
    folder: Path, held_out: Labelled, model: Model, *, quiet: bool = False
) -> Calibration:
    """Calibrate the gallery on the photos `held_out`, and commit its manifest.

    Raises DatasetError where they are too few, an ArtifactError, or DiskFullError. The gallery then
    stays as it was.
    """
    LocalManifest.read(folder)  # before the lock, which would create the folder
    with only_writer(folder), LocalGallery.open(folder, model) as gallery:
        known, vectors, rows = gallery.photos()
        own = Labelled(
            vectors.take(rows), [photo.label for photo in known], [photo.id for photo in known]
        )
        calibration = calibrate(
            own, model.trained_on, held_out, embed_words=word_embedder(model), quiet=quiet
        )
        changed = {"calibration": calibration, "uncalibrated": None}
        gallery.manifest.model_copy(update=changed).write(folder)
    return calibration


def keep_calibration(folder: Path, calibration: Calibration, generation: int) -> bool:
    """Commit a calibration of this generation; another one that lives by now stays as it is.

    Whether it was committed. Raises an ArtifactError or DiskFullError.
    """
    with only_writer(folder, _WAIT_S):
        manifest = LocalManifest.read(folder)
        if manifest.generation != generation:
            return False
        manifest.model_copy(update={"calibration": calibration}).write(folder)
        return True
