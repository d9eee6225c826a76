"""Import the attributes in a build's table into the journal, as far as they are new.

A table is compared with the one that the previous build imported. Only changed cells are imported,
so that manual edits made in between stay.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Protocol

from deepfood.data.photos import PhotoSource
from deepfood.errors import ArtifactCorruptError
from deepfood.gallery.attribute_table import Table, attributes_of
from deepfood.gallery.choose import FileEntry
from deepfood.gallery.fold import AnyJournal, Fold
from deepfood.gallery.photo import Photo
from deepfood.gallery.values import Value

#: Values by attribute, for each photo by SHA-256; None makes one unknown.
Cells = dict[str, dict[str, Value | None]]


class TableJournal(Protocol):
    """A journal that keeps tables, in a folder or on Milvus."""

    def write_table(self, values: Mapping[str, Mapping[str, Any]]) -> str:
        """Keep values by photo; the SHA-256 of the table."""


def table_of(source: PhotoSource, fold: Fold) -> Table[str] | None:
    """The table of a source, None where it has no attributes. Raises DatasetError."""
    if source.table is None:
        return None
    table = attributes_of(source, fold.definitions)
    return table if table.declared else None


def changed_cells(
    table: Table[str],
    source: PhotoSource,
    known: Mapping[str, FileEntry],
    fold: Fold,
    journal: AnyJournal,
) -> tuple[Cells, Cells]:
    """The cells that changed since the last build, and all cells, by SHA-256 of the photo.

    An empty cell that was empty or absent before is not a change.
    """
    hashes = dict(_hashes(source, known, fold))
    whole: Cells = {}
    for file, values in table.by_photo().items():
        if (sha256 := hashes.get(file)) is not None:
            whole.setdefault(sha256, {}).update(values)
    before: Mapping[str, Mapping[str, Any]] = {}
    if fold.source_table is not None:
        try:
            before = dict(journal.read_table(fold.source_table))
        except ArtifactCorruptError:  # later manual edits must not be overwritten
            before = {
                sha256: {n: value for n, value in values.items() if n in fold[sha256].attributes}
                for sha256, values in whole.items()
            }
    news: Cells = {}
    for sha256, values in whole.items():
        old = before.get(sha256, {})
        changed = {name: value for name, value in values.items() if value != old.get(name)}
        if changed:
            news[sha256] = changed
    return news, whole


def import_of(
    table: Table[str], news: Cells, whole: Cells, journal: TableJournal
) -> dict[str, Any]:
    """The body of a record of kind `import` with the new cells."""
    declared = {
        name: {"type": one.type, "safety": one.safety} for name, one in table.declared.items()
    }
    return {
        "table": journal.write_table(news),
        "count": len(news),
        "attributes": declared,
        "source_table": journal.write_table(whole),
    }


def _hashes(
    source: PhotoSource, known: Mapping[str, FileEntry], fold: Fold
) -> Iterable[tuple[str, str]]:
    """File and SHA-256 of the photos that may have attributes: the removed ones may not."""
    for file in source.files:
        if (one := known.get(file.stored)) is None:
            continue
        sha256 = one.entry.sha256 if isinstance(one.entry, Photo) else one.entry.same_as
        if sha256 is not None and fold[sha256].removed is None:
            yield file.file, sha256
