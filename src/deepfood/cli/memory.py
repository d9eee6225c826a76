"""Too little address space (`ulimit -v`), said in a line.

Libraries in C meet it in their own ways. The OpenBLAS of faiss, which takes some hundred MB when it
is loaded, and more on a machine with more cores, ends the process without a word (SIGSEGV), and so
does OpenVINO in the middle of compiling. So where there is a limit, which is rare, a command runs
in a copy of its process, and this one says how that ended.
"""

import os
import signal
import sys
import threading

from deepfood.errors import SettingError

#: How the loader and C libraries say that there is no address space left.
_NO_MEMORY = ("failed to map segment", "cannot allocate memory", "bad_alloc", "not enough memory")


def ended_apart() -> int | None:
    """How the copy of this process ended that ran the command: its exit status.

    None in that copy, which goes on; and where the address space has no limit, so that there is no
    copy. Raises SettingError where the copy died as too little memory makes it.
    """
    if _limit_mb() is None:
        return None
    alive, held = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(held)
        threading.Thread(target=_end_with_parent, args=[alive], daemon=True).start()
        return None
    os.close(alive)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the copy by itself
    signal.signal(signal.SIGTERM, lambda *_: os.kill(child, signal.SIGTERM))
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if -code in (signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS):
        raise too_little_memory(f"a library ended by {signal.Signals(-code).name}")
    return code if code >= 0 else 128 - code


def is_too_little_memory(error: BaseException) -> bool:
    """Whether that is what an error of a library says."""
    said = str(error).lower()
    return isinstance(error, MemoryError) or any(text in said for text in _NO_MEMORY)


def too_little_memory(what: str) -> SettingError:
    limit_mb = _limit_mb()
    if limit_mb is None:
        return SettingError(f"there is too little memory: {what}")
    return SettingError(
        f"{limit_mb:,} MB of address space are too little: {what}; allow 2,000 MB or more "
        "(ulimit -v), or bound memory by a container or cgroup instead"
    )


def _end_with_parent(alive: int) -> None:
    os.read(alive, 1)  # nothing ever comes: this returns when the other end is closed
    os.kill(os.getpid(), signal.SIGTERM)


def _limit_mb() -> int | None:
    if sys.platform == "win32":
        return None
    import resource

    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    return None if limit == resource.RLIM_INFINITY else limit // 2**20
