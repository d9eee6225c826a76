"""Killed in earnest wherever it may be, a training ends bit for bit as one that was left alone."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from dishes import write_dishes

HERE = Path(__file__).parent


def stubborn(photos: Path, out: Path, moments: str, seed: int = 0) -> tuple[Any, str]:
    """What stubborn.py prints, and what it says beside."""
    path = os.pathsep.join([str(HERE), str(HERE.parent), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, HERE / "stubborn.py", photos, out, moments, str(seed)],
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
        env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout), done.stderr


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One of them is broken: what stands in for it, and its record, must not change either."""
    folder = write_dishes(tmp_path_factory.mktemp("photos"))
    (folder / "07.jpg").write_bytes(b"no photo")
    return folder


@pytest.fixture(scope="module")
def whole(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    found, _ = stubborn(photos, tmp_path_factory.mktemp("whole"), "none")
    assert set(found["outcome"]["broken"]) == {"07.jpg"}
    return found["outcome"]


def test_killed_at_each_write_and_between_epochs(photos: Path, whole: Any, tmp_path: Path) -> None:
    found, _ = stubborn(photos, tmp_path / "out", "writes")
    assert found["statuses"] == [-signal.SIGKILL] * 7
    assert found["outcome"] == whole


def test_killed_at_random_moments(photos: Path, whole: Any, tmp_path: Path) -> None:
    found, _ = stubborn(photos, tmp_path / "out", "random", seed=1)
    assert -signal.SIGKILL in found["statuses"]
    assert found["outcome"] == whole


def test_a_full_disk_is_named_and_the_last_good_checkpoint_goes_on(
    photos: Path, whole: Any, tmp_path: Path
) -> None:
    found, said = stubborn(photos, tmp_path / "out", "full")
    assert found["statuses"] == [-signal.SIGKILL, 3]
    assert "no space left on the disk of" in said
    assert "last.pt: free some and run the same command again" in said
    assert found["outcome"] == whole
