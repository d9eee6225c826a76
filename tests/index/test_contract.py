"""The one contract, asserted for every index."""

import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from made_up import Vectors, food_like, unit_vectors

from deepfood.errors import ArtifactCorruptError, MissingExtraError, QueryError
from deepfood.index import (
    INDEXES,
    Index,
    IndexSpec,
    Mask,
    Storage,
    VectorFile,
    append_vectors,
    contract,
)

KINDS = sorted(INDEXES)
STORAGES: tuple[Storage, ...] = ("f32", "f16", "i8")
#: For tests that build a large index of each.
ONE_QUICK = ["f32", *(pytest.param(storage, marks=pytest.mark.slow) for storage in ("f16", "i8"))]
#: Where each test builds a large one of its own: a graph takes a second.
EACH_ITS_OWN = [
    pytest.param(kind, marks=[pytest.mark.slow] if kind == "hnsw" else []) for kind in KINDS
]


def stored(vectors: Vectors, folder: Path, storage: Storage = "f32") -> VectorFile:
    path = folder / f"vectors.{storage}"
    append_vectors(path, vectors.shape[1], storage, 0, vectors)
    return VectorFile.open(path, vectors.shape[1], storage, len(vectors))


def build_and_open(
    kind: str, vectors: Vectors, folder: Path, storage: Storage = "f32", **numbers: int
) -> Index:
    spec = IndexSpec(kind=kind, **numbers)
    file, path = stored(vectors, folder, storage), folder / f"index.{kind}"
    done: list[int] = []
    INDEXES[kind].build(file, path, spec, done.append)
    assert sum(done) == len(vectors)
    return INDEXES[kind].open(file, path, spec, len(vectors))


def true_nearest(index: Index, query: Vectors, k: int, allowed: Mask | None = None) -> list[int]:
    """By brute force over the decoded vectors."""
    scores = index.vectors.take(np.arange(len(index.vectors))) @ query
    rows = np.arange(len(scores)) if allowed is None else np.flatnonzero(allowed)
    return [int(row) for row in rows[np.argsort(-scores[rows], kind="stable")[:k]]]


def recall_at_9(index: Index, queries: Vectors, allowed: Mask | None = None) -> float:
    pairs = [(true_nearest(index, q, 9, allowed), index.search(q, 9, allowed)[0]) for q in queries]
    return sum(len(set(true) & set(rows.tolist())) for true, rows in pairs) / (9 * len(queries))


#: Of 6,000 rows the index covers 5,500: enough that it is asked and not all rows are scored.
COVERED, ROWS = 5_500, 6_000


class Indexes(dict[tuple[str, Storage], Index]):
    """Every kind over every storage, each with a tail; made when first asked for."""

    def __init__(self, new_folder: Callable[[], Path]) -> None:
        self.new_folder = new_folder

    def __missing__(self, key: tuple[str, Storage]) -> Index:
        kind, storage = key
        vectors, path, spec = food_like(ROWS, 24), self.new_folder() / "index", IndexSpec(kind=kind)
        first = stored(vectors[:COVERED], self.new_folder(), storage)
        INDEXES[kind].build(first, path, spec, lambda _: None)
        opened = INDEXES[kind].open(first, path, spec, COVERED)
        self[key] = opened.extended(stored(vectors, self.new_folder(), storage))
        return self[key]


@pytest.fixture(scope="module")
def indexes(tmp_path_factory: pytest.TempPathFactory) -> Indexes:
    return Indexes(lambda: tmp_path_factory.mktemp("index"))


