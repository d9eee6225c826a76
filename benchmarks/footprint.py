"""The footprint of deepfood: size of the core install, memory, time to the first result."""

import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any

from client import search_form
from photos import PhotoSet
from report import Section, Table
from servers import deepfood_server

_ROOT = Path(__file__).parents[1]
_SEARCHES = 200
_LARGEST = 8


def measure(photos: PhotoSet, work: Path, rounds: int) -> Section:
    python = _fresh_install(work / "core")
    gallery = work / "gallery-core"
    command = [python, "-m", "deepfood.cli", "build", str(photos.folder), "--out", str(gallery)]
    subprocess.run(command, check=True, capture_output=True, cwd=work)
    forms = [search_form(path) for path in photos.files[:_SEARCHES]]
    ready, first = [], []
    for _ in range(rounds):
        started = time.perf_counter()
        with deepfood_server(gallery, python=python) as server:
            server.ask("/readyz")
            ready.append(time.perf_counter() - started)
            at_start = server.rss_mb
            started_search = time.perf_counter()
            server.ask("/search", forms[0])
            first.append(ready[-1] + time.perf_counter() - started_search)
            for number in range(_SEARCHES):
                server.ask("/search", forms[number % len(forms)])
            later = server.rss_mb
    sizes = _sizes(work / "core")
    rows: list[tuple[Any, ...]] = [
        ("core install (fresh venv, pip install ./client .)", sum(sizes.values()), "MB"),
        *((f"… {name}", size, "MB") for name, size in list(sizes.items())[:_LARGEST]),
        ("server, memory after start", at_start, "MB"),
        (f"server, memory after {_SEARCHES} searches", later, "MB"),
        ("`deepfood serve` to ready", median(ready), "s"),
        ("`deepfood serve` to first search answered", median(first), "s"),
    ]
    note = f"{len(photos.files)} photos; times are medians of {rounds} starts; MB is 10^6 bytes."
    return Section("Footprint", [Table("Core install", ("what", "measured", "unit"), rows, note)])


def _fresh_install(venv: Path) -> str:
    python = str(venv / "bin" / "python")
    subprocess.run([sys.executable, "-m", "venv", str(venv)], check=True)
    subprocess.run(
        [python, "-m", "pip", "install", "--quiet", str(_ROOT / "client"), str(_ROOT)], check=True
    )
    return python


def _sizes(venv: Path) -> dict[str, float]:
    """MB of each package folder in the venv, the largest first."""
    sizes: dict[str, float] = {}
    for path in venv.rglob("*"):
        if path.is_file() and not path.is_symlink():
            parts = path.relative_to(venv).parts
            inside = parts.index("site-packages") + 1 if "site-packages" in parts else 0
            sizes[parts[inside]] = sizes.get(parts[inside], 0) + path.stat().st_size / 1e6
    return dict(sorted(sizes.items(), key=lambda item: -item[1]))
