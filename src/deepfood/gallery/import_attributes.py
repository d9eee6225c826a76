"""Bring a table of attributes into a gallery that is there."""

import contextlib
from collections.abc import Mapping
from pathlib import Path

from deepfood.gallery.attribute_table import Table, import_table
from deepfood.gallery.growing_store import GrowingStore
from deepfood.gallery.lock import only_writer
from deepfood.gallery.manifest import GalleryManifest
from deepfood.gallery.named_photos import NamedPhotos
from deepfood.gallery.values import Type


def import_attributes(
    folder: Path, table: Path, types: Mapping[str, Type], safety: frozenset[str]
) -> Table[int]:
    """Set the attributes of the gallery's photos from a table, all of it or nothing.

    Raises DatasetError with the place in the table, ArtifactError, or DiskFullError.
    """
    GalleryManifest.read(folder)  # before the lock, which would make its file
    with only_writer(folder):
        manifest = GalleryManifest.read(folder)
        inside = manifest.folder(folder)
        opened = GrowingStore.open(inside, manifest.dimension, manifest.storage)
        with contextlib.closing(opened) as store, store.changing_attributes() as attributes:
            every = attributes.db.execute("SELECT row, sha256, file FROM photos")
            photos = NamedPhotos[int](every, manifest.photos_root)
            return import_table(attributes, table, photos, types=types, safety=safety)
