"""`deepfood build s3://… --engine ray --out milvus://…`, with real parts on every side."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pytest
from ray.cluster_utils import Cluster

from deepfood.config import Settings, load_settings
from deepfood.data.locate import root_named
from deepfood.data.photos import PhotoSource, list_photos
from deepfood.embed import open_embedder
from deepfood.gallery.embedding import read_photos
from deepfood.gallery.photo import EmbeddedPhoto
from deepfood.milvus.address import MilvusAddress
from deepfood.milvus.build import build_on_milvus
from deepfood.milvus.gallery import MilvusGallery
from deepfood.on_ray import on_ray
from deepfood.storage import S3Options
from milvus_cluster import MilvusCluster
from photo_bucket import upload
from plates import jpeg, write_tiny_model
from ray_nodes import ray_head, with_a_node_killed
from seaweed import OWNER, use_identity

#: Ray warns of itself.
pytestmark = [
    pytest.mark.filterwarnings(r"ignore:::ray\."),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

COUNT = 160


@dataclass(frozen=True)
class Photos:
    """Photos in a bucket, and the vector of each as this machine alone embeds it."""

    url: str
    settings: Settings
    source: PhotoSource
    vectors: dict[str, "np.ndarray"]


@pytest.fixture(scope="module")
def photos(cluster: MilvusCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Photos]:
    folder = tmp_path_factory.mktemp("photos")
    for number in range(COUNT):
        # Large, so that a worker is at its shard for a while.
        (folder / f"{number:04d}.jpg").write_bytes(jpeg(number, (1600, 1200)))
    with pytest.MonkeyPatch.context() as patch:
        use_identity(patch, OWNER)
        patch.setenv("DEEPFOOD_S3_ENDPOINT", cluster.s3.url)
        patch.setenv("DEEPFOOD_MODEL", str(write_tiny_model(tmp_path_factory.mktemp("model"))))
        url = upload(folder, cluster.s3.new_bucket())
        settings = load_settings(milvus_replicas=2, milvus_timeout_s=60)
        source, embedder = list_photos(url, S3Options.of(settings)), open_embedder(settings)
        with read_photos(source, source.files, embedder) as found:
            vectors = {
                one.photo.file: one.vector for one in found if isinstance(one, EmbeddedPhoto)
            }
        assert len(vectors) == COUNT
        yield Photos(url, settings, source, vectors)


@pytest.fixture(scope="module")
def head(photos: Photos) -> Iterator[Cluster]:
    """Ray's first node; it inherits who may read the photos."""
    with ray_head() as ray:
        yield ray


def check_gallery(address: MilvusAddress, photos: Photos) -> None:
    """All photos are there, each once, with the vectors that they have here."""
    with MilvusGallery.open(address, photos.settings) as gallery:
        rows = list(gallery.rows.every(["id", "file", "vector"]))
        assert gallery.count == len(rows) == COUNT
        assert gallery.photos_root == root_named(photos.url, S3Options.of(photos.settings))
        photo = gallery.sample(1, 0)[0]
        assert gallery.search(photos.vectors[photo.file], 1)[0].photo == photo
        assert gallery.read(photo)
    found = {row["file"]: np.array(row["vector"], np.float32) for row in rows}
    assert found.keys() == photos.vectors.keys()
    for file, vector in photos.vectors.items():
        assert np.array_equal(found[file], vector), file


def test_the_command_builds_what_a_local_build_would(
    cluster: MilvusCluster, photos: Photos, head: Cluster
) -> None:
    address = MilvusAddress(cluster.uri, "by_ray")
    command = [sys.executable, "-m", "deepfood.cli", "build", photos.url, "--engine", "ray"]
    command += ["--out", f"{cluster.url}/by_ray", "--json"]
    environment = {**os.environ, "DEEPFOOD_RAY_ADDRESS": head.address}
    second = head.add_node(num_cpus=1)
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["embedded"] == COUNT
        check_gallery(address, photos)
        again = subprocess.run(command, env=environment, capture_output=True, text=True)
        assert again.returncode == 0, again.stderr
        assert json.loads(again.stdout)["up_to_date"]
    finally:
        head.remove_node(second)


def test_a_node_is_killed_and_nothing_is_missing_or_twice(
    cluster: MilvusCluster, photos: Photos, head: Cluster
) -> None:
    address = MilvusAddress(cluster.uri, "one_killed")
    # Both nodes are full of workers; the one that stays has no room for those of the other.
    more = {"ray_address": head.address, "ray_workers": 4, "ray_cpus": 0.5}
    said = photos.settings.model_copy(update=more)
    seen: list[str] = []
    report = build_on_milvus(
        photos.source,
        address,
        open_embedder(said),
        said,
        reading=with_a_node_killed(on_ray(said), head, seen),
        quiet=True,
    )
    assert report.count == COUNT
    assert sorted(seen) == sorted(photos.vectors)
    check_gallery(address, photos)
