"""Choosing a head: the laws of dealing and sampling, and figures against slow recomputations."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deepfood.errors import DatasetError
from deepfood.evaluate.metrics import JUDGED, measure
from deepfood.train.cross_validate import (
    Candidate,
    choose_head,
    deal,
    query_metrics,
    sample_evenly,
)
from deepfood.train.head import Vectors

labels_of_photos = st.lists(st.integers(0, 4), min_size=1, max_size=40).map(np.array)


@given(labels_of_photos, st.integers(2, 6), st.integers(0, 5))
@settings(max_examples=60, deadline=None)
def test_folds_are_dealt_like_cards(labels: np.ndarray, folds: int, seed: int) -> None:
    number_of = deal(labels, folds, np.random.default_rng(seed))
    counts = Counter(labels.tolist())
    for label, count in counts.items():
        own = number_of[labels == label]
        if count == 1 or max(counts.values()) == 1:
            assert set(own) == {-1}
        else:
            shares = Counter(own.tolist()).values()
            assert max(shares) - min(shares) <= 1 or len(shares) < folds
            assert len(shares) == min(count, folds)  # never all in one fold
    used = sorted(set(number_of.tolist()) - {-1})
    assert used == list(range(len(used)))
    sizes = Counter(number_of[number_of >= 0].tolist()).values()
    assert not sizes or max(sizes) - min(sizes) <= 1


@given(labels_of_photos, st.integers(1, 40), st.integers(0, 5))
@settings(max_examples=60, deadline=None)
def test_a_sample_is_even(labels: np.ndarray, most: int, seed: int) -> None:
    rows = sample_evenly(labels, most, np.random.default_rng(seed))
    assert len(rows) == min(most, len(labels))
    assert (np.diff(rows) > 0).all()
    taken, there = Counter(labels[rows].tolist()), Counter(labels.tolist())
    fewest = (
        min(taken.get(label, 0) for label in there if taken.get(label, 0) < there[label])
        if (any(taken.get(label, 0) < there[label] for label in there))
        else len(labels)
    )
    assert all(count <= fewest + 1 for count in taken.values())


def unit(vectors: np.ndarray) -> Vectors:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    found: Vectors = (vectors / lengths).astype(np.float32)
    return found


def test_it_judges_as_evaluate_does() -> None:
    rng = np.random.default_rng(3)
    queries, gallery = unit(rng.normal(size=(30, 6))), unit(rng.normal(size=(50, 6)))
    query_labels, gallery_labels = rng.integers(0, 5, 30), rng.integers(0, 4, 50)
    wanted = measure(queries, query_labels, gallery, gallery_labels).metrics
    found = query_metrics(queries, query_labels, gallery, gallery_labels)
    assert np.isnan(found[query_labels == 4]).all()
    for column, name in enumerate(JUDGED):
        assert np.allclose(found[:, column], wanted[name], equal_nan=True), name


def test_what_tells_labels_apart_is_found_beneath_what_does_not() -> None:
    """Two numbers of 24 know the label; the others drown them."""
    rng = np.random.default_rng(4)
    labels = np.arange(120) % 3
    loud = rng.normal(size=(120, 24))
    loud[:, :2] = 0.3 * (
        np.array([[1, 0], [-1, 1], [-1, -1]])[labels] * 3 + rng.normal(size=(120, 2))
    )
    found = choose_head(unit(loud), labels, "supcon", seed=0, even_if_worse=True, quiet=True)
    assert found.base["mAP"] < 0.5
    assert found.best.mean_ap > 0.8
    assert found.best.figures["precision@1"] > 0.8
    assert found.best in found.trials
    highest = max(trial.mean_ap for trial in found.trials)
    assert found.best.mean_ap >= highest - 0.002  # what a smaller embedding may cost
    careful = choose_head(unit(loud), labels, "supcon", seed=0, quiet=True)
    assert careful.best.mean_ap > careful.base["mAP"] + 0.2
    assert careful.best.fall <= found.best.fall


def test_a_head_is_not_chosen_for_mAP_alone() -> None:
    """Each label is many small heaps, all over the place: a photo's nearest is of its own heap.

    What brings the heaps of a label together mixes them with those of others.
    """
    rng = np.random.default_rng(6)
    heaps = rng.normal(size=(60, 12)) + 0.8 * np.repeat(np.eye(3, 12), 20, axis=0)
    vectors = unit(np.repeat(heaps, 4, axis=0) + rng.normal(0, 0.1, (240, 12)))
    labels = np.repeat(np.arange(3), 80)
    kept = choose_head(vectors, labels, "supcon", seed=0, quiet=True)
    free = choose_head(vectors, labels, "supcon", seed=0, even_if_worse=True, quiet=True)
    assert free.best.mean_ap > kept.best.mean_ap > kept.base["mAP"]
    assert free.best.fall > 0.01
    assert kept.best.fall < free.best.fall / 4


def test_a_fall_that_may_be_chance_is_none() -> None:
    """What a label shows is faint, and a photo that is found or lost now and then is chance."""
    rng = np.random.default_rng(8)
    labels = np.arange(120) % 3
    vectors = unit(rng.normal(size=(120, 12)) + 0.9 * np.eye(3, 12)[labels])
    found = choose_head(vectors, labels, "supcon", seed=0, quiet=True)

    def drop(trial: Candidate) -> float:
        return max(found.base[name] - trial.figures[name] for name in JUDGED)

    by_chance = [one for one in found.trials if drop(one) > 0 and one.fall == 0]
    certain = [one for one in found.trials if one.fall > 0]
    assert by_chance
    assert all(one.fall < drop(one) for one in certain)
    # Of all that lose nothing for certain, the best, up to what a smaller embedding may cost.
    highest = max(one.mean_ap for one in found.trials if one.fall == 0)
    assert found.best.fall == 0
    assert found.best.mean_ap >= highest - 0.002


def test_chance_is_the_share_of_a_label_in_the_gallery() -> None:
    counts = (40, 15, 5)
    labels = np.repeat(np.arange(3), counts)
    vectors = unit(np.random.default_rng(5).normal(size=(60, 4)))
    found = choose_head(vectors, labels, "supcon", seed=0, quiet=True)
    chance = sum(count * count for count in counts) / 60**2
    assert found.chance == pytest.approx(chance, abs=0.01)
    error = sum(count * (count / 60) * (1 - count / 60) for count in counts) ** 0.5 / 60
    assert found.chance_error == pytest.approx(error, abs=0.002)
    # Vectors that know nothing reach no more, whatever head is tried.
    assert all(
        abs(trial.figures["precision@1"] - chance) < 4 * found.chance_error
        for trial in found.trials
    )


def test_photos_that_are_alone_with_their_labels() -> None:
    with pytest.raises(DatasetError, match="no label has two training photos"):
        choose_head(unit(np.eye(4)), np.arange(4), "supcon", seed=0, quiet=True)
