"""The contracts of galleries on a real cluster: two query nodes with a shard each.

One replica: what is acknowledged is seen at once then, where another may be a time tick behind.
Galleries with two are searched in the other files.
"""

from collections.abc import Iterator

import pytest

from deepfood.config import Settings
from deepfood.milvus.address import MilvusAddress
from gallery_contract import *  # noqa: F403
from gallery_contract import GalleryUnderTest
from milvus_cluster import MilvusCluster, cluster_settings
from milvus_contract import *  # noqa: F403
from milvus_engine import milvus_engine
from milvus_rollback import *  # noqa: F403
from words_contract import *  # noqa: F403


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return cluster_settings(tmp_path_factory.mktemp("settings"), replicas=1)


@pytest.fixture(scope="module")
def address(cluster: MilvusCluster) -> MilvusAddress:
    return MilvusAddress(cluster.uri, "plates")


@pytest.fixture(scope="module")
def engine(
    address: MilvusAddress, settings: Settings, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[GalleryUnderTest]:
    with milvus_engine(tmp_path_factory.mktemp("plates"), address, settings) as made:
        yield made
