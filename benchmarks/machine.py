"""The machine of the figures: processor, cores, instruction sets, versions, peak speed."""

import os
import platform
import sys
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np

from deepfood import runtimes
from deepfood.config import available_cores
from report import Table

_PACKAGES = (
    *("deepfood", "numpy", "pillow", "openvino", "faiss-cpu", "fastapi", "uvicorn", "httptools"),
    *("torch", "torchvision", "annoy", "hnswlib"),
)


def facts() -> Table:
    cpu = _cpuinfo()
    flags = cpu.get("flags", "").split()
    rows = [
        ("processor", f"{cpu.get('model name', platform.processor())}, {platform.machine()}"),
        ("cores used", available_cores()),
        ("AMX bf16", "yes" if "amx_bf16" in flags else "no"),
        ("AVX512-BF16", "yes" if "avx512_bf16" in flags else "no"),
        ("load before the run", f"{os.getloadavg()[0]:.2f}"),
        ("system", f"{platform.system()} {platform.release()}, Python {sys.version.split()[0]}"),
        ("packages", ", ".join(f"{name} {_version(name)}" for name in _PACKAGES)),
        ("date", time.strftime("%Y-%m-%d")),
    ]
    return Table("Machine", ("", "value"), rows)


def matmul_gflops(precision: str, *, size: int = 1024, runs: int = 50) -> float:
    """GFLOP/s of a large matrix product on all cores: an upper bound for networks."""
    ov = runtimes.openvino()
    from openvino import opset13 as op

    matrix = np.random.default_rng(0).random((size, size), np.float32)
    left = op.parameter([size, size], ov.Type.f32)
    product = op.matmul(left, op.constant(matrix), False, False)
    hints = {"INFERENCE_PRECISION_HINT": precision, "NUM_STREAMS": 1}
    request = (
        ov.Core().compile_model(ov.Model([product], [left]), "CPU", hints).create_infer_request()
    )
    times = []
    for _ in range(runs):
        started = time.perf_counter()
        request.infer({0: matrix}, share_inputs=True)
        times.append(time.perf_counter() - started)
    return 2 * size**3 / min(times) / 1e9


def _cpuinfo() -> dict[str, str]:
    """The first processor in Linux's /proc/cpuinfo; empty elsewhere."""
    path = Path("/proc/cpuinfo")
    if not path.exists():
        return {}
    first = path.read_text().split("\n\n")[0]
    return {
        name.strip(): value.strip()
        for name, _, value in (line.partition(":") for line in first.splitlines())
    }


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "missing"
