"""Small real Models that end in a feature map, global pooling and a head of some kind."""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from deepfood.artifacts import FileRecord
from deepfood.model import Model, ModelManifest, open_model
from deepfood.model.artifact import ONNX
from deepfood.photo import Preprocess

CHANNELS = 6
DIMENSION = 5
SIZE = 64


def write_model(
    folder: Path,
    head: str,
    *,
    seed: int = 0,
    cells: int = 4,
    crop: float = 0.8,
    offset: float = 0.25,
) -> Model:
    """Conv and ReLU to `cells` x `cells` positions, global pooling, then the head.

    `linear` is what `adapt` fuses: fp16 weights, a cast, MatMul and Add. `length` scales the
    features to length 1 before that. `relu`, after a linear layer, is not linear. `bright` has no
    head and knows only how bright a position is. `fixed` adds numbers of its own to each position,
    and `gated` weighs channels by such, so that photos have one size. `around` pools two maps.
    `gem` pools the third powers and takes their root, and `gem linear` has a linear head after
    that.
    """
    rng = np.random.default_rng(seed)
    step = SIZE // cells
    weights = {
        "kernel": rng.normal(size=(CHANNELS, 3, step, step)).astype(np.float32) / step,
        "bias": rng.normal(size=CHANNELS).astype(np.float32),
        "half": rng.normal(size=(CHANNELS, DIMENSION)).astype(np.float16),
        "offset": rng.normal(size=DIMENSION).astype(np.float32) * offset,
    }
    if head in ("fixed", "gated"):
        weights["places"] = rng.normal(size=(1, CHANNELS, cells, cells)).astype(np.float32)
        weights["gate kernel"] = rng.normal(size=(CHANNELS, 2 * CHANNELS, 1, 1)).astype(np.float32)
    if head == "bright":  # grey of 60 is at -1.06, so that only what is brighter passes the ReLU
        weights["kernel"] = np.full((CHANNELS, 3, step, step), 1 / (3 * step * step), np.float32)
        weights["bias"] = np.full(CHANNELS, 0.9, np.float32)
    nodes = [
        helper.make_node("Conv", ["pixels", "kernel", "bias"], ["conv"], strides=[step, step]),
        helper.make_node("Relu", ["conv"], ["map"]),
    ]
    if head == "fixed":
        nodes += [
            helper.make_node("Add", ["map", "places"], ["placed"]),
            helper.make_node("GlobalAveragePool", ["placed"], ["pooled"]),
        ]
    elif head == "gated":
        nodes += [
            helper.make_node("Concat", ["map", "places"], ["both"], axis=1),
            helper.make_node("GlobalAveragePool", ["both"], ["mean of both"]),
            helper.make_node("Conv", ["mean of both", "gate kernel"], ["gate"]),
            helper.make_node("Mul", ["map", "gate"], ["gated"]),
            helper.make_node("GlobalAveragePool", ["gated"], ["pooled"]),
        ]
    elif head == "around":
        nodes += [
            helper.make_node("GlobalAveragePool", ["conv"], ["before"]),
            helper.make_node("GlobalAveragePool", ["map"], ["after"]),
            helper.make_node("Sub", ["after", "before"], ["pooled"]),
        ]
    elif head.startswith("gem"):
        weights |= {"three": np.float32(3), "third": np.float32(1 / 3)}
        nodes += [
            helper.make_node("Pow", ["map", "three"], ["powers"]),
            helper.make_node("GlobalAveragePool", ["powers"], ["mean"]),
            helper.make_node("Pow", ["mean", "third"], ["pooled"]),
        ]
    else:
        nodes.append(helper.make_node("GlobalAveragePool", ["map"], ["pooled"]))
    dimension = DIMENSION
    if head in ("none", "bright", "gem", "fixed", "gated", "around"):
        dimension = CHANNELS
        nodes.append(helper.make_node("Flatten", ["pooled"], ["embedding"]))
    else:
        nodes.append(helper.make_node("Flatten", ["pooled"], ["flat"]))
        unit = "flat"
        if head == "length":
            unit = "unit"
            nodes.append(helper.make_node("LpNormalization", ["flat"], [unit], axis=1, p=2))
        last = "sum" if head == "relu" else "embedding"
        nodes += [
            helper.make_node("Cast", ["half"], ["head"], to=TensorProto.FLOAT),
            helper.make_node("MatMul", [unit, "head"], ["product"]),
            helper.make_node("Add", ["product", "offset"], [last]),
        ]
        if head == "relu":
            nodes.append(helper.make_node("Relu", [last], ["embedding"]))
    used = {name for node in nodes for name in node.input}
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("pixels", TensorProto.FLOAT, ["n", 3, SIZE, SIZE])],
        [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["n", dimension])],
        [numpy_helper.from_array(value, name) for name, value in weights.items() if name in used],  # type: ignore[arg-type]
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / ONNX).write_bytes(model.SerializeToString())
    ModelManifest(
        name=f"small-{head}",
        backbone="none",
        dimension=dimension,
        preprocess=Preprocess(
            size=SIZE, crop=crop, interpolation="bilinear", mean=(0.5,) * 3, std=(0.25,) * 3
        ),
        source="made by the tests",
        licence="Apache-2.0",
        training={},
        files={ONNX: FileRecord.of(folder / ONNX)},
    ).write(folder)
    return open_model(folder)
