"""Search with each dish of a photo by itself."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from PIL import Image

from deepfood.errors import NoHeatMapError, QueryError
from deepfood.gallery.notes import Note
from deepfood.gallery.plate_calibration import PlateCalibration, several_scores
from deepfood.photo_box import Box
from deepfood.plate import INSET, MOST_PARTS, PlateFinder, inner, thinned
from deepfood.serve.question import PlatePart, SearchQuestion, SearchResult

WHOLE = Box(0, 0, 1, 1)
#: Where there is no feature map, as OpenVINO is not installed: quarters and halves of the photo.
_GRID = (
    *(Box(x, y, 0.5, 0.5) for y in (0, 0.5) for x in (0, 0.5)),
    *(Box(x, 0, 0.5, 1) for x in (0, 0.5)),
    *(Box(0, y, 1, 0.5) for y in (0, 0.5)),
)
#: The least probability of being in the gallery with which a part is shown. It is below the setting
#: `none_probability`, as a dish on a plate is smaller and less clear than photos of one dish are.
_LEAST_IN_GALLERY = 0.1
#: Without a calibration, a photo shows several dishes if its parts are as similar to photos of the
#: gallery as the whole is, or less by no more than this.
_LESS_SIMILAR = 0.05
#: The least probability of several dishes, and of a part's label, with which parts are shown.
_LEAST_SEVERAL, _LEAST_RIGHT = 0.5, 0.2
#: The least probability that the photo shows a dish at all, with which anything is shown.
_LEAST_DISH = 0.4
_NOT_CALIBRATED = (
    "parts are chosen by fixed rules, as this gallery is not calibrated on plates: build it again, "
    "with 60 labelled photos or more"
)


class Searcher(Protocol):
    """What searches: a SearchService."""

    plates: PlateFinder

    def search(self, question: SearchQuestion) -> SearchResult: ...

    def search_part(
        self, question: SearchQuestion, picture: Image.Image, box: Box
    ) -> SearchResult: ...


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


@dataclass(frozen=True)
class Plate:
    """What was found on a photo before it is decided what of it is shown.

    `found` are the parts that may be in the gallery.
    """

    whole: SearchResult
    found: tuple[PlatePart, ...]
    notes: tuple[Note, ...]

    @property
    def nearest(self) -> float:
        """The similarity to its nearest photo of the whole, or of a part that has more."""
        parts = [part.hits[0].score for part in self.found]
        return max([self.whole.hits[0].score, *parts])

    @property
    def gap(self) -> float:
        """The mean similarity of the parts to their nearest photos, less that of the whole.

        With at least one part.
        """
        mean = np.mean([part.hits[0].score for part in self.found])
        return float(mean) - self.whole.hits[0].score


def search_plate(
    question: SearchQuestion,
    photo: bytes,
    searcher: Searcher,
    calibration: PlateCalibration | None,
) -> SearchResult:
    """The answer to the photo as a whole, and to each dish on it: MOST_PARTS at most.

    One dish is one part, with the answer of the whole. Raises PhotoError or QueryError.
    """
    question = replace(question, plate=False)
    whole = searcher.search(question)
    if calibration and whole.hits and (whole.in_gallery or 0) > calibration.sure:
        return replace(whole, next=None, parts=(_part(WHOLE, whole),), several=0.0)
    plate = look_at_plate(question, photo, whole, searcher)
    notes = plate.notes
    parts: list[PlatePart]
    several: float | None
    if calibration is None or notes or not all(part.label for part in plate.found):
        parts, several = _by_rules(plate), None
        if calibration is None and not notes:
            notes = (Note("plates_not_calibrated", _NOT_CALIBRATED),)
    elif question.where is None and _is_bare(plate, calibration):
        parts, several = [], 0.0
    else:
        parts, several = _by_curves(plate, calibration)
    return replace(
        whole, next=None, notes=(*whole.notes, *notes), parts=tuple(parts), several=several
    )


def look_at_plate(
    question: SearchQuestion, photo: bytes, whole: SearchResult, searcher: Searcher
) -> Plate:
    """Search with each box of the photo that may show a dish; `whole` is the answer for all of it.

    The question does not ask for a plate.
    """
    notes: tuple[Note, ...] = ()
    picture = searcher.plates.read(photo)
    try:
        boxes, inset = [part.box for part in searcher.plates.parts(picture)], INSET
    except NoHeatMapError as error:
        boxes, inset = list(_GRID), 0.0
        notes = (Note("no_feature_map", f"quarters and halves of the photo were tried: {error}"),)
    found = [
        _part(box, searcher.search_part(question, picture, inner(box, inset)))
        for box in boxes[:MOST_PARTS]
    ]
    if notes:
        found = _one_each(found)
    return Plate(whole, tuple(one for one in found if _may_be_shown(one)), notes)


def evidence(part: PlatePart) -> tuple[float, float]:
    """The scores of the curve `right` of a part that has a label."""
    assert part.in_gallery is not None
    assert part.label is not None
    return part.in_gallery, part.label.probability


def _is_bare(plate: Plate, curves: PlateCalibration) -> bool:
    """Whether the photo shows no dish; the nearest photos must not be those of a filter only."""
    if curves.dish is None or not plate.whole.hits:
        return False
    return float(curves.dish([plate.nearest])) < _LEAST_DISH


def _by_curves(plate: Plate, curves: PlateCalibration) -> tuple[list[PlatePart], float]:
    """The parts to show, and the probability that the photo shows several dishes."""
    several = 0.0
    if plate.found:
        rights = curves.right(np.array([evidence(part) for part in plate.found]))
        if len(rights) > 1:
            several = float(curves.several(several_scores(plate.gap, rights)))
        if several >= _LEAST_SEVERAL:
            sure = [
                replace(part, probability=float(right))
                for part, right in zip(plate.found, rights, strict=True)
                if right >= _LEAST_RIGHT
            ]
            if sure:
                return sure, several
    return _one_dish(plate), several


def _by_rules(plate: Plate) -> list[PlatePart]:
    """The parts to show where nothing is calibrated."""
    if len(plate.found) > 1 and plate.gap >= -_LESS_SIMILAR:
        return list(plate.found)
    return _one_dish(plate)


def _one_dish(plate: Plate) -> list[PlatePart]:
    """The whole photo, or the one part of it that shows a dish; nothing without any."""
    whole = _part(WHOLE, plate.whole)
    if _may_be_shown(whole):
        return [whole]
    sure = [one for one in plate.found if one.verdict != "none"]
    return sure if len(sure) == 1 else []


def _one_each(found: Sequence[PlatePart]) -> list[PlatePart]:
    """Of parts that overlap, those that are most like photos of the gallery."""
    found = [one for one in found if one.hits]
    boxes = np.array([(one.box.x, one.box.y, one.box.width, one.box.height) for one in found])
    scores = np.array([one.hits[0].score for one in found])
    return [found[place] for place in thinned(boxes, scores)]


def _may_be_shown(part: PlatePart) -> bool:
    likely = part.in_gallery is None or part.in_gallery >= _LEAST_IN_GALLERY
    return bool(part.hits) and likely


def _part(box: Box, found: SearchResult) -> PlatePart:
    return PlatePart(box, found.verdict, found.in_gallery, found.label, found.hits)
