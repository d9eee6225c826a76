"""Evaluate a gallery on queries, and compare it with another gallery or Model."""

import contextlib
from dataclasses import dataclass
from pathlib import Path

from deepfood.artifacts import kind_of
from deepfood.config import Settings
from deepfood.counted import counted
from deepfood.data.photo_file import photo_id
from deepfood.data.photos import list_photos
from deepfood.embed import Embedder, open_embedder
from deepfood.engine import engine_at
from deepfood.errors import ModelMismatchError
from deepfood.evaluate.compare import Comparison, align, compare, without_seen
from deepfood.evaluate.confidence import Figure
from deepfood.evaluate.evaluation import Evaluation, evaluate_trial, index_recall
from deepfood.evaluate.near_copies import near_copy_notes
from deepfood.evaluate.trial import (
    LabelledVectors,
    as_source,
    labelled_photos,
    leave_one_out,
    make_trial,
    query_photos,
    trained_on_note,
)
from deepfood.gallery.averaging import Averaging
from deepfood.gallery.protocol import SearchedManifest
from deepfood.local.embedding_cache import embed_dataset
from deepfood.model import Model, open_model
from deepfood.photo import Limits
from deepfood.place import Place
from deepfood.storage import S3Options


@dataclass(frozen=True)
class Examination:
    """What `deepfood evaluate` found; `comparison.first` is `evaluation`."""

    gallery: Place
    index_kind: str
    index_recall: Figure
    evaluation: Evaluation
    comparison: Comparison | None
    other: Place | None


def examine(
    place: Place,
    queries: Path | str | None,
    settings: Settings,
    *,
    other: Place | None = None,
    k: int,
    seed: int,
    quiet: bool,
) -> Examination:
    """Ask the gallery at `place` with labelled photos, or with its own, each left out in turn.

    `other` is a second gallery or a Model to compare with. Raises DatasetError, ArtifactError.
    """
    opened, model = engine_at(place, settings).open()
    with contextlib.closing(opened) as gallery:
        every = gallery.photos()  # once: from an engine they come over the network
        photos, notes = labelled_photos(gallery, every)
        if queries is None:
            asked, origin = leave_one_out(photos, seed)
        else:
            embedder = open_embedder(settings, model)
            cache = settings.cache.expanduser()
            listed = list_photos(queries, S3Options.of(settings))
            asked, origin, more = query_photos(listed, embedder, cache, quiet=quiet)
            notes += more
        if other is not None:
            other_model = _model_of(other, settings)
            second = _seen_by_other(other, photos, asked, model, settings, quiet=quiet)
            counts = len(photos.ids), len(asked.ids)
            photos, other_photos = align(photos, second[0])
            asked, other_asked = align(asked, second[1])
            if counts != (len(photos.ids), len(asked.ids)):
                notes.append(
                    f"compared on what both have: {len(photos.ids)} of "
                    f"{counted(counts[0], 'photo')}, {len(asked.ids)} of "
                    f"{counted(counts[1], 'query', 'queries')}"
                )
            asked, other_asked, more = without_seen(asked, other_asked, (model, other_model))
            notes += more
        own = queries is None
        name = model.manifest.name
        notes += trained_on_note(asked, model.trained_on, name)
        limits = Limits.of(settings)
        notes += near_copy_notes(asked, photos, limits, quiet=quiet)
        trial = make_trial(photos, asked, origin, notes, left_out_in_turn=own)
        calibration = gallery.manifest.calibration
        # A comparison uses curves fitted the same way, as the other may have none of its own.
        served = calibration.hit if calibration and other is None else None
        evaluation = evaluate_trial(
            trial, name, k=k, seed=seed, served=served, averaging=_averaging(gallery.manifest)
        )
        recall = index_recall(gallery, every, trial, k=k, seed=seed)
        kind = gallery.manifest.index.kind
    comparison = None
    if other is not None:
        trial = make_trial(other_photos, other_asked, origin, left_out_in_turn=own)
        name, averaging = other_model.manifest.name, _averaging_of(other, settings)
        beside = evaluate_trial(trial, name, k=k, seed=seed, averaging=averaging)
        comparison = compare(evaluation, beside, seed=seed)
    return Examination(place, kind, recall, evaluation, comparison, other)


def _seen_by_other(
    other: Place,
    photos: LabelledVectors,
    asked: LabelledVectors,
    model: Model,
    settings: Settings,
    *,
    quiet: bool,
) -> tuple[LabelledVectors, LabelledVectors]:
    """The gallery's photos and the queries with the other's vectors."""
    own = asked.root == photos.root and set(asked.ids) <= set(photos.ids)
    if _is_gallery(other):
        with contextlib.closing(engine_at(other, settings).open_to_read()) as gallery:
            manifest = gallery.manifest
            rows, vectors, at = gallery.photos()
        there = LabelledVectors(
            photos.root,
            tuple(photo.file for photo in rows),
            tuple(photo.id for photo in rows),
            tuple(photo.label or "" for photo in rows),
            vectors.take(at),
        )
        if own:
            return there, there
        if manifest.model_fingerprint != model.fingerprint:
            raise ModelMismatchError(
                f"{other} was made with another Model, {manifest.model_name}, which must see the "
                "queries too: compare with that Model's folder instead, --compare MODEL"
            )
        return there, asked
    embedder = open_embedder(settings.model_copy(update={"model": Path(other.text)}))
    cache = settings.cache.expanduser()
    there = _embedded(photos, embedder, cache, quiet=quiet)
    return there, there if own else _embedded(asked, embedder, cache, quiet=quiet)


def _model_of(other: Place, settings: Settings) -> Model:
    if _is_gallery(other):
        return engine_at(other, settings).own_model()
    return open_model(Path(other.text))


def _averaging_of(other: Place, settings: Settings) -> Averaging | None:
    if not _is_gallery(other):
        return None
    with contextlib.closing(engine_at(other, settings).open_to_read()) as gallery:
        return _averaging(gallery.manifest)


def _averaging(manifest: SearchedManifest) -> Averaging | None:
    return manifest.tuned.averaging if manifest.tuned else None


def _is_gallery(other: Place) -> bool:
    return other.kind == "milvus" or kind_of(Path(other.text)) == "gallery"


def _embedded(
    photos: LabelledVectors, embedder: Embedder, cache: Path, *, quiet: bool
) -> LabelledVectors:
    found = embed_dataset(as_source(photos), embedder, cache, quiet=quiet)
    return LabelledVectors(
        photos.root,
        tuple(photo.stored for photo in found.files),
        tuple(photo_id(sha256) for sha256 in found.sha256),
        tuple(photo.label or "" for photo in found.files),
        found.vectors,
    )
