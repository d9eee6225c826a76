"""Metrics against a slow, obvious recomputation, and the laws that hold for any ranking."""

import math
from itertools import pairwise
from unittest.mock import patch

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from deepfood.evaluate import metrics as module
from deepfood.evaluate.metrics import (
    RECALL_AT,
    Retrieval,
    bootstrap_means,
    confidence_interval,
    measure,
    rank,
)
from deepfood.gallery.vote import VOTE_TEMPERATURE, vote

Vectors = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]


def slow_metrics(ranked_right: list[bool], k: int) -> dict[str, float]:
    """The definitions, word for word, of one query's ranking."""
    wanted = sum(ranked_right)
    if not wanted:
        return {}
    found = {f"recall@{r}": float(any(ranked_right[:r])) for r in RECALL_AT}
    found["precision@1"] = float(ranked_right[0])
    found[f"precision@{k}"] = sum(ranked_right[:k]) / k
    precisions = [
        sum(ranked_right[:place]) / place for place, right in enumerate(ranked_right, 1) if right
    ]
    found["mAP"] = sum(precisions) / wanted
    found["mAP@R"] = (
        sum(
            sum(ranked_right[:place]) / place
            for place, right in enumerate(ranked_right[:wanted], 1)
            if right
        )
        / wanted
    )
    gain = sum(1 / math.log2(place + 1) for place, right in enumerate(ranked_right[:k], 1) if right)
    best = sum(1 / math.log2(place + 1) for place in range(1, min(k, wanted) + 1))
    found[f"nDCG@{k}"] = gain / best
    return found


def slow_votes(labels: list[int], scores: list[float]) -> list[int]:
    weights: dict[int, float] = {}
    for label, score in zip(labels, scores, strict=True):
        if label >= 0:
            weights[label] = weights.get(label, 0) + math.exp((score - 1) / VOTE_TEMPERATURE)
    best = sorted(weights, key=lambda label: (-weights[label], label))[:3]
    return [*best, -1, -1, -1][:3]


def slow_ranking(query: Vectors, gallery: Vectors, own: int) -> list[int]:
    scores = [float(np.dot(row.astype(np.float64), query)) for row in gallery]
    rows = [row for row in range(len(gallery)) if row != own]
    return sorted(rows, key=lambda row: (-scores[row], row))


def slow_evidence(
    ranking: list[int], scores: Vectors, labels: Labels
) -> tuple[float, float, dict[int, float]]:
    """The best similarity, the largest share of the nine nearest's vote, and all shares."""
    if not ranking:
        return math.nan, math.nan, {}
    weights: dict[int, float] = {}
    for row in ranking[:9]:
        if labels[row] >= 0:
            below = float(scores[row]) - float(scores[ranking[0]])  # not in float32
            weight = math.exp(below / VOTE_TEMPERATURE)
            weights[int(labels[row])] = weights.get(int(labels[row]), 0) + weight
    whole = sum(weights.values())
    shares = {label: weight / whole for label, weight in weights.items()}
    return float(scores[ranking[0]]), max(shares.values(), default=0.0), shares


@st.composite
def cases(draw: st.DrawFn) -> tuple[Vectors, Labels, Vectors, Labels, Labels | None, int]:
    """Vectors of small whole numbers, so that similarities are exact, with many ties."""
    queries, size = draw(st.integers(1, 6)), draw(st.integers(1, 14))
    whole = st.integers(-2, 2)
    dim = 3
    asked = draw(hnp.arrays(np.int64, (queries, dim), elements=whole)).astype(np.float32)
    gallery = draw(hnp.arrays(np.int64, (size, dim), elements=whole)).astype(np.float32)
    labels = st.integers(-1, 3)
    query_labels = draw(hnp.arrays(np.int64, queries, elements=labels))
    gallery_labels = draw(hnp.arrays(np.int64, size, elements=labels))
    own = draw(st.none() | hnp.arrays(np.int64, queries, elements=st.integers(-1, size - 1)))
    return asked, query_labels, gallery, gallery_labels, own, draw(st.integers(1, 10))