@pytest.mark.parametrize("storage", ONE_QUICK)
@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=25, deadline=None)
@given(k=st.integers(1, 40), share=st.floats(0, 1), seed=st.integers(0), near=st.booleans())
def test_answers_keep_the_contract(
    indexes: Indexes,
    kind: str,
    storage: Storage,
    k: int,
    share: float,
    seed: int,
    near: bool,
) -> None:
    index, rng = indexes[kind, storage], np.random.default_rng(seed)
    query = (
        index.vectors.take(rng.integers(ROWS, size=1))[0] if near else unit_vectors(1, 24, seed)[0]
    )
    query /= np.linalg.norm(query)
    allowed = rng.random(ROWS) < share
    rows, scores = index.search(query, k, allowed)

    assert len(rows) == len(scores) == min(k, allowed.sum())
    assert len(set(rows.tolist())) == len(rows)
    assert allowed[rows].all()
    assert rows.dtype == np.int64
    assert scores.dtype == np.float32
    assert np.all(np.diff(scores) <= 0)
    assert np.all(np.abs(scores) <= 1)
    np.testing.assert_allclose(scores, (index.vectors.take(rows) @ query).clip(-1, 1), atol=1e-6)
    if kind == "exact":
        best = np.sort(index.vectors.take(np.flatnonzero(allowed)) @ query)[::-1][:k]
        np.testing.assert_allclose(scores, best.clip(-1, 1), atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
@settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(count=st.integers(1, 40), dimension=st.integers(2, 24), k=st.integers(1, 60))
def test_few_vectors_are_all_found(
    kind: str, tmp_path: Path, count: int, dimension: int, k: int
) -> None:
    index = build_and_open(kind, unit_vectors(count, dimension), tmp_path)
    query = unit_vectors(1, dimension, seed=1)[0]
    assert index.search(query, k)[0].tolist() == true_nearest(index, query, k)


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_allowed_is_nothing_found(indexes: Indexes, kind: str) -> None:
    rows, scores = indexes[kind, "f32"].search(unit_vectors(1, 24)[0], 9, np.zeros(ROWS, bool))
    assert (rows.size, scores.size) == (0, 0)


@pytest.mark.parametrize("storage", ONE_QUICK)
@pytest.mark.parametrize("kind", KINDS)
def test_rows_that_the_index_does_not_cover_are_found_at_once(
    indexes: Indexes, kind: str, storage: Storage
) -> None:
    index = indexes[kind, storage]
    for row in range(COVERED, ROWS, 7):
        query = index.vectors.take(np.array([row]))[0]
        assert index.search(query / np.linalg.norm(query), 1)[0].tolist() == [row]


@pytest.mark.parametrize("kind", KINDS)
def test_holes_are_never_returned(indexes: Indexes, kind: str) -> None:
    index = indexes[kind, "f32"]
    alive = np.ones(ROWS, bool)
    for row in range(0, ROWS, 61):
        query = index.vectors.take(np.array([row]))[0]
        alive[index.search(query, 9, alive)[0]] = False
        assert alive[index.search(query, 9, alive)[0]].all()


@pytest.mark.parametrize("storage", ONE_QUICK)
@pytest.mark.parametrize("kind", ["exact", "hnsw"])
@pytest.mark.parametrize("share", [0.5, 0.05, 0.005])
def test_recall_with_a_filter(indexes: Indexes, kind: str, storage: Storage, share: float) -> None:
    allowed = np.random.default_rng(1).random(ROWS) < share
    assert recall_at_9(indexes[kind, storage], food_like(ROWS, 24)[::60], allowed) >= 0.99


@pytest.mark.parametrize("kind", KINDS)
def test_a_filter_that_has_nothing_near_the_query_is_answered_in_full(
    indexes: Indexes, kind: str
) -> None:
    index = indexes[kind, "f32"]
    query = index.vectors.take(np.array([5]))[0]
    allowed = index.vectors.scores(query) < 0  # some half of all, and none of them near
    assert len(index.search(query, 9, allowed)[0]) == 9
    assert recall_at_9(index, query[np.newaxis], allowed) == 1


@pytest.mark.parametrize("storage", ONE_QUICK)
@pytest.mark.parametrize("kind", EACH_ITS_OWN)
def test_an_index_that_has_grown_finds_old_and_new(
    kind: str, storage: Storage, tmp_path: Path
) -> None:
    vectors, spec = food_like(4_500), IndexSpec(kind=kind, annoy_trees=40)
    file, first = stored(vectors, tmp_path, storage), tmp_path / "first"
    few = VectorFile.open(tmp_path / f"vectors.{storage}", vectors.shape[1], storage, 4_000)
    INDEXES[kind].build(few, first, spec, lambda _: None)
    before = first.read_bytes() if INDEXES[kind].suffix else b""
    done: list[int] = []
    INDEXES[kind].grow(first, file, tmp_path / "grown", spec, done.append)
    assert sum(done) == len(vectors)
    assert INDEXES[kind].suffix is None or first.read_bytes() == before
    grown = INDEXES[kind].open(file, tmp_path / "grown", spec, len(vectors))
    assert grown.covered == (0 if kind == "exact" else len(vectors))
    assert recall_at_9(grown, vectors[::90]) >= 0.98


@pytest.mark.parametrize("kind", KINDS)
def test_a_vector_finds_itself_first(kind: str, tmp_path: Path) -> None:
    vectors = unit_vectors(500, 32)
    index = build_and_open(kind, vectors, tmp_path)
    found = [int(index.search(vectors[row], 1)[0][0]) for row in range(0, 500, 7)]
    assert found == list(range(0, 500, 7))


#: Measured on this data: exact 1.0, hnsw 1.0, annoy with its 5 trees 0.79.
@pytest.mark.parametrize(
    ("kind", "least"),
    [("exact", 1.0), pytest.param("hnsw", 0.99, marks=pytest.mark.slow), ("annoy", 0.7)],
)
def test_recall_at_9(kind: str, least: float, tmp_path: Path) -> None:
    vectors = food_like(4100)
    index = build_and_open(kind, vectors[100:], tmp_path)
    assert recall_at_9(index, vectors[:100]) >= least


@pytest.mark.parametrize("storage", STORAGES)
@settings(max_examples=25, deadline=None)
@given(k=st.integers(1, 60), share=st.floats(0, 1), seed=st.integers(0, 99))
def test_a_scan_in_parts_finds_what_one_of_all_rows_does(
    storage: Storage, k: int, share: float, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    rows = rng.integers(0, 40, 700)  # each vector many times: equal ones are in every part
    allowed = rng.random(len(rows)) < share
    with tempfile.TemporaryDirectory() as folder:
        index = build_and_open("exact", unit_vectors(40, 8)[rows], Path(folder), storage)
        query = index.vectors.take(np.array([0]))[0]
        query /= np.linalg.norm(query)
        for mask in (None, allowed):
            whole = index.search(query, k, mask)
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(contract, "_SCANNED", 64)
                in_parts = index.search(query, k, mask)
            assert whole[0].tolist() == in_parts[0].tolist()
            assert whole[1].tobytes() == in_parts[1].tobytes()


@pytest.mark.slow
def test_annoy_finds_more_with_more_trees_and_with_a_larger_search_k(tmp_path: Path) -> None:
    vectors = food_like(4100)

    def recall(**numbers: Any) -> float:
        index = build_and_open("annoy", vectors[100:], tmp_path, **numbers)
        return recall_at_9(index, vectors[:100])

    assert recall(annoy_trees=1) < recall(annoy_trees=5) < recall(annoy_trees=50)
    assert recall(annoy_trees=5) < recall(annoy_trees=5, annoy_search_k=2000)


@pytest.mark.parametrize("storage", ONE_QUICK)
@pytest.mark.parametrize("kind", EACH_ITS_OWN)
@pytest.mark.parametrize("others", [0, 4_000])  # all rows are scored, and the index is asked
def test_equal_vectors_come_in_row_order(
    kind: str, storage: Storage, others: int, tmp_path: Path
) -> None:
    twins = np.random.default_rng(0).permutation(others + 12)[:12]
    vectors = unit_vectors(others + 12, 32)
    vectors[twins] = vectors[twins[0]]
    rows, scores = build_and_open(kind, vectors, tmp_path, storage).search(vectors[twins[0]], 12)
    assert rows.tolist() == sorted(twins.tolist())
    assert len(set(scores.tolist())) == 1


@pytest.mark.parametrize("storage", ONE_QUICK)
@pytest.mark.parametrize("kind", EACH_ITS_OWN)
def test_every_kind_gives_a_photo_the_same_score_to_the_last_bit(
    kind: str, storage: Storage, tmp_path: Path
) -> None:
    vectors = food_like(4_000)
    index = build_and_open(kind, vectors, tmp_path, storage)
    for query in vectors[::40]:
        rows, scores = index.search(query, 9)
        assert scores.max() <= 1, "though rounding takes the length of some above it"
        np.testing.assert_array_equal(scores, index.vectors.scores(query)[rows])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("k", [0, -1])
def test_k_below_one_is_refused(kind: str, k: int, tmp_path: Path) -> None:
    vectors = unit_vectors(10, 8)
    with pytest.raises(QueryError, match=f"k = {k}"):
        build_and_open(kind, vectors, tmp_path).search(vectors[0], k)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "query", [np.ones(7, np.float32), np.ones((1, 8), np.float32), np.full(8, np.nan, np.float32)]
)
def test_a_query_of_the_wrong_shape_is_refused(
    kind: str, query: npt.NDArray[np.float32], tmp_path: Path
) -> None:
    index = build_and_open(kind, unit_vectors(10, 8), tmp_path)
    with pytest.raises(QueryError, match="8 finite numbers"):
        index.search(query, 3)


@pytest.mark.parametrize("kind", KINDS)
def test_many_threads_get_the_same_answers(kind: str, tmp_path: Path) -> None:
    vectors = unit_vectors(1000, 32)
    index = build_and_open(kind, vectors, tmp_path)
    alone = [index.search(vector, 9)[0].tolist() for vector in vectors[:200]]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda v: index.search(v, 9)[0].tolist(), vectors[:200]))
    assert together == alone


