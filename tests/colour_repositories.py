"""What the hub would have of the Model that knows colours (text_models.py), in two layouts."""

import json
from typing import Any

import onnx
from onnx import TensorProto, helper

from deepfood.model import TextTower
from text_models import CONTEXT, END, PAD, VOCABULARY, text_network, tokenizer

SIDE = 64
DIMENSION = 3 * 8 * 8


def photo_network(given: str, answer: str) -> bytes:
    """A photo's mean colours in 8 x 8 blocks, under the names that a layout has."""
    graph = helper.make_graph(
        [
            helper.make_node("AveragePool", [given], ["s"], kernel_shape=[8] * 2, strides=[8] * 2),
            helper.make_node("Flatten", ["s"], [answer]),
        ],
        "photos",
        [helper.make_tensor_value_info(given, TensorProto.FLOAT, ["n", 3, SIDE, SIDE])],
        [helper.make_tensor_value_info(answer, TensorProto.FLOAT, ["n", DIMENSION])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    return bytes(model.SerializeToString())


def words_network(given: str, answer: str, id_type: str) -> bytes:
    """The text tower, under the names that a layout has."""
    tower = TextTower.model_validate(
        {"context": CONTEXT, "pad_id": PAD, "vocabulary": len(VOCABULARY), "id_type": id_type}
    )
    model = onnx.load_from_string(text_network(DIMENSION, tower))
    names = {"ids": given, "embedding": answer}
    for node in model.graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names.get(name, name) for name in node.output]
    for one in (*model.graph.input, *model.graph.output):
        one.name = names.get(one.name, one.name)
    return bytes(model.SerializeToString())


def immich_files() -> dict[str, bytes]:
    """As immich-app's repositories are."""
    return {
        "README.md": b"---\nlicense: mit\n---\n# Colours\n",
        "config.json": _json(
            embed_dim=DIMENSION,
            vision_cfg={"image_size": SIDE},
            text_cfg={"context_length": CONTEXT, "vocab_size": len(VOCABULARY)},
        ),
        "visual/preprocess_cfg.json": _json(
            size=SIDE,
            mean=[0.5] * 3,
            std=[0.25] * 3,
            interpolation="bilinear",
            resize_mode="squash",
        ),
        "visual/model.onnx": photo_network("image", "embedding"),
        "textual/model.onnx": words_network("text", "embedding", "int32"),
        "textual/tokenizer.json": _tokenizer(),
        "textual/tokenizer_config.json": _json(pad_token="<pad>"),
        ".gitattributes": b"*.onnx filter=lfs\n",
    }


def mobileclip2_files() -> dict[str, bytes]:
    """As the repository that has several MobileCLIP2, each in a folder of its own."""
    files = {
        "README.md": b"# Several\n",
        "config.json": _json(
            model_type="clip_vision_model", text_config={"max_position_embeddings": CONTEXT}
        ),
        "tokenizer.json": _tokenizer(),
        "tokenizer_config.json": _json(pad_token="<end>"),
    }
    for size in ("s0", "s2", "b", "l14"):
        files |= {
            f"onnx/{size}/config.json": b"{}",
            f"onnx/{size}/preprocessor_config.json": _json(
                size={"shortest_edge": SIDE},
                crop_size={"height": SIDE, "width": SIDE},
                do_center_crop=True,
                image_mean=[0.5] * 3,
                image_std=[0.25] * 3,
                resample=2,
            ),
            f"onnx/{size}/vision_model.onnx": photo_network("pixel_values", "image_embeds"),
            f"onnx/{size}/text_model.onnx": words_network("input_ids", "text_embeds", "int64"),
        }
    return files


def _tokenizer() -> bytes:
    """Padded with the end token, as CLIP's are, which is not what the towers were trained with."""
    made = tokenizer()
    made.enable_padding(pad_id=END, pad_token="<end>")
    return made.to_str().encode()


def _json(**fields: Any) -> bytes:
    return json.dumps(fields).encode()
