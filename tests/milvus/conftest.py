"""A gallery on Milvus Lite, a server in this process, for each module of tests."""

from collections.abc import Iterator

import pytest
from milvus_lite.adapter.grpc.server import start_server_in_thread

from deepfood.config import Settings, load_settings
from deepfood.milvus.address import MilvusAddress
from gallery_contract import GalleryUnderTest
from milvus_engine import milvus_engine


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    folder = tmp_path_factory.mktemp("settings")
    return load_settings(
        photos_store=str(folder / "store"), cache=folder / "cache", milvus_timeout_s=60
    )


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MilvusAddress]:
    folder = tmp_path_factory.mktemp("lite")
    server, db, port = start_server_in_thread(str(folder / "lite.db"), port=0)
    yield MilvusAddress(f"http://127.0.0.1:{port}", "plates")
    server.stop(None).wait()
    db.close()


@pytest.fixture(scope="module")
def engine(
    address: MilvusAddress, settings: Settings, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[GalleryUnderTest]:
    with milvus_engine(tmp_path_factory.mktemp("milvus"), address, settings) as made:
        yield made
