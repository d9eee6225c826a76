"""Gradients of depthwise convolutions in bfloat16 on a CPU: fast, and no less exact."""

import pytest
import torch
from torch import nn

from deepfood.train.backbone import create_backbone, preprocess_of, without_classifier
from deepfood.train.depthwise import fast_depthwise
from deepfood.train.learner import Learner
from deepfood.train.losses import Loss

CPU = torch.device("cpu")


def gradients(layer: nn.Conv2d, planes: torch.Tensor, *, fast: bool) -> tuple[torch.Tensor, ...]:
    """The layer's output, and the gradients of its input and weight for the output's squares."""
    planes = planes.detach().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16), fast_depthwise(CPU, bf16=fast):
        output = layer(planes)
    output.float().square().sum().backward()
    weight = layer.weight.grad
    layer.weight.grad = None
    assert planes.grad is not None
    assert weight is not None
    return output, planes.grad, weight


@pytest.mark.parametrize(
    ("kernel", "stride", "padding", "dilation"),
    [(5, 1, 2, 1), (5, 2, 0, 1), (3, 2, 1, 1), (7, 1, 3, 1), (5, 1, 4, 2)],
)
def test_gradients_are_nearer_to_the_exact_ones(
    kernel: int, stride: int, padding: int, dilation: int
) -> None:
    torch.manual_seed(1)
    layer = nn.Conv2d(
        *(32, 32, kernel, stride, padding), dilation=dilation, groups=32, bias=False
    ).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    planes = torch.randn(4, 32, 13, 13).bfloat16()
    slow, fast = (gradients(layer, planes, fast=one) for one in (False, True))
    assert torch.equal(slow[0], fast[0])
    wide = planes.double().requires_grad_()
    weight = layer.weight.detach().bfloat16().double().requires_grad_()
    output = torch.conv2d(wide, weight, None, stride, padding, dilation, 32)
    output.backward(2 * slow[0].detach().double().bfloat16())
    assert wide.grad is not None
    assert weight.grad is not None
    for place, exact in ((1, wide.grad), (2, weight.grad)):
        errors = [
            float((one[place].double() - exact).norm() / exact.norm()) for one in (slow, fast)
        ]
        assert errors[1] < 4e-3
        assert errors[1] < 1.05 * errors[0]
    assert float((fast[2].double() - weight.grad).norm() / weight.grad.norm()) < 1e-5


def test_the_first_layer_has_weights_to_learn_and_no_input_to_change() -> None:
    layer = nn.Conv2d(8, 8, 5, padding=2, groups=8, bias=False)
    with torch.autocast("cpu", torch.bfloat16), fast_depthwise(CPU, bf16=True):
        output = layer(torch.ones(2, 8, 9, 9))
    assert "Depthwise" in graph(output)
    output.sum().backward()
    assert layer.weight.grad is not None
    assert float(layer.weight.grad[0, 0, 2, 2]) == 2 * 9 * 9


def test_other_convolutions_are_left_alone() -> None:
    torch.manual_seed(1)
    planes = torch.randn(2, 8, 9, 9, requires_grad=True)
    for layer in (
        nn.Conv2d(8, 8, 3, padding=1, groups=8, bias=False),
        nn.Conv2d(8, 8, 5, padding=2, groups=8),
        nn.Conv2d(8, 8, 5, padding=2, groups=2, bias=False),
        nn.Conv2d(8, 16, 5, padding=2, groups=8, bias=False),
        nn.Conv2d(8, 8, 5, padding="same", groups=8, bias=False),
        nn.Conv2d(8, 8, 5, padding=2, groups=8, bias=False).requires_grad_(False),
    ):
        with torch.autocast("cpu", torch.bfloat16), fast_depthwise(CPU, bf16=True):
            assert "Depthwise" not in graph(layer(planes))


@pytest.mark.parametrize(("bf16", "learns", "wanted"), [(1, 1, True), (0, 1, False), (1, 0, False)])
def test_learners_compute_them_so_in_bf16(bf16: int, learns: int, wanted: bool) -> None:
    network = create_backbone("test_efficientnet")
    preprocess = preprocess_of(network, 32)
    dimension = without_classifier(network)
    learner = Learner(network, Loss("cosine-margin", 2, dimension), preprocess, bf16=bool(bf16))
    pixels = torch.zeros(2, 32, 32, 3, dtype=torch.uint8)
    with torch.set_grad_enabled(bool(learns)):
        assert ("Depthwise" in graph(learner.embed(pixels))) == wanted


def graph(output: torch.Tensor) -> str:
    """The names of the operations that made `output`."""
    seen: set[object] = set()
    todo = [output.grad_fn]
    while todo:
        one = todo.pop()
        if one is not None and one not in seen:
            seen.add(one)
            todo += [before for before, _ in one.next_functions]
    return " ".join(type(one).__name__ for one in seen)
