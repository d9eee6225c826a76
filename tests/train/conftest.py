"""Training on drawn plates with the smallest networks of timm: a second an epoch."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from small import small_task

from deepfood.train.run import Task
from dishes import write_dishes


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> Iterator[None]:
    """Networks this small gain nothing from threads, and wait for each other on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def dishes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """36 plates of three labels, in a folder with a photos.csv."""
    return write_dishes(tmp_path_factory.mktemp("dishes"))


@pytest.fixture
def task(dishes: Path, tmp_path: Path) -> Callable[..., Task]:
    """A small training of `dishes`; keywords of Recipe and of Task change it."""

    def make(photos: Path = dishes, out: Path | None = None, **changes: object) -> Task:
        return small_task(photos, out or tmp_path / "model", **changes)

    return make
