"""Run the service with uvicorn, in this process or in several workers that share one socket."""

import errno
import logging
import os
import signal
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import uvicorn

from deepfood.config import Settings, available_cores, export_settings
from deepfood.counted import counted
from deepfood.errors import PortTakenError, SettingError
from deepfood.photo import Limits
from deepfood.serve.app import create_app
from deepfood.serve.cursors import new_cursor_key
from deepfood.serve.edge.http1 import Config
from deepfood.serve.edge.workers import Workers
from deepfood.serve.service import open_service
from deepfood.serve.telemetry import logs
from deepfood.serve.telemetry.metrics import metrics_served

_log = logging.getLogger(__name__)

#: The least number of free file descriptors when the server starts.
_LEAST_FILES = 64


def bind(host: str, port: int) -> socket.socket:
    """Bind the address. Connections are refused until `run` listens.

    Raises PortTakenError, or SettingError for an address that is not of this machine.
    """
    with _clear_errors(host, port):
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        # The protocol must be named: asyncio turns Nagle's algorithm off only where it is TCP, and
        # Nagle delays each answer on a kept connection by 40 ms. socket.create_server leaves it 0.
        bound = socket.socket(family, kind, socket.IPPROTO_TCP)
        try:
            # Elsewhere this would let two servers share the port.
            if os.name == "posix":  # pragma: no branch - Windows
                bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            bound.bind(address)
        except BaseException:
            bound.close()
            raise
    bound.set_inheritable(True)
    return bound


@contextmanager
def _clear_errors(host: str, port: int) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise PortTakenError(
                f"port {port} on {host} is in use: stop what runs there, or choose another with "
                f"--port {port + 1} (make demo PORT={port + 1})"
            ) from error
        raise SettingError(f"cannot serve on {host} port {port}: {error.strerror}") from error


def run(settings: Settings, bound: socket.socket) -> None:
    """Serve until Ctrl-C or SIGTERM.

    Raises what opening the gallery raises, PortTakenError where another server listens on the
    address by now, and DeepfoodError where worker processes cannot start.
    """
    logs.configure(settings)
    logs.log_crashes()
    # Shared by all workers and by each gallery that is opened.
    cursor_key = settings.cursor_key or new_cursor_key()
    settings = settings.model_copy(update={"cursor_key": cursor_key})
    with metrics_served(settings):
        _run(settings, bound)
    _announce(settings, "ended")


def _run(settings: Settings, bound: socket.socket) -> None:
    service = open_service(settings)  # before any worker starts, to report errors once
    _expect_free_files()
    count = service.gallery.count
    # Not earlier, or a proxy would send requests that wait for the gallery. With SO_REUSEADDR,
    # Linux lets two processes bind one address; the later one fails here.
    with _clear_errors(settings.host, settings.port):
        bound.listen(2048)
    host, port = bound.getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host
    try:
        # Inside `try`: Ctrl-C may come before uvicorn handles it, and uvicorn raises the signal
        # again that ended it. Neither is a failure. A shell's background job ignores SIGINT until
        # uvicorn handles it; a signal that came before would be lost.
        for ends in (signal.SIGINT, signal.SIGTERM):
            signal.signal(ends, signal.default_int_handler)
        _announce(settings, f"{counted(count, 'photo')} on http://{shown}:{port}  (Ctrl-C ends it)")
        if settings.workers == 1:
            config = Config(create_app(settings, lambda _: service), settings)
            uvicorn.Server(config).run(sockets=[bound])
        else:
            service.close()
            threads = settings.threads or max(1, available_cores() // settings.workers)
            share = {
                "threads": threads,
                "max_decoding_bytes": Limits.of(settings).max_decoding_bytes // settings.workers,
            }
            export_settings(settings.model_copy(update=share))
            config = Config("deepfood.serve.app:app_for_worker", settings)
            Workers(config, sockets=[bound]).run()
    except KeyboardInterrupt:
        pass  # uvicorn has already finished the requests in progress


def _expect_free_files() -> None:
    """Raise OSError where too few files can be opened: uvloop would abort the process (SIGABRT)."""
    with ExitStack() as opened:
        for _ in range(_LEAST_FILES):
            opened.enter_context(open(os.devnull, "rb"))  # noqa: PTH123


def _announce(settings: Settings, text: str) -> None:
    """Print a line, or log it where the log is JSON for programs."""
    if settings.log_format == "json":
        _log.info("%s", text)
    else:
        print(f"deepfood: {text}", flush=True)
