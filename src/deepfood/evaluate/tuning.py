"""`deepfood tune`: average the answers of a gallery, if that is certainly better on its own labels.

What is searched for is chosen with some of the gallery's photos, each left out in turn, and judged
by the gate with others. Whitening, query expansion, other sizes and pooling, and k-reciprocal
re-ranking were measured too (docs/performance.md), and are not searched.
"""

import itertools
import time
from contextlib import closing
from dataclasses import dataclass, replace

import numpy as np

from deepfood.config import Settings
from deepfood.counted import counted
from deepfood.engine import engine_at
from deepfood.errors import DatasetError
from deepfood.evaluate.confidence import paired
from deepfood.evaluate.gate import LEVEL, BeforeAfter, Judgement, answers_of, judge
from deepfood.evaluate.metrics import Floats, K, Labels, Retrieval, measure
from deepfood.evaluate.trial import LabelledVectors, Trial, labelled_photos, make_trial
from deepfood.gallery.averaging import CANDIDATES, Averaging, averaged
from deepfood.gallery.calibration import Calibration
from deepfood.gallery.protocol import SearchedGallery
from deepfood.gallery.tuned import TuneVerdict
from deepfood.index.contract import best
from deepfood.place import Place

#: What is tried.
TRIED = tuple(
    Averaging(neighbours=neighbours, power=power)
    for neighbours, power in itertools.product((5, 10, 20), (3, 6, 12))
)
#: What must certainly rise: what the page shows first is what a slower search must be worth.
DECISIVE = f"precision@{K}"
#: So many photos, drawn by the seed; so many of them choose, and so many others judge.
_MOST_PHOTOS, _CHOOSE, _JUDGE = 20_000, 400, 1_000
#: With fewer labelled photos nothing is certain.
FEWEST = 100
_TIMED = 25


@dataclass(frozen=True)
class Tuning:
    """What `tune` found and did.

    `averaging` is the best that was tried, `judgement` its figures on `queries` photos; `refused`
    says why it is not taken, "" if it is. `is_tuned` is whether the gallery is tuned now. Of one
    that was tuned just now, `ms` is how long a search takes, before and after, and `calibration`
    the new one.
    """

    averaging: Averaging
    queries: int
    judgement: Judgement
    refused: str
    notes: tuple[str, ...]
    is_tuned: bool = False
    ms: tuple[float, float] | None = None
    calibration: Calibration | None = None

    @property
    def verdict(self) -> TuneVerdict:
        figures = self.judgement.figures
        return TuneVerdict(
            averaging=self.averaging,
            queries=self.queries,
            before={name: one.before for name, one in figures.items()},
            after={name: one.after for name, one in figures.items()},
        )


def tune(
    place: Place, settings: Settings, *, compare: bool = False, seed: int = 0, quiet: bool = False
) -> Tuning:
    """Average the answers of a gallery if that is certainly better, and calibrate it for that.

    Photos that the Model was trained on judge nothing. A gallery that is tuned is judged anew: it
    is tuned otherwise, or no longer. With `compare` it is only judged. Raises DatasetError where it
    has too few labelled photos, SettingError for a release, or an ArtifactError.
    """
    engine = engine_at(place, settings)
    gallery, model = engine.open()
    with closing(gallery):
        found = find_tuning(gallery, model.trained_on, seed=seed)
        now = gallery.manifest
        found = replace(found, is_tuned=now.tuned is not None)
        if compare or (found.refused and now.tuned is None):
            return found
    verdict = None if found.refused else found.verdict
    tuned = engine.tune(verdict, model, now.generation, quiet=quiet)
    if verdict is None:
        return replace(found, is_tuned=False)
    gallery, _ = engine.open()
    with closing(gallery):
        took = _search_ms(gallery)
    return replace(found, is_tuned=True, ms=took, calibration=tuned.calibration)


def untune(place: Place, settings: Settings) -> bool:
    """Take a tune back: the gallery is as it was before. Whether there was one to be taken back."""
    engine = engine_at(place, settings)
    gallery, model = engine.open()
    with closing(gallery):
        now = gallery.manifest
    if now.tuned is None:
        return False
    engine.tune(None, model, now.generation)
    return True