@pytest.mark.parametrize("kind", KINDS)
def test_a_mask_of_another_length_is_refused(kind: str, tmp_path: Path) -> None:
    vectors = unit_vectors(10, 8)
    with pytest.raises(QueryError, match="expected 10 truth values"):
        build_and_open(kind, vectors, tmp_path).search(vectors[0], 3, np.ones(9, bool))


@pytest.mark.parametrize("kind", [kind for kind in KINDS if INDEXES[kind].suffix])
@pytest.mark.parametrize("damage", ["missing", "empty", "half", "of other vectors"])
def test_a_damaged_file_is_refused(kind: str, damage: str, tmp_path: Path) -> None:
    vectors = build_and_open(kind, unit_vectors(300, 16), tmp_path).vectors
    path, covered = tmp_path / f"index.{kind}", 300
    contents = path.read_bytes()
    if damage == "missing":
        path.unlink()
    elif damage == "of other vectors":
        covered = 200
    else:
        # Annoy checks only that whole nodes fit; cutting inside one is what it can see.
        path.write_bytes(b"" if damage == "empty" else contents[: len(contents) // 2 + 1])
    with pytest.raises(ArtifactCorruptError, match=path.name):
        INDEXES[kind].open(vectors, path, IndexSpec(kind=kind), covered)


@pytest.mark.parametrize("kind", KINDS)
def test_candidates_are_distinct_rows_that_the_index_covers(kind: str, tmp_path: Path) -> None:
    vectors = unit_vectors(300, 16)
    index = build_and_open(kind, vectors, tmp_path)
    found = index.candidates(vectors[7], 9).tolist()
    assert found[:1] == ([] if kind == "exact" else [7])
    assert len(set(found)) == len(found)
    assert all(0 <= row < index.covered for row in found)


def test_without_annoy_the_way_out_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "annoy", None)  # as if it were not installed
    with pytest.raises(MissingExtraError, match=r"annoy index is not installed.*\[annoy\]"):
        build_and_open("annoy", unit_vectors(3, 8), tmp_path)


@pytest.mark.parametrize(
    ("count", "kind"), [(0, "exact"), (19_999, "exact"), (20_000, "hnsw"), (10**6, "hnsw")]
)
def test_auto_chooses_by_size(count: int, kind: str) -> None:
    assert IndexSpec().for_count(count).kind == kind
    assert IndexSpec(kind="annoy").for_count(count).kind == "annoy"
