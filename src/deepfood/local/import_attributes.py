"""Import a table of attributes into a gallery."""

from collections.abc import Mapping
from pathlib import Path

from deepfood.data.locate import root_named
from deepfood.gallery.attribute_table import Table, read_table
from deepfood.gallery.named_photos import NamedPhotos
from deepfood.gallery.values import Type
from deepfood.local.lock import only_writer
from deepfood.local.manifest import LocalManifest
from deepfood.local.recover import open_to_change
from deepfood.storage import AWS, S3Options


def import_attributes(
    folder: Path,
    table: Path,
    types: Mapping[str, Type],
    safety: frozenset[str],
    s3: S3Options = AWS,
) -> Table[int]:
    """Set the attributes of the gallery's photos from a table, all of them or none.

    Raises DatasetError with the place in the table, ArtifactError, or DiskFullError.
    """
    LocalManifest.read(folder)  # before the lock, which would create its file
    with only_writer(folder):
        manifest = LocalManifest.read(folder)
        with open_to_change(folder, manifest) as store:
            declared = store.attributes.declared()
            photos = NamedPhotos[int](store.names(), root_named(manifest.photos_root, s3))
            found = read_table(declared, table, photos, types=types, safety=safety)
            store.import_values(found.declared, found.values)
            return found
