"""Queries by several photos, variety, groups, pages and near-duplicates, against slow searches."""

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deepfood.errors import QueryError
from deepfood.gallery.cursor import MOST_SEEN, Cursor, page, query_digest
from deepfood.gallery.queries import (
    Example,
    best_of_all,
    combine,
    diversify,
    group,
    similarity,
)

Vectors = npt.NDArray[np.float32]


def units(count: int, dimension: int = 8, seed: int = 0) -> Vectors:
    vectors = np.random.default_rng(seed).normal(size=(count, dimension)).astype(np.float32)
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))


def examples(vectors: Vectors, *weights: float) -> list[Example]:
    return [
        (vector, weight)
        for vector, weight in zip(vectors, weights or [1.0] * len(vectors), strict=True)
    ]


def test_one_photo_is_its_own_query_bit_for_bit() -> None:
    one = units(1)
    assert combine(examples(one)).tobytes() == one[0].tobytes()
    assert combine(examples(one, 7.0)).tobytes() == one[0].tobytes()


def test_a_query_nears_what_is_wanted_and_leaves_what_is_not() -> None:
    wanted, unwanted = units(3, seed=1), units(1, seed=2)
    query = combine(examples(wanted), [examples(unwanted)])
    assert np.linalg.norm(query) == pytest.approx(1, abs=1e-6)
    plain = combine(examples(wanted))
    assert unwanted[0] @ query < unwanted[0] @ plain
    by_hand = wanted.mean(0) - 0.5 * unwanted[0]
    assert query == pytest.approx(by_hand / np.linalg.norm(by_hand), abs=1e-6)


def test_each_unwanted_example_makes_a_query_of_its_own() -> None:
    wanted, unwanted, others = units(2, seed=1), units(3, seed=2), units(2, seed=3)
    query = combine(examples(wanted), [examples(unwanted)])
    alone = [
        combine(examples(wanted), [examples(unwanted[place : place + 1])]) for place in (0, 1, 2)
    ]
    assert np.linalg.norm(query, axis=1).max() == pytest.approx(1, abs=1e-6)
    directions = query / np.linalg.norm(query, axis=1, keepdims=True)
    assert directions == pytest.approx(np.stack(alone), abs=1e-6)
    photos = units(50, seed=4)
    assert similarity(query, photos) == pytest.approx((photos @ query.T).min(axis=1), abs=1e-6)
    # Each group, such as photos and words, is scaled by itself.
    both = combine(examples(wanted), [examples(unwanted), [], examples(others)])
    apart = [query, combine(examples(wanted), [examples(others)])]
    assert both.tolist() == np.concatenate(apart).tolist()


def test_an_unwanted_example_that_is_given_twice_counts_once() -> None:
    wanted, unwanted, photos = units(1, seed=1), units(1, seed=2), units(50, seed=4)
    once = combine(examples(wanted), [examples(unwanted)])
    twice = combine(examples(wanted), [examples(np.concatenate([unwanted, unwanted]))])
    assert similarity(twice, photos) == pytest.approx(similarity(once, photos), abs=1e-6)


def test_two_that_contradict_each_other_are_both_avoided() -> None:
    """Opposite unwanted examples have no mean that could be avoided."""
    wanted = np.array([[1, 0, 0]], np.float32)
    unwanted = np.array([[0, 1, 0], [0, -1, 0]], np.float32)
    query = combine(examples(wanted), [examples(unwanted)])
    photos = np.array([[0.8, 0.6, 0], [0.8, -0.6, 0], [0.8, 0, 0.6]], np.float32)
    assert similarity(query, photos).argmax() == 2
    assert (photos @ wanted[0]).tolist() == pytest.approx([0.8] * 3)


WEIGHTS = st.floats(1e-3, 1e3)


@given(st.integers(1, 5), WEIGHTS, st.integers(0, 2))
def test_equal_weights_are_no_weights(count: int, weight: float, unwanted: int) -> None:
    vectors, others = units(count, seed=5), examples(units(3, seed=6)[:unwanted])
    plain = combine(examples(vectors), [others])
    assert combine(examples(vectors, *[weight] * count), [others]) == pytest.approx(plain, abs=1e-6)


