"""A Model's network, split at its last global average pooling into trunk and head.

The trunk computes the last feature map, the head the embedding of its mean. If the head is linear,
it can also be applied at each position first: the mean of the results is the same embedding.
"""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
from cachetools import LRUCache

from deepfood import runtimes
from deepfood.embed import normaliser, of_pixels
from deepfood.errors import NoHeatMapError
from deepfood.extras import install_command
from deepfood.model import Model
from deepfood.photo import Pixels

Floats = npt.NDArray[np.float32]

#: The tolerance for the head's mean over positions, as a share of the embedding's length.
#: Linear heads have 1e-6; those with an activation or a LayerNorm 0.1 and more.
_LINEAR_WITHIN = 0.01
#: The shapes of photos for which a Trunk keeps its network; each takes some 50 MB.
_SHAPES = 3


class SplitNetwork:
    """Pixels to embeddings of positions, in float32 on OpenVINO. One thread at a time.

    Raises NoHeatMapError without OpenVINO, or for a network that does not end in global pooling, by
    average or GeM, and a linear head.
    """

    def __init__(self, model: Model, threads: int) -> None:
        ov = _openvino()
        core = ov.Core()
        size = model.manifest.preprocess.size
        how = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": threads}
        trunk, head = _split(ov, core.read_model(model.onnx), size, model.manifest.name)
        self._name = model.manifest.name
        self._trunk = core.compile_model(trunk, "CPU", how).create_infer_request()
        self._head = core.compile_model(head, "CPU", how).create_infer_request()
        self._normalise = normaliser(model.manifest.preprocess)

    def positions(self, pixels: Pixels) -> Floats:
        """The embedding of each position of uint8 pixels [size, size, 3]: float32 [h, w, dim].

        Their mean is the photo's embedding before normalization. Raises NoHeatMapError if the head
        turns out not to be linear.
        """
        features = _run(self._trunk, self._normalise(pixels))[0]  # [channels, h, w]
        channels, height, width = features.shape
        at = features.reshape(channels, -1).T
        mean = at.mean(axis=0, dtype=np.float64).astype(np.float32)
        whole = self._apply_head(mean)
        linear = np.stack([self._apply_head(one) for one in at])
        ways: tuple[Callable[[], Floats], ...] = (
            lambda: linear,
            lambda: self._with_length_held(at, mean, linear),
            lambda: self._with_channels_apart(at, mean, whole),
        )
        for way in ways:
            parts = way()
            distance = np.linalg.norm(parts.mean(axis=0) - whole)
            if distance <= _LINEAR_WITHIN * np.linalg.norm(whole):
                return parts.reshape(height, width, -1)
        raise NoHeatMapError(
            f"the Model {self._name} has no heat maps: what it does after its last pooling is not "
            "linear, so its positions do not add up to its embedding"
        )

    def _with_length_held(self, at: Floats, mean: Floats, outputs: Floats) -> Floats:
        """Positions of a head that first scales its input to length 1: h(x) = A x / |x| + b.

        The photo's length |mean| is held fixed, and position p gets A p / |mean| + b.
        """
        length = np.linalg.norm(mean)
        offset = (self._apply_head(mean) + self._apply_head(-mean)) / 2
        lengths = np.linalg.norm(at, axis=1, keepdims=True)
        scaled = (outputs - offset) * (lengths / max(length, np.finfo(np.float32).tiny))
        # A position without any feature has no direction, and contributes nothing.
        return (np.where(lengths > 0, scaled, 0) + offset).astype(np.float32)

    def _with_channels_apart(self, at: Floats, mean: Floats, whole: Floats) -> Floats:
        """Positions of a head that is a sum over channels, h(x) = sum of h_c(x_c).

        GeM pooling (Radenović, Tolias and Chum, "Fine-tuning CNN Image Retrieval with No Human
        Annotation", 2018) is one: its map holds powers, and the head begins with their root. A
        channel's part is what is lost without it; its positions share that part in proportion to
        their share of its mean.
        """
        lost = np.empty((len(mean), len(whole)), np.float32)
        without = mean.copy()
        for channel in range(len(mean)):
            without[channel] = 0
            lost[channel] = whole - self._apply_head(without)
            without[channel] = mean[channel]
        nothing = self._apply_head(np.zeros_like(mean))
        shares = np.divide(at, mean, out=np.zeros_like(at), where=mean != 0)
        return (shares @ lost + nothing).astype(np.float32)

    def _apply_head(self, features: Floats) -> Floats:
        """The head at one position: float32 [channels] to [dim]."""
        shape = tuple(self._head.get_input_tensor().shape)
        return _run(self._head, features.reshape(shape)).reshape(-1)


