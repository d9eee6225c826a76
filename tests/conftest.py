"""Fixtures for all tests: a small gallery and a real server of it, made once, when first wanted."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from live import SmallGallery, build_dish_gallery, build_small_gallery, run_deepfood, serving
from plates import write_photos, write_tiny_model
from seaweed import OWNER, Seaweed, seaweed, use_identity


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


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seaweed]:
    """A real S3 server, as long as the tests run. Whoever kills it starts one of their own."""
    with seaweed(tmp_path_factory.mktemp("seaweed")) as server:
        yield server


@pytest.fixture
def s3_bucket(s3_server: Seaweed, monkeypatch: pytest.MonkeyPatch) -> str:
    """`s3://…` of a private bucket; settings and credentials for it are in the environment."""
    monkeypatch.setenv("DEEPFOOD_S3_ENDPOINT", s3_server.url)
    monkeypatch.setenv("DEEPFOOD_S3_RETRY_S", "2")
    use_identity(monkeypatch, OWNER)
    return s3_server.new_bucket()


@pytest.fixture(scope="session")
def tiny_gallery(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """12 photos, and a Model so small that searching takes no time."""
    root = tmp_path_factory.mktemp("tiny")
    write_tiny_model(root / "model")
    photos = write_photos(root / "photos", 12)
    run_deepfood("build", photos, "--out", root / "gallery", "--model", root / "model")
    return root / "gallery"
