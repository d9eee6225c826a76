"""Two real processes that torchrun starts on the CPU (gloo) are one training."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from small import outcome

from deepfood.model import open_model
from deepfood.train.backbone import create_backbone
from deepfood.train.run import Task, open_training
from dishes import LABELS

HERE = Path(__file__).parent


# A network without batch norm, and a loss that is a mean over photos. CutMix draws in each process
# for itself, as dropout does.
ALIKE: dict[str, Any] = {
    "backbone": "test_vit",
    "image_size": None,
    "precision": "f32",
    "loss": "cosine-margin",
    "epochs": 2,
    "cutmix": 0.0,
    "backbone_lr_share": 0.1,  # it learns slowly enough to be better after two epochs
}
# With batch norm, whose counts each process has its own of.
RESUMED: dict[str, Any] = {"epochs": 3, "patience": 0, "checkpoint_s": 0}


def alike(folder: Path) -> dict[str, Any]:
    """ALIKE, from the weights in `folder`."""
    return {**ALIKE, "weights": str(folder / "weights.pth")}


def training(out: Path, changes: dict[str, Any], *, model: bool = False) -> dict[str, Any]:
    return {"out": str(out), "changes": changes, "model": model}


def torchrun(
    photos: Path, trainings: list[dict[str, Any]], *, kill_at: int = 0
) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    path = os.pathsep.join([str(HERE), str(HERE.parent), os.environ.get("PYTHONPATH", "")])
    return subprocess.run(
        [*command, HERE / "rank.py", photos, json.dumps(trainings), str(kill_at)],
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
        env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
    )


def both(out: Path) -> list[dict[str, Any]]:
    return [json.loads((out / f"rank-{rank}.json").read_text()) for rank in (0, 1)]


@pytest.fixture(scope="module")
def trained(dishes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The trainings `killed`, `whole` and `alike`, of two starts: a start imports torch 2 times."""
    folder = tmp_path_factory.mktemp("trained")
    torch.manual_seed(0)
    torch.save(create_backbone(ALIKE["backbone"]).state_dict(), folder / "weights.pth")
    killed = training(folder / "killed", RESUMED)
    done = torchrun(dishes, [killed], kill_at=7)
    assert done.returncode != 0
    assert "Signal 9" in done.stderr
    assert not (folder / "killed" / "rank-0.json").exists()
    others = [
        training(folder / "whole", RESUMED),
        training(folder / "alike", alike(folder), model=True),
    ]
    again = torchrun(dishes, [killed, *others])
    assert again.returncode == 0, again.stderr
    return folder


def test_two_processes_train_as_one_does(
    task: Callable[..., Task], trained: Path, tmp_path: Path
) -> None:
    """The sums are the same.

    float32 sums in another order differ by some 1e-7 a step; ten steps of Adam make 1e-3 of it at
    most, since it divides by the size of the gradient.
    """
    with open_training(task(**alike(trained), out=tmp_path / "one")) as alone:
        alone.run(lambda record, best: None)
        one = outcome(alone)
    first, second = both(trained / "alike")
    assert first == second
    assert first["updates"] == one["updates"] > 0
    for ours, theirs in zip(one["records"], first["records"], strict=True):
        for name in ("loss", "val loss", "lr"):
            assert theirs[name] == pytest.approx(ours[name], rel=1e-3), name
    model = open_model(trained / "alike")  # one Model, whole
    assert model.manifest.labels == tuple(sorted(LABELS))
    assert model.manifest.training["hardware"] == "cpu x 2, f32"
    assert len(list((trained / "alike").rglob("*.onnx"))) == 1


def test_two_processes_that_were_killed_end_with_the_same_numbers(trained: Path) -> None:
    first, second = both(trained / "whole")
    assert {**first, "weights": ""} == {**second, "weights": ""}  # counts differ between epochs
    assert both(trained / "killed")[0] == first
