"""Select rows by a filter, as masks."""

from dataclasses import dataclass

import numpy as np

from deepfood.gallery.filter_tree import Filter, IsKnown
from deepfood.gallery.notes import Note, left_out_note, spelling_note
from deepfood.index import Mask
from deepfood.local.attributes import Attributes
from deepfood.local.columns import Columns


@dataclass(frozen=True)
class Selection:
    """The rows that pass a filter: `mask` bool [rows].

    `unknown` counts those left out for want of a value of a safety attribute. `notes` mention it
    for users.
    """

    mask: Mask
    unknown: int
    notes: tuple[Note, ...]


def select(where: Filter, attributes: Attributes, rows: int) -> Selection:
    """Select among rows 0 to `rows`.

    Raises FilterError for an unknown attribute, or a comparison that does not fit its type;
    QueryError where it takes too long.
    """
    with attributes.snapshot() as now:
        return select_in(now, where, rows)


def select_in(now: Columns, where: Filter, rows: int) -> Selection:
    """As `select`, at one moment."""
    comparisons = [one for one in where.leaves() if not isinstance(one, IsKnown)]
    for leaf in where.leaves():
        leaf.check(now)
    true, possible = where.evaluate(now, rows)
    living = now.living(rows)
    safety = sorted({leaf.name for leaf in comparisons if now.is_safety(leaf.name)})
    safe = np.ones(rows, np.bool_)
    for name in safety:
        safe &= now.known(name, rows)
    unknown = int(np.count_nonzero(possible & living & ~safe))
    notes = []
    if unknown:
        notes.append(left_out_note(unknown, safety))
    for leaf in comparisons:
        if leaf.name in safety and not leaf.evaluate(now, rows)[0].any():
            notes.append(spelling_note(leaf.name, leaf))
    return Selection(true & living & safe, unknown, tuple(dict.fromkeys(notes)))
