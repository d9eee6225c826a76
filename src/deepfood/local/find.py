"""A search with filter, variety, groups and pages."""

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from deepfood.gallery.averaging import Averaging
from deepfood.gallery.cursor import Cursor, Scores, Search, page, question_digest
from deepfood.gallery.filters import Filter
from deepfood.gallery.notes import Note
from deepfood.gallery.photo import Hit, Photo
from deepfood.gallery.protocol import FindOptions, FindResult
from deepfood.gallery.queries import (
    averaging_of,
    best_of_all,
    check_question,
    is_varied,
    notes_of_end,
    varied,
)
from deepfood.index.contract import best
from deepfood.index.vectors import Rows
from deepfood.local.searched_parts import SearchedParts
from deepfood.local.select import select
from deepfood.local.snapshot import Snapshot
from deepfood.photo_box import Box


def find_in(
    refresh: Callable[[], Snapshot],
    query: npt.NDArray[np.float32],
    k: int,
    options: FindOptions,
) -> FindResult:
    """Search the snapshots that `refresh` returns."""
    check_question(k, options)
    where, cursor = options.get("where"), options.get("cursor")
    while True:
        now = refresh()
        averaging = averaging_of(now.manifest, query, options)
        question = question_digest(query, options, averaging)
        start = Cursor.parse(cursor, question, now.manifest.generation) if cursor else None
        allowed, notes = _allowed(now, where, start, options.get("without", ()))
        parts = None if options.get("whole") else now.parts

        def search(
            count: int,
            now: Snapshot = now,
            allowed: npt.NDArray[np.bool_] | None = allowed,
            parts: SearchedParts | None = parts,
            averaging: Averaging | None = averaging,
        ) -> tuple[Rows, Scores]:
            found = best_of_all(
                lambda vector, most: now.index.search(vector, most, allowed),
                now.vectors.take,
                query,
                count,
                averaging,
            )
            rows, scores = best(count, *found)
            if parts is None:
                return rows, scores
            return parts.joined(rows, scores, query, count, allowed)

        following = None
        if is_varied(options):
            groups, scores, last, more, considered = _varied(now, search, k, options, start)
        else:
            nearest, scores, more = page(search, k, start)
            groups, last, considered = [[int(row)] for row in nearest], -1, len(now.vectors)
        if more:
            seen = (start.seen if start else 0) + k
            count = start.rows if start else len(now.vectors)
            shown_last = float(scores[last]), groups[-1][0]
            following = Cursor(now.manifest.generation, count, *shown_last, seen).text(question)
        rows = [row for members in groups for row in members]
        photos, known = now.store.at(rows), now.store.attributes.read_many(rows)
        # Filters are answered from indexes; each hit must also pass by its own values.
        if len(photos) == len(scores) and (
            where is None or all(where.holds(photos[row], known[row]) for row in rows)
        ):
            found_with = dict(zip(rows, scores.tolist(), strict=True))
            boxes = parts.boxes(photos, found_with, now.vectors, query) if parts else {}
            shown = _hits(photos, groups, scores, boxes)
            hits, alike = [one[0] for one in shown], [one[1:] for one in shown]
            attributes = {
                hit.photo.id: known[row[0]] for hit, row in zip(hits, groups, strict=True)
            }
            total = now.count if allowed is None else int(np.count_nonzero(allowed))
            ended = notes_of_end(options, considered, total, more=more)
            return FindResult(hits, alike, attributes, (*notes, *ended), following, total)
        now.expect_changed()  # photos were removed meanwhile, or have other values


def _allowed(
    now: Snapshot, where: Filter | None, start: Cursor | None, without: Sequence[str]
) -> tuple[npt.NDArray[np.bool_] | None, tuple[Note, ...]]:
    """Which rows to search, None for all, and notes on those left out."""
    allowed, rows = now.allowed, len(now.vectors)
    notes: tuple[Note, ...] = ()
    if where is not None:
        selection = select(where, now.store.attributes, rows)
        allowed, notes = selection.mask & now.alive, selection.notes
    later = start is not None and start.rows < rows
    if later or without:
        allowed = np.ones(rows, np.bool_) if allowed is None else allowed.copy()
        if start is not None:
            allowed[start.rows :] = False
        for photo_id in without:
            found = now.store.find(photo_id)
            if found is not None and found[0] < rows:
                allowed[found[0]] = False
    return allowed, notes


def _varied(
    now: Snapshot, search: Search, k: int, options: FindOptions, start: Cursor | None
) -> tuple[list[list[int]], Scores, int, bool, int]:
    """Groups of rows in the order to show them, and the scores of these rows.

    Then where the score of the last group's first row is, from the end, whether more follow, and
    how many rows were considered.
    """
    groups, rows, scores, more = varied(
        search,
        now.vectors.take,
        k,
        options,
        start.seen if start else 0,
        start.is_later if start else None,
    )
    flat = [place for places in groups for place in places]
    last = -len(groups[-1]) if groups else -1
    shown = [[int(rows[place]) for place in places] for places in groups]
    return shown, scores[flat], last, more, len(rows)


def _hits(
    photos: dict[int, Photo], groups: list[list[int]], scores: Scores, boxes: dict[int, Box]
) -> list[list[Hit]]:
    each = iter(scores)
    return [
        [Hit(photos[row], float(next(each)), box=boxes.get(row)) for row in members]
        for members in groups
    ]
