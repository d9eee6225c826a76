"""Which photos have most of a feature: against a slow, obvious recomputation."""

import shutil
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from deepfood.embed import Embedder
from deepfood.errors import QueryError
from deepfood.evaluate import features
from deepfood.evaluate.features import Feature, Ranked, rank_features
from deepfood.gallery import Photo
from deepfood.index import VectorFile
from deepfood.index.vectors import append_vectors
from deepfood.local import LocalGallery
from deepfood.local.writer import LocalWriter
from deepfood.model import Model, open_model
from plates import LIMITS, build, jpeg, write_tiny_model


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return open_model(write_tiny_model(tmp_path_factory.mktemp("m") / "model", pool=16))


@pytest.fixture(scope="module")
def gallery(model: Model, tmp_path_factory: pytest.TempPathFactory) -> LocalGallery:
    root = tmp_path_factory.mktemp("features")
    for seed in range(14):
        path = root / "photos" / ("red", "green")[seed % 2] / f"{seed:02}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(jpeg(seed))
    build(root / "photos", root / "gallery", Embedder(model, LIMITS))
    return LocalGallery.open(root / "gallery", model)


def test_the_highest_and_the_lowest_are_found_in_order(gallery: LocalGallery) -> None:
    photos, file, rows = gallery.photos()
    vectors = file.take(rows)
    for lowest in (False, True):
        (seventh,) = rank_features(gallery, [7], 5, lowest=lowest)
        column = vectors[:, 7] if lowest else -vectors[:, 7]
        wanted = [photos[place] for place in np.argsort(column, kind="stable")[:5]]
        assert [one.photo for one in seventh.photos] == wanted
        assert [one.value for one in seventh.photos] == [
            float(v) for v in np.sort(column)[:5] * (1 if lowest else -1)
        ]
        assert seventh.number == 7
        assert seventh.mean == pytest.approx(vectors[:, 7].mean(), abs=1e-6)
        assert seventh.spread == pytest.approx(vectors[:, 7].std(), abs=1e-6)


def test_all_features_are_what_each_is_alone(gallery: LocalGallery) -> None:
    numbers = range(gallery.manifest.dimension)
    every = rank_features(gallery, numbers, 4)
    assert [one.number for one in every] == list(numbers)
    assert every == [rank_features(gallery, [number], 4)[0] for number in numbers]


def test_photos_that_cannot_be_used_make_room_for_the_next(gallery: LocalGallery) -> None:
    (whole,) = rank_features(gallery, [3], 6)
    gone = {whole.photos[0].photo.id, whole.photos[2].photo.id}
    (rest,) = rank_features(gallery, [3], 4, usable=lambda photo: photo.id not in gone)
    assert rest.photos == tuple(one for one in whole.photos if one.photo.id not in gone)


@pytest.mark.parametrize("number", [-1, 48, 1_000_000])
def test_a_feature_out_of_range_names_the_range(gallery: LocalGallery, number: int) -> None:
    with pytest.raises(QueryError, match=f"no feature {number}: .* has 0 to 47"):
        rank_features(gallery, [number], 3)


@given(
    vectors=arrays.arrays(
        np.float32, st.tuples(st.integers(1, 40), st.integers(1, 6)), elements=st.integers(-3, 3)
    ),
    count=st.integers(1, 12),
    lowest=st.booleans(),
    chunk=st.sampled_from([1, 7, 4096]),
)
def test_chunks_give_what_one_sort_gives(
    vectors: np.ndarray, count: int, lowest: bool, chunk: int
) -> None:
    keys = vectors if lowest else -vectors
    columns, rows = np.arange(vectors.shape[1]), np.arange(len(vectors))
    with pytest.MonkeyPatch.context() as patch, TemporaryDirectory() as folder:
        patch.setattr(features, "_CHUNK_ROWS", chunk)
        path = Path(folder) / "vectors.f32"
        append_vectors(path, len(columns), "f32", 0, vectors)
        file = VectorFile.open(path, len(columns), "f32", len(rows))
        found = features._extreme_rows(file, rows, columns, count, lowest=lowest)
        mean, spread = features._mean_and_spread(file, rows, columns)
    np.testing.assert_array_equal(found, np.argsort(keys, axis=0, kind="stable")[:count])
    np.testing.assert_allclose(mean, vectors.mean(axis=0, dtype=np.float64), atol=1e-6)
    np.testing.assert_allclose(spread, vectors.std(axis=0, dtype=np.float64), atol=1e-6)


def feature_of(labels: list[str | None], *, spread: float = 0.1) -> Feature:
    photos = tuple(
        Ranked(Photo(f"{n:064x}", f"{n}.jpg", label, None, "image/jpeg", 4, 3, 1, 0), 0.5)
        for n, label in enumerate(labels)
    )
    return Feature(0, photos, 0.2, spread)


def test_purity_is_the_share_of_the_most_frequent_label() -> None:
    assert (feature_of(["a", "b", "a", None]).label, feature_of(["a", "b", "a", None]).purity) == (
        "a",
        0.5,
    )
    assert feature_of(["b", "a"]).label == "a"  # equal counts: the first by name
    assert (feature_of([None, None]).label, feature_of([None, None]).purity) == (None, 0.0)
    assert feature_of(["a", "a"], spread=0).purity == 0  # a feature that is the same everywhere
    assert feature_of(["a"]).contrast == pytest.approx(3)
    assert feature_of(["a"], spread=0).contrast == 0


def test_an_empty_gallery_is_told(gallery: LocalGallery, tmp_path: Path, model: Model) -> None:
    shutil.copytree(gallery.folder, tmp_path / "empty")
    with LocalWriter.open(tmp_path / "empty") as writer:
        writer.remove([photo.id for photo in gallery.photos()[0]])
    with (
        LocalGallery.open(tmp_path / "empty", model) as empty,
        pytest.raises(QueryError, match="has no photos"),
    ):
        rank_features(empty, [1], 3)
