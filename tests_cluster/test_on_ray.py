"""Builds on Ray: nothing is lost or done twice when something dies."""

import os
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

from deepfood.config import Settings, load_settings
from deepfood.data.photos import list_photos
from deepfood.embed import open_embedder
from deepfood.index import IndexSpec
from deepfood.local import build_gallery
from deepfood.local.store import CATALOGUE, Store
from deepfood.model import open_model
from deepfood.on_ray import on_ray
from plates import jpeg, write_tiny_model
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
