"""A search on Milvus with all that can be asked of it: a filter, variety, groups, pages."""

import time
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from deepfood.errors import ArtifactCorruptError
from deepfood.gallery.cursor import Cursor, page, query_digest
from deepfood.gallery.filter_tree import left_out_note, spelling_note
from deepfood.gallery.filters import Filter
from deepfood.gallery.photo import Hit
from deepfood.gallery.protocol import FindResult
from deepfood.gallery.queries import check_question, varied
from deepfood.gallery.values import Value
from deepfood.milvus.about import MilvusManifest
from deepfood.milvus.expressions import Expression, expression_of
from deepfood.milvus.rows import Rows, hit_of, is_id, quoted
from deepfood.milvus.schema import WRITTEN, attributes_of, photo_of

Vectors = npt.NDArray[np.float32]


def find_in(
    manifest: MilvusManifest,
    now: Rows,
    query: Vectors,
    k: int,
    *,
    where: Filter | None = None,
    diversity: float = 0.0,
    group_duplicates: bool = False,
    cursor: str | None = None,
    without: Sequence[str] = (),
) -> FindResult:
    """As `MilvusGallery.find`, of one generation; `FindOptions` says what can be asked."""
    check_question(k, cursor, diversity, group_duplicates)
    question = query_digest(query, str(where or ""), *without)
    start = Cursor.parse(cursor, question, manifest.generation) if cursor else None
    expression = expression_of(where, manifest.columns) if where else None
    parts = [f"({expression.passes})"] if expression else []
    first_page = start.rows if start else time.time_ns()
    if start:
        parts.append(f"{WRITTEN} <= {first_page}")
    if ids := [one for one in without if is_id(one)]:
        parts.append(f"not (id in [{quoted(ids)}])")
    allowed = " and ".join(parts)
    notes = _notes(now, expression) if expression else ()
    attributes: dict[str, dict[str, Value]] = {}

    def nearest(count: int) -> list[Hit]:
        """With their attributes from the same rows: what is shown is what was searched."""
        rows = now.nearest(query, count, allowed)
        for row in rows:
            said = attributes[str(row["id"])] = attributes_of(row)
            if where and not where.holds(photo_of(row), said):
                raise ArtifactCorruptError(
                    f"photo {row['id']} is not what filters find it by: run deepfood verify"
                )
        return [hit_of(row) for row in rows]

    if group_duplicates or diversity != 0:

        def pool(count: int) -> tuple[list[Hit], Vectors]:
            hits = nearest(count)
            return hits, np.array([hit.score for hit in hits], np.float32)

        def vectors_of(hits: list[Hit]) -> Vectors:
            return now.vectors([hit.photo.id for hit in hits], len(query))

        groups, hits, _ = varied(pool, vectors_of, k, diversity, group_duplicates)
        shown = [[hits[i] for i in places] for places in groups]
        return _found(attributes, shown, notes, None, now.count(allowed))
    found: dict[int, Hit] = {}

    def search(count: int) -> tuple[npt.NDArray[np.int64], Vectors]:
        hits = nearest(count)
        # Equal ones by id; 63 bits of it are as good as all.
        numbers = np.array([int(hit.photo.id[:15], 16) for hit in hits], np.int64)
        found.update(zip(numbers.tolist(), hits, strict=True))
        scores = np.array([hit.score for hit in hits], np.float32)
        order = np.lexsort((numbers, -scores))
        return numbers[order], scores[order]

    rows, scores, more = page(search, k, start)
    following = None
    if more:
        seen = (start.seen if start else 0) + k
        last = float(scores[-1]), int(rows[-1])
        following = Cursor(manifest.generation, first_page, *last, seen).text(question)
    complete = following is None and start is None
    total = len(rows) if complete else now.count(allowed)
    return _found(attributes, [[found[int(row)]] for row in rows], notes, following, total)


def _found(
    attributes: Mapping[str, dict[str, Value]],
    groups: Sequence[Sequence[Hit]],
    notes: tuple[str, ...],
    following: str | None,
    total: int,
) -> FindResult:
    """Each group's best hit is shown, the others beside it."""
    hits = [members[0] for members in groups]
    alike = [list(members[1:]) for members in groups]
    said = {hit.photo.id: attributes[hit.photo.id] for hit in hits}
    return FindResult(hits, alike, said, notes, following, total)


def _notes(rows: Rows, expression: Expression) -> tuple[str, ...]:
    """What is said of photos that a safety attribute leaves out."""
    notes = []
    if expression.unknown and (unknown := rows.count(expression.unknown)):
        notes.append(left_out_note(unknown, expression.safety))
    for where, said in expression.spelled:
        if not rows.count(where):
            notes.append(spelling_note(said))
    return tuple(notes)
