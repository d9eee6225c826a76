"""Export a torch network as a Model folder: ONNX with the embedding as its only output.

Needs the extra `deepfood[train]`; searching and serving never import this module.
"""

from pathlib import Path
from typing import Any

from deepfood.model.artifact import ModelManifest, write_model
from deepfood.photo import Preprocess


def export_model(
    network: Any, folder: Path, card: str, *, preprocess: Preprocess, **about: Any
) -> ModelManifest:
    """Write `network` (float32 [n, 3, size, size] -> [n, dimension]) as a Model into `folder`.

    Weights are stored as fp16, half the size; the arithmetic stays float32 (or what the runtime
    chooses). `about` goes to `write_model`: the manifest's fields, and `trained_on`.
    """
    import onnx
    import torch

    example = torch.zeros(2, 3, preprocess.size, preprocess.size)
    network = network.eval()
    for module in network.modules():
        # torch takes each ReLU6 that works in place apart, which is most of the time of an export.
        if getattr(module, "inplace", False):
            module.inplace = False
    with torch.no_grad():
        dimension = int(network(example).shape[1])
    program = torch.onnx.export(
        network,
        (example,),
        input_names=["pixels"],
        output_names=["embedding"],
        dynamic_shapes=({0: torch.export.Dim("n")},),
        dynamo=True,
        verbose=False,
    )
    assert program is not None  # None only if the export writes the file itself
    graph = program.model_proto
    store_as_fp16(graph)
    onnx.checker.check_model(graph)
    return write_model(
        folder,
        graph.SerializeToString(deterministic=True),
        card,
        dimension=dimension,
        preprocess=preprocess,
        **about,
    )


def store_as_fp16(model: Any) -> None:
    """Replace each float32 weight by an fp16 one and a cast; runtimes fold the cast."""
    import numpy as np
    import onnx

    graph = model.graph
    kept, casts = [], []
    for weight in graph.initializer:
        if weight.data_type != onnx.TensorProto.FLOAT:
            kept.append(weight)
            continue
        half = onnx.numpy_helper.to_array(weight).astype(np.float16)
        kept.append(onnx.numpy_helper.from_array(half, f"{weight.name}.fp16"))
        casts.append(
            onnx.helper.make_node(
                "Cast", [f"{weight.name}.fp16"], [weight.name], to=onnx.TensorProto.FLOAT
            )
        )
    nodes = [*casts, *graph.node]
    del graph.initializer[:], graph.node[:], graph.value_info[:], model.metadata_props[:]
    for node in nodes:  # the exporter leaves paths of this machine here
        del node.metadata_props[:]
        node.doc_string = ""
    graph.initializer.extend(kept)
    graph.node.extend(nodes)
