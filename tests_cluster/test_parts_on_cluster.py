"""The contract of parts of photos on a real cluster, with one replica as in the other contract.

Searches are strongly consistent: no writer waits until searches see the parts that it has found.
"""

import pytest

from deepfood.config import Settings
from deepfood.milvus.address import MilvusAddress
from milvus_cluster import MilvusCluster, cluster_settings
from milvus_parts import *  # noqa: F403


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    given = cluster_settings(tmp_path_factory.mktemp("settings"), replicas=1)
    return given.model_copy(update={"milvus_consistency": "Strong"})


@pytest.fixture(scope="module")
def address(cluster: MilvusCluster) -> MilvusAddress:
    return MilvusAddress(cluster.uri, "plates")
