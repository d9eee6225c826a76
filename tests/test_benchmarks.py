"""The benchmarks start: what is only ever run by hand breaks unseen."""

import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"
#: They use libraries of `pip install '.[bench]'` that the tests do without.
OF_BENCH = ("hnswlib", "on_cluster")


@pytest.mark.slow
def test_each_benchmark_can_be_imported() -> None:
    names = sorted(file.stem for file in BENCHMARKS.glob("*.py"))
    code = f"""
import importlib, sys
for name in {names}:
    try:
        importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name not in {OF_BENCH}:
            raise
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
        env={"PYTHONPATH": f"{BENCHMARKS}:{BENCHMARKS.parent / 'tests_cluster'}"},
    )
    assert done.returncode == 0, done.stderr
