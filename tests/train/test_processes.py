"""Two real processes that torchrun starts on the CPU (gloo) are one training."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from small import outcome

from deepfood.model import open_model
from deepfood.train.run import Task, open_training
from dishes import LABELS

HERE = Path(__file__).parent


def torchrun(
    photos: Path, out: Path, *, kill_at: int = 0, model: bool = False, **changes: Any
) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    path = os.pathsep.join([str(HERE), str(HERE.parent), os.environ.get("PYTHONPATH", "")])
    return subprocess.run(
        [*command, HERE / "rank.py", photos, out, json.dumps(changes), str(kill_at), f"{model:d}"],
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
        env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
    )


def both(out: Path) -> list[dict[str, Any]]:
    return [json.loads((out / f"rank-{rank}.json").read_text()) for rank in (0, 1)]


def test_two_processes_train_as_one_does(
    task: Callable[..., Task], dishes: Path, tmp_path: Path
) -> None:
    """A network without batch norm, a loss that is a mean over photos: the sums are the same.

    float32 sums in another order differ by some 1e-7 a step; ten steps of Adam make 1e-3 of it at
    most, since it divides by the size of the gradient.
    """
    changes: dict[str, Any] = {"backbone": "test_vit", "image_size": None, "precision": "f32"}
    # CutMix draws in each process for itself, as dropout does.
    changes |= {"loss": "cosine-margin", "epochs": 2, "cutmix": 0.0}
    with open_training(task(**changes, out=tmp_path / "one")) as training:
        training.run(lambda record, best: None)
        one = outcome(training)
    out = tmp_path / "two"
    done = torchrun(dishes, out, model=True, **changes)
    assert done.returncode == 0, done.stderr
    first, second = both(out)
    assert first == second
    assert first["updates"] == one["updates"] > 0
    for ours, theirs in zip(one["records"], first["records"], strict=True):
        for name in ("loss", "val loss", "lr"):
            assert theirs[name] == pytest.approx(ours[name], rel=1e-3), name
    model = open_model(out)  # one Model, whole
    assert model.manifest.labels == tuple(sorted(LABELS))
    assert model.manifest.training["hardware"] == "cpu x 2, f32"
    assert len(list(out.rglob("*.onnx"))) == 1


def test_killed_and_started_again_two_processes_end_with_the_same_numbers(
    dishes: Path, tmp_path: Path
) -> None:
    """With batch norm, whose counts each process has its own of."""
    changes: dict[str, Any] = {"epochs": 3, "patience": 0, "checkpoint_s": 0}
    whole = torchrun(dishes, tmp_path / "whole", **changes)
    assert whole.returncode == 0, whole.stderr
    first, second = both(tmp_path / "whole")
    assert {**first, "weights": ""} == {**second, "weights": ""}  # counts differ between epochs

    killed = torchrun(dishes, tmp_path / "killed", kill_at=7, **changes)
    assert killed.returncode != 0
    assert "Signal 9" in killed.stderr
    assert not (tmp_path / "killed" / "rank-0.json").exists()
    again = torchrun(dishes, tmp_path / "killed", **changes)
    assert again.returncode == 0, again.stderr
    assert both(tmp_path / "killed")[0] == first
