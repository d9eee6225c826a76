"""OpenVINO and ONNX Runtime: imported without their telemetry, and what they give is checked.

Both report each use, with a machine id that they keep in the home folder. Each has a documented way
to turn that off, which must be used before the import, so all of deepfood imports them here.
Networks for photos and for words are started with the same precisions, and must give unit vectors
of the same kind.
"""

import sys
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from deepfood.config import quiet_onnxruntime
from deepfood.errors import ArtifactCorruptError, SettingError

#: The package that reports for OpenVINO, which does without where it is not installed.
_REPORTER = "openvino_telemetry"
_importing = threading.Lock()


def openvino() -> Any:
    """The package `openvino`. Raises ImportError."""
    with _importing:
        had = _REPORTER in sys.modules
        before = sys.modules.get(_REPORTER)
        sys.modules[_REPORTER] = None  # type: ignore[assignment]  # Python's "is not there"
        try:
            import openvino
        finally:
            del sys.modules[_REPORTER]
            if had:
                sys.modules[_REPORTER] = before  # type: ignore[assignment]
    return openvino


def onnxruntime() -> Any:
    """The package `onnxruntime`. Raises ImportError."""
    quiet_onnxruntime()
    import onnxruntime

    return onnxruntime


def quantization() -> Any:
    """The package `onnxruntime.quantization`. Raises ImportError."""
    onnxruntime()
    from onnxruntime import quantization

    return quantization


def openvino_precision(core: Any, wanted: str) -> str:
    """What OpenVINO computes in on this processor, f32 or bf16, which is faster where it has it.

    `core` is an `openvino.Core`, `wanted` the setting. Raises SettingError.
    """
    has_bf16 = "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    if wanted == "bf16" and not has_bf16:  # pragma: no cover - as the processor is
        raise SettingError("precision bf16: this processor has neither AMX nor AVX512-BF16")
    return "bf16" if has_bf16 and wanted != "f32" else "f32"


def onnxruntime_precision(wanted: str) -> str:
    """What ONNX Runtime computes in: f32. Raises SettingError where the setting is bf16."""
    if wanted == "bf16":
        raise SettingError("precision bf16 needs the openvino runtime; onnxruntime computes in f32")
    return "f32"


def check_output(onnx: Path, shape: Iterable[object], dimension: int, rows: int = 1) -> None:
    """Raise ArtifactCorruptError unless a network's output has the shape [rows, dimension].

    The number of rows may be open, as in what a network says of itself.
    """
    sizes = list(shape)
    is_open = bool(sizes) and not isinstance(sizes[0], int)
    if sizes != [sizes[0] if is_open else rows, dimension]:
        raise ArtifactCorruptError(
            f"{onnx} gives an output of shape {sizes}, and its manifest says [{rows}, {dimension}]"
        )


def unit(vector: npt.NDArray[np.float32], onnx: Path) -> npt.NDArray[np.float32]:
    """A vector that a network gave, float32 [dimension], at length 1.

    Raises ArtifactCorruptError where it has none.
    """
    length = float(np.linalg.norm(vector))
    if not np.isfinite(length) or length == 0:
        raise ArtifactCorruptError(
            f"{onnx} gives no usable vector (length {length}): the Model is broken"
        )
    return vector / np.float32(length)
