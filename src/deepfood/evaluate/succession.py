"""Compare a gallery's Model with the one of a running `reembed`, on the gallery's labels."""

from dataclasses import replace

import numpy as np

from deepfood.config import Settings
from deepfood.engine import engine_at
from deepfood.evaluate.compare import Comparison, align, compare, without_seen
from deepfood.evaluate.evaluation import Evaluation, evaluate_trial
from deepfood.evaluate.trial import (
    LabelledVectors,
    labelled_photos,
    leave_one_out,
    make_trial,
)
from deepfood.model import Model
from deepfood.place import Place


def compare_successor(
    place: Place, model: Model, settings: Settings, *, k: int, seed: int
) -> Comparison:
    """Evaluate both Models on the gallery's own photos, each left out in turn.

    The second is what `reembed` has embedded so far. Raises DatasetError where the gallery has no
    labels, or none that neither Model was trained on, and ArtifactMissingError.
    """
    engine = engine_at(place, settings)
    before = engine.own_model()
    with engine.beside(model) as beside:
        photos, _ = labelled_photos(beside.gallery, beside.gallery.photos())
        rows = dict(zip(beside.ids, beside.rows.tolist(), strict=True))
        with_both = [row for row, one in enumerate(photos.ids) if one in rows]
        there = photos.select(with_both)
        taken = beside.vectors.take(np.array([rows[one] for one in there.ids], np.int64))
    asked, origin = leave_one_out(photos, seed)

    def judged(own: LabelledVectors, queries: LabelledVectors, model: str) -> Evaluation:
        trial = make_trial(own, queries, origin, notes, left_out_in_turn=True)
        return evaluate_trial(trial, model, k=k, seed=seed)

    photos, others = align(photos, replace(there, vectors=taken))
    asked, other_asked = align(asked, others)
    asked, other_asked, notes = without_seen(asked, other_asked, (before, model))
    return compare(
        judged(photos, asked, before.manifest.name),
        judged(others, other_asked, model.manifest.name),
        seed=seed,
    )
