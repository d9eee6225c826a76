"""The contract of galleries, kept by the local one."""

from collections.abc import Iterator

import pytest

from gallery_contract import *  # noqa: F403
from gallery_contract import GalleryUnderTest
from local_engine import local_engine
from words_contract import *  # noqa: F403

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GalleryUnderTest]:
    with local_engine(tmp_path_factory.mktemp("contract")) as made:
        yield made
