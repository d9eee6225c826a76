"""Servers as processes of their own: deepfood's and the reference's, each on a free port."""

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.request import urlopen

_HERE = Path(__file__).parent


@dataclass(frozen=True)
class Server:
    port: int
    pid: int

    @property
    def rss_mb(self) -> float:
        """Resident memory in MB (10^6 bytes), as the system counts it."""
        command = ["ps", "-o", "rss=", "-p", str(self.pid)]
        return int(subprocess.run(command, check=True, capture_output=True).stdout) * 1024 / 1e6

    def ask(self, path: str, body: bytes | None = None) -> bytes:
        """GET, or with a body POST, as a form; raises for anything but an answer of 200."""
        url = f"http://127.0.0.1:{self.port}{path}"
        with urlopen(url, body, timeout=60) as answer:
            return bytes(answer.read())


@contextmanager
def reference_server(folder: Path) -> Iterator[Server]:
    with _running([sys.executable, str(_HERE / "reference.py"), str(folder)], folder) as server:
        yield server


@contextmanager
def deepfood_server(
    gallery: Path,
    model: Path | None = None,
    python: str = sys.executable,
    more: tuple[str, ...] = (),
    entry: tuple[str, ...] = ("-m", "deepfood.cli"),
) -> Iterator[Server]:
    command = [python, *entry, "serve", str(gallery), "--port", "0", *more]
    command += ["--model", str(model)] if model else []
    with _running(command, gallery) as server:
        yield server


@contextmanager
def _running(command: list[str], folder: Path) -> Iterator[Server]:
    """Start, wait for the line that names the address, and end it in the end."""
    # In a folder of its own, so that no deepfood.toml lies there.
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=folder) as process:
        try:
            line = process.stdout.readline() if process.stdout else ""
            address = re.search(r"http://127\.0\.0\.1:(\d+)", line)
            if address is None:
                raise SystemExit(f"{' '.join(command)} did not start: {line}")
            yield Server(int(address[1]), process.pid)
        finally:
            process.terminate()
