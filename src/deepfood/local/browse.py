"""Browse a gallery in a folder: pages of photos, labels and facets, from the catalogue's indexes.

Counts are those of the indexes. Every photo and value that is shown is read with its checksum, and
compared with what the index said of it.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from deepfood.errors import PhotoNotFoundError
from deepfood.gallery.browse import (
    NAME,
    NEWEST,
    After,
    Facet,
    FacetCounts,
    LabelCount,
    LabelPage,
    PhotoPage,
    Selected,
    Sort,
    SortKey,
    ValueCount,
    bins_of,
    check_page,
    labels_with,
    not_listed,
    spelled,
)
from deepfood.gallery.notes import Note
from deepfood.gallery.values import Key, Type, Value, folded
from deepfood.gallery.written import Level, Term, WordsQuery
from deepfood.index import Mask
from deepfood.local.columns import Columns
from deepfood.local.groups import Groups, RowNumbers
from deepfood.local.select import select_in
from deepfood.local.snapshot import Snapshot
from deepfood.local.vocabulary import Spellings, levels

Refresh = Callable[[], Snapshot]
#: The rows that words select, and the terms in which a typo is forgiven.
_Worded = tuple[Mask | None, frozenset[Term]]


def browse(
    refresh: Refresh,
    selected: Selected,
    sort: Sort,
    limit: int,
    cursor: str | None,
    around: str | None,
) -> PhotoPage:
    """A page of the selected photos. `refresh` gives the current snapshot.

    Raises QueryError, or PhotoNotFoundError for `around`.
    """
    check_page(limit)
    digest = selected.digest(sort, "rows")
    while True:
        now = refresh()
        after = After.parse(cursor, digest, now.manifest.generation) if cursor else None
        words, forgiven = _worded(now, selected.words)
        with now.store.attributes.snapshot() as columns:
            sort.check({name: one.type for name, one in columns.declared.items()})
            mask, notes = _mask(now, columns, selected, words)
            order = _Order(columns, sort, mask)
            start = 0 if after is None else order.place_after(after)
            if around is not None and after is None:
                start = max(0, order.place_of(_row_of(now, around), around) - limit // 2)
            rows = order.rows(start, limit)
        photos, known = now.store.at(rows), now.store.attributes.read_many(rows)
        if len(photos) == len(rows):
            page = [(photos[row], known[row]) for row in rows]
            keys = [sort.key_of(*one) for one in page]
            if sort.is_kept(keys) and all(selected.fits(*one, forgiven) for one in page):
                total = int(np.count_nonzero(mask))
                following = None
                if start + limit < total:
                    following = After(now.manifest.generation, keys[-1], rows[-1]).text(digest)
                asked = around is not None and after is None
                return PhotoPage(page, notes, following, total, start if asked else None)
        now.expect_changed()  # photos were removed or changed meanwhile


def _row_of(now: Snapshot, photo_id: str) -> int:
    """The row of a photo. Raises PhotoNotFoundError."""
    found = now.store.find(photo_id)
    if found is None:
        raise PhotoNotFoundError(f"there is no photo {photo_id[:40]!r} in this gallery")
    return found[0]


class _Order:
    """The rows of a mask in an order; those without a sort key come last, by row."""

    def __init__(self, columns: Columns, sort: Sort, mask: Mask) -> None:
        self._columns = columns
        self._sort = sort
        if sort.by in (NEWEST, NAME):
            every = columns.grouped.order(sort.by)
            every = every[every < len(mask)]
            self._known, self._numbers = every[mask[every]], None
        else:
            groups = columns.grouped.of_attribute(columns.declared[sort.by].id)
            self._known, self._numbers = groups.numbers_in(mask)
        rest = mask.copy()
        rest[self._known] = False
        self._rest = np.flatnonzero(rest)

    def rows(self, start: int, limit: int) -> list[int]:
        """The rows at some places."""
        known: RowNumbers = self._known[::-1] if self._sort.descending else self._known
        found = known[start : start + limit].tolist()
        start = max(0, start - len(known))
        return [*found, *self._rest[start : start + limit - len(found)].tolist()]

    def place_of(self, row: int, photo_id: str) -> int:
        """How many rows come before one. Raises QueryError where it is not among them."""
        known = self._known[::-1] if self._sort.descending else self._known
        for before, rows in ((0, known), (len(known), self._rest)):
            found = np.flatnonzero(rows == row)
            if len(found):
                return before + int(found[0])
        raise not_listed(photo_id)

    def place_after(self, after: After) -> int:
        """How many rows come before the page after a cursor."""
        count = len(self._known)
        if after.key is None:
            return count + int(np.searchsorted(self._rest, after.last, side="right"))
        wanted = (after.key, after.last)
        if self._sort.descending:
            return count - bisect_left(range(count), wanted, key=self._key)
        return bisect_right(range(count), wanted, key=self._key)

    def _key(self, place: int) -> tuple[SortKey, int]:
        row = int(self._known[place])
        if self._numbers is not None:
            return float(self._numbers[place]), row
        return self._columns.grouped.key(self._sort.by, row), row


def label_page(refresh: Refresh, begun: str, limit: int, cursor: str | None) -> LabelPage:
    """A page of the labels that somebody begins to type. Raises QueryError."""
    check_page(limit)
    digest = Selected().digest("labels", begun)
    while True:
        now = refresh()
        after = After.parse(cursor, digest, now.manifest.generation) if cursor else None
        with now.store.attributes.snapshot() as columns:
            groups = columns.grouped.of_labels()
            counts = groups.counts_in(now.alive)
            every = [str(key) for key, count in zip(groups.keys, counts, strict=True) if count]
            fitting = labels_with(begun, every)
            start = 0 if after is None else bisect_right(fitting, str(after.key))
            page = fitting[start : start + limit]
            number = {key: code for code, key in enumerate(groups.keys)}
            first = {key: groups.first_in(now.alive, number[key]) for key in page}
        photos = now.store.at(first.values())
        labels = [photos[row].label if row in photos else None for row in first.values()]
        if [label and folded(label) for label in labels] == page:
            shown = [
                LabelCount(label, int(counts[number[key]]))
                for key, label in zip(page, labels, strict=True)
                if label is not None
            ]
            following = None
            if start + limit < len(fitting):
                following = After(now.manifest.generation, page[-1], 0).text(digest)
            return LabelPage(shown, following, len(fitting))
        now.expect_changed()


def facets(refresh: Refresh, selected: Selected, limit: int) -> FacetCounts:
    """The facets of the selected photos, `limit` values of each at most. Raises QueryError."""
    check_page(limit)
    while True:
        now = refresh()
        words, _ = _worded(now, selected.words)
        with now.store.attributes.snapshot() as columns:
            mask, notes = _mask(now, columns, selected, words)
            found = [_Counted(columns, "label", "text", columns.grouped.of_labels(), mask, limit)]
            found += [
                _Counted(columns, name, one.type, columns.grouped.of_attribute(one.id), mask, limit)
                for name, one in columns.declared.items()
            ]
        rows = list({row for one in found for row in one.first.values()})
        photos, known = now.store.at(rows), now.store.attributes.read_many(rows)
        values: dict[int, dict[str, Value]] = {
            row: known[row] | {"label": photo.label}
            for row, photo in photos.items()
            if photo.label is not None
        }
        complete = [one.facet(known | values) for one in found]
        if all(one is not None for one in complete):
            total = int(np.count_nonzero(mask))
            return FacetCounts([one for one in complete if one], total, total, notes)
        now.expect_changed()


class _Counted:
    """An attribute's values in a mask, and of each that is shown a row that has it."""

    def __init__(
        self, columns: Columns, name: str, type_: Type, groups: Groups, mask: Mask, limit: int
    ) -> None:
        selected = int(np.count_nonzero(mask))
        known = int(np.count_nonzero(columns.known(name, len(mask)) & mask))
        self.first: dict[Key, int] = {}
        self._counts: dict[Key, int] = {}
        distinct, numbers = 0, np.zeros(0)
        if type_ == "number":
            numbers = groups.numbers_in(mask)[1]
        else:
            counts = groups.counts_in(mask)
            distinct = int(np.count_nonzero(counts))
            best = np.argsort(-counts, kind="stable")[: min(limit, distinct)]
            for code in map(int, best):
                key = groups.keys[code]
                self._counts[key] = int(counts[code])
                self.first[key] = groups.first_in(mask, code)
        self._empty = Facet(
            name,
            type_,
            columns.is_safety(name),
            known,
            selected - known,
            distinct,
            bins=bins_of(numbers),
        )

    def facet(self, values: dict[int, dict[str, Value]]) -> Facet | None:
        """The facet, with spellings from the values of its rows; None where one lacks a value."""
        shown = []
        for key, row in self.first.items():
            value = spelled(key, values.get(row, {}).get(self._empty.name))
            if value is None:
                return None
            shown.append(ValueCount(value, self._counts[key]))
        return replace(self._empty, values=tuple(shown))


