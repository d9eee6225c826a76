"""The device that computes: the processor, or an accelerator that is present."""

import contextlib
import ctypes
import io
import platform
from importlib import metadata
from typing import Any, Literal

from deepfood import runtimes
from deepfood.errors import SettingError
from deepfood.extras import install_command, missing_extra

Device = Literal["auto", "cpu", "cuda", "coreml", "openvino-gpu"]

#: The runtime that each device needs.
RUNTIME_OF: dict[str, Literal["openvino", "onnxruntime"]] = {
    "cuda": "onnxruntime",
    "coreml": "onnxruntime",
    "openvino-gpu": "openvino",
}
_CUDA, _COREML = "CUDAExecutionProvider", "CoreMLExecutionProvider"
#: ONNX Runtime's providers, with the options that make them compute in float32 throughout.
PROVIDERS: dict[str, tuple[str, dict[str, str]]] = {
    "cuda": (_CUDA, {"use_tf32": "0"}),
    # Apple's Neural Engine computes in 16 bits only.
    "coreml": (_COREML, {"ModelFormat": "MLProgram", "MLComputeUnits": "CPUAndGPU"}),
}
_NVIDIA_DRIVERS = ("libcuda.so.1", "nvcuda.dll")


def choose_device(wanted: Device, runtime: str, precision: str) -> str:
    """The device to compute on: `wanted`, or for `auto` an NVIDIA GPU if deepfood can use it.

    That needs the extra `cuda`. Other accelerators share the processor's memory and are often no
    faster, so they have to be named. `runtime` and `precision` are the settings of these names.
    Raises SettingError or MissingExtraError for a device that is not present.
    """
    needed = RUNTIME_OF.get(wanted)
    if wanted == "auto":
        able = runtime in ("auto", "onnxruntime") and precision != "bf16"
        return "cuda" if able and _installed("onnxruntime-gpu") and _nvidia_gpus() else "cpu"
    if needed is None:
        return wanted
    if runtime not in ("auto", needed):
        raise SettingError(
            f"device {wanted} needs the runtime {needed}, and the setting runtime is {runtime}"
        )
    if precision == "bf16":
        raise SettingError(f"precision bf16 is for processors: device {wanted} computes in f32")
    {"cuda": _check_cuda, "coreml": _check_coreml, "openvino-gpu": _check_openvino}[wanted]()
    return wanted  # pragma: no cover - an accelerator


def prepare(device: str) -> None:
    """Prepare ONNX Runtime for `device`: CUDA's libraries may have come from PyPI."""
    ort = runtimes.onnxruntime()
    ort.set_default_logger_severity(4)  # `not_started` reports what is wrong
    if device == "cuda" and hasattr(ort, "preload_dlls"):
        with contextlib.redirect_stdout(
            io.StringIO()
        ):  # it prints the libraries that it does not find
            ort.preload_dlls(directory="")
            ort.preload_dlls()


def not_started(device: str) -> SettingError:
    """The error for a device that is present, but on which ONNX Runtime does not start."""
    return SettingError(
        f"device {device}: ONNX Runtime could not start on it, most likely because libraries "
        f"are missing: {install_command(device)}, or set device to cpu"
    )


def _check_cuda() -> None:
    if not _nvidia_gpus():
        raise SettingError(
            "device cuda: there is no NVIDIA GPU here, or its driver is not installed: set device "
            "to cpu or auto"
        )
    if not _installed("onnxruntime-gpu"):
        raise missing_extra("device cuda: ONNX Runtime for CUDA is not installed", "cuda")
    if _CUDA not in runtimes.onnxruntime().get_available_providers():  # pragma: no branch - a GPU
        raise SettingError(
            "device cuda: the package onnxruntime, which is for processors, has taken the place of "
            "onnxruntime-gpu: uninstall both, and install onnxruntime-gpu again"
        )


def _check_coreml() -> None:
    there = platform.system() == "Darwin"
    try:
        there = there and _COREML in runtimes.onnxruntime().get_available_providers()
    except ImportError:  # pragma: no cover - a Mac
        raise missing_extra("device coreml: ONNX Runtime is not installed", "onnxruntime") from None
    if not there:  # pragma: no branch - a Mac
        raise SettingError("device coreml: only a Mac has it: set device to cpu or auto")


def _check_openvino() -> None:
    try:
        found: Any = runtimes.openvino().Core().available_devices
    except ImportError:
        raise missing_extra("device openvino-gpu: OpenVINO is not installed") from None
    if not any(name.startswith("GPU") for name in found):  # pragma: no branch - an Intel GPU
        raise SettingError(
            f"device openvino-gpu: OpenVINO finds no Intel GPU with a driver, but only "
            f"{', '.join(found)}: set device to cpu or auto"
        )


def _installed(package: str) -> bool:
    try:
        metadata.distribution(package)
    except metadata.PackageNotFoundError:
        return False
    return True


def _nvidia_gpus() -> int:
    """The number of GPUs, without importing anything large."""
    count = ctypes.c_int(0)
    for name in _NVIDIA_DRIVERS:
        try:
            driver = ctypes.CDLL(name)
            if (  # pragma: no cover - an NVIDIA GPU
                driver.cuInit(0) == 0 and driver.cuDeviceGetCount(ctypes.byref(count)) == 0
            ):
                return count.value
        except (OSError, AttributeError):
            continue
    return 0
