"""Verify a gallery on Milvus: its rows against photos and journal, and these against the rows."""

from collections.abc import Iterator
from functools import partial

import numpy as np

from deepfood.config import Settings
from deepfood.counted import counted
from deepfood.data.photo_file import photo_id
from deepfood.data.read_ahead import reading_ahead
from deepfood.errors import ArtifactCorruptError, ArtifactError, PhotoNotFoundError
from deepfood.gallery.fold import Fold
from deepfood.milvus.address import MilvusAddress
from deepfood.milvus.facts import columns_of, facts_in
from deepfood.milvus.gallery import MilvusGallery
from deepfood.milvus.model_copy import fetch_model
from deepfood.milvus.rollback_data import rollback_faults
from deepfood.milvus.rows import Row
from deepfood.milvus.schema import (
    KEYS,
    PHOTO_ROW,
    WORDS,
    attributes_of,
    keys_for,
    photo_of,
)
from deepfood.milvus.stored_photos import StoredPhotos
from deepfood.progress import bar

#: The tolerance for the length of a unit vector.
_LENGTH = 1e-3


def problems_on_milvus(
    address: MilvusAddress, settings: Settings, *, quiet: bool = False
) -> Iterator[str]:
    """One line for each fault. Raises an ArtifactError or EngineError."""
    with MilvusGallery.open(address, settings, strong=True) as gallery:
        manifest = gallery.manifest
        if not manifest.whole:
            yield f"{address} is incomplete: run the same build again, it resumes"
        try:
            fetch_model(gallery.metadata, manifest.model_fingerprint, settings)
        except ArtifactError as error:
            yield str(error)
        try:
            list(gallery.history())  # verifies all records, also those in a checkpoint
            fold = gallery.journal.read().fold
        except ArtifactCorruptError as error:
            yield str(error)
            fold = None
        if fold is not None and columns_of(fold) != manifest.columns:
            yield "its attributes differ from those declared in the journal: build it again"
        photos = gallery.stored
        kept = set(photos.kept())
        lacking = {sha256 for sha256, _ in fold.added()} if fold is not None else set()
        rows = 0
        every = gallery.rows.every([*PHOTO_ROW, KEYS, "vector"])
        faults = partial(_faults, photos, fold)
        with (
            bar("verifying", " photos", gallery.count, quiet=quiet) as progress,
            reading_ahead(faults, every, workers=1, reading=photos.reads_ahead) as checked,
        ):
            for sha256, found in checked:
                rows += 1
                progress.update()
                yield from found
                kept.discard(sha256)
                lacking.discard(sha256)
        if rows != gallery.count:  # pragma: no cover - Milvus would have to lose rows
            yield f"{counted(rows, 'row was', 'rows were')} read, but Milvus counts {gallery.count}"
        for sha256 in sorted(lacking):
            yield f"photo {photo_id(sha256)} was added, but has no row: build it again"
        for sha256 in sorted(kept - lacking):
            yield f"{photos.store} holds {sha256}, which has no row"
        yield from _parts_faults(gallery)
        yield from rollback_faults(gallery, settings)


def _parts_faults(gallery: MilvusGallery) -> Iterator[str]:
    """Faults of the parts of photos, where the gallery keeps them."""
    if gallery.manifest.parts is None:
        return
    parts = gallery.parts()
    for one, fault in parts.faulty():
        yield f"photo {one}: {fault}: deepfood verify --repair finds them again"
    if unseen := len(gallery.rows.photos(list(parts.unseen()), "")):
        were = counted(unseen, "photo was", "photos were")
        yield f"{were} not looked at for parts: build the gallery again"


def _faults(photos: StoredPhotos, fold: Fold | None, row: Row) -> tuple[str, list[str]]:
    """The SHA-256 of a row's photo, and the faults of the row and of the photo's file."""
    photo = photo_of(row)
    faults = []
    if photo_id(photo.sha256) != row["id"]:
        faults.append("its id does not match its content")
    length = float(np.linalg.norm(np.array(row["vector"], np.float64)))
    if not abs(length - 1) < _LENGTH:
        faults.append(f"its vector has the length {length:.3f} instead of 1")
    if WORDS not in row[KEYS]:
        faults.append("it was written by an earlier deepfood, and words do not find it")
    elif row[KEYS] != keys_for(photo, attributes_of(row)):
        faults.append("its keys for filters and words do not match its texts and attributes")
    if fold is not None:
        now = facts_in(photo, fold)
        if now is None:
            faults.append("it was removed according to the journal: build the gallery again")
        elif now != (photo, attributes_of(row)):
            faults.append("it differs from the journal: build the gallery again")
    try:
        photos.read(photo)
    except PhotoNotFoundError:
        faults.append(f"its file is missing or altered: {photos.where(photo)}")
    return photo.sha256, [f"photo {row['id']} ({photo.file}): {fault}" for fault in faults]
