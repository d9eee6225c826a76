"""Exchange two folders atomically, where the system supports it."""

import ctypes
import os
import sys
from pathlib import Path

_AT_FDCWD = -100
_RENAME_EXCHANGE = 2
_RENAME_SWAP = 2


def exchange(one: Path, other: Path) -> bool:
    """Swap the names of two paths of one file system, so that neither is ever missing.

    Returns False, without any change, where this is not supported.
    """
    names = os.fsencode(one), os.fsencode(other)
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        if sys.platform == "linux":
            done = libc.renameat2(_AT_FDCWD, names[0], _AT_FDCWD, names[1], _RENAME_EXCHANGE)
        else:
            done = libc.renamex_np(*names, _RENAME_SWAP)
    except (AttributeError, OSError, TypeError):  # no such call; on Windows, no such library
        return False
    return bool(done == 0)
