"""Restore an altered catalogue row, by its checksum; nothing is guessed."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import PurePosixPath
from typing import Any

from deepfood.gallery.photo import EmbeddedPhoto, Photo, checksum
from deepfood.local.growing_store import GrowingStore
from deepfood.local.store import RowEntry

#: Fields that follow from the bytes of a photo.
_OF_BYTES = ("sha256", "media_type", "width", "height", "bytes", "modified_ns")
_FLAGS = ("added", "label_edited", "name_edited")


def as_written(entry: RowEntry, again: EmbeddedPhoto, store: GrowingStore) -> Photo | None:
    """The photo of a row as it was written, or None where no candidate has the row's checksum.

    `again` is the photo as it is read now.
    """
    crcs = {entry.vector_crc, store.crc_of_vector(again.vector)}
    for photo in (entry.photo, *_candidates(entry.photo, again.photo, store)):
        for crc in crcs:
            if checksum(photo, entry.row, crc) == entry.checksum:
                return photo
    return None


def _candidates(stands: Photo, again: Photo, store: GrowingStore) -> Iterator[Photo]:
    """The row with one of its fields corrected."""
    labels = {PurePosixPath(stands.file).parent.name, None, *store.every_label()}
    tried: dict[str, set[Any]] = {name: {getattr(again, name)} for name in _OF_BYTES}
    tried |= {name: {not getattr(stands, name)} for name in _FLAGS}
    tried |= {"label": labels, "name": {None}}
    for name, values in tried.items():
        for value in values:
            changed: dict[str, Any] = {name: value}
            yield replace(stands, **changed)