@pytest.mark.slow
@given(cases(), st.sampled_from([1, 40, 2**24]))
@settings(max_examples=200, deadline=None)
def test_the_same_as_the_definitions(
    case: tuple[Vectors, Labels, Vectors, Labels, Labels | None, int], chunk: int
) -> None:
    queries, query_labels, gallery, gallery_labels, own, k = case
    with patch.object(module, "_CHUNK_SCORES", chunk):
        found = measure(queries, query_labels, gallery, gallery_labels, k=k, own_rows=own)
    for query, label in enumerate(query_labels):
        ranking = slow_ranking(queries[query], gallery, -1 if own is None else int(own[query]))
        right = [gallery_labels[row] == label and label >= 0 for row in ranking]
        expected = slow_metrics(right, k)
        near = ranking[:k]
        shown = len(near)
        assert found.nearest[query, :shown].tolist() == near
        scores = [float(gallery[row] @ queries[query]) for row in near]
        assert found.scores[query, :shown].tolist() == scores
        assert np.isneginf(found.scores[query, shown:]).all()
        guesses = found.guesses[query].tolist()
        assert guesses == pytest.approx(slow_votes([int(gallery_labels[r]) for r in near], scores))
        of_any = slow_evidence(ranking, gallery @ queries[query], gallery_labels)
        assert found.in_gallery[query].tolist() == pytest.approx(of_any[:2], nan_ok=True)
        for place, row in enumerate(near):
            share = of_any[2].get(int(gallery_labels[row]), 0.0)
            assert found.shares[query, place] == pytest.approx(share)
        others = [row for row in ranking if gallery_labels[row] != label]
        of_others = slow_evidence(others, gallery @ queries[query], gallery_labels)
        assert found.left_out[query].tolist() == pytest.approx(of_others[:2], nan_ok=True)
        if expected:
            expected["top-1"] = float(guesses[0] == label)
            expected["top-3"] = float(label in guesses)
        for name, values in found.metrics.items():
            wanted = expected.get(name, math.nan)
            assert values[query] == pytest.approx(wanted, nan_ok=True), name


def unit(rng: np.random.Generator, count: int, dim: int = 16) -> Vectors:
    vectors = rng.standard_normal((count, dim)).astype(np.float32)
    unit_vectors: Vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return unit_vectors


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=25, deadline=None)
def test_the_order_of_the_gallery_does_not_matter(seed: int) -> None:
    rng = np.random.default_rng(seed)
    gallery, queries = unit(rng, 60), unit(rng, 10)
    labels, asked = rng.integers(0, 5, 60), rng.integers(0, 5, 10)
    order = rng.permutation(60)
    plain = measure(queries, asked, gallery, labels)
    mixed = measure(queries, asked, gallery[order], labels[order])
    for name, values in plain.metrics.items():
        np.testing.assert_allclose(mixed.metrics[name], values)
    np.testing.assert_array_equal(order[mixed.nearest], plain.nearest)
    np.testing.assert_array_equal(mixed.guesses, plain.guesses)


@given(st.integers(0, 2**32 - 1), st.integers(1, 12))
@settings(max_examples=50, deadline=None)
def test_metrics_stay_in_bounds_and_recall_only_rises(seed: int, k: int) -> None:
    rng = np.random.default_rng(seed)
    gallery, queries = unit(rng, 30), unit(rng, 8)
    found = measure(queries, rng.integers(0, 4, 8), gallery, rng.integers(0, 4, 30), k=k).metrics
    for values in found.values():
        kept = values[np.isfinite(values)]
        assert ((kept >= 0) & (kept <= 1)).all()
    for fewer, more in pairwise(found[f"recall@{r}"] for r in RECALL_AT):
        assert (fewer[np.isfinite(fewer)] <= more[np.isfinite(more)]).all()
    assert (found["top-1"] <= found["top-3"])[np.isfinite(found["top-1"])].all()
    # Precision over the first R places can only lose what mAP still counts after them.
    judged = np.isfinite(found["mAP"])
    assert (found["mAP@R"][judged] <= found["mAP"][judged] + 1e-12).all()


def test_a_perfect_ranking_gives_one_and_the_reverse_none() -> None:
    own = np.repeat(np.eye(4, dtype=np.float32), 9, axis=0)
    labels = np.repeat(np.arange(4), 9)
    perfect = measure(np.eye(4, dtype=np.float32), np.arange(4), own, labels)
    assert set(perfect.means().values()) == {1.0}
    opposite = measure(-np.eye(4, dtype=np.float32), np.arange(4), own, labels)
    assert opposite.means()["precision@1"] == 0
    assert opposite.means()["mAP@R"] == 0


