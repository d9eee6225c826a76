"""Lock files: one holder among threads and processes, and none once that one is gone."""

import errno
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from deepfood import locks
from deepfood.errors import ArtifactBusyError
from deepfood.locks import held

BUSY = ArtifactBusyError("somebody else has it")
HOLDER = """
import sys, time
from pathlib import Path
from deepfood.locks import held
with held(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def hold_elsewhere(path: Path) -> subprocess.Popen[str]:
    """A process that holds the lock until its standard input ends."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, path],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


@pytest.fixture(params=["flock", "filelock"])
def path(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A lock file, with the system's own locks and where a file system has none."""
    if request.param == "filelock":
        monkeypatch.setattr(locks, "_try", locks._try_filelock)
    return tmp_path / "lock"


def test_one_holder_at_a_time(path: Path) -> None:
    with held(path, BUSY):
        with pytest.raises(ArtifactBusyError, match="somebody else has it"), held(path, BUSY):
            pass
        with pytest.raises(ArtifactBusyError), held(path, BUSY, wait_s=0.1):
            pass
    with held(path, BUSY):
        pass


def test_an_error_within_releases_it(path: Path) -> None:
    with pytest.raises(ZeroDivisionError), held(path, BUSY):
        raise ZeroDivisionError
    with held(path, BUSY):
        pass


def test_who_waits_gets_it_when_it_is_released(path: Path) -> None:
    events: list[str] = []

    def wait_for_it() -> None:
        with held(path):
            events.append("got")

    waiting = threading.Thread(target=wait_for_it)
    with held(path, BUSY):
        waiting.start()
        waiting.join(0.2)
        events.append("released")
    waiting.join(60)
    assert events == ["released", "got"]


def test_a_killed_holder_holds_nothing(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with hold_elsewhere(path) as process:
        with pytest.raises(ArtifactBusyError), held(path, BUSY):
            pass
        process.send_signal(signal.SIGKILL)
        process.wait()
    with held(path, BUSY):
        pass


def test_a_lock_file_that_was_removed_is_made_anew(tmp_path: Path) -> None:
    """Its holder may go on; the file of that name is another one."""
    path = tmp_path / "lock"
    with held(path, BUSY):
        path.unlink()
        with held(path, BUSY), pytest.raises(ArtifactBusyError), held(path, BUSY):
            pass


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no flock")
def test_file_systems_without_flock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    path = tmp_path / "lock"
    monkeypatch.setattr("deepfood.locks.fcntl.flock", refuse)
    with pytest.raises(OSError, match=os.strerror(errno.ENOLCK)), held(path, BUSY):
        pass  # filelock too was refused: nobody may take the lock for held


def test_a_folder_that_is_not_there_and_a_link(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), held(tmp_path / "none" / "lock"):
        pass
    (tmp_path / "link").symlink_to(tmp_path / "file")
    with pytest.raises(OSError, match="link"), held(tmp_path / "link"):
        pass
    assert not (tmp_path / "file").exists()
