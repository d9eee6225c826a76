"""Near-duplicates against a slow search of every pair."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from deepfood.errors import QueryError
from deepfood.gallery.near_duplicates import near_duplicates
from deepfood.index.contract import Index, IndexSpec
from deepfood.index.exact import ExactIndex
from deepfood.index.vectors import VectorFile, append_vectors

LIMIT = 0.95


def clusters(count: int, seed: int) -> npt.NDArray[np.float32]:
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(count // 3, 16))
    vectors = centres[rng.integers(len(centres), size=count)] + rng.normal(0, 0.2, (count, 16))
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), np.float32)


def index_of(vectors: npt.NDArray[np.float32], folder: Path) -> Index:
    path = folder / "vectors"
    append_vectors(path, vectors.shape[1], "f32", 0, vectors)
    file = VectorFile.open(path, vectors.shape[1], "f32", len(vectors))
    return ExactIndex.open(file, folder / "none", IndexSpec(), len(vectors))


def slowly(vectors: npt.NDArray[np.float32], rows: list[int]) -> list[list[int]]:
    groups = [{row} for row in rows]
    for one in rows:
        for other in rows:
            if one < other and float(vectors[one] @ vectors[other]) >= LIMIT:
                first = next(group for group in groups if one in group)
                second = next(group for group in groups if other in group)
                if first is not second:
                    groups.remove(second)
                    first |= second
    return sorted(sorted(group) for group in groups if len(group) > 1)


@pytest.mark.parametrize("exact_up_to", [10**6, 0])
def test_groups_are_those_of_every_pair(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, exact_up_to: int
) -> None:
    monkeypatch.setattr("deepfood.gallery.near_duplicates._BLOCK_ROWS", 32)
    monkeypatch.setattr("deepfood.gallery.near_duplicates.EXACT_UP_TO", exact_up_to)
    vectors = clusters(150, seed=1)
    index = index_of(vectors, tmp_path)
    for rows in (np.arange(150), np.flatnonzero(np.arange(150) % 4)):  # every fourth is a hole
        done: list[int] = []
        found = near_duplicates(index, rows, LIMIT, done.append)
        wanted = slowly(vectors, rows.tolist())
        assert len(wanted) > 10
        assert [group.tolist() for group in found] == wanted
        assert sum(done) == len(rows)


@pytest.mark.slow
def test_a_gallery_of_one_photo_again_and_again_is_one_group(tmp_path: Path) -> None:
    vectors = np.repeat(clusters(3, seed=2)[:1], 3000, axis=0)
    found = near_duplicates(index_of(vectors, tmp_path), np.arange(3000), LIMIT, lambda _: None)
    assert [group.tolist() for group in found] == [list(range(3000))]


def test_an_empty_gallery_and_a_threshold_that_is_none(tmp_path: Path) -> None:
    index = index_of(clusters(3, seed=3), tmp_path)
    assert near_duplicates(index, np.arange(0), LIMIT, lambda _: None) == []
    with pytest.raises(QueryError, match="threshold 2"):
        near_duplicates(index, np.arange(3), 2, lambda _: None)
