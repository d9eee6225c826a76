"""Intervals, tests of a difference, calibration and novelty, where the truth is known."""

import itertools
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from deepfood.data.root import Folder
from deepfood.evaluate.confidence import difference, group_rows, mean_figures, resample, share
from deepfood.evaluate.evaluation import CROSS_FITTED, SERVED, evaluate_trial
from deepfood.evaluate.metrics import Floats, Retrieval
from deepfood.evaluate.novelty import false_positives, novelty
from deepfood.evaluate.reliability import cross_fitted, reliability
from deepfood.evaluate.trial import LabelledVectors, make_trial
from deepfood.gallery import Hit, Photo
from deepfood.gallery import judge as answer_of
from deepfood.gallery.calibration import Labelled, calibrate
from deepfood.gallery.logistic import auroc

SCORES = hnp.arrays(np.float64, st.integers(1, 20), elements=st.integers(0, 6).map(float))

# ---- intervals ----


def test_wilsons_interval_is_the_one_in_the_books() -> None:
    # Newcombe (1998), table I: 81 of 263, and 0 of 20.
    found = share(81, 263)
    assert (found.value, found.low, found.high) == pytest.approx((0.308, 0.2553, 0.3662), abs=2e-4)
    none = share(0, 20)
    assert (none.value, none.low, none.high) == pytest.approx((0, 0, 0.1611), abs=1e-4)
    assert math.isnan(share(0, 0).value)


def test_a_bootstrap_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    covered = 0
    for seed in range(200):
        figure = mean_figures({"": rng.exponential(1.0, 200)}, seed=seed)[""]
        covered += figure.low <= 1.0 <= figure.high
    assert 180 <= covered <= 199  # 95 % of 200, with room for chance


def test_resample_draws_each_sample_by_itself() -> None:
    values, others = np.arange(100.0), np.arange(1000.0)
    figure = resample(
        lambda a, b: float(values[a].mean() - others[b].mean()), len(values), len(others), seed=1
    )
    assert figure.value == pytest.approx(49.5 - 499.5)
    error = math.sqrt(values.var() / 100 + others.var() / 1000)
    assert figure.high - figure.low == pytest.approx(2 * 1.96 * error, rel=0.1)
    assert math.isnan(resample(lambda a: 1.0, 0, seed=1).value)


# ---- differences ----


def exact_p(change: list[float]) -> float:
    """All exchanges of first and second, one by one."""
    seen = abs(sum(change))
    ways = list(itertools.product((-1, 1), repeat=len(change)))
    as_much = [
        abs(sum(s * c for s, c in zip(way, change, strict=True))) >= seen - 1e-9 for way in ways
    ]
    return sum(as_much) / len(ways)


@given(st.lists(st.integers(-4, 4).map(float), min_size=1, max_size=9), st.integers(0, 99))
@settings(max_examples=30, deadline=None)
def test_p_is_that_of_all_exchanges(change: list[float], seed: int) -> None:
    found = difference(np.zeros(len(change)), np.array(change), seed=seed)
    assert found is not None
    assert found.by.value == pytest.approx(np.mean(change))
    # 9,999 drawn ways: five standard errors.
    exact = exact_p(change)
    assert found.p == pytest.approx(exact, abs=5 * math.sqrt(exact * (1 - exact) / 9999) + 1e-3)


def test_a_difference_is_paired_and_swaps_with_its_sides() -> None:
    rng = np.random.default_rng(2)
    first = rng.random(300)
    second = first + 0.01 + rng.normal(0, 0.02, 300)
    there = difference(first, second, seed=0)
    back = difference(second, first, seed=0)
    assert there is not None
    assert back is not None
    assert there.p < 0.001  # which it is not by intervals of the two means: they overlap
    assert there.by.low > 0
    assert (back.by.value, back.by.low) == pytest.approx((-there.by.value, -there.by.high))
    same = difference(first, first, seed=0)
    assert same is not None
    assert (same.by.value, same.p) == (0, 1)


