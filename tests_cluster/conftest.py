"""One cluster for all tests here, and a second query node's worth of settings."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from deepfood.config import Settings, load_settings
from milvus_cluster import MilvusCluster, milvus_cluster


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MilvusCluster]:
    with milvus_cluster(tmp_path_factory.mktemp("cluster")) as running:
        yield running


@pytest.fixture(scope="session")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    folder: Path = tmp_path_factory.mktemp("settings")
    return load_settings(
        photos_store=str(folder / "store"),
        cache=folder / "cache",
        milvus_replicas=2,
        milvus_timeout_s=60,
    )
