"""The contract of galleries on Milvus Lite, which runs the same client code in one process."""

from collections.abc import Iterator

import pytest

from deepfood.config import load_settings
from deepfood.milvus.address import MilvusAddress
from gallery_contract import *  # noqa: F403
from gallery_contract import Engine
from milvus_engine import milvus_engine


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    folder = tmp_path_factory.mktemp("milvus")
    settings = load_settings(
        photos_store=str(folder / "store"), cache=folder / "cache", milvus_timeout_s=60
    )
    with milvus_engine(folder, MilvusAddress(str(folder / "lite.db"), "plates"), settings) as made:
        yield made