def test_a_query_never_finds_its_own_row() -> None:
    vectors = unit(np.random.default_rng(1), 40)
    labels = np.arange(40) % 4
    found = measure(vectors, labels, vectors, labels, own_rows=np.arange(40))
    assert not (found.nearest == np.arange(40)[:, np.newaxis]).any()
    rows = np.arange(40)  # as labels: no other photo has the query's
    alone = measure(vectors, rows, vectors, rows, own_rows=rows)
    assert np.isnan(alone.metrics["mAP"]).all()


def test_queries_without_a_right_photo_count_for_nothing() -> None:
    rng = np.random.default_rng(2)
    gallery, queries = unit(rng, 20), unit(rng, 3)
    found = measure(queries, np.array([0, 7, -1]), gallery, np.array([0, 1] * 10))
    for values in found.metrics.values():
        assert np.isfinite(values).tolist() == [True, False, False]
    assert all(np.isfinite(list(found.means().values())))
    nothing = measure(queries[:0], np.empty(0, np.int64), gallery, np.zeros(20, np.int64))
    assert nothing.nearest.shape == (0, 9)
    assert all(math.isnan(value) for value in nothing.means().values())


@given(
    hnp.arrays(
        np.float32,
        st.integers(1, 60),
        elements=st.floats(-2, 2, width=32) | st.sampled_from([0.0, -0.0, -math.inf]),
    )
)
@settings(max_examples=50, deadline=None)
def test_rank_is_a_stable_argsort(similarity: Vectors) -> None:
    np.testing.assert_array_equal(rank(similarity), np.argsort(-similarity, kind="stable"))


def test_the_vote_weighs_near_neighbours_more() -> None:
    labels = np.array([[1, 2, 2, -1], [-1, -1, -1, -1]])
    scores = np.array([[0.9, 0.4, 0.4, 0.99], [0.5, 0.4, 0.3, 0.2]])
    assert vote(labels, scores).tolist() == [[1, 2, -1], [-1, -1, -1]]


def test_the_interval_holds_the_mean_and_narrows_with_more_queries() -> None:
    rng = np.random.default_rng(3)
    few, many = rng.random(20), rng.random(2000)
    for values in (few, many):
        low, high = confidence_interval(values)
        assert low < values.mean() < high
    widths = [np.diff(confidence_interval(values))[0] for values in (few, many)]
    assert widths[0] == pytest.approx(widths[1] * 10, rel=0.4)  # as the square root of the count
    # The normal approximation is good for so many.
    low, high = confidence_interval(many)
    half = 1.96 * many.std() / math.sqrt(len(many))
    assert (low, high) == pytest.approx((many.mean() - half, many.mean() + half), abs=half / 4)


def test_the_interval_is_the_same_for_the_same_seed_and_leaves_nan_out() -> None:
    values = np.random.default_rng(4).random(40)
    with_gaps = np.concatenate([values, [math.nan] * 9])
    assert confidence_interval(with_gaps, seed=1) == confidence_interval(values, seed=1)
    assert confidence_interval(values, seed=1) != confidence_interval(values, seed=2)
    assert all(math.isnan(end) for end in confidence_interval(np.array([math.nan])))


@pytest.mark.parametrize("chunk", [1, 100, 2**22])
def test_bootstrap_means_are_those_of_resamples_in_any_chunks(chunk: int) -> None:
    values = np.random.default_rng(5).random((30, 2))
    with patch.object(module, "_CHUNK_COUNTS", chunk):
        found = bootstrap_means(values, seed=7, resamples=20)
    rng = np.random.default_rng(7)
    expected = [values[rng.integers(0, 30, 30)].mean(axis=0) for _ in range(20)]
    np.testing.assert_allclose(found, expected)


def test_a_retrieval_without_queries_has_means_of_nan() -> None:
    empty = np.empty((0, 3))
    found = Retrieval(
        {"mAP": np.empty(0)}, empty.astype(int), empty.astype(int), empty, empty, empty, empty
    )
    assert math.isnan(found.means()["mAP"])
