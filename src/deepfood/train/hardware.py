"""The hardware of a training: device, number format, memory layout and parallel processes."""

import ctypes
import os
from dataclasses import dataclass
from typing import Any

import torch

from deepfood.errors import SettingError
from deepfood.train.recipe import Recipe


@dataclass(frozen=True)
class Hardware:
    """`accelerator` is Hugging Face's: it knows the processes that torchrun started, if any."""

    accelerator: Any
    bf16: bool

    @property
    def device(self) -> torch.device:
        device: torch.device = self.accelerator.device
        return device

    @property
    def processes(self) -> int:
        return int(self.accelerator.num_processes)

    @property
    def rank(self) -> int:
        return int(self.accelerator.process_index)

    @property
    def first(self) -> bool:
        """Whether this is the process that writes and reports."""
        return bool(self.accelerator.is_main_process)

    def share(self, batch: int) -> slice:
        """The places in a batch that this process takes. Raises SettingError."""
        own, left = divmod(batch, self.processes)
        if left:
            raise SettingError(
                f"--batch {batch} cannot be divided among {self.processes} processes"
            )
        return slice(self.rank * own, (self.rank + 1) * own)

    def from_first(self, value: Any) -> Any:
        """The first process's `value`, in every process; not all need to share a disk."""
        from accelerate.utils import broadcast_object_list

        if self.processes == 1:
            return value
        return broadcast_object_list([value])[0]

    def describe(self) -> str:
        many = f" x {self.processes}" if self.processes > 1 else ""
        return f"{self.device.type}{many}, {'bf16' if self.bf16 else 'f32'}"


def start_hardware(recipe: Recipe, device: str = "auto") -> Hardware:
    """Join the processes of this training, and choose device and number format.

    `device` is auto, cpu, cuda or mps. Raises SettingError where the machine lacks it.
    """
    from accelerate import Accelerator

    usable = {
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
        "cpu": True,
        "auto": True,
    }
    if device not in usable:
        raise SettingError(f"--device {device}: known are {', '.join(usable)}")
    if not usable[device]:
        raise SettingError(f"--device {device}: torch {torch.__version__} finds none here")
    accelerator = Accelerator(cpu=device == "cpu")
    keep_freed_memory()
    # Some cuDNN algorithms add in varying order, so that resumed training would differ.
    torch.backends.cudnn.deterministic = True
    if device in ("cuda", "mps") and accelerator.device.type != device:  # pragma: no cover - a GPU
        raise SettingError(f"--device {device}: accelerate is set up for {accelerator.device.type}")
    able = bf16_pays(accelerator.device.type)
    if recipe.precision == "bf16" and accelerator.device.type == "mps":  # pragma: no cover - a Mac
        raise SettingError("--precision bf16 is not available on mps")
    bf16 = recipe.precision == "bf16" or (recipe.precision == "auto" and able)
    return Hardware(accelerator, bf16)


#: glibc's mallopt(3): M_TRIM_THRESHOLD, M_TOP_PAD and M_MMAP_MAX.
_GLIBC_MALLOC = ((-1, 2**31 - 1), (-2, 2**26), (-4, 0))


def keep_freed_memory() -> None:
    """Keep glibc's malloc from returning freed memory to the system.

    Each step and each decoding thread frees and allocates the same hundreds of megabytes. Returning
    them costs a page fault per 4 KB, up to a third of a step's time on a CPU. Other C libraries are
    left alone.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if os.name == "posix" else None
    if mallopt is not None:  # pragma: no branch - glibc is here
        for name, value in _GLIBC_MALLOC:
            mallopt(name, value)


def bf16_pays(device: str) -> bool:
    """Whether bfloat16 arithmetic is in hardware, so that autocast is faster than float32.

    On CPUs that is AMX or AVX512-BF16 (docs/performance.md); without, it is emulated, and slower.
    """
    if device == "cuda":  # pragma: no cover - needs an NVIDIA GPU: tests/train/test_gpu.py
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device != "cpu":
        return False
    able: dict[str, bool] = getattr(
        torch.cpu, "get_capabilities", dict
    )()  # not in older versions of torch
    return bool(able.get("amx_bf16") or able.get("avx512_bf16"))