def test_a_difference_needs_queries_that_both_have() -> None:
    gaps = np.array([math.nan, 1.0])
    assert difference(gaps, gaps[::-1], seed=0) is None
    found = difference(np.array([0.5, math.nan, 0.0]), np.array([1.0, 0.0, math.nan]), seed=0)
    assert found is not None
    assert (found.first, found.second) == (0.5, 1.0)


def test_rows_of_each_label() -> None:
    rows = group_rows(np.array([3, 1, 3, 3, 0]))
    assert {label: own.tolist() for label, own in rows.items()} == {0: [4], 1: [1], 3: [0, 2, 3]}


# ---- calibration ----


def test_honest_probabilities_have_no_error_and_boasting_ones_do() -> None:
    rng = np.random.default_rng(4)
    said = rng.random(200_000)
    right = rng.random(200_000) < said
    honest = reliability(said, right)
    assert honest.ece < 0.01
    assert honest.brier == pytest.approx(1 / 6, abs=0.003)  # E[p (1 - p)]
    boasting = reliability(np.full(1000, 0.9), np.arange(1000) % 2 == 0)
    assert boasting.ece == pytest.approx(0.4)
    assert boasting.brier == pytest.approx(0.5 * (0.1**2 + 0.9**2))
    assert len(boasting.bins) == 1


@given(
    st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=60),
    st.integers(1, 20),
)
def test_bins_hold_every_pair_once(pairs: list[tuple[float, bool]], bins: int) -> None:
    said, right = np.array([p for p, _ in pairs]), np.array([r for _, r in pairs])
    found = reliability(said, right, bins=bins)
    assert sum(one.count for one in found.bins) == len(pairs)
    for one in found.bins:
        assert one.low - 1e-9 <= one.probability <= one.high + 1e-9
    assert 0 <= found.ece <= 1
    assert 0 <= found.brier <= 1


def test_no_pairs_are_no_error() -> None:
    assert math.isnan(reliability(np.empty(0), np.empty(0, bool)).ece)


def test_cross_fitted_probabilities_are_calibrated_and_rise_with_the_score() -> None:
    rng = np.random.default_rng(5)
    scores = rng.normal(0.6, 0.1, (2000, 5))
    right = rng.random(scores.shape) < 1 / (1 + np.exp(-20 * (scores - 0.6)))
    said = cross_fitted(scores[:, :, np.newaxis], right, seed=0)
    assert reliability(said.ravel(), right.ravel()).ece < 0.02
    order = np.argsort(scores.ravel())
    assert np.corrcoef(order.argsort(), said.ravel().argsort().argsort())[0, 1] > 0.99


def test_a_query_has_no_say_in_its_own_probability() -> None:
    rng = np.random.default_rng(6)
    scores, right = rng.random((50, 3, 2)), rng.random((50, 3)) < 0.5
    said = cross_fitted(scores, right, seed=0)
    turned = right.copy()
    turned[7] = ~turned[7]
    again = cross_fitted(scores, turned, seed=0)
    np.testing.assert_array_equal(again[7], said[7])
    assert (again != said).any()


def test_scores_that_are_no_hits_have_no_probability() -> None:
    scores = np.array([[[0.9, 0.5], [-math.inf, 0.5]]] * 10)
    there = np.isfinite(scores).all(axis=2)
    said = cross_fitted(scores, there, seed=0)
    assert np.isfinite(said).tolist() == [[True, False]] * 10
    # A single query has no others to learn from.
    assert np.isnan(cross_fitted(scores[:1], there[:1], seed=0)).all()


