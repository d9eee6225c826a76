"""The worker processes of `deepfood serve --workers`, and the parent that supervises them."""

import logging
import multiprocessing
import os
import signal
import socket
import threading
import time

from uvicorn.config import STARTUP_FAILURE
from uvicorn.supervisors.multiprocess import Multiprocess, Process

from deepfood.errors import DeepfoodError
from deepfood.serve.edge.http1 import GRACE_S, Config

_log = logging.getLogger(__name__)

#: Seconds until a worker that could not start is retried, while others serve.
_RESTART_S = 5.0
#: Seconds that a worker may take to end after its last requests.
_END_S = 5.0

#: The most likely cause of a signal that ends a process.
_CAUSES = {
    "SIGBUS": "a file of the gallery or the Model was overwritten or cut off where it lies, "
    "or its disk fails (put another in its place by renaming it, and run deepfood verify)",
    "SIGSEGV": "a library found too little memory, or has a fault",
    "SIGABRT": "a library found too little memory, or has a fault",
    "SIGKILL": "it was killed by a user, or by the system for want of memory",
}


class Workers(Multiprocess):
    """uvicorn's parent process, which replaces a worker that ends or hangs.

    uvicorn's own parent blocks while it waits for a worker that is stopped or hangs, and handles no
    signals meanwhile. It also ends all workers if one cannot start.
    """

    def __init__(self, config: Config, sockets: list[socket.socket]) -> None:
        super().__init__(config, sockets)
        self._ends_within_s = config.drain_s + GRACE_S + _END_S
        self._pinged: dict[Process, float] = {}
        self._restart_at: dict[Process, float] = {}
        self._failed = False

    def run(self) -> None:
        """Serve until told to end. Raises DeepfoodError where no worker can start."""
        super().run()
        if self._failed:
            raise DeepfoodError("no worker could start: the lines above say why")

    def keep_subprocess_alive(self) -> None:
        if self.should_exit.is_set():
            return
        for place, worker in enumerate(self.processes):
            if worker.process.is_alive() and self._is_responsive(worker):
                continue
            if worker.exitcode == STARTUP_FAILURE and not self._may_restart(worker):
                if not any(one.process.is_alive() for one in self.processes):
                    self._failed = True
                    self.should_exit.set()
                    return
                continue
            worker.process.join(1)  # the exit code may take a moment
            cause = _cause_of(worker.exitcode)
            worker.kill()
            worker.process.join()
            self._pinged.pop(worker, None)
            self._restart_at.pop(worker, None)
            _log.error("worker %d %s: another takes its place", worker.pid, cause)
            self.processes[place] = Process(self.config, self.sockets)
            self.processes[place].start()

    def terminate_all(self) -> None:
        super().terminate_all()
        for worker in self.processes:
            if os.name == "posix" and worker.process.is_alive() and worker.pid is not None:
                os.kill(worker.pid, signal.SIGCONT)  # a stopped process would not handle the signal
        for one in self.sockets:
            one.close()  # or clients could still connect without an answer

    def join_all(self) -> None:
        ends = time.monotonic() + self._ends_within_s
        for worker in self.processes:
            worker.process.join(max(0.0, ends - time.monotonic()))
            if worker.process.is_alive():
                _log.warning("worker %d does not end, and is killed", worker.pid)
                worker.process.kill()
                worker.process.join()

    def _is_responsive(self, worker: Process) -> bool:
        """Whether a worker has answered in the last `timeout_worker_healthcheck` seconds."""
        now = time.monotonic()
        since = self._pinged.setdefault(worker, now)
        try:
            if since == now:
                worker.parent_conn.send(b"ping")
            elif worker.parent_conn.poll(0):
                worker.parent_conn.recv()
                del self._pinged[worker]
                return True
        except (OSError, EOFError):
            return False
        return now - since < self.config.timeout_worker_healthcheck

    def _may_restart(self, worker: Process) -> bool:
        """Whether it is time to start a worker again that could not start."""
        now = time.monotonic()
        return now > self._restart_at.setdefault(worker, now + _RESTART_S)


def _cause_of(exitcode: int | None) -> str:
    if exitcode is None:
        return "does not answer, stopped or hanging"
    if exitcode >= 0:
        return "could not start" if exitcode == STARTUP_FAILURE else f"ended with {exitcode}"
    name = signal.Signals(-exitcode).name
    return f"ended by {name}; {_CAUSES.get(name, 'the signal was sent to it')}"


def end_with_parent() -> None:
    """End this worker when its parent ends for any reason, to free the port."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def wait() -> None:
        parent.join()
        _log.error("the parent process is gone: this worker ends")
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait, name="parent", daemon=True).start()