def find_tuning(gallery: SearchedGallery, trained_on: frozenset[str], *, seed: int = 0) -> Tuning:
    """Choose what to average, and judge it. Raises DatasetError."""
    photos, notes = labelled_photos(gallery, gallery.photos())
    rng = np.random.default_rng(seed)
    count = len(photos.ids)
    if count > _MOST_PHOTOS:
        photos = photos.select(np.sort(rng.permutation(count)[:_MOST_PHOTOS]))
        notes.append(f"judged on {_MOST_PHOTOS:,} of the {count:,} labelled photos, drawn")
    unseen = [row for row, one in enumerate(photos.ids) if one not in trained_on]
    if seen := len(photos.ids) - len(unseen):
        notes.append(f"the Model was trained on {seen} of the photos: these judge nothing")
    if len(unseen) < FEWEST:
        raise DatasetError(
            f"{gallery.place} has {counted(unseen, 'labelled photo')} that its Model was not "
            f"trained on, and {FEWEST} are needed to tune it"
        )
    drawn = rng.permutation(unseen)
    choosing = min(_CHOOSE, len(drawn) // 3)
    trial = _trial(photos, drawn[:choosing])
    chosen = _choose(trial)
    trial = _trial(photos, drawn[choosing : choosing + _JUDGE])
    judgement = _judge(trial, chosen, seed=seed)
    return Tuning(chosen, len(trial.query_labels), judgement, _refusal(judgement), tuple(notes))


def _trial(photos: LabelledVectors, rows: Labels) -> Trial:
    return make_trial(photos, photos.select(np.sort(rows)), "", left_out_in_turn=True)


def _choose(trial: Trial) -> Averaging:
    """What gives the most right photos among the first K."""
    vectors, labels = trial.gallery.vectors, trial.gallery_labels
    right = np.zeros(len(TRIED))
    for query, own, label in zip(
        trial.queries.vectors, trial.own_rows, trial.query_labels, strict=True
    ):
        scores = vectors @ query
        rows = np.flatnonzero(np.arange(len(labels)) != own)
        rows, nearest = best(CANDIDATES, rows, scores[rows])
        alike = vectors[rows] @ vectors[rows].T
        for place, one in enumerate(TRIED):
            changed = averaged(nearest, alike, one.neighbours, one.power)
            first, _ = best(K, rows, changed)
            right[place] += np.count_nonzero(labels[first] == label)
    return TRIED[int(right.argmax())]


def _judge(trial: Trial, averaging: Averaging, *, seed: int) -> Judgement:
    before, after = _asked(trial, None), _asked(trial, averaging)
    labels = trial.query_labels, trial.gallery_labels
    given, new = answers_of(before, *labels), answers_of(after, *labels)
    found = judge(given, new, trial.query_labels, trial.names, seed=seed)
    first = _paired(before.metrics[DECISIVE], after.metrics[DECISIVE], seed)
    return replace(found, figures={DECISIVE: first, **found.figures})


def _asked(trial: Trial, averaging: Averaging | None) -> Retrieval:
    return measure(
        trial.queries.vectors,
        trial.query_labels,
        trial.gallery.vectors,
        trial.gallery_labels,
        own_rows=trial.own_rows,
        averaging=averaging,
    )


def _paired(before: Floats, after: Floats, seed: int) -> BeforeAfter:
    one = paired(before, after, seed=seed, level=LEVEL)
    if one is None:
        raise DatasetError("no photo has another one of its label: nothing can be judged")
    return BeforeAfter(one.first, one.second, one.by.value, (one.by.low, one.by.high))


def _refusal(judgement: Judgement) -> str:
    """Why a gallery is not tuned; "" if it is certainly better so, and in nothing worse."""
    decisive = judgement.figures[DECISIVE]
    if decisive.interval is None or decisive.interval[0] <= 0:
        return f"{DECISIVE} is not certainly better"
    if worse := judgement.worse(decisive=None):
        return f"it is certainly worse in {worse}"
    return judgement.losses()


def _search_ms(gallery: SearchedGallery) -> tuple[float, float]:
    """How long a search takes in milliseconds, the median, as it was and as it is tuned."""
    queries = [gallery.vector(photo.id) for photo in gallery.sample(_TIMED, 0)]
    took: tuple[list[float], list[float]] = ([], [])
    for untuned, query in itertools.product((True, False), queries):
        started = time.perf_counter()
        gallery.find(query, K, untuned=untuned)
        took[not untuned].append((time.perf_counter() - started) * 1000)
    return float(np.median(took[0])), float(np.median(took[1]))
