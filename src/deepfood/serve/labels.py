"""Guess the labels of photos from names, by the text tower of a gallery's Model."""

import threading
from collections.abc import Iterator

import numpy as np
from cachetools import LRUCache, TTLCache

from deepfood.config import Settings
from deepfood.embed import Vector, Vectors
from deepfood.gallery.filter_tree import Among
from deepfood.gallery.logistic import Floats
from deepfood.gallery.notes import Note
from deepfood.gallery.photo import Photo
from deepfood.gallery.protocol import SearchedGallery
from deepfood.gallery.zero_shot import (
    MAX_NAMES,
    MAX_QUERIES,
    MIN_QUERIES,
    LabelAnswer,
    LabelNames,
    NamesCalibration,
    calibrate_names,
    guess_names,
)
from deepfood.model import Model
from deepfood.progress import bar
from deepfood.words import TextEmbedder, no_text_tower

#: A calibration is reused for so long; labels that are set meanwhile count from then on.
_FRESH_S = 60
_KEPT = 8
_CHUNK_ROWS = 4096


class Labeller:
    """Guesses labels from names; safe to use from many threads.

    Every method raises NoTextTowerError where the Model has no text tower, and as the TextEmbedder
    does.
    """

    def __init__(
        self,
        gallery: SearchedGallery,
        model: Model,
        words: TextEmbedder | None,
        settings: Settings,
    ) -> None:
        self._gallery = gallery
        self._model = model
        self._words = words
        self._match_probability = settings.match_probability
        self._none_probability = settings.none_probability
        self._lock = threading.Lock()
        self._prompts: LRUCache[str, Vector] = LRUCache(2 * MAX_NAMES)
        self._calibrations: TTLCache[LabelNames, tuple[NamesCalibration | None, tuple[Note, ...]]]
        self._calibrations = TTLCache(_KEPT, _FRESH_S)

    def guess(self, photos: Vectors, names: LabelNames) -> list[LabelAnswer]:
        """The answer for each photo; `photos` are unit vectors, float32 [n, dimension]."""
        prompts = self._embed(names)
        calibration, notes = self._calibrated(names, prompts)
        return guess_names(
            _similarities(photos, prompts),
            names,
            calibration,
            match_probability=self._match_probability,
            none_probability=self._none_probability,
            notes=notes,
        )

    def guess_unlabelled(
        self, names: LabelNames, *, quiet: bool
    ) -> Iterator[tuple[Photo, LabelAnswer]]:
        """The gallery's photos without a label, and the answer for each."""
        self._embed(names)
        photos, vectors, rows = self._gallery.photos()
        places = [place for place, photo in enumerate(photos) if photo.label is None]
        with bar("guessing labels", " photos", len(places), quiet=quiet) as progress:
            for start in range(0, len(places), _CHUNK_ROWS):
                chunk = places[start : start + _CHUNK_ROWS]
                answers = self.guess(vectors.take(rows[chunk]), names)
                yield from zip((photos[place] for place in chunk), answers, strict=True)
                progress.update(len(chunk))

    def _embed(self, names: LabelNames) -> Vectors:
        """The unit vectors of the prompts, float32 [names, dimension]; each is embedded once."""
        if self._words is None:
            raise no_text_tower(self._model)
        found = []
        for prompt in names.prompts:
            with self._lock:
                vector = self._prompts.get(prompt)
            if vector is None:  # outside the lock, so occasionally twice
                vector = self._words.embed(prompt)
                with self._lock:
                    self._prompts[prompt] = vector
            found.append(vector)
        return np.stack(found)

    def _calibrated(
        self, names: LabelNames, prompts: Vectors
    ) -> tuple[NamesCalibration | None, tuple[Note, ...]]:
        """The calibration on the gallery's labelled photos, or None and why."""
        with self._lock:
            kept = self._calibrations.get(names)
        if kept is None:
            kept = self._calibrate(names, prompts)
            with self._lock:
                self._calibrations[names] = kept
        return kept

    def _calibrate(
        self, names: LabelNames, prompts: Vectors
    ) -> tuple[NamesCalibration | None, tuple[Note, ...]]:
        drawn = self._gallery.sample(MAX_QUERIES, 0, Among("label", names.names))
        unseen = [photo for photo in drawn if photo.id not in self._model.trained_on]
        if len(unseen) < MIN_QUERIES:
            seen = len(drawn) - len(unseen)
            message = (
                f"not calibrated: {MIN_QUERIES} photos are needed whose label is one of the names, "
                f"and the gallery has {len(unseen)}"
                + (f", and {seen} that the Model was trained on" if seen else "")
            )
            return None, (Note("not_calibrated", message, len(unseen), MIN_QUERIES),)
        vectors = np.stack([self._gallery.vector(photo.id) for photo in unseen])
        own = names.places([photo.label for photo in unseen])
        return calibrate_names(_similarities(vectors, prompts), own), ()


def _similarities(photos: Vectors, prompts: Vectors) -> Floats:
    """Of each photo to each prompt, float64 [photos, prompts]."""
    # What is kept as i8 is a little longer or shorter than 1.
    lengths = np.linalg.norm(photos, axis=1, keepdims=True)
    return np.asarray((photos / lengths) @ prompts.T, np.float64)
