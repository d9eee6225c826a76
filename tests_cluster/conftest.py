"""One cluster for all tests here, and settings for galleries with two replicas."""

from collections.abc import Iterator

import pytest

from deepfood.config import Settings
from milvus_cluster import MilvusCluster, cluster_settings, milvus_cluster


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MilvusCluster]:
    with milvus_cluster(tmp_path_factory.mktemp("cluster")) as running:
        yield running


@pytest.fixture(scope="session")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return cluster_settings(tmp_path_factory.mktemp("settings"), replicas=2)
