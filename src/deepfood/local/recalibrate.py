"""Calibrate an existing gallery on photos that it does not hold, and tune it."""

from pathlib import Path

from deepfood.gallery.averaging import Averaging
from deepfood.gallery.calibration import Calibration, Labelled, calibrate
from deepfood.gallery.tuned import TuneVerdict, replaced, tuned_fields
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
        tuned = gallery.manifest.tuned
        calibration = calibrate(
            _photos_of(gallery),
            model.trained_on,
            held_out,
            averaging=tuned.averaging if tuned else None,
            embed_words=word_embedder(model),
            quiet=quiet,
        )
        changed = {"calibration": calibration, "uncalibrated": None}
        gallery.manifest.model_copy(update=changed).write(folder)
    return calibration


def tune(
    folder: Path, verdict: TuneVerdict | None, model: Model, generation: int, *, quiet: bool = False
) -> LocalManifest:
    """Tune the gallery so, or no longer (None), and commit its manifest: see `Engine.tune`."""
    LocalManifest.read(folder)
    with only_writer(folder, _WAIT_S), LocalGallery.open(folder, model) as gallery:
        if gallery.manifest.generation != generation:
            raise replaced(folder)
        own = _photos_of(gallery)

        def calibrated(averaging: Averaging) -> Calibration:
            return calibrate(
                own,
                model.trained_on,
                averaging=averaging,
                embed_words=word_embedder(model),
                quiet=quiet,
            )

        changed = tuned_fields(gallery.manifest, verdict, calibrated)
        manifest = gallery.manifest.model_copy(update=changed)
        manifest.write(folder)
    return manifest


def _photos_of(gallery: LocalGallery) -> Labelled:
    known, vectors, rows = gallery.photos()
    return Labelled(
        vectors.take(rows), [photo.label for photo in known], [photo.id for photo in known]
    )


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
