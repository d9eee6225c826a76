"""How sure the answers of a gallery on Milvus are, from its own photos."""

from contextlib import closing
from typing import Any

import numpy as np

from deepfood.config import Settings
from deepfood.errors import DatasetError
from deepfood.gallery.calibration import Calibration, Labelled, calibrate
from deepfood.milvus.address import MilvusAddress
from deepfood.milvus.connection import Connection
from deepfood.milvus.gallery import MilvusGallery
from deepfood.milvus.lease import HeldLease
from deepfood.milvus.metadata import GalleryMetadata
from deepfood.milvus.writer import MilvusWriter
from deepfood.model import Model
from deepfood.words import word_embedder

#: Calibrated with no more photos than these; of larger galleries with a fair draw.
_MOST = 200_000


def labelled_photos(gallery: MilvusGallery) -> Labelled:
    """Its photos with their labels, or a fair draw of them, in memory."""
    count = gallery.count
    where = ""
    if count > _MOST:  # ids are digits of a hash: those below a bound are a fair draw
        bound = int(_MOST / count * 16**8)
        where = f'id < "{bound:08x}"'
    rows = list(gallery.rows.every(["said", "id", "vector"], where))
    vectors = np.array([row["vector"] for row in rows], np.float32)
    return Labelled(
        vectors.reshape(len(rows), gallery.manifest.dimension),
        [row["said"]["label"] for row in rows],
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
    """As the local gallery's `recalibrate`.

    Raises what that does, ArtifactBusyError where a next generation is being made, and EngineError.
    """
    with MilvusGallery.open(address, settings, model) as gallery:
        found = calibrate(
            labelled_photos(gallery),
            model.trained_on,
            asked,
            embed_words=word_embedder(model),
            quiet=quiet,
        )
    with (
        closing(Connection.strong(address, settings)) as connection,
        HeldLease.take(GalleryMetadata(connection)) as lease,
    ):
        lease.build_in_place()
        writer = MilvusWriter(connection, settings, model)
        writer.in_stable_generation(
            lambda: writer.commit({"calibration": found, "uncalibrated": None})
        )
    return found


def calibrated(gallery: MilvusGallery, model: Model, *, quiet: bool) -> dict[str, Any]:
    """What the manifest says of it: `labels`, `calibration` and why there is none."""
    photos = labelled_photos(gallery)
    labels = len({label for label in photos.labels if label})
    try:
        found = calibrate(photos, model.trained_on, embed_words=word_embedder(model), quiet=quiet)
    except DatasetError as error:
        return {"labels": labels, "calibration": None, "uncalibrated": str(error)}
    return {"labels": labels, "calibration": found, "uncalibrated": None}
