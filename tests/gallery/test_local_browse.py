"""The contract of listing and counting, kept by the local gallery."""

from collections.abc import Iterator

import pytest

from browse_contract import *  # noqa: F403
from gallery_contract import GalleryUnderTest
from local_engine import local_engine


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GalleryUnderTest]:
    with local_engine(tmp_path_factory.mktemp("contract")) as made:
        yield made
