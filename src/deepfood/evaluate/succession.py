"""A gallery's Model against the one that it is being embedded with, on the gallery's labels."""

import contextlib
from dataclasses import replace
from pathlib import Path

import numpy as np

from deepfood.evaluate.compare import Comparison, align, compare
from deepfood.evaluate.evaluation import Evaluation, judge
from deepfood.evaluate.trial import Photos, labelled_photos, leave_one_out, make_trial
from deepfood.gallery import Gallery
from deepfood.gallery.renew import open_work


def compare_successor(folder: Path, name: str, *, k: int, seed: int) -> Comparison:
    """Ask with the gallery's own photos, each left out in turn, in the vectors of either Model.

    The second, called `name`, is what `reembed` has embedded so far. Raises DatasetError where the
    gallery has no labels.
    """
    with Gallery.open(folder) as gallery, contextlib.closing(open_work(folder)) as work:
        photos, _ = labelled_photos(gallery, gallery.photos())
        first_name = gallery.manifest.model_name
        rows = {photo.id: row for row, photo in work.rows()}
        with_both = [at for at, photo_id in enumerate(photos.ids) if photo_id in rows]
        there = photos.select(with_both)
        taken = work.vectors().take(np.array([rows[one] for one in there.ids], np.int64))
    asked, origin = leave_one_out(photos, seed)

    def judged(own: Photos, queries: Photos, model: str) -> Evaluation:
        return judge(make_trial(own, queries, origin, left_out_in_turn=True), model, k=k, seed=seed)

    photos, others = align(photos, replace(there, vectors=taken))
    asked, other_asked = align(asked, others)
    return compare(judged(photos, asked, first_name), judged(others, other_asked, name), seed=seed)
