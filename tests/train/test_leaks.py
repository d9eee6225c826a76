"""`train` and `adapt` say what is in two splits, and the Model remembers it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dishes import write_leaky
from live import run_here
from plates import write_tiny_model

LEAK = "leakage: val has photos of train too, 1 the same and 1 nearly ('val/soup/same.jpg' is "


@pytest.fixture(scope="module")
def leaky(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_leaky(tmp_path_factory.mktemp("leaky") / "photos")


@pytest.fixture
def deepfood(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Runs a command to its end; what it printed."""

    def run(*arguments: object) -> str:
        assert run_here(*arguments) == 0
        return capsys.readouterr().out

    return run


def leaks_in(notes: list[str]) -> list[str]:
    return [note.split(" has ")[0] for note in notes if note.startswith("leakage")]


def record(model: Path) -> dict[str, Any]:
    training: dict[str, Any] = json.loads((model / "manifest.json").read_text())["training"]
    return training


def test_train_reports_leaks(deepfood: Callable[..., str], leaky: Path, tmp_path: Path) -> None:
    out = tmp_path / "model"
    command = ["train", leaky, "--out", out, "--backbone", "test_resnet", "--weights", "none"]
    command += ["--epochs", 1, "--batch", 4, "--image-size", 32, "--device", "cpu"]
    printed = deepfood(*command)
    assert f"note: {LEAK}" in printed
    assert printed.index(LEAK) < printed.index("epoch 1/1")
    about = json.loads(deepfood(*command, "--json"))
    assert leaks_in(about["notes"]) == ["leakage: val", "leakage: test"]
    assert record(out)["notes"] == about["notes"]
    assert LEAK in (out / "README.md").read_text()


def test_adapt_reports_leaks(deepfood: Callable[..., str], leaky: Path, tmp_path: Path) -> None:
    base, out = write_tiny_model(tmp_path / "base"), tmp_path / "model"
    command = ["adapt", leaky, "--out", out, "--model", base]
    assert f"note: {LEAK}" in deepfood(*command)
    about = json.loads(deepfood(*command, "--json"))
    assert leaks_in(about["notes"]) == ["leakage: val", "leakage: test"]
    assert record(out)["notes"] == about["notes"]
    assert LEAK in (out / "README.md").read_text()
