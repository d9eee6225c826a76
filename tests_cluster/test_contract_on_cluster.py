"""The contract of galleries on a real cluster: two query nodes, two replicas, two shards."""

from collections.abc import Iterator

import pytest

from deepfood.config import Settings
from deepfood.milvus.address import MilvusAddress
from gallery_contract import *  # noqa: F403
from gallery_contract import Engine
from milvus_cluster import MilvusCluster
from milvus_engine import milvus_engine


@pytest.fixture(scope="module")
def engine(
    cluster: MilvusCluster, settings: Settings, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Engine]:
    address = MilvusAddress(cluster.uri, "plates")
    with milvus_engine(tmp_path_factory.mktemp("plates"), address, settings) as made:
        yield made