def _worded(now: Snapshot, query: WordsQuery | None) -> _Worded:
    """The rows with all words, or words that begin so; with parts and typos where there are none.

    Raises QueryError, or ArtifactError where the index of words cannot be used.
    """
    if query is None:
        return None, frozenset()
    words = now.store.words.now()
    forgiven: frozenset[Term] = frozenset()

    def spellings() -> Spellings:
        nonlocal forgiven
        found, forgiven = words.spellings(query)
        return found

    mask = np.zeros(len(now.vectors), np.bool_)
    for level, expression in levels(query, spellings):
        if level is Level.SOME:
            break
        if level is Level.WHOLE and not all(term.exact for term in query.wanted):
            continue  # these are among those of the next level
        mask = words.mask(expression, len(now.vectors))
        if mask.any():
            break
    return mask, forgiven


def _mask(
    now: Snapshot, columns: Columns, selected: Selected, words: Mask | None
) -> tuple[Mask, tuple[Note, ...]]:
    """The rows that are selected, bool [rows], and notes on those left out."""
    mask = now.alive
    notes: tuple[Note, ...] = ()
    if selected.where is not None:
        selection = select_in(columns, selected.where, len(mask))
        mask, notes = mask & selection.mask, selection.notes
    return (mask if words is None else mask & words), notes
