"""Limits of the system on a process, such as a disk that is full: `limited.py BYTES COMMAND ...`.

Run as a program, it is deepfood with no file larger than BYTES; 0 is no limit.
"""

import atexit
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path


def limit(what: int, most: int) -> None:
    """Limit a resource of this process until it ends: then coverage writes what it has measured."""
    before = resource.getrlimit(what)
    atexit.register(resource.setrlimit, what, before)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(what, (most, before[1]))


def deepfood_on_a_small_disk(
    most: int, *arguments: object, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run a deepfood command with no file larger than `most` bytes, 0 for no limit."""
    return subprocess.run(
        [sys.executable, "-P", Path(__file__), str(most), *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        env={**os.environ, **environment},
    )


if __name__ == "__main__":
    from deepfood.cli import main

    if bytes_allowed := int(sys.argv.pop(1)):
        limit(resource.RLIMIT_FSIZE, bytes_allowed)
    main()
