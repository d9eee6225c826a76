"""A lock file: one process at a time, released by the system even when that process is killed."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from deepfood.errors import DeepfoodError

_POLL_S = 0.02


@contextmanager
def held(path: Path, busy: DeepfoodError, wait_s: float = 0) -> Iterator[None]:
    """Hold the lock file at `path`, whose folder is there.

    Raises `busy` where another process still holds it after `wait_s` seconds, and OSError where
    the file cannot be made.
    """
    lock = FileLock(path)
    try:
        lock.acquire(timeout=wait_s, poll_interval=_POLL_S)
    except Timeout:
        raise busy from None
    try:
        yield
    finally:
        lock.release()