@given(st.integers(2, 5), st.integers(2, 4), st.integers(0, 2))
def test_a_weight_is_how_often_an_example_is_given(count: int, times: int, unwanted: int) -> None:
    vectors, others = units(count, seed=7), examples(units(3, seed=8)[:unwanted])
    weighted = combine(examples(vectors, times, *[1.0] * (count - 1)), [others])
    repeated = np.concatenate([vectors[:1]] * times + [vectors[1:]])
    assert weighted == pytest.approx(combine(examples(repeated), [others]), abs=1e-6)


@given(WEIGHTS, WEIGHTS)
def test_the_weight_of_an_unwanted_example_says_how_much_it_is_avoided(
    one: float, other: float
) -> None:
    wanted, unwanted = units(2, seed=9), units(1, seed=10)
    low, high = (
        float(combine(examples(wanted), [examples(unwanted, weight)]) @ unwanted[0])
        for weight in sorted([one, other])
    )
    assert high <= low + 1e-6


def test_weights_may_be_as_large_and_small_as_numbers_are() -> None:
    vectors = units(2, seed=11)
    for weights in ((1e308, 1e308), (5e-324, 5e-324), (1e308, 5e-324)):
        for query in (
            combine(examples(vectors, *weights)),
            combine(examples(vectors[:1], weights[0]), [examples(vectors[1:], weights[1])]),
        ):
            assert np.linalg.norm(query) == pytest.approx(1, abs=1e-6)


def test_queries_of_nothing_are_refused() -> None:
    one = units(1)
    with pytest.raises(QueryError, match="no photo that is wanted"):
        combine([])
    with pytest.raises(QueryError, match="cancel each other out"):
        combine(examples(np.concatenate([one, -one])))
    with pytest.raises(QueryError, match="cancel each other out"):
        combine(examples(one), [examples(one, 2.0)])


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 900), st.integers(1, 40), st.integers(1, 5), st.integers(0, 2**32 - 1))
def test_the_best_of_several_queries_are_those_of_a_full_scan(
    photos: int, count: int, queries: int, seed: int
) -> None:
    vectors = units(photos, 16, seed)
    query = units(queries, 16, seed + 1) if queries > 1 else units(1, 16, seed + 1)[0]
    asked: list[int] = []

    def search(one: Vectors, most: int) -> tuple[npt.NDArray[np.int64], Vectors]:
        asked.append(most)
        scores = vectors @ one
        order = np.argsort(-scores, kind="stable")[:most]
        return order, scores[order]

    rows, alike = best_of_all(search, lambda found: vectors[found], query, count)
    every = np.sort((vectors @ np.atleast_2d(query).T).min(axis=1))[::-1]
    assert np.sort(alike)[::-1][:count] == pytest.approx(every[:count], abs=1e-6)
    assert len(rows) == len(alike) >= min(count, photos)
    assert len(asked) <= 4


def test_variety_is_maximal_marginal_relevance() -> None:
    vectors, query = units(30, seed=3), units(1, seed=4)[0]
    scores = vectors @ query
    for weight in (0.0, 0.3, 0.8, 1.0):
        chosen = [int(scores.argmax())]
        while len(chosen) < 9:
            worth = {
                one: (1 - weight) * scores[one]
                - weight * max(float(vectors[one] @ vectors[other]) for other in chosen)
                for one in range(30)
                if one not in chosen
            }
            chosen.append(max(worth, key=lambda one: worth[one]))
        assert diversify(vectors, scores, 9, weight).tolist() == chosen
    assert diversify(vectors, scores, 9, 0).tolist() == np.argsort(-scores)[:9].tolist()
    assert len(diversify(vectors, scores, 99, 0.5)) == 30
    assert len(diversify(vectors[:0], scores[:0], 9, 0.5)) == 0
    with pytest.raises(QueryError, match="diversity 2"):
        diversify(vectors, scores, 9, 2)


