"""Browse a gallery on Milvus: pages of photos, labels and facets.

Milvus counts rows that fit an expression, and does not sort. So a page is found by bisection: its
end is a sort key below which some hundred rows lie, which are sorted here. Milvus does not group
either: facets count a part of very many rows, and say so. Ids are digits of a hash, so that the
part is a fair draw.
"""

import struct
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np

from deepfood.errors import ArtifactCorruptError, QueryError
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
from deepfood.gallery.values import Key, Type, Value, folded, keys_of
from deepfood.gallery.written import Term
from deepfood.milvus.expressions import expression_of, known
from deepfood.milvus.find import notes_of
from deepfood.milvus.find_written import with_all_words
from deepfood.milvus.metadata import MilvusManifest
from deepfood.milvus.rows import MOST, Row, Rows, is_id
from deepfood.milvus.schema import (
    KEYS,
    PHOTO_ROW,
    attributes_of,
    key_name,
    key_of,
    photo_of,
)

#: Rows that are fetched and sorted for a page, unless it is longer.
_WINDOW = 1_000
#: Bytes of a name that bisection distinguishes.
_NAME_BYTES = 64


def browse(
    manifest: MilvusManifest,
    rows: Rows,
    selected: Selected,
    sort: Sort,
    limit: int,
    cursor: str | None,
    middle: Row | None,
) -> PhotoPage:
    """A page of the selected photos; without a cursor, that with the row `middle` in its middle.

    Raises QueryError or EngineError.
    """
    check_page(limit)
    sort.check({name: one.type for name, one in manifest.columns.items()})
    digest = selected.digest(sort, "ids")
    after = After.parse(cursor, digest, manifest.generation) if cursor else None
    if after is not None and not is_id(str(after.last)):
        raise QueryError(
            f"{str(cursor)[:40]!r} is not a cursor: begin with the first page", "cursor"
        )
    where, notes, forgiven = _where(manifest, rows, selected)
    start: int | None = None
    before: list[Row] = []
    if middle is not None:
        if not rows.count(_all(where, f'id == "{middle["id"]}"')):
            raise not_listed(str(middle["id"]))
        place, before = _before(rows, where, sort, limit // 2, middle)
        start, before = place - len(before), [*before, middle]
        after = After(manifest.generation, _key(sort, middle), str(middle["id"]))
    found = [*before, *_sorted_rows(rows, where, sort, limit + 1 - len(before), after)]
    page = [(photo_of(row), attributes_of(row)) for row in found[:limit]]
    keys = [sort.key_of(*one) for one in page]
    if not sort.is_kept(keys) or not all(selected.fits(*one, forgiven) for one in page):
        raise ArtifactCorruptError(
            "a photo is not what filters and words find it by: run deepfood verify"
        )
    following = None
    if len(found) > limit:
        following = After(manifest.generation, keys[-1], page[-1][0].id).text(digest)
    complete = following is None and after is None
    total = len(page) if complete else rows.count(where)
    return PhotoPage(page, notes, following, total, start)


def _key(sort: Sort, row: Row) -> SortKey | None:
    return sort.key_of(photo_of(row), attributes_of(row))


def _before(rows: Rows, where: str, sort: Sort, count: int, row: Row) -> tuple[int, list[Row]]:
    """How many rows come before one, and the last `count` of them, in order."""
    field, key, photo_id = _field(sort), _key(sort, row), row["id"]
    same, known_before = "", _all(where, field.known)
    if key is None:
        same = _all(where, f"not ({field.known})", f'id < "{photo_id}"')
    else:
        known_before = _all(known_before, field.ahead(key, str(photo_id), sort.descending))
    place = rows.count(known_before) + (rows.count(same) if same else 0)
    found: list[Row] = []
    if same:
        some = _first(rows, same, _ID, count, True)
        found = sorted(some, key=lambda one: str(one["id"]))[-count:] if count else []
    if len(found) < count:
        left = count - len(found)
        some = _first(rows, known_before, field, left, not sort.descending, back=True)
        found = [*_in_order(sort, some)[-left:], *found]
    return place, found


def _in_order(sort: Sort, some: list[Row]) -> list[Row]:
    """Rows that have a sort key, in the order of these and their ids."""
    keyed = [(_key(sort, row), row["id"], row) for row in some]
    keyed.sort(key=lambda one: one[1])
    keyed.sort(key=lambda one: (one[0] is not None, one[0]), reverse=sort.descending)
    return [row for _, _, row in keyed]


def _sorted_rows(rows: Rows, where: str, sort: Sort, count: int, after: After | None) -> list[Row]:
    """The first `count` rows after a cursor, in the order of their keys and ids."""
    field = _field(sort)
    found: list[Row] = []
    if after is None or after.key is not None:
        beyond = "" if after is None else field.beyond(after, sort.descending)
        some = _first(rows, _all(where, field.known, beyond), field, count, sort.descending)
        found = _in_order(sort, some)[:count]
    if len(found) < count and field.known:
        beyond = f'id > "{after.last}"' if after is not None and after.key is None else ""
        rest = _all(where, f"not ({field.known})", beyond)
        some = _first(rows, rest, _ID, count - len(found), False)
        found += sorted(some, key=lambda row: str(row["id"]))[: count - len(found)]
    return found


@dataclass(frozen=True)
class _Field:
    """What rows are sorted by, as an expression, and its values as integers in the same order.

    `known` is the expression of rows that have it, "" for all.
    """

    expression: str
    low: int
    high: int
    known: str = ""

    def literal(self, code: int) -> str:
        """The value of an integer, as Milvus compares it."""
        return str(code)

    def literal_of(self, key: SortKey) -> str:
        return str(int(key))

    def below(self, code: int, descending: bool) -> str:
        """The rows that come before an integer; in a descending order, before its negative."""
        if descending:
            return f"{self.expression} > {self.literal(-code)}"
        return f"{self.expression} < {self.literal(code)}"

    def beyond(self, after: After, descending: bool) -> str:
        """The rows that come after a page."""
        assert after.key is not None
        key, sign = self.literal_of(after.key), "<" if descending else ">"
        same = f'{self.expression} == {key} and id > "{after.last}"'
        return f"{self.expression} {sign} {key} or ({same})"

    def ahead(self, key: SortKey, photo_id: str, descending: bool) -> str:
        """The rows that come before a row with this key and id."""
        literal, sign = self.literal_of(key), ">" if descending else "<"
        same = f'{self.expression} == {literal} and id < "{photo_id}"'
        return f"{self.expression} {sign} {literal} or ({same})"


class _Number(_Field):
    """IEEE 754 numbers are in the order of their bits, the negative ones reversed."""

    def literal(self, code: int) -> str:
        (number,) = struct.unpack(">d", struct.pack(">q", abs(code)))
        return repr(-number if code < 0 else number)

    def literal_of(self, key: SortKey) -> str:
        return repr(float(key))


class _Name(_Field):
    """The first bytes of a folded name; Milvus has it in hex digits, in the same order."""

    def literal(self, code: int) -> str:
        return f'"{code.to_bytes(_NAME_BYTES).hex()}"'

    def literal_of(self, key: SortKey) -> str:
        return f'"{key_of(str(key))}"'


class _Id(_Field):
    def literal(self, code: int) -> str:
        return f'"{code:020x}"'


_ID = _Id("id", 0, 16**20)
_MOST_FINITE = struct.unpack(">q", struct.pack(">d", float(np.finfo(np.float64).max)))[0]


def _field(sort: Sort) -> _Field:
    if sort.by == NEWEST:
        return _Field("modified_ns", -(2**63) + 1, 2**63 - 1)
    expression = f'{KEYS}["{key_name(sort.by)}"]'
    if sort.by == NAME:
        return _Name(expression, 0, 256**_NAME_BYTES - 1, known(NAME))
    return _Number(expression, -_MOST_FINITE, _MOST_FINITE, known(sort.by))


def _first(
    rows: Rows, where: str, field: _Field, count: int, descending: bool, *, back: bool = False
) -> list[Row]:
    """Rows among which the first `count` in the order of a field are, in any order.

    Those of the same value are in the order of their ids, or with `back` in its reverse.
    """
    most = max(_WINDOW, 2 * count)
    if rows.count(where) <= most:
        return rows.query(where, PHOTO_ROW, limit=most)
    low, high = (-field.high, -field.low) if descending else (field.low, field.high)
    # Below `low` are fewer than `count` rows, and below `high` more than `most`.
    while high - low > 1:
        middle = (low + high) // 2
        some = _all(where, field.below(middle, descending))
        there = rows.count(some)
        if there < count:
            low = middle
        elif there > most:
            high = middle
        else:
            return rows.query(some, PHOTO_ROW, limit=most)
    # Very many rows have the same value.
    found = rows.query(_all(where, field.below(low, descending)), PHOTO_ROW, limit=most)
    same = _all(where, f"not ({field.below(low, descending)})", field.below(high, descending))
    return [*found, *_first(rows, same, _ID, count - len(found), back)]


def label_page(
    manifest: MilvusManifest, rows: Rows, begun: str, limit: int, cursor: str | None
) -> LabelPage:
    """A page of the labels that somebody begins to type. Raises QueryError or EngineError.

    Of very many photos, labels are those of a part, and each that is shown is counted among all.
    """
    check_page(limit)
    digest = Selected().digest("labels", begun)
    after = After.parse(cursor, digest, manifest.generation) if cursor else None
    where = known("label")
    counts, spelling = Counter[str](), dict[str, str]()
    for row in _some(rows, where):
        label = str(row["said"]["label"])
        spelling.setdefault(folded(label), label)
        counts[folded(label)] += 1
    fitting = labels_with(begun, sorted(counts))
    left = [one for one in fitting if after is None or one > str(after.key)]
    if counts.total() >= MOST:
        expression = f'{KEYS}["{key_name("label")}"]'
        for one in left[:limit]:
            counts[one] = rows.count(f'{expression} == "{key_of(one)}"')
    shown = [LabelCount(spelling[one], counts[one]) for one in left[:limit]]
    following = None
    if len(left) > limit:
        following = After(manifest.generation, left[limit - 1], 0).text(digest)
    return LabelPage(shown, following, len(fitting))


def facets(manifest: MilvusManifest, rows: Rows, selected: Selected, limit: int) -> FacetCounts:
    """The facets of the selected photos, `limit` values of each at most.

    Raises QueryError or EngineError.
    """
    check_page(limit)
    where, notes, _ = _where(manifest, rows, selected)
    said = [row["said"] for row in _some(rows, where)]
    labels = [one["label"] for one in said if one["label"] is not None]
    found = [_facet("label", "text", False, labels, len(said), limit)]
    for name, column in manifest.columns.items():
        values = [one["attributes"][name] for one in said if name in one["attributes"]]
        found.append(_facet(name, column.type, column.safety, values, len(said), limit))
    total = len(said) if len(said) < MOST else rows.count(where)
    return FacetCounts(found, total, len(said), notes)


def _facet(
    name: str, type_: Type, safety: bool, values: list[Value], photos: int, limit: int
) -> Facet:
    numbers = np.array(values if type_ == "number" else [], np.float64)
    counts, spelling = Counter[Key](), dict[Key, Value]()
    for value in values if type_ != "number" else ():
        for key in keys_of(value):
            counts[key] += 1
            spelling.setdefault(key, value)
    # Equally frequent ones by their keys.
    best = sorted(counts, key=lambda key: (-counts[key], key))[:limit]
    shown = [
        ValueCount(text, counts[key])
        for key in best
        if (text := spelled(key, spelling[key])) is not None
    ]
    return Facet(
        name,
        type_,
        safety,
        len(values),
        photos - len(values),
        len(counts),
        tuple(shown),
        bins_of(numbers),
    )


def _some(rows: Rows, where: str) -> Iterable[dict[str, Any]]:
    """What is said of the rows, or of a part of very many."""
    return islice(rows.every(["id", "said"], where), MOST)


def _where(
    manifest: MilvusManifest, rows: Rows, selected: Selected
) -> tuple[str, tuple[Note, ...], frozenset[Term]]:
    """The expression of the selected rows, notes on those left out, and forgiven terms."""
    parts: list[str] = []
    notes: tuple[Note, ...] = ()
    forgiven: frozenset[Term] = frozenset()
    if selected.where is not None:
        expression = expression_of(selected.where, manifest.columns)
        parts, notes = [expression.passes], notes_of(rows, expression)
    if selected.words is not None:
        words, forgiven = with_all_words(rows, selected.words)
        parts.append(words)
    return _all(*parts), notes, forgiven


def _all(*parts: str) -> str:
    return " and ".join(f"({one})" for one in parts if one)
