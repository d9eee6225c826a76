"""Depthwise convolutions on a CPU in bfloat16, whose gradients torch computes very slowly.

oneDNN has fast kernels for the gradients of 3 x 3 at stride 1, and none for larger kernels or
strides: these took 50 times as long as the convolution itself, and most of a step
(docs/performance.md). In float32 they take a tenth to a fifth of that, and are more exact.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

#: The largest kernel with fast gradients in bfloat16, at stride 1.
_FAST = 3


def fast_depthwise(device: torch.device, *, bf16: bool) -> AbstractContextManager[Any]:
    """While it is entered, gradients of depthwise convolutions are computed the fast way."""
    wanted = bf16 and device.type == "cpu" and torch.is_grad_enabled()
    return _FastDepthwise() if wanted else nullcontext()


class _FastDepthwise(TorchFunctionMode):
    def __torch_function__(
        self,
        function: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        given = kwargs or {}
        if function is torch.conv2d and not given and len(args) == _ARGUMENTS:
            planes, weight, bias, stride, padding, dilation, groups = args
            if (
                bias is None
                and not isinstance(padding, str)
                and groups == weight.shape[0] == planes.shape[1]
                and (max(weight.shape[2:]) > _FAST or max(_two(stride)) > 1)
                and weight.requires_grad
            ):
                planes = planes.to(torch.bfloat16)
                return _Depthwise.apply(planes, weight, _two(stride), _two(padding), _two(dilation))
        return function(*args, **given)


#: Those of conv2d, as layers give them: planes, weight, bias, stride, padding, dilation, groups.
_ARGUMENTS = 7


def _two(value: int | Sequence[int]) -> list[int]:
    return [value, value] if isinstance(value, int) else [*value]


class _Depthwise(torch.autograd.Function):
    """`planes` bfloat16 [n, c, height, width] and `weight` float32 [c, 1, k, k]."""

    @staticmethod
    def forward(
        ctx: Any,
        planes: torch.Tensor,
        weight: torch.Tensor,
        stride: list[int],
        padding: list[int],
        dilation: list[int],
    ) -> torch.Tensor:
        weight = weight.to(planes.dtype)
        ctx.save_for_backward(planes, weight)
        ctx.shape = stride, padding, dilation
        return torch.conv2d(planes, weight, None, stride, padding, dilation, len(weight))

    @staticmethod
    def backward(
        ctx: Any, gradient: torch.Tensor
    ) -> tuple[torch.Tensor | None, torch.Tensor, None, None, None]:
        planes, weight = ctx.saved_tensors
        wanted = [ctx.needs_input_grad[0], True, False]
        for_planes, for_weight, _ = torch.ops.aten.convolution_backward(
            *(gradient.float(), planes.float(), weight.float(), None, *ctx.shape),
            *(False, [0, 0], len(weight), wanted),
        )
        if for_planes is not None:
            for_planes = for_planes.to(planes.dtype)
        return for_planes, for_weight, None, None, None
