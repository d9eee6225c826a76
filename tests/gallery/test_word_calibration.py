"""How sure answers to words are, on made-up vectors in which words lie apart from photos."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from deepfood.gallery.answer import judge_words
from deepfood.gallery.photo import Hit, How, Matched, Photo
from deepfood.gallery.word_calibration import (
    MIN_LABELS,
    UNRELATED,
    WordCalibration,
    calibrate_words,
)

Vectors = npt.NDArray[np.float32]

DIMENSION = 32
NAMES = [f"dish {number}" for number in range(12)]


def unit(vectors: Vectors) -> Vectors:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=-1, keepdims=True), np.float32)


class World:
    """Photos of a label lie around its centre; words for it too, but far along an axis of words."""

    def __init__(self, names: Sequence[str] = NAMES, seed: int = 0) -> None:
        self.names, self._rng = list(names), np.random.default_rng(seed)
        self._centres = unit(self._rng.normal(size=(len(names), DIMENSION)).astype(np.float32))
        # The gap between photos and words is the same for all (Liang et al., "Mind the gap", 2022),
        # and so at right angles to what tells photos apart.
        axis = self._rng.normal(size=DIMENSION)
        across = np.linalg.lstsq(self._centres.T, axis, rcond=None)[0]
        self._axis = unit((axis - across @ self._centres).astype(np.float32))

    def photos(self, each: int) -> tuple[Vectors, npt.NDArray[np.int64]]:
        labels = np.repeat(np.arange(len(self.names)), each)
        noise = self._rng.normal(0, 0.08, (len(labels), DIMENSION)).astype(np.float32)
        return unit(self._centres[labels] + noise), labels

    def words(self, texts: Sequence[str]) -> Vectors:
        out = np.empty((len(texts), DIMENSION), np.float32)
        for row, text in enumerate(texts):
            rng = np.random.default_rng(sum(map(ord, text)))
            noise = rng.normal(0, 0.08, DIMENSION)
            about = self._centres[self.names.index(text)] if text in self.names else 0
            out[row] = about + 2 * self._axis + noise
        return unit(out)


def calibrated(world: World, each: int = 20) -> WordCalibration | None:
    vectors, labels = world.photos(each)

    def chunks() -> Iterator[tuple[Vectors, npt.NDArray[np.int64]]]:
        for start in range(0, len(labels), 50):
            yield vectors[start : start + 50], labels[start : start + 50]

    return calibrate_words(world.names, chunks, world.words)


def hit(score: float) -> Hit:
    photo = Photo("0" * 64, "a.jpg", None, None, "image/jpeg", 1, 1, 1, 1)
    return Hit(photo, score)


def test_labels_are_there_and_what_names_nothing_is_not() -> None:
    world = World()
    found = calibrated(world)
    assert found is not None
    assert found.labels == len(NAMES)
    assert found.auroc > 0.95
    vectors, _ = world.photos(20)

    def sure(texts: Sequence[str]) -> npt.NDArray[np.float64]:
        best = (world.words(texts) @ vectors.T).max(axis=1)
        return found.in_gallery(best[:, np.newaxis])

    assert (sure(NAMES) > 0.5).mean() > 0.9
    assert (sure(["bicycle repair", "sdkjfh", "Tuesday", *UNRELATED]) < 0.5).mean() > 0.9


def test_words_have_other_similarities_than_photos() -> None:
    """A threshold of photos, applied to words, would call everything nothing."""
    world = World()
    found = calibrated(world)
    assert found is not None
    vectors, labels = world.photos(20)
    own = labels == 0
    score = float(np.median(vectors[own] @ world.words([NAMES[0]])[0]))
    photos = float(np.median(vectors[own] @ vectors[own][0]))
    assert score < photos - 0.2
    assert float(found.hit([score])) > 0.5


@pytest.mark.parametrize("labels", [0, 1, MIN_LABELS - 1])
def test_too_few_labels(labels: int) -> None:
    if labels:
        assert calibrated(World(NAMES[:labels])) is None
    assert calibrated(World(NAMES[:MIN_LABELS])) is not None


def test_the_same_again_is_the_same() -> None:
    assert calibrated(World()) == calibrated(World())


def test_what_is_answered() -> None:
    found = calibrated(World())
    assert found is not None
    bounds: Any = {"match_probability": 0.8, "none_probability": 0.3}
    hits = [hit(0.9), hit(-0.9)]
    sure = judge_words(hits, 0.9, found, **bounds)
    assert sure.verdict == "match"
    assert [one.same_dish for one in sure.hits] == ["likely", "unlikely"]
    nothing = judge_words(hits, -0.9, found, **bounds)
    assert (nothing.verdict, nothing.hits) == ("none", [])
    named = replace(hit(-0.9), matched=(Matched("drum", "name", "Drumstick", How.BEGINNING),))
    some = judge_words([hit(0.9), named], -0.9, found, **bounds)  # has some of the words
    assert (some.verdict, [one.matched for one in some.hits]) == ("none", [named.matched])
    assert nothing.in_gallery is not None
    assert nothing.in_gallery < 0.3


def test_no_unrelated_word_is_food() -> None:
    assert len(set(UNRELATED)) == len(UNRELATED) >= 60
    text = " ".join(UNRELATED).lower()
    assert not any(food in text for food in ("soup", "cake", "bread", "fruit", "rice", "fish"))
