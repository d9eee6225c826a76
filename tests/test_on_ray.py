"""Builds on Ray have the local build's results; tests_cluster/test_on_ray.py kills their nodes."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from deepfood.config import Settings, load_settings
from deepfood.data.bucket import BucketRoot
from deepfood.data.photos import PhotoFile, PhotoSource, list_photos
from deepfood.embed import Embedder, open_embedder
from deepfood.errors import EngineError, MissingExtraError, StorageError
from deepfood.gallery.embedding import Reading, read_photos
from deepfood.gallery.photo import EmbeddedPhoto, Skipped
from deepfood.on_ray import ShardWorker, on_ray, reading_for, worker_settings
from deepfood.storage import Bucket, S3Options
from plates import jpeg, write_photos, write_tiny_model

#: Ray warns of itself.
pytestmark = [
    pytest.mark.filterwarnings(r"ignore:::ray\."),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    """The address of a cluster of one node."""
    from ray.cluster_utils import Cluster  # it takes a second

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    yield str(cluster.address)
    cluster.shutdown()


def settings(model: Path, **more: object) -> Settings:
    return load_settings(model=model, engine="ray", **more)


def results(
    reading: Reading, source: PhotoSource, embedder: Embedder
) -> dict[str, EmbeddedPhoto | Skipped]:
    with reading(source, source.files, embedder) as found:
        every = list(found)
    named = {one.file if isinstance(one, Skipped) else one.photo.file: one for one in every}
    assert len(named) == len(every)
    return named


@pytest.mark.slow
def test_results_are_those_of_the_local_build(tmp_path: Path, model: Path, cluster: str) -> None:
    folder = write_photos(tmp_path / "photos", 40)
    (folder / "bad.jpg").write_bytes(b"no photo")
    (folder / os.fsdecode(b"caf\xe9.jpg")).write_bytes(jpeg(99))
    said = settings(model, ray_address=cluster, ray_workers=1)
    source, embedder = list_photos(folder), open_embedder(said)
    here = results(read_photos, source, embedder)
    there = results(reading_for(said), source, embedder)
    assert there.keys() == here.keys()
    assert sum(isinstance(one, Skipped) for one in there.values()) == 2
    for name, one in here.items():
        other = there[name]
        if isinstance(one, Skipped):
            assert other == one
        else:
            assert isinstance(other, EmbeddedPhoto)
            assert other.photo == one.photo
            assert np.array_equal(other.vector, one.vector)
            assert other.data == b""


@pytest.mark.slow
def test_what_a_worker_raises_is_told_in_its_own_words(
    model: Path, cluster: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "anyone")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "anything")
    monkeypatch.setenv("RAY_ADDRESS", cluster)
    away = settings(
        model, ray_address="auto", ray_workers=1, s3_endpoint="http://127.0.0.1:1", s3_retry_s=0
    )
    root = BucketRoot(
        Bucket.open("s3://bucket/photos", S3Options.of(away)), listing={"a.jpg": (1, 1)}
    )
    source = PhotoSource(root, (PhotoFile("a.jpg"),))
    with pytest.raises(StorageError, match=r"s3://bucket/photos/a\.jpg"):
        results(on_ray(away), source, open_embedder(away))


@pytest.mark.slow
def test_a_cluster_that_is_away_is_named(tmp_path: Path, model: Path) -> None:
    said = settings(model, ray_address="127.0.0.1:1")
    source = list_photos(write_photos(tmp_path / "photos", 1))
    with (
        pytest.raises(EngineError, match=r"Ray at 127\.0\.0\.1:1 cannot be used: .*refused"),
        on_ray(said)(source, source.files, open_embedder(said)),
    ):
        pass


def test_where_there_is_nothing_to_embed_no_cluster_is_asked(tmp_path: Path, model: Path) -> None:
    said = settings(model, ray_address="127.0.0.1:1")
    source = list_photos(write_photos(tmp_path / "photos", 1))
    with on_ray(said)(source, [], open_embedder(said)) as found:
        assert list(found) == []


def test_without_ray_the_command_that_installs_it_is_named(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingExtraError, match=r"engine ray is not installed: .*\[ray\]"):
        reading_for(settings(model))


def test_a_worker_of_another_version_embeds_nothing(model: Path) -> None:
    import pyarrow as pa

    worker = ShardWorker("/photos", None, settings(model), "0.0.1")
    [row] = worker(pa.table({"shard": [7], "files": ["[]"]})).to_pylist()
    assert (row["shard"], row["results"], row["vectors"]) == (7, "[]", b"")
    assert "EngineError" in row["error"]
    assert "and 0.0.1 builds: install the same everywhere" in row["error"]


def test_a_worker_gets_what_it_needs_and_no_secret(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DEEPFOOD_MILVUS_TOKEN", "root:secret")
    monkeypatch.setenv("DEEPFOOD_CURSOR_KEY", "secret")
    monkeypatch.setenv("DEEPFOOD_S3_ENDPOINT", "http://127.0.0.1:1")
    settings = load_settings(cache=tmp_path, max_decoding_bytes=5, precision="f32", ray_cpus=1.5)
    found = worker_settings(settings)
    assert S3Options.of(found) == S3Options.of(settings)
    assert (found.max_decoding_bytes, found.precision, found.threads) == (5, "f32", 2)
    assert found.device == "cpu"  # since Ray is asked for cores alone
    defaults = Settings.model_fields
    for name in ("milvus_token", "cursor_key", "api_key_hashes", "cache", "photos_store"):
        assert getattr(found, name) == defaults[name].default
