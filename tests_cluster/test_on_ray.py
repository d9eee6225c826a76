"""Builds on Ray: the local build's vectors, and nothing lost or done twice when something dies."""

import os
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from deepfood.config import Settings, load_settings
from deepfood.data.bucket import BucketRoot
from deepfood.data.photos import PhotoFile, PhotoSource, list_photos
from deepfood.embed import Embedder, open_embedder
from deepfood.errors import EngineError, StorageError
from deepfood.gallery.embedding import Reading, read_photos
from deepfood.gallery.photo import EmbeddedPhoto, Skipped
from deepfood.index import IndexSpec
from deepfood.local import build_gallery
from deepfood.local.store import CATALOGUE, Store
from deepfood.model import open_model
from deepfood.on_ray import on_ray
from deepfood.storage import Bucket, S3Options
from plates import jpeg, write_photos, write_tiny_model
from ray_nodes import ray_head, with_a_node_killed

#: Ray warns of itself.
pytestmark = [
    pytest.mark.filterwarnings(r"ignore:::ray\."),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

#: So many photos, a little slow to decode, so that what is killed is at work.
COUNT = 320


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One large photo many times, each time with other bytes after its end."""
    folder = tmp_path_factory.mktemp("photos")
    large = jpeg(1, (2400, 1800))
    for number in range(COUNT):
        (folder / f"{number:04d}.jpg").write_bytes(large + number.to_bytes(4, "big"))
    return folder


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


def files_in(gallery: Path, dimension: int) -> list[str]:
    (folder,) = gallery.glob("generation-*")
    store = Store.open(folder, dimension, "f32")
    try:
        return [photo.file for photo in store.photos()]
    finally:
        store.close()


def rows_in(catalogue: Path) -> int:
    try:
        with closing(sqlite3.connect(f"file:{catalogue}?mode=ro", uri=True)) as db:
            return int(db.execute("SELECT count(*) FROM photos").fetchone()[0])
    except sqlite3.OperationalError:  # it is just being made
        return 0


def test_results_are_those_of_the_local_build(tmp_path: Path, model: Path) -> None:
    folder = write_photos(tmp_path / "photos", 40)
    (folder / "bad.jpg").write_bytes(b"no photo")
    (folder / os.fsdecode(b"caf\xe9.jpg")).write_bytes(jpeg(99))
    source, embedder = list_photos(folder), open_embedder(settings(model))
    here = results(read_photos, source, embedder)
    there = results(on_ray(settings(model, ray_workers=1)), source, embedder)
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


def test_a_cluster_that_is_away_is_named(model: Path, photos: Path) -> None:
    said = settings(model, ray_address="127.0.0.1:1")
    source, embedder = list_photos(photos), open_embedder(said)
    with (
        pytest.raises(EngineError, match=r"127\.0\.0\.1:1"),
        on_ray(said)(source, source.files, embedder),
    ):
        pass


def test_where_there_is_nothing_to_embed_no_cluster_is_asked(model: Path, photos: Path) -> None:
    said = settings(model, ray_address="127.0.0.1:1")
    with on_ray(said)(list_photos(photos), [], open_embedder(said)) as found:
        assert list(found) == []


def test_what_a_worker_raises_is_told_in_its_own_words(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "anyone")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "anything")
    away = settings(model, ray_workers=1, s3_endpoint="http://127.0.0.1:1", s3_retry_s=0)
    root = BucketRoot(
        Bucket.open("s3://bucket/photos", S3Options.of(away)), listing={"a.jpg": (1, 1)}
    )
    source = PhotoSource(root, (PhotoFile("a.jpg"),))
    with pytest.raises(StorageError, match=r"s3://bucket/photos/a\.jpg"):
        results(on_ray(away), source, open_embedder(away))


def test_a_killed_build_goes_on_and_embeds_nothing_twice(
    tmp_path: Path, photos: Path, model: Path
) -> None:
    out = tmp_path / "gallery"
    command = [sys.executable, "-m", "deepfood.cli", "build", str(photos), "--out", str(out)]
    command += ["--model", str(model), "--engine", "ray", "--json"]
    environment = {**os.environ, "DEEPFOOD_RAY_WORKERS": "1"}
    building = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
    catalogue = out / "building" / CATALOGUE
    until = time.monotonic() + 300
    while not (catalogue.exists() and rows_in(catalogue)):
        assert building.poll() is None, "it ended before it could be killed"
        assert time.monotonic() < until
        time.sleep(0.02)
    building.send_signal(signal.SIGKILL)
    building.wait()
    stored = rows_in(catalogue)
    assert 0 < stored < COUNT
    again = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert f'"embedded": {COUNT - stored}' in again.stdout
    assert f'"reused": {stored}' in again.stdout
    assert len(files_in(out, open_model(model).manifest.dimension)) == COUNT


def test_a_node_is_killed_and_the_build_ends_whole(
    tmp_path: Path, photos: Path, model: Path
) -> None:
    with ray_head() as cluster:
        # Both nodes are full of workers; the one that stays has no room for those of the other.
        said = settings(model, ray_address=cluster.address, ray_workers=4, ray_cpus=0.5)
        source, embedder = list_photos(photos), open_embedder(said)
        seen: list[str] = []
        reading = with_a_node_killed(on_ray(said), cluster, seen)
        report = build_gallery(
            source,
            tmp_path / "gallery",
            embedder,
            IndexSpec(kind="exact"),
            reading=reading,
            quiet=True,
        )
    assert report.count == COUNT
    assert sorted(seen) == sorted(file.file for file in source.files)
    found = files_in(tmp_path / "gallery", embedder.dimension)
    assert sorted(found) == sorted(file.file for file in source.files)
