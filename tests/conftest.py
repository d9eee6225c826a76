"""Fixtures for all tests, made once, when first wanted; and how several processes share the tests.

`make test` runs pytest-xdist, which gives whole files to workers, each with fixtures of its own.
"""

import inspect
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from hypothesis import HealthCheck, settings

from deepfood.embed import Embedder
from live import (
    SmallGallery,
    build_dish_gallery,
    build_small_gallery,
    build_tiny,
    serving,
)
from plates import tiny_embedder, write_photos, write_tiny_model
from seaweed import OWNER, Seaweed, seaweed, use_identity

# On a busy machine an example may take any time.
settings.register_profile("deepfood", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("deepfood")

HERE = Path(__file__).parent

#: The files that take longest, longest first: begun first, so that the workers end together.
LONGEST = (
    "test_tutorial.py",
    "serve/test_page.py",
    "test_readme.py",
    "train/test_export.py",
    "evaluate/test_report.py",
    "milvus/test_milvus_lite.py",
    "cli/test_few_files.py",
    "train/test_dual_encoder.py",
    "cli/test_memory.py",
    "train/test_loop.py",
    "train/test_import.py",
    "serve/test_views.py",
    "data/test_ifct2017.py",
    "serve/test_drain.py",
    "serve/test_keep_page.py",
    "serve/test_changes.py",
    "train/test_processes.py",
    "serve/test_examples_page.py",
    "gallery/test_renew_live.py",
    "train/test_killed.py",
)

#: Seconds that a test's own requests wait where it names none: a busy machine is no fault.
_WAIT_S = 300
_unless_named = inspect.signature(httpx.get).parameters["timeout"].default
for _phase in ("connect", "read", "write", "pool"):
    setattr(_unless_named, _phase, _WAIT_S)


def pytest_configure(config: pytest.Config) -> None:
    """With several workers, all that they start keeps to one thread where OpenMP decides."""
    if config.getoption("numprocesses", None):
        os.environ.setdefault("OMP_NUM_THREADS", "1")
    if "TMPDIR" not in os.environ and has_room(MEMORY):
        config.add_cleanup(files_in(MEMORY))


#: Galleries wait for the disk thousands of times, and a file system in memory has none to wait for.
#: What tests write is gone when they end; with `TMPDIR=/tmp` pytest keeps that of the last runs.
MEMORY = Path("/dev/shm")
_ROOM = 4 * 2**30


def has_room(folder: Path) -> bool:
    """Whether programs, too, can lie in this folder, and all that the tests write."""
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        return False
    return not os.statvfs(folder).f_flag & os.ST_NOEXEC and shutil.disk_usage(folder).free > _ROOM


def files_in(memory: Path) -> Callable[[], None]:
    """Have all temporary files of this process and its children in `memory`; what removes them."""
    folder = memory / f"deepfood-tests-{os.getpid()}"
    for left in memory.glob("deepfood-tests-*"):
        ended = not Path("/proc", left.name.split("-")[-1]).exists()
        if ended or left == folder:  # killed tests left it
            shutil.rmtree(left, ignore_errors=True)
    folder.mkdir()
    folder.chmod(0o755)  # some tests are another user, as they may be below /tmp
    os.environ["TMPDIR"] = tempfile.tempdir = str(folder)
    return lambda: shutil.rmtree(folder, ignore_errors=True)


#: What `make quick` leaves out, as far as a test's folder and fixtures tell; the rest is marked by
#: hand. Fixtures that are slow run deepfood in processes of its own.
FOLDERS = {"train": "train", "milvus": "slow", "deploy": "slow"}
FIXTURES = {
    "browser": "browser",
    "s3_server": "s3",
    "small_gallery": "slow",
    "dish_gallery": "slow",
    "tiny_gallery": "slow",
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Set the markers that follow from a test's place and fixtures; the longest files first."""
    order = {HERE / name: place for place, name in enumerate(LONGEST)}
    for item in items:
        for fixture, marker in FIXTURES.items():
            if fixture in getattr(item, "fixturenames", ()):
                item.add_marker(marker)
        folder = item.path.relative_to(HERE).parts[0] if item.path.is_relative_to(HERE) else ""
        if folder in FOLDERS:
            item.add_marker(FOLDERS[folder])
    items.sort(key=lambda item: order.get(item.path, len(order)))


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Nothing is kept in the cache of whoever runs the tests, nor found there."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DEEPFOOD_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture
def embedder(tmp_path: Path) -> Embedder:
    """The Embedder of a Model so small that it takes no time."""
    return tiny_embedder(tmp_path / "model")


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


@pytest.fixture
def built(tmp_path: Path) -> Path:
    """A gallery of 20 photos of a test's own, beside them and a Model that takes no time."""
    write_tiny_model(tmp_path / "model")
    write_photos(tmp_path / "photos", 20)
    build_tiny(tmp_path)
    return tmp_path / "gallery"


@pytest.fixture(scope="session")
def tiny_gallery(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """12 photos, and a Model so small that searching takes no time."""
    root = tmp_path_factory.mktemp("tiny")
    write_tiny_model(root / "model")
    write_photos(root / "photos", 12)
    build_tiny(root)
    return root / "gallery"
