"""Processes of the cluster are killed while it is searched and written: what users see of it."""

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from deepfood.config import Settings
from deepfood.data.photos import list_photos
from deepfood.errors import EngineError
from deepfood.milvus.address import MilvusAddress
from deepfood.milvus.build import build_on_milvus
from deepfood.milvus.connection import Connection
from deepfood.milvus.gallery import MilvusGallery
from deepfood.milvus.rows import StrongRows
from deepfood.model import open_model
from deepfood.model.artifact import DEFAULT_MODEL
from gallery_contract import GalleryUnderTest, new_photo
from live import run_deepfood
from load import wait_for
from milvus_cluster import MilvusCluster
from milvus_engine import milvus_engine
from plates import tiny_embedder, write_photos

#: How long errors may go on after a kill: Milvus' session ends after 10 s, here on busy cores.
_HEALED_S = 90


@pytest.fixture(scope="module")
def engine(
    cluster: MilvusCluster, settings: Settings, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[GalleryUnderTest]:
    address = MilvusAddress(cluster.uri, "killed")
    with milvus_engine(tmp_path_factory.mktemp("killed"), address, settings) as made:
        yield made


@dataclass
class Searching:
    """Searches without end in a thread, and compares each answer with the right one."""

    engine: GalleryUnderTest
    query: "np.ndarray"
    right: list[str]
    answers: int = 0
    wrong: list[list[str]] = field(default_factory=list)
    failed: list[float] = field(default_factory=list)
    slowest_s: float = 0.0
    ended: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        gallery = self.engine.open()
        while not self.ended.is_set():
            started = time.monotonic()
            try:
                found = [hit.photo.id for hit in gallery.search(self.query, 9)]
            except EngineError:
                self.failed.append(time.monotonic())
            else:
                self.answers += 1
                if found != self.right:
                    self.wrong.append(found)
            self.slowest_s = max(self.slowest_s, time.monotonic() - started)

    def wait_for(self, answers: int) -> None:
        until, wanted = time.monotonic() + _HEALED_S, self.answers + answers
        while self.answers < wanted:
            assert time.monotonic() < until, f"only {self.answers} of {wanted} answers came"
            time.sleep(0.05)


@pytest.fixture
def searching(engine: GalleryUnderTest) -> Iterator[Searching]:
    gallery = engine.open()
    query = gallery.vector(gallery.sample(1, 0)[0].id)
    right = [hit.photo.id for hit in gallery.search(query, 9)]
    load = Searching(engine, query, right)
    thread = threading.Thread(target=load.run)
    thread.start()
    load.wait_for(20)
    yield load
    load.ended.set()
    thread.join()
    print(f"\n{load.answers} answers, {len(load.failed)} failed, slowest {load.slowest_s:.1f} s")


def test_a_query_node_is_killed_and_no_answer_is_wrong(
    cluster: MilvusCluster, engine: GalleryUnderTest, searching: Searching
) -> None:
    cluster.kill("query-2")
    searching.wait_for(100)
    assert not searching.wrong
    gallery = engine.open()
    assert gallery.count == 24
    cluster.start("query-2")
    searching.wait_for(50)
    assert not searching.wrong


def test_a_data_node_is_killed_and_every_acknowledged_photo_is_found(
    cluster: MilvusCluster, engine: GalleryUnderTest
) -> None:
    added = []
    for number in range(30):
        one = new_photo(engine, 2000 + number)
        with engine.writing() as writer:
            assert writer.add([one]) == ["added"]
        added.append(one)
        if number == 10:
            cluster.kill("data-1")
        if number == 20:
            cluster.start("data-1")
    gallery = engine.open()
    assert gallery.count == 24 + 30
    for one in added:
        assert gallery.search(one.vector, 1)[0].photo.id == one.photo.id
    with engine.writing() as writer:
        writer.remove([one.photo.id for one in added])
    wait_for(lambda: gallery.count == 24)  # the other replica may be a time tick behind


def test_the_proxy_is_restarted_while_serving(cluster: MilvusCluster, searching: Searching) -> None:
    cluster.kill("proxy")
    time.sleep(1)
    cluster.start("proxy")
    searching.wait_for(50)
    assert not searching.wrong


def test_another_model_takes_over_under_load(
    cluster: MilvusCluster,
    settings: Settings,
    engine: GalleryUnderTest,
    searching: Searching,
    tmp_path: Path,
) -> None:
    address = MilvusAddress(cluster.uri, "killed")
    other = tiny_embedder(tmp_path / "other", pool=16)
    report = build_on_milvus(list_photos(engine.photos), address, other, settings, quiet=True)
    assert report.manifest.generation == 2
    searching.wait_for(20)
    # Who was opened with the Model before goes on with its generation, and knows.
    assert not searching.wrong
    assert not searching.failed
    old = engine.open()
    assert old.superseded
    with MilvusGallery.open(address, settings, other.model) as new:
        assert new.count == 24
        photo = new.sample(1, 0)[0]
        assert new.search(new.vector(photo.id), 1)[0].photo.id == photo.id


def test_a_change_of_model_is_killed_and_goes_on(
    cluster: MilvusCluster, settings: Settings, tmp_path: Path
) -> None:
    count, own = 1200, MilvusAddress(cluster.uri, "renewed")
    photos = write_photos(tmp_path / "photos", count)
    with (
        milvus_engine(tmp_path, own, settings, photos) as engine,
        pytest.MonkeyPatch.context() as patch,
        closing(Connection(own, settings)) as connection,
    ):
        for name in ("photos_store", "cache", "milvus_timeout_s"):
            patch.setenv(f"DEEPFOOD_{name.upper()}", str(getattr(settings, name)))
        new = StrongRows(connection, "renewed_g000002")

        def embedded() -> int:
            there = connection.ask("has_collection", collection_name=new.collection)
            return len(new.where("width > 0", ["id"])) if there else 0

        command = ["reembed", str(engine.place), "--model", str(DEFAULT_MODEL), "--json"]
        with subprocess.Popen([sys.executable, "-m", "deepfood.cli", *command]) as process:
            wait_for(lambda: embedded() > 0)
            process.kill()
        kept, photo = embedded(), engine.open().sample(1, 0)[0]
        assert 0 < kept < count
        with engine.writing() as writer:
            writer.update(photo.id, label="meanwhile")
        done = json.loads(run_deepfood(*command))
        assert (done["made"], done["photos"], done["swapped"]) == (count - kept, count, True)
        with MilvusGallery.open(own, settings, open_model(DEFAULT_MODEL)) as gallery:
            assert gallery.photo(photo.id).label == "meanwhile"
        assert engine.problems() == []
