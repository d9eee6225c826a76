"""Report too little address space (`ulimit -v`) as a one-line error.

C libraries fail in different ways. OpenBLAS (in faiss) takes hundreds of MB when it is loaded, more
on machines with more cores, and crashes without a message (SIGSEGV); so does OpenVINO while it
compiles. If there is a limit, which is rare, the command therefore runs in a forked process, and
the parent reports how that ended.
"""

import os
import signal
import sys
import threading

from deepfood.errors import SettingError

#: How the loader and C libraries report that there is no address space left.
_NO_MEMORY = ("failed to map segment", "cannot allocate memory", "bad_alloc", "not enough memory")


def run_forked() -> int | None:
    """Fork if the address space is limited, and return the child's exit status.

    None in the child, which then runs the command, and without a limit, where nothing is forked.
    Raises SettingError if the child crashed as it does with too little memory.
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
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the child directly
    signal.signal(signal.SIGTERM, lambda *_: os.kill(child, signal.SIGTERM))
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if -code in (signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS):
        raise too_little_memory(f"a library ended by {signal.Signals(-code).name}")
    return code if code >= 0 else 128 - code


def is_too_little_memory(error: BaseException) -> bool:
    """Whether a library failed for want of memory."""
    message = str(error).lower()
    return isinstance(error, MemoryError) or any(text in message for text in _NO_MEMORY)


def too_little_memory(what: str) -> SettingError:
    limit_mb = _limit_mb()
    if limit_mb is None:
        return SettingError(f"there is too little memory: {what}")
    return SettingError(
        f"{limit_mb:,} MB of address space are too little: {what}; allow 2,000 MB or more "
        "(ulimit -v), or bound memory by a container or cgroup instead"
    )


def _end_with_parent(alive: int) -> None:
    os.read(alive, 1)  # returns when the other end is closed
    os.kill(os.getpid(), signal.SIGTERM)


def _limit_mb() -> int | None:
    if sys.platform == "win32":
        return None
    import resource

    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    return None if limit == resource.RLIM_INFINITY else limit // 2**20
