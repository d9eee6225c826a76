"""Which attributes are declared: a text that writers and builds bring to what the journal says."""

from collections.abc import Iterable, Mapping

from deepfood.gallery.declared import Definition
from deepfood.gallery.fold import Fold
from deepfood.gallery.record import Record
from deepfood.milvus.facts import columns_of
from deepfood.milvus.journal import MilvusJournal
from deepfood.milvus.metadata import Column, GalleryMetadata

#: How far apart records may be that are written at the same time, clocks included.
TOGETHER_NS = 30 * 10**9


def bring_columns(
    metadata: GalleryMetadata,
    journal: MilvusJournal,
    before: Mapping[str, Column],
    since_ns: int,
    wanted: Mapping[str, Column] | None = None,
) -> dict[str, Column]:
    """Have attributes declared as they were, or as `wanted`, and as the journal has it since then.

    `before` is what a manifest says, which counts until the text is written for the first time. A
    writer reads the text before it writes it, and may overwrite what another wrote in between. The
    journal has both changes, and the last writer finds them there.
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
    """The declared attributes after records, which may be in them already."""
    fold = Fold()
    fold.definitions = {name: Definition(one.type, one.safety) for name, one in columns.items()}
    for record in records:
        fold.define(record)
    return columns_of(fold)
