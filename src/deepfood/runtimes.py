"""Import OpenVINO and ONNX Runtime without their telemetry.

Both report each use, with a machine id that they keep in the home folder. Each has a documented way
to turn that off, which must be used before the import, so all of deepfood imports them here.
"""

import sys
import threading
from typing import Any

from deepfood.config import quiet_onnxruntime

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
