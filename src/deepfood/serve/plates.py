"""Search with each dish of a photo by itself."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from deepfood.errors import NoHeatMapError, QueryError
from deepfood.gallery.notes import Note
from deepfood.photo_box import Box
from deepfood.plate import MOST_PARTS, PlateFinder, thinned
from deepfood.serve.question import PlatePart, SearchQuestion, SearchResult

_WHOLE = Box(0, 0, 1, 1)
#: Where there is no feature map: quarters and halves of the photo.
_GRID = (
    *(Box(x, y, 0.5, 0.5) for y in (0, 0.5) for x in (0, 0.5)),
    *(Box(x, 0, 0.5, 1) for x in (0, 0.5)),
    *(Box(0, y, 1, 0.5) for y in (0, 0.5)),
)
#: A box that is searched with is narrower by this share on each side than the dish that it shows:
#: a dish is round. It brings 0.04 of the labels (docs/performance.md).
_INSET = 0.08
#: The least probability of being in the gallery with which a part is shown. It is below the setting
#: `none_probability`, as a dish on a plate is smaller and less clear than photos of one dish are.
_LEAST_IN_GALLERY = 0.1
#: A photo shows several dishes if its parts are as similar to photos of the gallery as the whole
#: is, or less by no more than this.
_LESS_SIMILAR = 0.05

Search = Callable[[SearchQuestion], SearchResult]


def check_plate(question: SearchQuestion) -> None:
    """Raise QueryError where a question about a plate asks for something else as well."""
    if question.examples != 1 or not question.shows_one_photo:
        raise QueryError("a plate is one photo: ask with it alone", "plate")
    if question.box or any(map(any, question.boxes.values())):
        raise QueryError("give plate, for all of the photo, or a box of it, not both", "plate")
    if question.cursor is not None:
        raise QueryError(
            "the answer for a plate has no further pages: ask for a larger k", "cursor"
        )


def search_plate(
    question: SearchQuestion, photo: bytes, finder: PlateFinder, search: Search
) -> SearchResult:
    """The answer to the photo as a whole, and to each dish on it: MOST_PARTS at most.

    One dish is one part, with the answer of the whole. Raises PhotoError or QueryError.
    """
    notes: tuple[Note, ...] = ()
    whole = search(replace(question, plate=False))
    try:
        boxes, inset = [part.box for part in finder.parts(photo)], _INSET
    except NoHeatMapError as error:
        boxes, inset = list(_GRID), 0.0
        notes = (Note("no_feature_map", f"quarters and halves of the photo were tried: {error}"),)
    found = []
    for box in boxes[:MOST_PARTS]:
        inner = replace(question, plate=False, box=_inner(box, inset))
        found.append(_part(box, search(inner)))
    if notes:
        found = _one_each(found)
    found = [one for one in found if _is_shown(one)]
    parts = _decide(_part(_WHOLE, whole), found)
    return replace(whole, next=None, notes=(*whole.notes, *notes), parts=tuple(parts))


def _decide(whole: PlatePart, found: Sequence[PlatePart]) -> list[PlatePart]:
    """Whether the photo shows several dishes, one, or none."""
    if len(found) > 1:
        similarity = np.mean([one.hits[0].score for one in found])
        if similarity >= whole.hits[0].score - _LESS_SIMILAR:
            return list(found)
    if _is_shown(whole):
        return [whole]
    sure = [one for one in found if one.verdict != "none"]
    return sure if len(sure) == 1 else []


def _one_each(found: Sequence[PlatePart]) -> list[PlatePart]:
    """Of parts that overlap, those that are most like photos of the gallery."""
    found = [one for one in found if one.hits]
    boxes = np.array([(one.box.x, one.box.y, one.box.width, one.box.height) for one in found])
    scores = np.array([one.hits[0].score for one in found])
    return [found[place] for place in thinned(boxes, scores)]


def _is_shown(part: PlatePart) -> bool:
    likely = part.in_gallery is None or part.in_gallery >= _LEAST_IN_GALLERY
    return bool(part.hits) and likely


def _part(box: Box, found: SearchResult) -> PlatePart:
    return PlatePart(box, found.verdict, found.in_gallery, found.label, found.hits)


def _inner(box: Box, share: float) -> Box:
    left = 1 - 2 * share
    return Box(
        box.x + share * box.width, box.y + share * box.height, left * box.width, left * box.height
    )
