"""Curves for plates, fitted on tables that are made of the gallery's own photos.

A dish on a table is smaller and less clear than a photo of it alone, so the curves of photos do not
hold for it. Three logistic curves are kept with those:

- `right`: a part's `in_gallery` and the probability of its label -> the probability that the part
  is a dish with that label;
- `several`: how much more similar the parts are than the whole photo, and the `right` of the second
  surest part -> the probability that the photo shows several dishes;
- `dish`: how similar the photo, or the part of it that is most so, is to its nearest photo -> the
  probability that the photo shows a dish at all.

With them is a bound: a whole photo that the gallery has more surely than any table shows one dish.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from deepfood.gallery.logistic import Floats, Logistic, calibration_error

Share = Annotated[float, Field(ge=0, le=1)]

_FOLDS, _BINS = 5, 10
#: The least `sure`: a Model that tells dishes well apart is surer of tables than another.
_LEAST_SURE = 0.65


class PlateCalibration(BaseModel):
    """The curves, and what they were fitted on: tables, photos of one dish, and bare tables.

    `sure` is the largest `in_gallery` of a whole table, or _LEAST_SURE. `dish` is None, and `sure`
    1, in galleries that were calibrated before there were bare tables. `ece` is the
    expected calibration error of `right`, in ten bins, on each fifth of the tables with the curve
    of the others.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: Literal[1] = 1
    right: Logistic
    several: Logistic
    dish: Logistic | None = None
    sure: Share = 1.0
    tables: Annotated[int, Field(ge=1)]
    photos: Annotated[int, Field(ge=1)]
    bare: Annotated[int, Field(ge=0)] = 0
    parts: Annotated[int, Field(ge=1)]
    parts_right: Share
    ece: Share


@dataclass(frozen=True)
class PlateEvidence:
    """What was found on a made table, of several dishes or none, or on a photo of one dish.

    `in_gallery` is that of the whole, `nearest` the largest similarity of the whole and the parts,
    and `gap` the mean of the parts less that of the whole. `parts` has the `in_gallery` and the
    label's probability of each, float64 [parts, 2]; `right` whether it is the dish there.
    """

    dishes: int
    in_gallery: float
    nearest: float
    gap: float
    parts: Floats
    right: Sequence[bool]


def several_scores(gap: float, rights: Floats) -> list[float]:
    """The scores of the curve `several`, of two parts or more."""
    return [gap, float(np.sort(rights)[-2])]


def fit_plates(found: Sequence[PlateEvidence]) -> PlateCalibration | None:
    """The curves; None where no table has a part."""
    tables = [one for one in found if one.dishes > 1]
    bare = sum(not one.dishes for one in found)
    scores, right = _parts(tables)
    if not len(right):
        return None
    curve = Logistic.fit(scores, right)
    two = [one for one in found if one.dishes and len(one.right) > 1]
    several = Logistic(slopes=(0.0, 0.0), offset=0.0)
    if two:
        several = Logistic.fit(
            np.array([several_scores(one.gap, curve(one.parts)) for one in two]),
            np.array([one.dishes > 1 for one in two]),
        )
    dish = None
    if bare:
        dish = Logistic.fit(
            np.array([[one.nearest] for one in found]),
            np.array([one.dishes > 0 for one in found]),
        )
    return PlateCalibration(
        right=curve,
        several=several,
        dish=dish,
        sure=max(_LEAST_SURE, *(one.in_gallery for one in tables)),
        tables=len(tables),
        photos=len(found) - len(tables) - bare,
        bare=bare,
        parts=len(right),
        parts_right=float(right.mean()),
        ece=_held_out_error(tables),
    )


def _held_out_error(tables: Sequence[PlateEvidence]) -> float:
    """The calibration error of `right` by cross-validation.

    All parts are judged together: with the few of one half, the bins' own noise would be most of
    it (docs/performance.md).
    """
    said, was = [], []
    for fold in range(_FOLDS):
        others = [one for place, one in enumerate(tables) if place % _FOLDS != fold]
        fitted, (scores, right) = _parts(others), _parts(tables[fold::_FOLDS])
        if len(fitted[1]) and len(right):
            said.append(Logistic.fit(*fitted)(scores))
            was.append(right)
    return calibration_error(np.concatenate(said), np.concatenate(was), _BINS) if said else 0.0


def _parts(
    tables: Sequence[PlateEvidence],
) -> tuple[Floats, np.ndarray[tuple[int], np.dtype[np.bool_]]]:
    """All parts: their scores, float64 [n, 2], and whether they are right, bool [n]."""
    scores = [one.parts for one in tables if len(one.right)]
    right = [each for one in tables for each in one.right]
    return np.concatenate([np.empty((0, 2)), *scores]), np.array(right, bool)
