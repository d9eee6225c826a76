"""Bring a table of attributes into a gallery that is there."""

import contextlib
from collections.abc import Mapping
from pathlib import Path

from deepfood.artifacts import FileRecord
from deepfood.errors import disk_full_named
from deepfood.gallery.attribute_table import ImportReport, import_table
from deepfood.gallery.build import only_writer
from deepfood.gallery.gallery import GalleryManifest
from deepfood.gallery.store import CATALOGUE, Store
from deepfood.gallery.values import Type


def import_attributes(
    folder: Path, table: Path, types: Mapping[str, Type], safety: frozenset[str]
) -> ImportReport:
    """Set the attributes of the gallery's photos from a table, all of it or nothing.

    Raises DatasetError with the place in the table, ArtifactError, or DiskFullError.
    """
    manifest = GalleryManifest.read(folder)
    with only_writer(folder), disk_full_named(folder):
        manifest.check_on_open(folder)
        inside = manifest.folder(folder)
        with contextlib.closing(Store.open_for_append(inside, manifest.dimension)) as store:
            report = import_table(
                store.attributes, table, store.rows_by_key(), types=types, safety=safety
            )
            store.commit()
        name = (inside / CATALOGUE).relative_to(folder).as_posix()
        files = {**manifest.files, name: FileRecord.of(inside / CATALOGUE)}
        manifest.model_copy(update={"files": files}).write(folder)
    return report
