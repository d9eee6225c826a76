"""Temporary files, written beside the files that they will replace.

Such a file is `.NAME.TOKEN.new` with a random token, so that any number of processes may write the
same file at once. The writer holds its lock, which the system releases when the process ends, so
that leftovers of killed processes are recognized and removed.
"""

import contextlib
import os
import secrets
import sys
from collections.abc import Iterator
from pathlib import Path

if sys.platform != "win32":
    import fcntl

_SUFFIX = ".new"


def name_beside(path: Path) -> Path:
    """A name in the folder of `path` that nobody else has."""
    return path.with_name(f".{path.name}.{secrets.token_hex(8)}{_SUFFIX}")


@contextlib.contextmanager
def beside(path: Path) -> Iterator[Path]:
    """An empty file beside `path`, to be written and renamed over it within the block.

    Afterwards it is gone, whether it was renamed or not; what killed processes left beside `path`
    is removed first. Raises OSError where the folder cannot be written.
    """
    _remove_abandoned(path)
    new, handle = _created(path)
    try:
        yield new
    finally:
        new.unlink(missing_ok=True)
        if handle is not None:  # pragma: no branch - Windows
            os.close(handle)


def _created(path: Path) -> tuple[Path, int | None]:
    """A new file, and the handle that holds its lock, None where the system has no such locks."""
    while True:
        new = name_beside(path)
        handle = os.open(new, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o666)
        if sys.platform == "win32":
            os.close(handle)
            return new, None
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            own = os.fstat(handle).st_nlink > 0
        except BlockingIOError:  # pragma: no cover - another process at this very moment
            own = False
        except OSError:  # a file system without locks: nobody else gets one there either
            own = True
        if own:  # pragma: no branch - else somebody took it for abandoned before it was locked
            return new, handle
        os.close(handle)  # pragma: no cover


def _remove_abandoned(path: Path) -> None:
    """Remove what is beside `path`, and whose lock nobody holds."""
    if sys.platform == "win32":
        return
    with os.scandir(path.parent) as entries:
        names = [one.name for one in entries]
    for name in names:
        if not (name.startswith(f".{path.name}.") and name.endswith(_SUFFIX)):
            continue
        found = path.with_name(name)
        with contextlib.suppress(OSError):  # gone by now, somebody else's, or being written
            handle = os.open(found, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                found.unlink()
            finally:
                os.close(handle)
