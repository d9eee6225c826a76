"""Search on Milvus with all options: filters, diversity, groups, pages."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from deepfood.errors import ArtifactCorruptError
from deepfood.gallery.averaging import Averaging
from deepfood.gallery.cursor import Cursor, page, question_digest
from deepfood.gallery.filters import Filter
from deepfood.gallery.notes import Note, left_out_note, spelling_note
from deepfood.gallery.photo import Hit
from deepfood.gallery.protocol import FindOptions, FindResult
from deepfood.gallery.queries import (
    averaging_of,
    best_of_all,
    check_question,
    is_varied,
    notes_of_end,
    varied,
)
from deepfood.gallery.values import Value
from deepfood.index import Mask
from deepfood.milvus.expressions import Expression, expression_of
from deepfood.milvus.metadata import MilvusManifest
from deepfood.milvus.parts import FOUND
from deepfood.milvus.rows import Row, Rows, hit_of, is_id, quoted
from deepfood.milvus.schema import WRITTEN, attributes_of, photo_of
from deepfood.milvus.searched_parts import SearchedParts, numbers_of

Vectors = npt.NDArray[np.float32]


@dataclass(frozen=True)
class _Search:
    """A query among some rows; `allowed` is Milvus' expression for them."""

    rows: Rows
    #: float32 [dimension], or [queries, dimension].
    query: Vectors
    allowed: str
    where: Filter | None
    notes: tuple[Note, ...]
    averaging: Averaging | None
    #: The parts of photos, where the gallery keeps them, and they are asked for.
    parts: SearchedParts | None
    #: Attributes of the found photos, from the rows that the search returned.
    attributes: dict[str, dict[str, Value]] = field(default_factory=dict)

    def nearest(self, count: int) -> list[Hit]:
        """The hits most similar to the query. Raises ArtifactCorruptError as `_pool` does."""
        hits, scores = best_of_all(self._pool, self.vectors_of, self.query, count, self.averaging)
        scored = [replace(hit, score=float(one)) for hit, one in zip(hits, scores, strict=True)]
        found = sorted(scored, key=lambda hit: (-hit.score, hit.photo.id))[:count]
        if self.parts is None:
            return found
        return self.parts.joined(found, self.query, count, self._photos_of)

    def vectors_of(self, hits: list[Hit]) -> Vectors:
        """float32 [hits, dimension]."""
        return self.rows.vectors([hit.photo.id for hit in hits], self.query.shape[-1])

    def _pool(self, query: Vectors, count: int) -> tuple[list[Hit], Vectors]:
        """The hits nearest to one vector, and their scores.

        Raises ArtifactCorruptError for a row that does not pass the filter that found it.
        """
        rows = self.rows.nearest(query, count, self.allowed)
        self._check(rows)
        hits = [hit_of(row) for row in rows]
        return hits, np.array([hit.score for hit in hits], np.float32)

    def _photos_of(self, ids: Sequence[str]) -> dict[str, Hit]:
        """Those of the photos, by id, that are allowed; their scores are of no use yet."""
        rows = self.rows.photos(ids, self.allowed)
        self._check(rows)
        return {str(row["id"]): Hit(photo_of(row), 0.0) for row in rows}

    def _check(self, rows: Sequence[Row]) -> None:
        """Note the attributes of rows, and check them, as `_pool` says."""
        for row in rows:
            values = self.attributes[str(row["id"])] = attributes_of(row)
            if self.where and not self.where.holds(photo_of(row), values):
                raise ArtifactCorruptError(
                    f"photo {row['id']} differs from its keys for filters: run deepfood verify"
                )

    def count(self) -> int:
        return self.rows.count(self.allowed)


def find_in(
    manifest: MilvusManifest,
    now: Rows,
    of_parts: Rows | None,
    query: Vectors,
    k: int,
    options: FindOptions,
) -> FindResult:
    """Search one generation, and the parts of its photos, if it keeps them."""
    check_question(k, options)
    where, cursor = options.get("where"), options.get("cursor")
    averaging = averaging_of(manifest, query, options)
    question = question_digest(query, options, averaging)
    start = Cursor.parse(cursor, question, manifest.generation) if cursor else None
    first_page_ns = start.rows if start else time.time_ns()
    expression = expression_of(where, manifest.columns) if where else None
    without, until_ns = options.get("without", ()), first_page_ns if start else None
    allowed = _allowed(expression, "id", without, until_ns)
    notes = notes_of(now, expression) if expression else ()
    parts = None
    if of_parts is not None and not options.get("whole"):
        of_some = _allowed(expression, "photo", without, until_ns)
        parts = SearchedParts(of_parts, f"{FOUND} and {of_some}" if of_some else FOUND)
    search = _Search(now, query, allowed, where, notes, averaging, parts)

    def cursor_after(score: float, row: int, seen: int) -> str:
        return Cursor(manifest.generation, first_page_ns, score, row, seen).text(question)

    if is_varied(options):
        return _varied(search, k, options, start, cursor_after)
    return _page(search, k, start, cursor_after)


