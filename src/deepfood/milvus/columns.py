"""The declared attributes: a stored text that writers and builds update from the journal."""

from collections.abc import Iterable, Mapping

from deepfood.gallery.declared import Definition
from deepfood.gallery.fold import Fold
from deepfood.gallery.record import Record
from deepfood.milvus.facts import columns_of
from deepfood.milvus.journal import MilvusJournal
from deepfood.milvus.metadata import Column, GalleryMetadata

#: The largest difference between the timestamps of concurrent records, clock skew included.
TOGETHER_NS = 30 * 10**9


def update_columns(
    metadata: GalleryMetadata,
    journal: MilvusJournal,
    before: Mapping[str, Column],
    since_ns: int,
    wanted: Mapping[str, Column] | None = None,
) -> dict[str, Column]:
    """Store the declared attributes, or `wanted`, plus the journal's declarations since a time.

    `before` are the manifest's, which apply until the text is first written. A writer reads the
    text before it writes it, and may overwrite a concurrent change. The journal has both changes,
    so that the last writer applies both.
    """
    while True:
        there = metadata.columns()
        if there is None:
            there = dict(before)
        recent = journal.recent(since_ns - TOGETHER_NS)
        after = _defined_by(there if wanted is None else wanted, recent.values())
        if after == there:
            return after
        metadata.write_columns(after)


def _defined_by(columns: Mapping[str, Column], records: Iterable[Record]) -> dict[str, Column]:
    """The declared attributes after applying records, which may be applied already."""
    fold = Fold()
    fold.definitions = {name: Definition(one.type, one.safety) for name, one in columns.items()}
    for record in records:
        fold.define(record)
    return columns_of(fold)
