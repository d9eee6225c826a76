"""Bring a table of attributes into a gallery on Milvus."""

from collections.abc import Mapping
from pathlib import Path

from deepfood.config import Settings
from deepfood.gallery.attribute_table import Table, read_table
from deepfood.gallery.named_photos import NamedPhotos
from deepfood.gallery.values import Type
from deepfood.milvus.address import MilvusAddress
from deepfood.milvus.gallery import MilvusGallery
from deepfood.milvus.writer import MilvusWriter
from deepfood.milvus.written import BATCH

_NAMES = ["id", "sha256", "file"]


def import_on_milvus(
    address: MilvusAddress,
    path: Path,
    types: Mapping[str, Type],
    safety: frozenset[str],
    settings: Settings,
) -> Table[str]:
    """Set attributes of photos from a table, which is checked as a whole before any is written.

    They are written a thousand photos at a time: a command that is killed is run again. Raises
    DatasetError with the place in the table, ArtifactError or EngineError.
    """
    with MilvusGallery.open(address, settings) as gallery:
        manifest = gallery.manifest
        every = ((row["id"], row["sha256"], row["file"]) for row in gallery.rows.every(_NAMES))
        photos = NamedPhotos[str](every, manifest.photos_root)
    table = read_table(manifest.columns, path, photos, types=types, safety=safety)
    values = table.by_photo()
    with MilvusWriter.open(address, settings) as writer:
        # Before any value: one of safety never passes a filter as if it were another.
        writer.declare(table.declared)
        every_id = list(values)
        for start in range(0, len(every_id), BATCH):
            writer.set_attributes({one: values[one] for one in every_id[start : start + BATCH]})
    return table
