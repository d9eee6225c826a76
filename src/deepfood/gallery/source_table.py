"""What the table of a build says of its photos, taken into the journal as far as it is news.

A table is compared with the one that the build before took in. Only cells that have changed since
are said again, so what people said by hand in between stays.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Protocol

from deepfood.data.photos import PhotoSource
from deepfood.errors import ArtifactCorruptError
from deepfood.gallery.attribute_table import Table, attributes_of
from deepfood.gallery.choose import FileEntry
from deepfood.gallery.fold import AnyJournal, Fold
from deepfood.gallery.photo import Photo, Skipped
from deepfood.gallery.values import Value

#: By SHA-256, the values of a photo by attribute; None makes one unknown.
Cells = dict[str, dict[str, Value | None]]


class Written(Protocol):
    """A journal, wherever it is, that keeps tables."""

    def write_table(self, values: Mapping[str, Mapping[str, Any]]) -> str:
        """As `Journal` says."""


def table_of(source: PhotoSource, fold: Fold) -> Table[str] | None:
    """The attributes that a source's table has, None where it has none. Raises DatasetError."""
    if source.table is None:
        return None
    table = attributes_of(source, fold.definitions)
    return table if table.declared else None


def news_of(
    table: Table[str],
    source: PhotoSource,
    known: Mapping[str, FileEntry],
    fold: Fold,
    journal: AnyJournal,
) -> tuple[Cells, Cells]:
    """The cells that have changed since the last build, and all cells, by the photos' content.

    A cell that was never there and is empty says nothing.
    """
    hashes = dict(_hashes(source, known))
    whole: Cells = {}
    for file, values in table.by_photo().items():
        if (sha256 := hashes.get(file)) is not None:
            whole.setdefault(sha256, {}).update(values)
    before: Mapping[str, Mapping[str, Any]] = {}
    if fold.source_table is not None:
        try:
            before = dict(journal.read_table(fold.source_table))
        except ArtifactCorruptError:  # what people have said since must not be overwritten
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


def import_of(table: Table[str], news: Cells, whole: Cells, journal: Written) -> dict[str, Any]:
    """What is new, as a record of kind `import` has it."""
    declared = {
        name: {"type": one.type, "safety": one.safety} for name, one in table.declared.items()
    }
    return {
        "table": journal.write_table(news),
        "count": len(news),
        "attributes": declared,
        "source_table": journal.write_table(whole),
    }


def _hashes(source: PhotoSource, known: Mapping[str, FileEntry]) -> Iterable[tuple[str, str]]:
    for file in source.files:
        one = known.get(file.stored)
        if one is not None and isinstance(one.entry, Photo):
            yield file.file, one.entry.sha256
        elif one is not None and isinstance(one.entry, Skipped) and one.entry.same_as:
            yield file.file, one.entry.same_as