def _allowed(
    expression: Expression | None, photo: str, without: Sequence[str], until_ns: int | None
) -> str:
    """The rows that pass the filter, existed at a time, and are not excluded by id.

    `photo` is the field with the photo's id.
    """
    parts = [f"({expression.passes})"] if expression else []
    if until_ns is not None:
        parts.append(f"{WRITTEN} <= {until_ns}")
    if ids := [one for one in without if is_id(one)]:
        parts.append(f"not ({photo} in [{quoted(ids)}])")
    return " and ".join(parts)


def _varied(
    search: _Search,
    k: int,
    options: FindOptions,
    start: Cursor | None,
    cursor_after: Callable[[float, int, int], str],
) -> FindResult:
    """Hits that differ from each other, or a page of near-duplicates as one hit; as `_page`."""
    seen = start.seen if start else 0

    def pool(count: int) -> tuple[list[Hit], Vectors]:
        hits = _ordered(search.nearest(count))
        return hits, np.array([hit.score for hit in hits], np.float32)

    def is_later(hits: list[Hit], scores: Vectors) -> Mask:
        assert start is not None
        return start.is_later(numbers_of(hits), scores)

    groups, hits, scores, more = varied(
        pool, search.vectors_of, k, options, seen, is_later if start else None
    )
    following = None
    if more:
        last = groups[-1][0]
        following = cursor_after(float(scores[last]), int(numbers_of(hits)[last]), seen + k)
    shown = [[hits[i] for i in places] for places in groups]
    found = _found(search, shown, following, search.count())
    ended = notes_of_end(options, len(hits), found.total, more=more)
    return replace(found, notes=(*found.notes, *ended))


def _ordered(hits: list[Hit]) -> list[Hit]:
    scores = np.array([hit.score for hit in hits], np.float32)
    return [hits[i] for i in np.lexsort((numbers_of(hits), -scores))]


def _page(
    search: _Search,
    k: int,
    start: Cursor | None,
    cursor_after: Callable[[float, int, int], str],
) -> FindResult:
    """The page that begins at `start`, or the first one.

    `cursor_after` makes the next cursor from the last hit's score and row, and the number of hits
    so far.
    """
    found: dict[int, Hit] = {}

    def nearest(count: int) -> tuple[npt.NDArray[np.int64], Vectors]:
        hits = _ordered(search.nearest(count))
        numbers = numbers_of(hits)
        found.update(zip(numbers.tolist(), hits, strict=True))
        return numbers, np.array([hit.score for hit in hits], np.float32)

    rows, scores, more = page(nearest, k, start)
    following = None
    if more:
        seen = (start.seen if start else 0) + k
        following = cursor_after(float(scores[-1]), int(rows[-1]), seen)
    complete = following is None and start is None
    total = len(rows) if complete else search.count()
    return _found(search, [[found[int(row)]] for row in rows], following, total)


def _found(
    search: _Search, groups: Sequence[Sequence[Hit]], following: str | None, total: int
) -> FindResult:
    """Each group's best hit is shown, with the others beside it."""
    hits = [members[0] for members in groups]
    alike = [list(members[1:]) for members in groups]
    attributes = {hit.photo.id: search.attributes[hit.photo.id] for hit in hits}
    return FindResult(hits, alike, attributes, search.notes, following, total)


def notes_of(rows: Rows, expression: Expression) -> tuple[Note, ...]:
    """Notes on photos that are left out because of a safety attribute."""
    notes = []
    if expression.unknown and (unknown := rows.count(expression.unknown)):
        notes.append(left_out_note(unknown, expression.safety))
    for where, comparison in expression.spelled:
        if not rows.count(where):
            notes.append(spelling_note(comparison.name, comparison))
    return tuple(notes)
