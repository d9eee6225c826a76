"""Calibration of a gallery on Milvus: how certain its answers are, from its own photos."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import numpy as np

from deepfood.config import Settings
from deepfood.errors import ArtifactBusyError, DatasetError
from deepfood.gallery.averaging import Averaging
from deepfood.gallery.calibration import Calibration, Labelled, calibrate
from deepfood.gallery.photo import sample_bound
from deepfood.gallery.tuned import TuneVerdict, replaced, tuned_fields
from deepfood.milvus.address import MilvusAddress
from deepfood.milvus.connection import Connection
from deepfood.milvus.gallery import MilvusGallery
from deepfood.milvus.lease import HeldLease
from deepfood.milvus.metadata import GalleryMetadata, MilvusManifest
from deepfood.milvus.schema import GIVEN
from deepfood.milvus.writer import MilvusWriter
from deepfood.model import Model
from deepfood.words import word_embedder

#: The most photos used for calibration; a larger gallery is sampled.
_MOST = 200_000


def labelled_photos(gallery: MilvusGallery) -> Labelled:
    """The gallery's photos with their labels, or a uniform sample of them, in memory."""
    count = gallery.count
    where = ""
    if count > _MOST:  # ids are digits of a hash: those below a bound are a uniform sample
        where = f'id < "{sample_bound(count, _MOST)}"'
    rows = list(gallery.rows.every([GIVEN, "id", "vector"], where))
    vectors = np.array([row["vector"] for row in rows], np.float32)
    return Labelled(
        vectors.reshape(len(rows), gallery.manifest.dimension),
        [row[GIVEN]["label"] for row in rows],
        [str(row["id"]) for row in rows],
    )


def recalibrate_on_milvus(
    address: MilvusAddress,
    asked: Labelled,
    model: Model,
    settings: Settings,
    *,
    quiet: bool = False,
) -> Calibration:
    """Like `recalibrate` of a local gallery.

    Raises the same errors, ArtifactBusyError while a next generation is being made or where one
    came meanwhile, and EngineError.
    """
    with MilvusGallery.open(address, settings, model, strong=True) as gallery:
        generation = gallery.manifest.generation  # it follows to the next one meanwhile
        found = calibrate(
            labelled_photos(gallery),
            model.trained_on,
            asked,
            averaging=_averaging(gallery),
            embed_words=word_embedder(model),
            quiet=quiet,
        )
    if not keep_on_milvus(address, found, generation, model, settings):
        raise ArtifactBusyError(
            f"{address} was built again meanwhile, so its answers are as they were: calibrate again"
        )
    return found


def keep_on_milvus(
    address: MilvusAddress,
    calibration: Calibration,
    generation: int,
    model: Model,
    settings: Settings,
) -> bool:
    """Commit a calibration of this generation; another one that lives by now stays as it is.

    Whether it was committed.
    """
    with _held(address, model, settings) as writer:

        def commit() -> bool:
            if writer.manifest.generation != generation:
                return False
            writer.commit({"calibration": calibration, "uncalibrated": None})
            return True

        return writer.in_stable_generation(commit)


def tune_on_milvus(
    address: MilvusAddress,
    verdict: TuneVerdict | None,
    model: Model,
    generation: int,
    settings: Settings,
    *,
    quiet: bool = False,
) -> MilvusManifest:
    """As `tune` of a local gallery."""
    with MilvusGallery.open(address, settings, model, strong=True) as gallery:

        def calibrated(averaging: Averaging) -> Calibration:
            return calibrate(
                labelled_photos(gallery),
                model.trained_on,
                averaging=averaging,
                embed_words=word_embedder(model),
                quiet=quiet,
            )

        changed = tuned_fields(gallery.manifest, verdict, calibrated)
    with _held(address, model, settings) as writer:

        def commit() -> MilvusManifest:
            if writer.manifest.generation != generation:
                raise replaced(address)
            return writer.commit(changed)

        return writer.in_stable_generation(commit)


@contextmanager
def _held(address: MilvusAddress, model: Model, settings: Settings) -> Iterator[MilvusWriter]:
    """A writer that may commit a manifest: it holds the lease. Raises ArtifactBusyError."""
    with (
        closing(Connection.strong(address, settings)) as connection,
        HeldLease.take(GalleryMetadata(connection)) as lease,
    ):
        lease.build_in_place()
        yield MilvusWriter(connection, settings, model)


def _averaging(gallery: MilvusGallery) -> Averaging | None:
    tuned = gallery.manifest.tuned
    return tuned.averaging if tuned else None


def calibration_fields(gallery: MilvusGallery, model: Model, *, quiet: bool) -> dict[str, Any]:
    """The fields of a manifest that new photos or another Model change.

    `uncalibrated` is the reason if there is no calibration. A tune ends: it was judged on others.
    """
    photos = labelled_photos(gallery)
    labels = len({label for label in photos.labels if label})
    ended = {"tuned": None}
    try:
        found = calibrate(photos, model.trained_on, embed_words=word_embedder(model), quiet=quiet)
    except DatasetError as error:
        return {"labels": labels, "calibration": None, "uncalibrated": str(error), **ended}
    return {"labels": labels, "calibration": found, "uncalibrated": None, **ended}