def test_groups_hold_what_looks_like_their_first() -> None:
    angles = np.radians([0, 10, 20, 90, 95, 180])
    vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    # 20 degrees is near 10, and not near the group's first: no chain.
    assert group(vectors, float(np.cos(np.radians(12)))) == [[0, 1], [2], [3, 4], [5]]
    assert group(vectors[:0]) == []


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_pages_neither_overlap_nor_skip_while_photos_come_and_go(data: st.DataObject) -> None:
    draw = data.draw
    # Few different scores, so that ties fall on the edges of pages.
    scores = [draw(st.sampled_from([0.1, 0.5, 0.9])) for _ in range(draw(st.integers(0, 25)))]
    first, k = len(scores), draw(st.integers(1, 7))
    alive = np.ones(first, np.bool_)
    shown: list[int] = []
    cursor: Cursor | None = None
    gone: set[int] = set()
    while True:
        values = np.array(scores, np.float32)

        def search(count: int, values: Vectors = values) -> tuple[npt.NDArray[np.int64], Vectors]:
            rows = np.flatnonzero(alive[:first])
            order = np.lexsort((rows, -values[rows]))[:count]
            return rows[order], values[rows[order]]

        rows, found, more = page(search, k, cursor)
        shown += rows.tolist()
        if not more:
            break
        assert len(rows) == k
        made = Cursor(3, first, float(found[-1]), int(rows[-1]), (cursor.seen if cursor else 0) + k)
        cursor = Cursor.parse(made.text(b"q"), b"q", 3)
        assert cursor == made
        scores += draw(st.lists(st.just(0.9), max_size=3))  # added: they wait for a new search
        for row in draw(st.lists(st.integers(0, first - 1), max_size=2)):
            alive[row] = False
            gone.add(row)
    assert len(shown) == len(set(shown))
    assert set(range(first)) - gone <= set(shown)
    assert [(-np.float32(scores[row]), row) for row in shown] == sorted(
        (-np.float32(scores[row]), row) for row in shown
    )


def test_cursors_are_refused_with_another_question_or_when_altered() -> None:
    query = units(1)[0]
    text = Cursor(1, 100, 0.5, 7, 9).text(query_digest(query, "price < 12"))
    assert Cursor.parse(text, query_digest(query, "price < 12"), 1).row == 7
    for key, generation, given_text, said in (
        (query_digest(query, "price < 13"), 1, text, "another search"),
        (query_digest(units(1, seed=1)[0], "price < 12"), 1, text, "another search"),
        (query_digest(query, "price < 12"), 2, text, "built anew"),
        (query_digest(query, "price < 12"), 1, text.swapcase(), "another search"),
        (query_digest(query, "price < 12"), 1, "é", "is not a cursor"),
        (query_digest(query, "price < 12"), 1, "", "is not a cursor"),
        (query_digest(query, "price < 12"), 1, text[:12], "is not a cursor"),
    ):
        with pytest.raises(QueryError, match=said):
            Cursor.parse(given_text, key, generation)
    with pytest.raises(QueryError, match="pages end after"):
        page(
            lambda count: (np.arange(count), np.ones(count, np.float32)),
            9,
            Cursor(1, 9, 1, 1, MOST_SEEN),
        )


def test_a_page_far_from_what_was_seen_takes_few_searches_and_then_ends() -> None:
    """Were the next page always looked for a page further, each photo would be a search."""
    sizes: list[int] = []

    def search(count: int) -> tuple[npt.NDArray[np.int64], Vectors]:
        sizes.append(count)
        count = min(count, photos)
        return np.arange(count), np.linspace(1, 0.5, count, dtype=np.float32)

    photos = 5_000
    nothing_seen = Cursor(1, photos, 0.0, photos, 0)
    rows, _, more = page(search, 1, nothing_seen)
    assert (len(rows), more) == (0, False)
    assert len(sizes) < 15
    photos = 10**6
    sizes.clear()
    with pytest.raises(QueryError, match="changed too much"):
        page(search, 1, nothing_seen)
    assert len(sizes) < 18
    assert max(sizes) <= 4 * MOST_SEEN


def test_queries_that_cancel_out_are_looked_for_near_the_first() -> None:
    photos, (one,) = units(400, seed=5), units(1, seed=6)
    query = np.stack([one, -one])

    def search(vector: Vectors, count: int) -> tuple[npt.NDArray[np.int64], Vectors]:
        scores = photos @ vector
        best = np.argsort(-scores)[:count]
        return best, scores[best]

    hits, alike = best_of_all(search, lambda rows: photos[rows], query, 5)
    right = np.sort(similarity(query, photos))[-5:]
    assert np.sort(alike)[-5:] == pytest.approx(right)
    assert len(hits) == len(set(hits.tolist()))
