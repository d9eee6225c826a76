"""Fixtures for all tests: a small gallery and a real server of it, made once, when first wanted."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from live import SmallGallery, build_dish_gallery, build_small_gallery, serving


@pytest.fixture(scope="session")
def small_gallery(tmp_path_factory: pytest.TempPathFactory) -> SmallGallery:
    """24 photos with names and labels, searched with the Model that ships."""
    return build_small_gallery(tmp_path_factory.mktemp("small"))


@pytest.fixture(scope="session")
def server_url(small_gallery: SmallGallery) -> Iterator[str]:
    """Where a deepfood server of the small gallery listens, as long as the tests run."""
    with serving(small_gallery.folder) as server:
        yield server.url


@pytest.fixture(scope="session")
def dish_gallery(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A calibrated gallery; new photos of its dishes, and of one that it lacks, are in `../new`."""
    return build_dish_gallery(tmp_path_factory.mktemp("dishes"))


@pytest.fixture(scope="session")
def dish_url(dish_gallery: Path) -> Iterator[str]:
    """Where a deepfood server of the dish gallery listens, as long as the tests run."""
    with serving(dish_gallery) as server:
        yield server.url
