"""A training that was killed, at whatever moment, ends bit for bit as one that was not."""

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


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One of them is broken: what stands in for it, and its record, must not change either."""
    folder = write_dishes(tmp_path_factory.mktemp("photos"))
    (folder / "07.jpg").write_bytes(b"no photo")
    return folder


@pytest.fixture(scope="module")
def stubborn(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, str]:
    """What stubborn.py prints on stdout, and on stderr."""
    path = os.pathsep.join([str(HERE), str(HERE.parent), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, HERE / "stubborn.py", photos, tmp_path_factory.mktemp("stubborn"), "1"],
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
        env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert set(found["whole"]["outcome"]["broken"]) == {"07.jpg"}
    return found, done.stderr


def test_killed_at_each_write_and_between_epochs(stubborn: tuple[Any, str]) -> None:
    found, _ = stubborn
    assert found["writes"]["statuses"] == [-signal.SIGKILL] * 7
    assert found["writes"]["outcome"] == found["whole"]["outcome"]


def test_killed_at_random_moments(stubborn: tuple[Any, str]) -> None:
    found, _ = stubborn
    assert -signal.SIGKILL in found["random"]["statuses"]
    assert found["random"]["outcome"] == found["whole"]["outcome"]


def test_a_full_disk_is_named_and_the_last_good_checkpoint_goes_on(
    stubborn: tuple[Any, str],
) -> None:
    found, stderr = stubborn
    assert found["full"]["statuses"] == [-signal.SIGKILL, 3]
    assert "no space left on the disk of" in stderr
    assert "last.pt: free some and run the same command again" in stderr
    assert found["full"]["outcome"] == found["whole"]["outcome"]
