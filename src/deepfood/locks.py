"""A lock file: one holder at a time; the system releases it even when the holder is killed.

Where the system has flock(2), that alone is used: it takes microseconds, and each single `add` to a
gallery takes a lock. Elsewhere (Windows, and file systems without flock) filelock does it.
"""

import errno
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from deepfood.errors import DeepfoodError, raising_disk_full

if sys.platform != "win32":
    import fcntl

_POLL_S = 0.02
_HELD_BY_OTHERS = {errno.EAGAIN, errno.EACCES}


@contextmanager
def held(path: Path, busy: DeepfoodError | None = None, wait_s: float = 0) -> Iterator[None]:
    """Hold the lock file at `path`, whose folder is there.

    Raises `busy` where another process or thread still holds it after `wait_s` seconds; without
    `busy`, waits for as long as it takes. Raises DiskFullError, and OSError where the file
    cannot be made.
    """
    end = time.monotonic() + wait_s
    while True:
        with raising_disk_full(path.parent):
            release = _try(path)
        if release is not None:
            break
        if busy is not None and time.monotonic() >= end:
            raise busy
        time.sleep(_POLL_S)
    try:
        yield
    finally:
        release()


def _try(path: Path) -> Callable[[], object] | None:
    """Take the lock if nobody holds it: what releases it, or None."""
    if sys.platform == "win32":
        return _try_filelock(path)
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
    taken = False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # A file that was removed between the two calls is locked by nobody else any more.
        taken = os.fstat(handle).st_nlink > 0
    except OSError as error:
        if error.errno not in _HELD_BY_OTHERS:  # a file system without flock
            return _try_filelock(path)
    finally:
        if not taken:
            os.close(handle)
    return (lambda: _release(handle)) if taken else None


def _release(handle: int) -> None:
    try:
        # Explicitly, as a child that was forked meanwhile also has the file open.
        fcntl.flock(handle, fcntl.LOCK_UN)
    finally:
        os.close(handle)


def _try_filelock(path: Path) -> Callable[[], object] | None:
    lock = FileLock(path)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        return None
    return lock.release
