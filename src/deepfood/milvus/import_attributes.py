"""Bring a table of attributes into a gallery on Milvus."""

from collections.abc import Mapping
from pathlib import Path

from deepfood.config import Settings
from deepfood.gallery.attribute_table import Table, read_table
from deepfood.gallery.values import Type, Value
from deepfood.milvus.about import Column
from deepfood.milvus.address import MilvusAddress
from deepfood.milvus.gallery import MilvusGallery
from deepfood.milvus.writer import MilvusWriter


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
    with MilvusGallery.open(address, settings) as gallery:
        columns = gallery.manifest.columns
        photos: dict[str, dict[str, str]] = {"id": {}, "sha256": {}, "file": {}}
        for row in gallery.rows.every(["id", "sha256", "file"]):
            for key, known in photos.items():
                known[row[key]] = row["sha256"]
    table = read_table(columns, path, photos, types=types, safety=safety)
    values: dict[str, dict[str, Value | None]] = {photo: {} for photo in table.photos}
    for name, said in table.values.items():
        for photo, value in said:
            values[photo][name] = value
    definitions = {
        name: Column(type=type_, safety=name in table.safety) for name, type_ in table.types.items()
    }
    with MilvusWriter.open(address, settings) as writer:
        writer.import_values(definitions, values)
    return table
