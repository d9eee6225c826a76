"""Calibrate what is said of plates, on tables made of the gallery's own photos."""

import io
from collections.abc import Iterator, Sequence
from contextlib import closing

import numpy as np
from PIL import Image

from deepfood import runtimes
from deepfood.config import Settings
from deepfood.counted import counted
from deepfood.embed import open_embedder
from deepfood.errors import DeepfoodError
from deepfood.gallery.calibration import Calibration
from deepfood.gallery.engine import Engine
from deepfood.gallery.filter_tree import IsKnown
from deepfood.gallery.photo import Photo
from deepfood.gallery.plate_calibration import PlateCalibration, PlateEvidence, fit_plates
from deepfood.photo import thumbnail
from deepfood.photo_box import Box
from deepfood.plate import iou
from deepfood.plate.collage import TOUCHES, collage
from deepfood.progress import bar
from deepfood.serve.plates import WHOLE, Plate, evidence, look_at_plate
from deepfood.serve.question import SearchQuestion
from deepfood.serve.service import SearchService

#: Tables of two to four dishes, photos of one, and tables without a dish that the curves are fitted
#: on: some seconds.
TABLES, SINGLE, BARE = 30, 60, 20
#: The fewest labelled photos that tables are made of, and the most that are drawn for them: most of
#: a gallery's may be photos that the Model was trained on.
LEAST_PHOTOS, _DRAWN = 60, 5000
#: The longer side of a photo on a table, in pixels.
_PIECE = 480


def calibrate_plates(
    engine: Engine, calibration: Calibration | None, settings: Settings, *, quiet: bool = True
) -> Calibration | None:
    """The gallery's calibration with the curves of plates, which are then kept in its manifest.

    It stays as it is where it is None or has these already, or the reason why there are none: fewer
    than LEAST_PHOTOS labelled photos that the Model was not trained on. Without OpenVINO, which may
    be installed later, no reason is kept. Raises what opening and committing raise.
    """
    if calibration is None or calibration.plates or calibration.no_plates:
        return calibration
    try:
        runtimes.openvino()
    except ImportError:
        return calibration
    gallery, model = engine.open()
    with closing(gallery):
        generation = gallery.manifest.generation  # a gallery follows to the next one
        labelled = gallery.sample(_DRAWN, 0, IsKnown("label", True))
        photos = sorted(
            (photo for photo in labelled if photo.id not in model.trained_on),
            key=lambda photo: photo.id,
        )
        plates, why_not = None, _too_few(photos)
        if why_not is None:
            service = SearchService(gallery, open_embedder(settings, model, latency=True), settings)
            plates = fit_on_photos(service, photos, quiet=quiet)
            why_not = None if plates else "no dish was found on the tables made of its photos"
    changed = calibration.model_copy(update={"plates": plates, "no_plates": why_not})
    return changed if engine.keep_calibration(changed, generation) else calibration


def _too_few(photos: Sequence[Photo]) -> str | None:
    """Why tables cannot be made of these photos."""
    labels = len({photo.label for photo in photos})
    if len(photos) >= LEAST_PHOTOS and labels > 1:
        return None
    return (
        f"{counted(photos, 'photo')} with {counted(labels, 'label')} to make tables of, and "
        f"{LEAST_PHOTOS} with 2 are needed that the Model was not trained on"
    )


def fit_on_photos(
    service: SearchService, photos: Sequence[Photo], *, seed: int = 0, quiet: bool = True
) -> PlateCalibration | None:
    """The curves, with tables of these labelled photos of the gallery; the same for each seed.

    The photos on a table are left out of its answers. None where nothing was found. Needs OpenVINO.
    """
    found = []
    with bar("calibrating plates", " photos", TABLES + SINGLE + BARE, quiet=quiet) as progress:
        for one in _made(service, photos, seed):
            found.append(one)
            progress.update(1)
    return fit_plates(found)


def _made(service: SearchService, photos: Sequence[Photo], seed: int) -> Iterator[PlateEvidence]:
    """Evidence of each table and photo that can be searched with."""
    rng = np.random.default_rng(seed)
    by_label: dict[str, list[Photo]] = {}
    for photo in photos:
        by_label.setdefault(photo.label or "", []).append(photo)
    names = sorted(by_label)
    for number in range(TABLES + SINGLE + BARE):
        count = 1 if number < TABLES + SINGLE else 0
        if number < TABLES:
            count = min(int(rng.integers(2, 5)), len(names))
        labels = [names[place] for place in rng.permutation(len(names))[:count]]
        drawn = [by_label[label][int(rng.integers(len(by_label[label])))] for label in labels]
        arranged = int(rng.integers(2**31))
        try:
            given = [service.gallery.read(photo) for photo in drawn]
            if count == 1:
                data, dishes = given[0], [(labels[0], WHOLE)]
            else:
                pieces = [thumbnail(one, _PIECE, service.embedder.limits) for one in given]
                data, dishes = _table(pieces, labels, arranged)
            question = SearchQuestion(
                photos=(data,), k=1, without=tuple(photo.id for photo in drawn)
            )
            plate = look_at_plate(question, data, service.search(question), service)
        except DeepfoodError:  # a photo is not there any more, or a part of it has no vector
            continue
        yield _evidence(plate, dishes)


def _table(
    pieces: Sequence[bytes], labels: Sequence[str], seed: int
) -> tuple[bytes, list[tuple[str, Box]]]:
    """A JPEG of a table with these photos on it, and the labels and boxes of what is there."""
    made = collage([Image.open(io.BytesIO(piece)) for piece in pieces], seed)
    out = io.BytesIO()
    made.image.save(out, "JPEG", quality=90)
    return out.getvalue(), [(labels[dish.piece], dish.box) for dish in made.dishes]


def _evidence(plate: Plate, dishes: Sequence[tuple[str, Box]]) -> PlateEvidence:
    right = []
    for part in plate.found:
        overlaps = [(iou(part.box, box), label) for label, box in dishes]
        overlap, label = max(overlaps, default=(0.0, ""))
        right.append(overlap >= TOUCHES and part.label is not None and part.label.label == label)
    return PlateEvidence(
        dishes=len(dishes),
        in_gallery=plate.whole.in_gallery or 0.0,
        nearest=plate.nearest,
        gap=plate.gap if plate.found else 0.0,
        parts=np.array([evidence(part) for part in plate.found], np.float64).reshape(-1, 2),
        right=right,
    )