class Trunk:
    """The last feature map of photos of any shape, its cells compared. One thread at a time.

    The Model's network takes photos of any size. Raises NoHeatMapError without OpenVINO, or for a
    network that does not end in global pooling of a feature map.
    """

    def __init__(self, model: Model, threads: int, precision: str) -> None:
        ov = _openvino()
        core = ov.Core()
        size = model.manifest.preprocess.size
        trunk, _ = _split(ov, core.read_model(model.onnx), size, model.manifest.name)
        self._how = {"INFERENCE_PRECISION_HINT": precision, "INFERENCE_NUM_THREADS": threads}
        #: Pixels of the photo along a side of a cell.
        self.stride = max(1, size // trunk.output(0).shape[2])
        trunk.reshape([1, 3, -1, -1])
        self._network = of_pixels(_compared(ov, trunk), model.manifest.preprocess)
        self._core = core
        self._requests: LRUCache[tuple[int, ...], Any] = LRUCache(_SHAPES)

    def cells(self, pixels: Pixels) -> tuple[Floats, Floats]:
        """The cells of the feature map of uint8 pixels [height, width, 3].

        The length of each one's features, float32 [h, w], and the cosine similarity of each two,
        float32 [h * w, h * w]. The network is compiled for each shape of pixels, in a fraction of a
        second, as it is a fifth faster than one for all shapes; it is kept for the last _SHAPES.
        """
        request = self._requests.get(pixels.shape)
        if request is None:
            self._network.reshape([1, *pixels.shape])
            compiled = self._core.compile_model(self._network, "CPU", self._how)
            request = self._requests[pixels.shape] = compiled.create_infer_request()
        found = request.infer([pixels[np.newaxis]])
        return found[0].copy(), found[1].copy()


def _openvino() -> Any:
    try:
        return runtimes.openvino()
    except ImportError:
        raise NoHeatMapError(
            f"heat maps need OpenVINO, which is not installed here: {install_command()}"
        ) from None


def _run(request: Any, values: Floats) -> Floats:
    request.get_input_tensor().data[:] = values
    request.infer()
    out: Floats = request.get_output_tensor().data.copy()
    return out


def _split(ov: Any, network: Any, size: int, name: str) -> tuple[Any, Any]:
    """Trunk, [1, 3, size, size] to [1, channels, h, w], and head, pooled features to embedding."""
    network.reshape([1, 3, size, size])
    (pixels,) = network.get_parameters()
    for pooling in _global_poolings(network):
        features = pooling.input_value(0)
        pooled = ov.opset8.parameter(pooling.output(0).shape, ov.Type.f32)
        users = pooling.output(0).get_target_inputs()
        for user in users:
            user.replace_source_output(pooled.output(0))
        try:
            head = ov.Model(network.get_results(), [pooled], "head")
        except (
            RuntimeError
        ):  # another path leads around this pooling to the result: it is not the last
            for user in users:
                user.replace_source_output(pooling.output(0))
            continue
        return ov.Model([ov.opset8.result(features)], [pixels], "trunk"), head
    raise NoHeatMapError(
        f"the Model {name} has no heat maps: its network does not end in global average pooling "
        "of a feature map"
    )


def _compared(ov: Any, trunk: Any) -> Any:
    """A trunk whose results are those of `Trunk.cells`, in place of the map.

    NumPy would wait for threads of its own in so large a matrix product: on a busy machine three
    times as long as it computes.
    """
    ops = ov.opset8
    features = ops.squeeze(trunk.get_results()[0].input_value(0), np.array([0]))
    strength = ops.reduce_l2(features, np.array([0]), keep_dims=False)
    unit = ops.divide(features, ops.maximum(strength, np.float32(1e-9)))
    unit = ops.reshape(unit, np.array([0, -1]), special_zero=True)
    alike = ops.matmul(unit, unit, transpose_a=True, transpose_b=False)
    results = [ops.result(strength), ops.result(alike)]
    return ov.Model(results, trunk.get_parameters(), "cells")


def _global_poolings(network: Any) -> Iterator[Any]:
    """Averages over all positions of a map, [1, channels, h, w] to one per channel, last first."""
    for node in reversed(network.get_ordered_ops()):
        if node.get_type_name() not in ("ReduceMean", "AvgPool", "AdaptiveAvgPool"):
            continue
        before, after = node.input_value(0).shape, node.output(0).shape
        if len(before) != 4 or np.prod(after) != before[1] or before[2] * before[3] == 1:
            continue
        yield node