def test_what_is_judged_is_what_would_be_served() -> None:
    """Where similarities say nothing and the vote says all, probabilities must know the vote."""
    rng = np.random.default_rng(8)
    vectors = rng.normal(size=(300, 24))
    numbers = np.arange(300) % 3
    vectors[np.arange(300), numbers] += 2.5
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    ids = tuple(f"{row:020x}" for row in range(300))
    photos = LabelledVectors(
        Folder(Path("photos")), ids, ids, tuple("abc"[n] for n in numbers), vectors
    )
    trial = make_trial(photos, photos, "all", left_out_in_turn=True)
    curves = calibrate(Labelled(vectors, photos.labels, ids), frozenset(), quiet=True)
    served = evaluate_trial(trial, "m", k=9, seed=0, served=curves.hit)
    fitted = evaluate_trial(trial, "m", k=9, seed=0)
    assert (served.curve, fitted.curve) == (SERVED, CROSS_FITTED)
    assert fitted.brier.value == pytest.approx(served.brier.value, abs=0.005)
    assert fitted.novelty.auroc.value == pytest.approx(curves.auroc, abs=0.03)
    everyone = {photo: number for number, photo in enumerate(ids)}
    for row in (0, 100, 299):
        others = [one for one in np.argsort(-(vectors @ vectors[row]), kind="stable") if one != row]
        hits = [
            Hit(
                Photo(ids[one] * 3, "", photos.labels[one], None, "", 1, 1, 1, 1),
                float(vectors[one] @ vectors[row]),
            )
            for one in others[:9]
        ]
        answer = answer_of(hits, hits, curves, match_probability=0.8, none_probability=0.3)
        assert [everyone[hit.photo.id] for hit in answer.hits] == served.retrieval.nearest[
            row
        ].tolist()
        np.testing.assert_allclose(
            [hit.probability or 0 for hit in answer.hits], served.probability[row], atol=1e-5
        )


# ---- novelty ----


@given(SCORES, SCORES)
def test_auroc_is_the_share_of_pairs(positive: Floats, negative: Floats) -> None:
    pairs = [(p > n) + 0.5 * (p == n) for p in positive for n in negative]
    assert auroc(positive, negative) == pytest.approx(np.mean(pairs))
    assert auroc(negative, positive) == pytest.approx(1 - np.mean(pairs))


@given(SCORES, SCORES)
def test_false_positives_at_a_level_that_95_percent_reach(
    positive: Floats, negative: Floats
) -> None:
    levels = [level for level in positive if (positive >= level).mean() >= 0.95]
    assert false_positives(positive, negative) == (negative >= max(levels)).mean()


def test_nothing_against_nothing() -> None:
    empty = np.empty(0)
    assert math.isnan(auroc(empty, empty))
    assert math.isnan(false_positives(empty, np.ones(1)))


def retrieval(best: list[float], best_other: list[float], ap: list[float]) -> Retrieval:
    """Queries with these best similarities, and the whole vote for the winner each time."""
    rows, one = np.zeros((len(best), 1), np.int64), np.ones(len(best))
    known, left_out = (np.column_stack([np.array(x), one]) for x in (best, best_other))
    alike = known[:, :1]
    return Retrieval({"mAP": np.array(ap)}, rows, rows, alike, alike, known, left_out)


def test_novelty_leaves_out_queries_without_a_right_photo() -> None:
    gone = math.nan
    rng = np.random.default_rng(2)
    known, unknown = rng.normal(0.8, 0.05, 40), rng.normal(0.7, 0.05, 40)
    best = [*known, 0.7, 0.1]
    left_out = [*unknown, gone, 0.9]
    strangers = retrieval([0.99, 0.98], [gone, gone], [gone, gone])
    found = novelty(retrieval(best, left_out, [*[1.0] * 41, gone]), strangers, seed=0)
    assert len(found.known) == len(found.left_out) == 40
    assert ((found.known >= 0) & (found.known <= 1)).all()
    assert found.auroc.value == pytest.approx(auroc(known, unknown), abs=0.03)
    assert found.strangers_auroc is not None
    assert found.strangers_auroc.value == 0
    nobody = retrieval([], [], [])
    assert novelty(retrieval(best, left_out, [1.0] * 42), nobody, seed=0).strangers_auroc is None
    assert math.isnan(novelty(nobody, strangers, seed=0).strangers_auroc.value)
