"""The contract of parts of photos on a real cluster, with one replica as in the other contract."""

import pytest

from deepfood.config import Settings
from deepfood.milvus.address import MilvusAddress
from milvus_cluster import MilvusCluster, cluster_settings
from milvus_parts import *  # noqa: F403


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return cluster_settings(tmp_path_factory.mktemp("settings"), replicas=1)


@pytest.fixture(scope="module")
def address(cluster: MilvusCluster) -> MilvusAddress:
    return MilvusAddress(cluster.uri, "plates")
