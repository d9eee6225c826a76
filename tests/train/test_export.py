"""An exported Model gives what the original took out of its network: what its classifier gets.

The original kept the whole network and put a forward hook on its average pooling. That is written
here as a reference, and what deepfood exports has to give the same numbers.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
import torchvision
from torch import nn

from deepfood.embed import Embedder, normaliser
from deepfood.model import Model, open_model
from deepfood.model.export import export_model
from deepfood.photo import read_pixels
from deepfood.train.backbone import create_backbone, fill, preprocess_of, without_classifier
from deepfood.train.weights import Weights, WeightsSource, from_wheel
from samples import LIMITS, photo

#: How far two unit vectors may be apart: the same float32 products, added up in another order. Each
#: product is off by 2**-24 at most, and some fifty layers add up; measured 2e-7 to 1.2e-6.
WITHIN = 1e-5

RESNET34, LITE0 = "resnet34.tv_in1k", "tf_efficientnet_lite0"


def hooked(network: nn.Module, layer: str) -> Callable[[torch.Tensor], np.ndarray]:
    """The original's extraction: run the whole network, classifier and all, and keep what `layer`
    gave, float32 [dimension]."""
    kept: list[torch.Tensor] = []
    network.eval().get_submodule(layer).register_forward_hook(
        lambda _module, _inputs, output: kept.append(output)
    )

    def extract(batch: torch.Tensor) -> np.ndarray:
        kept.clear()
        with torch.no_grad():
            classes = network(batch)
        assert classes.shape == (1, 1000)
        (output,) = kept
        return output.flatten().numpy()

    return extract


def rounded(network: nn.Module) -> nn.Module:
    """The network with weights that an export keeps to the last bit.

    An export folds each batch norm into the convolution before it and stores the result as fp16.
    Here that is done beforehand, so that what is left to compare is the extraction alone.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            before = module
        elif isinstance(module, nn.BatchNorm2d):
            scale = module.weight.data / (module.running_var + module.eps).sqrt()  # type: ignore[operator]
            offset = module.bias.data - module.running_mean * scale  # type: ignore[operator]
            before.weight.data = (before.weight.data * scale.view(-1, 1, 1, 1)).half().float()
            module.bias.data = offset.half().float()
            module.weight.data.fill_(1)
            module.running_mean.fill_(0)
            module.running_var.fill_(1 - module.eps)
    return network


def with_random_statistics(network: nn.Module) -> nn.Module:
    """Batch norms that change something, as those of a trained network do."""
    generator = torch.Generator().manual_seed(34)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor in (module.weight.data, module.running_var):
                tensor.uniform_(0.5, 1.5, generator=generator)
            for tensor in (module.bias.data, module.running_mean):
                tensor.normal_(0, 0.1, generator=generator)
    return network


@dataclass(frozen=True)
class Exported:
    model: Model
    reference: Callable[[torch.Tensor], np.ndarray]


def reference_vector(
    reference: Callable[[torch.Tensor], np.ndarray], embedder: Embedder, seed: int
) -> np.ndarray:
    """What the reference makes of the pixels that `embedder` sees, as a unit vector."""
    pixels = read_pixels(photo(seed=seed), embedder.preprocess, LIMITS)
    vector = reference(torch.from_numpy(normaliser(embedder.preprocess)(pixels)))
    return np.asarray(vector / np.linalg.norm(vector))


def exported(network: nn.Module, backbone: str, weights: Weights, folder: Path) -> Model:
    fill(network, backbone, weights)
    without_classifier(network)
    export_model(
        network,
        folder,
        "",
        preprocess=preprocess_of(network),
        name=backbone,
        backbone=backbone,
        source="the tests",
        licence="none",
    )
    return open_model(folder)


@pytest.fixture(scope="module")
def resnet34(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """The original's network, torchvision's, and what deepfood makes of its weights."""
    torch.manual_seed(34)
    original = rounded(with_random_statistics(torchvision.models.resnet34(weights=None)))
    weights = Weights(WeightsSource("the tests", "none"), original.state_dict())
    folder = tmp_path_factory.mktemp("resnet34")
    model = exported(create_backbone(RESNET34), RESNET34, weights, folder)
    return Exported(model, hooked(original, "avgpool"))


@pytest.fixture(scope="module")
def lite0(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """EfficientNet-Lite0 with its ImageNet weights, as timm has it with its classifier."""
    whole = create_backbone(LITE0)
    fill(whole, LITE0, from_wheel(LITE0))
    weights = Weights(WeightsSource("the tests", "none"), rounded(whole).state_dict())
    model = exported(create_backbone(LITE0), LITE0, weights, tmp_path_factory.mktemp("lite0"))
    return Exported(model, hooked(whole, "global_pool"))


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
@pytest.mark.parametrize("name", ["resnet34", "lite0"])
def test_a_model_gives_what_the_hook_takes_out(
    name: str, runtime: Any, request: pytest.FixtureRequest
) -> None:
    made: Exported = request.getfixturevalue(name)
    embedder = Embedder(made.model, LIMITS, runtime=runtime, precision="f32")
    wanted = [reference_vector(made.reference, embedder, seed) for seed in range(3)]
    for seed, vector in enumerate(wanted):
        assert np.linalg.norm(embedder.embed(photo(seed=seed)) - vector) < WITHIN
    assert np.linalg.norm(wanted[0] - wanted[1]) > 100 * WITHIN


def test_storing_as_fp16_costs_little() -> None:
    whole = create_backbone(LITE0)
    fill(whole, LITE0, from_wheel(LITE0))
    embedder = Embedder(open_model(), LIMITS, precision="f32")
    wanted = reference_vector(hooked(whole, "global_pool"), embedder, seed=0)
    # A cosine of 0.9998; measured 0.0126 on this drawn photo.
    assert np.linalg.norm(embedder.embed(photo(seed=0)) - wanted) < 0.02


@pytest.mark.parametrize(("name", "dimension"), [("resnet34", 512), ("lite0", 1280)])
def test_the_embedding_is_the_only_output(
    name: str, dimension: int, request: pytest.FixtureRequest
) -> None:
    made: Exported = request.getfixturevalue(name)
    graph = onnx.load(made.model.onnx).graph
    (pixels,), (embedding,) = graph.input, graph.output
    assert (pixels.name, embedding.name) == ("pixels", "embedding")
    assert embedding.type.tensor_type.shape.dim[1].dim_value == dimension
    assert made.model.manifest.dimension == dimension
    # Nothing of the classifier's thousand classes is left.
    assert all(1000 not in weight.dims for weight in graph.initializer)
