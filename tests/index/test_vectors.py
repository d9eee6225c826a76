"""The file of vectors: what is written is read, in every storage, to the stated error."""

import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from made_up import Vectors, unit_vectors

from deepfood.errors import ArtifactCorruptError, ArtifactError, ArtifactMissingError
from deepfood.index import Storage, VectorFile, append_vectors

STORAGES: tuple[Storage, ...] = ("f32", "f16", "i8")


def written(path: Path, storage: Storage, vectors: Vectors) -> VectorFile:
    append_vectors(path, vectors.shape[1], storage, 0, vectors)
    return VectorFile.open(path, vectors.shape[1], storage, len(vectors))


@pytest.mark.parametrize("storage", STORAGES)
@settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(count=st.integers(1, 300), dimension=st.integers(1, 200), seed=st.integers(0))
def test_similarities_are_off_by_no_more_than_is_said(
    storage: Storage, tmp_path: Path, count: int, dimension: int, seed: int
) -> None:
    vectors = unit_vectors(count, dimension, seed)
    query = unit_vectors(1, dimension, seed + 1)[0]
    file = written(tmp_path / "vectors", storage, vectors)
    largest = np.abs(vectors).max(axis=1)
    allowed = {"f32": 0.0, "f16": 2.0**-11, "i8": largest * np.sqrt(dimension) / 254}[storage]
    assert np.all(np.abs(file.scores(query) - vectors @ query) <= allowed + 1e-6)


@pytest.mark.parametrize("storage", STORAGES)
def test_similarities_of_usual_rows_are_off_by_far_less(storage: Storage, tmp_path: Path) -> None:
    vectors, queries = unit_vectors(500, 1280), unit_vectors(20, 1280, seed=1)
    file = written(tmp_path / "vectors", storage, vectors)
    errors = np.stack([file.scores(query) for query in queries]) - queries @ vectors.T
    assert errors.std() < {"f32": 1e-7, "f16": 1e-5, "i8": 3e-4}[storage]
    assert (errors.std() > 1e-6) == (storage != "f32")


@pytest.mark.parametrize("storage", STORAGES)
@settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(dimension=st.integers(1, 70), seed=st.integers(0))
def test_every_way_to_score_gives_what_the_decoded_vectors_give(
    storage: Storage, tmp_path: Path, dimension: int, seed: int
) -> None:
    file = written(tmp_path / "vectors", storage, unit_vectors(600, dimension, seed))
    query = unit_vectors(1, dimension, seed + 1)[0]
    rows = np.random.default_rng(seed).permutation(600)
    whole = file.scores(query)
    # Rounding can make a row a little longer than 1; no similarity is.
    decoded = np.clip(file.take(np.arange(600)) @ query, -1, 1)
    np.testing.assert_allclose(whole, decoded, atol=1e-6)
    np.testing.assert_array_equal(file.scores_of(rows, query), whole[rows])
    np.testing.assert_array_equal(file.scores(query, 41, 99), whole[41:99])
    if flat := file.flat(100):
        scores, found = flat.search(query[np.newaxis], 100)
        np.testing.assert_array_equal(np.clip(scores[0], -1, 1), whole[found[0]])
    assert np.abs(whole).max() <= 1


@pytest.mark.parametrize(("storage", "row_bytes"), [("f32", 148), ("f16", 74), ("i8", 41)])
def test_a_row_takes_what_its_numbers_take(
    storage: Storage, row_bytes: int, tmp_path: Path
) -> None:
    file = written(tmp_path / "vectors", storage, unit_vectors(10, 37))
    assert file.row_bytes == row_bytes
    assert (tmp_path / "vectors").stat().st_size == 10 * row_bytes


@pytest.mark.parametrize("storage", STORAGES)
def test_appending_goes_on_at_start_and_cuts_off_what_was_beyond(
    storage: Storage, tmp_path: Path
) -> None:
    path, vectors = tmp_path / "vectors", unit_vectors(30, 8)
    first = append_vectors(path, 8, storage, 0, vectors[:10])
    append_vectors(path, 8, storage, 10, unit_vectors(50, 8, seed=1))  # never acknowledged
    second = append_vectors(path, 8, storage, 10, vectors[10:])
    at_once = written(tmp_path / "at once", storage, vectors)
    assert path.read_bytes() == (tmp_path / "at once").read_bytes()
    np.testing.assert_array_equal(np.concatenate([first, second]), at_once.crc())


@pytest.mark.parametrize("storage", STORAGES)
def test_the_crc_is_that_of_the_bytes_on_disk(storage: Storage, tmp_path: Path) -> None:
    path = tmp_path / "vectors"
    file = written(path, storage, unit_vectors(20, 9))
    contents, size = path.read_bytes(), file.row_bytes
    rows = [contents[start : start + size] for start in range(0, len(contents), size)]
    assert file.crc(3, 7).tolist() == [zlib.crc32(row) for row in rows[3:7]]


@pytest.mark.parametrize("storage", STORAGES)
def test_a_file_that_grows_is_not_seen_until_it_is_opened_again(
    storage: Storage, tmp_path: Path
) -> None:
    path, vectors = tmp_path / "vectors", unit_vectors(20, 8)
    file = written(path, storage, vectors[:10])
    before = file.scores(vectors[0])
    append_vectors(path, 8, storage, 10, vectors[10:])
    np.testing.assert_array_equal(file.scores(vectors[0]), before)
    longer = VectorFile.open(path, 8, storage, 20)
    np.testing.assert_array_equal(longer.scores(vectors[0], 0, 10), before)
    assert len(longer) == 20


@pytest.mark.parametrize("storage", STORAGES)
def test_an_empty_file_has_no_rows(storage: Storage, tmp_path: Path) -> None:
    file = written(tmp_path / "vectors", storage, np.empty((0, 8), np.float32))
    assert len(file) == 0
    assert file.scores(np.ones(8, np.float32)).shape == (0,)
    assert file.take(np.empty(0, np.int64)).shape == (0, 8)
    assert file.crc().shape == (0,)


def test_a_vector_of_zeros_is_kept(tmp_path: Path) -> None:
    for storage in STORAGES:
        file = written(tmp_path / storage, storage, np.zeros((1, 8), np.float32))
        assert file.take(np.array([0])).tolist() == [[0.0] * 8]


def test_a_missing_file_and_a_short_one_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "vectors"
    with pytest.raises(ArtifactMissingError, match="vectors is missing"):
        VectorFile.open(path, 8, "f32", 1)
    append_vectors(path, 8, "f32", 0, unit_vectors(3, 8))
    with pytest.raises(ArtifactCorruptError, match="96 bytes, and 4 vectors want 128"):
        VectorFile.open(path, 8, "f32", 4)
    with pytest.raises(ArtifactCorruptError, match="96 bytes, and 4 vectors want 128"):
        append_vectors(path, 8, "f32", 4, unit_vectors(1, 8))


def test_a_folder_that_is_a_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ArtifactError, match="vectors cannot be read: Not a directory"):
        VectorFile.open(tmp_path / "file" / "vectors", 8, "f32", 1)


@pytest.mark.parametrize("storage", ["f16", "f32"])
def test_rows_that_are_no_numbers_are_similar_to_nothing(storage: Storage, tmp_path: Path) -> None:
    """Damage of every row, as of a part of a file that the disk lost."""
    file = written(tmp_path / "vectors", storage, np.full((3, 8), np.nan, np.float32))
    scores = file.scores(unit_vectors(1, 8)[0])
    assert not (scores > -1).any()
