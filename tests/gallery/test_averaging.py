"""What a search of a tuned gallery averages, against a plain loop."""

import numpy as np
import pytest

from deepfood.gallery.averaging import Averaging
from deepfood.gallery.queries import best_of_all


def unit(rng: np.random.Generator, count: int, dimension: int = 12) -> np.ndarray:
    vectors = rng.normal(size=(count, dimension)).astype(np.float32)
    vectors[:, 0] += 2
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / lengths, np.float32)


def by_hand(scores: np.ndarray, vectors: np.ndarray, how: Averaging) -> list[float]:
    """Each of the vectors averaged with its neighbours, and compared with the query."""
    found = []
    for row, vector in enumerate(vectors):
        others = sorted(set(range(len(vectors))) - {row}, key=lambda one: -vector @ vectors[one])
        mean, score = vector.astype(np.float64), float(scores[row])
        for one in others[: how.neighbours]:
            weight = max(float(vector @ vectors[one]), 0) ** how.power
            mean, score = mean + weight * vectors[one], score + weight * float(scores[one])
        found.append(max(float(scores[row]), score / float(np.linalg.norm(mean))))
    return found


@pytest.mark.parametrize(("neighbours", "power"), [(1, 1), (3, 6), (50, 0)])
def test_each_candidate_is_as_similar_as_its_average(neighbours: int, power: float) -> None:
    rng = np.random.default_rng(neighbours)
    vectors, query = unit(rng, 30), unit(rng, 1)[0]
    how = Averaging(neighbours=neighbours, power=power)
    scores = vectors @ query
    found = how.averaged(scores, vectors)
    np.testing.assert_allclose(found, by_hand(scores, vectors, how), atol=1e-5)
    assert (found > scores + 1e-3).any()
    scaled = vectors * rng.uniform(0.99, 1.01, (30, 1)).astype(np.float32)  # kept as i8
    np.testing.assert_allclose(how.averaged(scores, scaled), found, atol=1e-5)


def test_only_candidates_change_and_none_falls_behind_another_photo() -> None:
    rng = np.random.default_rng(0)
    vectors, query = unit(rng, 80), unit(rng, 1)[0]
    scores = vectors @ query
    scores[7] = -np.inf  # left out
    found = Averaging(neighbours=5, power=3, candidates=20).rescored(scores, vectors)
    first = np.argsort(-scores)[:20]
    rest = np.setdiff1d(np.arange(80), first)
    np.testing.assert_array_equal(found[rest], scores[rest])
    assert found[first].min() >= scores[rest].max()
    assert set(np.argsort(-found)[:20]) == set(first)


def test_a_copy_of_the_query_stays_the_first() -> None:
    rng = np.random.default_rng(1)
    vectors = unit(rng, 40)
    found = Averaging(neighbours=10, power=0).rescored(vectors @ vectors[3], vectors)
    assert found.argmax() == 3
    assert found.max() == pytest.approx(1)


@pytest.mark.parametrize("count", [0, 1, 2])
def test_few_candidates(count: int) -> None:
    vectors = unit(np.random.default_rng(2), 2)[:count]
    scores = vectors @ unit(np.random.default_rng(3), 1)[0]
    how = Averaging(neighbours=10, power=3)
    for found in (how.rescored(scores, vectors), how.averaged(scores, vectors)):
        assert found.shape == (count,)
        assert (found >= scores).all()


def test_an_answer_is_not_averaged_where_a_candidate_was_removed_in_between() -> None:
    rng = np.random.default_rng(4)
    vectors, query = unit(rng, 30), unit(rng, 1)[0]
    how = Averaging(neighbours=3, power=1, candidates=10)

    def search(vector: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
        scores = vectors @ vector
        found = np.argsort(-scores)[:count]
        return found, scores[found]

    plain, scores = search(query, 15)
    averaged = best_of_all(search, lambda hits: vectors[hits], query, 15, how)
    assert (averaged[1][:10] > scores[:10]).any()
    found = best_of_all(search, lambda hits: vectors[hits[1:]], query, 15, how)
    for one, other in zip(found, (plain, scores), strict=True):
        np.testing.assert_array_equal(one, other)
