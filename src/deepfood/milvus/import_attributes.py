"""Import a table of attributes into a gallery on Milvus."""

from collections.abc import Mapping
from pathlib import Path

from deepfood.config import Settings
from deepfood.data.locate import root_named
from deepfood.gallery.attribute_table import Table, read_table
from deepfood.gallery.named_photos import NamedPhotos
from deepfood.gallery.values import Type
from deepfood.milvus.address import MilvusAddress
from deepfood.milvus.gallery import MilvusGallery
from deepfood.milvus.writer import MilvusWriter
from deepfood.storage import S3Options

_NAMES = ["sha256", "file"]


def import_on_milvus(
    address: MilvusAddress,
    path: Path,
    types: Mapping[str, Type],
    safety: frozenset[str],
    settings: Settings,
) -> Table[str]:
    """Set attributes of photos from a table, which is checked as a whole before any is written.

    Raises DatasetError with the place in the table, ArtifactError or EngineError.
    """
    with MilvusGallery.open(address, settings, strong=True) as gallery:
        manifest = gallery.manifest
        every = ((row["sha256"], row["sha256"], row["file"]) for row in gallery.rows.every(_NAMES))
        root = root_named(manifest.photos_root, S3Options.of(settings))
        photos = NamedPhotos[str](every, root)
    table = read_table(manifest.columns, path, photos, types=types, safety=safety)
    with MilvusWriter.open(address, settings) as writer:
        writer.import_values(table.declared, table.by_photo())
    return table
