"""Judge the Model of a running `reembed` by the gate, on the gallery's own labels."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from deepfood.config import Settings
from deepfood.embed import Embedder
from deepfood.engine import engine_at
from deepfood.errors import DatasetError
from deepfood.evaluate.compare import align, without_seen
from deepfood.evaluate.gate import Answers, Judgement, answers_of, judge
from deepfood.evaluate.metrics import Labels, measure
from deepfood.evaluate.trial import LabelledVectors, labelled_photos, make_trial
from deepfood.gallery.reports import RenewReport
from deepfood.model import Model
from deepfood.place import Place

#: So many photos, drawn by the seed, and so many of them as queries, judge within seconds.
_MOST_PHOTOS, _MOST_QUERIES = 20_000, 2_000


@dataclass(frozen=True)
class Judged:
    """The gate's judgement of the `model` after against the one `before`, by so many `queries`."""

    before: str
    after: str
    queries: int
    notes: tuple[str, ...]
    judgement: Judgement


@dataclass(frozen=True)
class Succession:
    """The result of `succeed`. `refused` is the reason if the gallery kept its Model.

    `judged` is None where nothing was judged, for the reason `unjudged`.
    """

    report: RenewReport[Any]
    judged: Judged | None
    unjudged: str
    refused: str | None


def succeed(
    place: Place,
    embedder: Embedder,
    settings: Settings,
    *,
    only_judge: bool = False,
    even_if_worse: bool = False,
    drop_unreadable: bool = False,
    seed: int = 0,
    quiet: bool = False,
) -> Succession:
    """Embed a gallery with another Model beside the living one, judge it, and switch to it.

    A Model that is certainly worse does not become the gallery's without `even_if_worse`; what was
    embedded is kept for that. A gallery whose labels cannot judge it is switched. Raises an
    ArtifactError, DatasetError (lost photos) or DiskFullError.
    """
    engine = engine_at(place, settings)
    done = engine.reembed(embedder, swap=False, quiet=quiet)
    if done.manifest.model_fingerprint == embedder.model.fingerprint:
        return Succession(done, None, "it was made with this Model", None)
    judged, unjudged = None, ""
    try:
        judged = judge_successor(place, embedder.model, settings, seed=seed)
    except DatasetError as error:
        unjudged = str(error)
    worse = judged.judgement.worse(decisive=None) if judged else ""
    if only_judge or (worse and not even_if_worse):
        refused = (
            None
            if only_judge
            else (
                f"the Model {embedder.model.manifest.name} is worse: {worse}; the gallery keeps "
                "its Model (the same command with --even-if-worse takes the new one, and deepfood "
                f"reembed {place} --discard deletes its vectors)"
            )
        )
        return Succession(done, judged, unjudged, refused)
    swapped = engine.reembed(embedder, drop_unreadable=drop_unreadable, quiet=quiet)
    swapped = replace(
        swapped, made=done.made + swapped.made, seconds=done.seconds + swapped.seconds
    )
    return Succession(swapped, judged, unjudged, None)


def judge_successor(place: Place, model: Model, settings: Settings, *, seed: int = 0) -> Judged:
    """Compare both Models on the gallery's own photos, each left out in turn.

    The second is what `reembed` has embedded so far. Raises DatasetError where the gallery has no
    labels, or none that neither Model was trained on, and ArtifactMissingError.
    """
    engine = engine_at(place, settings)
    before = engine.own_model()
    rng = np.random.default_rng(seed)
    with engine.beside(model) as beside:
        photos, _ = labelled_photos(beside.gallery, beside.gallery.photos())
        rows = dict(zip(beside.ids, beside.rows.tolist(), strict=True))
        there = np.array([row for row, one in enumerate(photos.ids) if one in rows], np.int64)
        drawn = np.sort(rng.permutation(there)[:_MOST_PHOTOS])
        photos = photos.select(drawn)
        places = np.array([rows[one] for one in photos.ids], np.int64)
        others = replace(photos, vectors=beside.vectors.take(places))
    photos, others = align(photos, others)
    asked, _, notes = without_seen(photos, others, (before, model))
    if len(drawn) < len(there):
        notes.append(f"judged on {len(drawn):,} of the {len(there):,} labelled photos, drawn")
    asked = asked.select(np.sort(rng.permutation(len(asked.ids))[:_MOST_QUERIES]))
    numbers, names, given = _answers(photos, asked)
    _, _, new = _answers(others, replace(asked, vectors=_vectors_of(asked, others)))
    judgement = judge(given, new, numbers, names, seed=seed)
    if few := judgement.unjudged():
        notes.append(few)
    return Judged(
        before.manifest.name,
        model.manifest.name,
        int(np.isfinite(given["mAP"]).sum()),
        tuple(notes),
        judgement,
    )


def _vectors_of(asked: LabelledVectors, photos: LabelledVectors) -> Any:
    return photos.vectors[np.array([photos.rows[one] for one in asked.ids], np.int64)]


def _answers(
    photos: LabelledVectors, asked: LabelledVectors
) -> tuple[Labels, tuple[str, ...], Answers]:
    """The queries' labels, the names of labels, and the answers."""
    trial = make_trial(photos, asked, "", left_out_in_turn=True)
    found = measure(
        trial.queries.vectors,
        trial.query_labels,
        trial.gallery.vectors,
        trial.gallery_labels,
        own_rows=trial.own_rows,
    )
    return (
        trial.query_labels,
        trial.names,
        answers_of(found, trial.query_labels, trial.gallery_labels),
    )
