"""Append a head to a Model's network, so that serving needs no change."""

from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

#: The name of the weights that `fuse_head` appends.
_WEIGHTS = "deepfood.head.fp16"


def fuse_head(network: bytes, weights: npt.NDArray[np.float32]) -> bytes:
    """The ONNX bytes of `network` (its only output float [n, dim]) followed by a linear head.

    `weights` are float32 [dim, size]; they are stored as fp16, as in `model.export`. An existing
    head is multiplied in, so that a network has at most one.
    """
    network, earlier = take_off_head(network)
    model = onnx.load_from_string(network)
    graph = model.graph
    (output,) = graph.output
    if earlier is not None:
        weights = earlier @ weights
        weights = weights / np.abs(weights).max()  # fp16 has a small range
    inner = f"{output.name}.before_head"
    _rename(graph, output.name, inner)
    graph.initializer.append(numpy_helper.from_array(weights.astype(np.float16), _WEIGHTS))
    graph.node.extend(
        [
            helper.make_node("Cast", [_WEIGHTS], ["deepfood.head"], to=TensorProto.FLOAT),
            helper.make_node("MatMul", [inner, "deepfood.head"], [output.name]),
        ]
    )
    output.type.tensor_type.shape.dim[1].dim_value = weights.shape[1]
    if not any(one.data_location == TensorProto.EXTERNAL for one in graph.initializer):
        onnx.checker.check_model(model)  # which would look for weights beside the graph
    return bytes(model.SerializeToString(deterministic=True))


def take_off_head(network: bytes) -> tuple[bytes, npt.NDArray[np.float32] | None]:
    """`network` without the head from `fuse_head`, and the head's weights [dim, size].

    The network itself and None if it has no head.
    """
    model = onnx.load_from_string(network)
    graph = model.graph
    stored = [one for one in graph.initializer if one.name == _WEIGHTS]
    if not stored:
        return network, None
    weights: npt.NDArray[np.float32] = numpy_helper.to_array(stored[0]).astype(np.float32)
    (output,) = graph.output
    (product,) = (node for node in graph.node if output.name in node.output)
    (cast,) = (node for node in graph.node if _WEIGHTS in node.input)
    before = product.input[0]
    graph.initializer.remove(stored[0])
    graph.node.remove(product)
    graph.node.remove(cast)
    _rename(graph, before, output.name)
    output.type.tensor_type.shape.dim[1].dim_value = len(weights)
    return bytes(model.SerializeToString(deterministic=True)), weights


def _rename(graph: Any, name: str, new: str) -> None:
    for node in graph.node:
        for names in (node.input, node.output):
            names[:] = [new if one == name else one for one in names]
