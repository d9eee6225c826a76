"""Training on drawn plates with the smallest networks of timm: a second an epoch."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from deepfood.data.photos import list_photos
from deepfood.data.splits import split_photos
from deepfood.train.recipe import DEEPFOOD
from deepfood.train.run import Task
from dishes import write_dishes
from plates import LIMITS


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
        of_task = {
            name: changes.pop(name)
            for name in ("backbone", "weights", "workers", "checkpoint_s", "fresh", "device")
            if name in changes
        }
        recipe = DEEPFOOD.but(**{"epochs": 2, "batch": 8, "image_size": 32, **changes})
        fixed = {"backbone": "test_resnet", "weights": "none", "workers": 2, "device": "cpu"}
        return Task(
            split_photos(list_photos(photos), val_share=0.2),
            out or tmp_path / "model",
            recipe=recipe,
            limits=LIMITS,
            cache=tmp_path / "cache",
            quiet=True,
            **{**fixed, **of_task},  # type: ignore[arg-type]
        )

    return make
