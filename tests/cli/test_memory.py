"""Commands under `ulimit -v`: one line where it is too little, and as ever where it is enough."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from deepfood.cli.memory import too_little_memory

pytestmark = pytest.mark.slow

PLENTY_MB = 8_000


def limited(megabytes: int, *arguments: object) -> list[str]:
    """A deepfood command in that much address space. The shell sets the limit: Python would do it
    between fork and exec, where gRPC, which other tests load, wakes up and aborts."""
    command = [sys.executable, "-m", "deepfood.cli", *map(str, arguments)]
    return ["sh", "-c", f'ulimit -v {megabytes * 1024}; exec "$@"', "sh", *command]


def run(megabytes: int, *arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        limited(megabytes, *arguments),
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        # OpenBLAS takes more with each core.
        env=os.environ | {"OPENBLAS_NUM_THREADS": "2", "OMP_NUM_THREADS": "2"},
    )


@pytest.mark.parametrize("megabytes", [320, 400, 500])
@pytest.mark.parametrize("command", ["info", "serve", "search"])
def test_too_little_address_space_is_one_line(
    command: str, megabytes: int, tiny_gallery: Path
) -> None:
    more = [tiny_gallery.parent / "photos"] if command == "search" else []
    done = run(megabytes, command, tiny_gallery, *more)
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith(f"deepfood: {megabytes} MB of address space are too little")
    assert done.stderr.count("\n") == 1


def test_with_enough_a_command_does_and_says_what_it_does_without_a_limit(
    tiny_gallery: Path, tmp_path: Path
) -> None:
    done = run(PLENTY_MB, "info", tiny_gallery)
    assert (done.returncode, done.stderr) == (0, "")
    assert "gallery" in done.stdout
    wrong = run(PLENTY_MB, "info", tmp_path / "nothing")
    assert (wrong.returncode, wrong.stderr.count("\n")) == (2, 1)


def test_where_no_limit_is_set_none_is_named() -> None:
    said = str(too_little_memory("an array of 9 GB"))
    assert said == "there is too little memory: an array of 9 GB"


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_the_copy_that_serves_ends_with_the_process_that_was_started(
    how: signal.Signals, tiny_gallery: Path, tmp_path: Path
) -> None:
    command = limited(PLENTY_MB, "serve", tiny_gallery, "--port", "0")
    log = tmp_path / "log"
    with (
        log.open("wb") as file,
        subprocess.Popen(command, stdout=file, stderr=file) as process,
    ):
        while not (found := re.search(r"photos? on (http://\S+)", log.read_text())):
            assert process.poll() is None, log.read_text()
            time.sleep(0.02)
        assert httpx.get(f"{found[1]}/healthz").status_code == 200
        process.send_signal(how)
        assert process.wait(timeout=300) == (-signal.SIGKILL if how is signal.SIGKILL else 0)
    ends = time.monotonic() + 60
    while "deepfood: ended" not in log.read_text():
        assert time.monotonic() < ends
        time.sleep(0.02)
