"""Whether a gallery on Milvus is whole: rows against photos, and photos against rows."""

from collections.abc import Iterator

import numpy as np

from deepfood.config import Settings
from deepfood.data.photo_file import photo_id
from deepfood.errors import ArtifactError, PhotoNotFoundError
from deepfood.milvus.address import MilvusAddress
from deepfood.milvus.gallery import MilvusGallery
from deepfood.milvus.model_copy import fetch_model
from deepfood.milvus.schema import KEYS, PHOTO_ROW, attributes_of, keys_for, photo_of
from deepfood.progress import bar

#: How far a unit vector's length may be off.
_LENGTH = 1e-3


def problems_on_milvus(
    address: MilvusAddress, settings: Settings, *, quiet: bool = False
) -> Iterator[str]:
    """Every fault, a line each. Raises an ArtifactError or EngineError."""
    with MilvusGallery.open(address, settings) as gallery:
        manifest = gallery.manifest
        if not manifest.whole:
            yield f"{address} was never built to its end: the same build goes on"
        try:
            fetch_model(gallery.about, manifest.model_fingerprint, settings)
        except ArtifactError as error:
            yield str(error)
        photos = gallery.stored
        kept = set(photos.kept())
        rows = 0
        with bar("verifying", " photos", gallery.count, quiet=quiet) as progress:
            for row in gallery.rows.every([*PHOTO_ROW, KEYS, "vector"]):
                rows += 1
                progress.update()
                photo = photo_of(row)
                named = f"photo {row['id']} ({photo.file})"
                if photo_id(photo.sha256) != row["id"]:
                    yield f"{named}: its id is not that of its content"
                length = float(np.linalg.norm(np.array(row["vector"], np.float64)))
                if not abs(length - 1) < _LENGTH:
                    yield f"{named}: its vector has the length {length:.3f}, and 1 is wanted"
                if row[KEYS] != keys_for(photo, attributes_of(row)):
                    yield f"{named}: what filters find it by is not what is said of it"
                try:
                    photos.read(photo)
                except PhotoNotFoundError:
                    yield f"{named}: its file is missing or altered: {photos.where(photo)}"
                kept.discard(photo.sha256)
        if rows != gallery.count:
            yield f"{rows} rows were read, and {gallery.count} are counted"
        for sha256 in sorted(kept):
            yield f"{photos.store} holds {sha256}, which no row has"
