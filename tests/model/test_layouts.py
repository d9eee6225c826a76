"""What a repository's files are, which of them are wanted, and what is refused in one line.

The graphs are a few nodes, written here, so that each fault can be put into them.
"""

import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from deepfood.embed import Embedder
from deepfood.errors import (
    ArtifactCorruptError,
    ArtifactError,
    ArtifactFormatError,
    ArtifactMissingError,
    MissingExtraError,
)
from deepfood.model import graphs, open_model
from deepfood.model.artifact import ONNX, TEXT_ONNX
from deepfood.model.hub_layouts import recognise, wanted_files
from deepfood.model.imported import import_folder
from deepfood.words import TextEmbedder
from samples import LIMITS, photo

SIZE, DIMENSION, CONTEXT, VOCABULARY = 16, 6, 8, 12
ABOUT: dict[str, Any] = {"name": "n", "source": "s", "licence": "l"}

CLIP = {"model_type": "clip", "projection_dim": DIMENSION}
CLIP |= {"text_config": {"max_position_embeddings": CONTEXT, "vocab_size": VOCABULARY}}
PREPROCESSOR: dict[str, Any] = {
    "size": {"shortest_edge": SIZE},
    "crop_size": SIZE,
    "do_center_crop": True,
}


def photo_network(dimension: int = DIMENSION, **shape: Any) -> onnx.ModelProto:
    """Means of each colour, by a matrix; and outputs beside it that nobody asks for."""
    rng = np.random.default_rng(shape.get("weights", 0))
    weights = rng.normal(size=(3, dimension)).astype(np.float32)
    nodes = [
        helper.make_node("ReduceMean", ["pixel_values"], ["means"], axes=[2, 3], keepdims=0),
        helper.make_node("MatMul", ["means", "weights"], ["image_embeds"]),
        helper.make_node("Softmax", ["image_embeds"], ["logits"]),
        # Whoever exports graphs may have given this name to anything.
        helper.make_node("Identity", ["logits"], ["embedding"]),
    ]
    return network(
        nodes,
        {"pixel_values": (TensorProto.FLOAT, shape.get("pixels", ["b", 3, "h", "w"]))},
        {"logits": ["b", dimension], "image_embeds": ["b", dimension]},
        {"weights": weights},
    )


def text_network(rows: int = VOCABULARY, dimension: int = DIMENSION) -> onnx.ModelProto:
    table = np.random.default_rng(1).normal(size=(rows, dimension)).astype(np.float32)
    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["words"], doc_string="/home/someone"),
        helper.make_node("ReduceMean", ["words"], ["text_embeds"], axes=[1], keepdims=0),
    ]
    return network(
        nodes,
        {"input_ids": (TensorProto.INT64, ["b", "s"])},
        {"text_embeds": ["b", dimension]},
        {"table": table},
    )


def network(
    nodes: list[Any],
    inputs: dict[str, tuple[int, list[Any]]],
    outputs: dict[str, list[Any]],
    weights: dict[str, np.ndarray],
) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info(name, *about) for name, about in inputs.items()],
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in outputs.items()],
        [numpy_helper.from_array(values, name) for name, values in weights.items()],
    )
    opsets = [helper.make_opsetid("", 14), helper.make_opsetid("my.operators", 1)]
    return helper.make_model(graph, ir_version=7, opset_imports=opsets)


def tokenizer(words: int = VOCABULARY, end: bool = True) -> str:
    vocabulary = {"[end]": 0, "[unknown]": 1} | {f"word{n}": n for n in range(2, words)}
    made = Tokenizer(models.WordLevel(vocabulary, unk_token="[unknown]"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.add_special_tokens(["[end]"])
    if end:
        made.post_processor = processors.TemplateProcessing("$A [end]", None, [("[end]", 0)])
    return str(made.to_str())


@pytest.fixture
def hub(tmp_path: Path) -> Path:
    """A folder in the layout of transformers.js, which can be imported."""
    folder = tmp_path / "hub"
    (folder / "onnx").mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(CLIP))
    (folder / "preprocessor_config.json").write_text(json.dumps(PREPROCESSOR))
    (folder / "tokenizer.json").write_text(tokenizer())
    onnx.save(photo_network(), folder / "onnx" / "vision_model.onnx")
    onnx.save(text_network(), folder / "onnx" / "text_model.onnx")
    return folder


def refused(folder: Path, kind: type[ArtifactError], suffix: str = "") -> str:
    """The one line that refuses it; nothing is left behind."""
    before = sorted(path.name for path in folder.parent.iterdir())
    with pytest.raises(kind) as caught:
        import_folder(folder, folder.parent / "model", suffix=suffix, **ABOUT)
    assert sorted(path.name for path in folder.parent.iterdir()) == before
    said = str(caught.value)
    assert "\n" not in said
    assert len(said) < 600
    return said


def test_a_graph_has_one_way_in_and_one_way_out(hub: Path) -> None:
    import_folder(hub, hub.parent / "model", **ABOUT)
    model = open_model(hub.parent / "model")
    graph = onnx.load(model.onnx).graph
    (pixels,), (embedding,) = graph.input, graph.output
    assert (pixels.name, embedding.name) == ("pixels", "embedding")
    shape = [dim.dim_param or dim.dim_value for dim in pixels.type.tensor_type.shape.dim]
    assert shape == ["n", 3, SIZE, SIZE]
    assert [dim.dim_value for dim in embedding.type.tensor_type.shape.dim] == [0, DIMENSION]
    assert [node.op_type for node in graph.node] == ["Cast", "ReduceMean", "MatMul", "Cast"]
    text = onnx.load(model.text_onnx).graph
    assert [dim.dim_value for dim in text.input[0].type.tensor_type.shape.dim] == [1, CONTEXT]
    assert b"/home/someone" not in model.text_onnx.read_bytes()
    for runtime in ("openvino", "onnxruntime"):
        vector = Embedder(model, LIMITS, runtime=runtime, precision="f32").embed(photo())
        assert vector.shape == (DIMENSION,)
    words = TextEmbedder(model)
    assert words.tokens("word3 word4").tolist() == [3, 4, *[0] * 6]
    assert words.tokens(" ".join(["word3"] * 20)).tolist() == [*[3] * 7, 0]


def test_large_weights_lie_beside_the_graph(hub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As those of a graph above 2 GB must, whether they came in it or beside it."""
    path = hub / "onnx" / "vision_model.onnx"
    numbers = onnx.load(path)
    (weights,) = numbers.graph.initializer  # as some exporters write them, number by number
    values = numpy_helper.to_array(weights).ravel()
    weights.CopyFrom(helper.make_tensor("weights", TensorProto.FLOAT, weights.dims, values))
    onnx.save(numbers, path)
    import_folder(hub, hub.parent / "inside", **ABOUT)
    for limit in ("_INSIDE_BYTES", "_SMALL_BYTES"):
        monkeypatch.setattr(graphs, limit, 8)
    first = import_folder(hub, hub.parent / "by-numbers", **ABOUT)
    monkeypatch.undo()
    for name in ("vision_model", "text_model"):
        path = hub / "onnx" / f"{name}.onnx"
        onnx.save_model(
            onnx.load(path),
            path,
            save_as_external_data=True,
            location=f"{name}.onnx_data",
            size_threshold=0,
        )
    import_folder(hub, hub.parent / "taken-in", **ABOUT)
    for limit in ("_INSIDE_BYTES", "_TEXT_INSIDE_BYTES", "_SMALL_BYTES"):
        monkeypatch.setattr(graphs, limit, 8)
    manifest = import_folder(hub, hub.parent / "outside", **ABOUT)
    beside = [name for name in manifest.files if "weights-" in name]
    assert sorted(name[:13] for name in beside)[0].startswith("text-weights-")
    assert len(beside) == 2
    vectors = []
    for name in ("inside", "by-numbers", "taken-in", "outside"):
        model = open_model(hub.parent / name)
        assert (model.folder / ONNX).stat().st_size < 1500
        for runtime in ("openvino", "onnxruntime"):
            photos = Embedder(model, LIMITS, runtime=runtime, precision="f32").embed(photo())
            words = TextEmbedder(model, runtime=runtime, precision="f32").embed("word3 word4")
            vectors.append(np.concatenate([photos, words]))
    assert all(np.abs(one - vectors[0]).max() < 1e-6 for one in vectors)
    # The same again gives the same bytes, so a gallery's Model is still its Model.
    again = import_folder(hub, hub.parent / "again", **ABOUT)
    assert again.files == manifest.files
    assert again.fingerprint == manifest.fingerprint == first.fingerprint
    save(hub, photo_network(weights=1))
    other = import_folder(hub, hub.parent / "of-other-weights", **ABOUT)
    assert other.files[ONNX].bytes == manifest.files[ONNX].bytes
    assert other.fingerprint != manifest.fingerprint


def test_large_constants_lie_beside_the_graph_too(
    hub: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exporters write masks and, some of them, weights as nodes. Those in branches stay inside."""
    import_folder(hub, hub.parent / "inside", **ABOUT)
    path = hub / "onnx" / "text_model.onnx"
    model = onnx.load(path)
    (table,) = model.graph.initializer
    zeros = numpy_helper.from_array(np.zeros((CONTEXT, DIMENSION), np.float32))
    make, info = helper.make_node, helper.make_tensor_value_info("b", TensorProto.FLOAT, None)
    branch = helper.make_graph([make("Constant", [], ["b"], value=zeros)], "g", [], [info])
    yes = numpy_helper.from_array(np.array(True))
    model.graph.node[0].output[0] = "first"
    for at, node in enumerate(
        (
            make("Constant", [], ["table"], value=table),
            make("Constant", [], ["yes"], value=yes),
            make("If", ["yes"], ["nothing"], then_branch=branch, else_branch=branch),
        )
    ):
        model.graph.node.insert(at, node)
    model.graph.node.insert(4, make("Add", ["first", "nothing"], ["words"]))
    del model.graph.initializer[:]
    onnx.save(model, path)
    for limit in ("_TEXT_INSIDE_BYTES", "_SMALL_BYTES"):
        monkeypatch.setattr(graphs, limit, 8)
    manifest = import_folder(hub, hub.parent / "outside", **ABOUT)
    (beside,) = [name for name in manifest.files if "weights-" in name]
    assert (hub.parent / "outside" / beside).stat().st_size >= len(table.raw_data)
    vectors = [
        TextEmbedder(open_model(hub.parent / name), runtime=runtime, precision="f32").embed("word3")
        for name in ("inside", "outside")
        for runtime in ("openvino", "onnxruntime")
    ]
    assert all(np.abs(one - vectors[0]).max() < 1e-6 for one in vectors)


def beside(hub: Path, place: str, length: int = 0) -> None:
    """The photos' graph with weights that say they are at `place`."""
    model = photo_network()
    (tensor,) = model.graph.initializer
    length = length or len(tensor.raw_data)
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in (("location", place), ("offset", "0"), ("length", str(length))):
        tensor.external_data.add(key=key, value=value)
    (hub / "onnx" / "vision_model.onnx").write_bytes(model.SerializeToString())


@pytest.mark.parametrize(
    "place", ["../secret", "{hub}/secret", "a/../../secret", "..\\secret", "C:secret", ""]
)
def test_weights_outside_the_folder_are_refused(hub: Path, place: str) -> None:
    (hub / "secret").write_bytes(bytes(3 * DIMENSION * 4))
    beside(hub, place.format(hub=hub))
    assert "outside the graph's folder" in refused(hub, ArtifactFormatError)


@pytest.mark.parametrize("where", ["weights", "inner/weights"])
def test_weights_behind_a_link_are_refused(hub: Path, where: str) -> None:
    outside = hub.parent / "outside"
    outside.mkdir()
    (outside / "weights").write_bytes(bytes(3 * DIMENSION * 4))
    if where == "weights":
        (hub / "onnx" / where).symlink_to(outside / "weights")
    else:
        (hub / "onnx" / "inner").symlink_to(outside)
    beside(hub, where)
    assert "is a link" in refused(hub, ArtifactFormatError)


def test_a_pipe_in_place_of_weights_is_not_waited_for(hub: Path) -> None:
    os.mkfifo(hub / "onnx" / "weights")
    beside(hub, "weights")
    assert "was cut short" in refused(hub, ArtifactCorruptError)


def test_weights_that_are_missing_or_cut_short_are_refused(hub: Path) -> None:
    beside(hub, "weights")
    assert "needs weights beside it" in refused(hub, ArtifactMissingError)
    (hub / "onnx" / "weights").write_bytes(bytes(20))
    assert "was cut short" in refused(hub, ArtifactCorruptError)
    beside(hub, "weights", length=4)
    assert "72 bytes, but 4 in weights" in refused(hub, ArtifactCorruptError)


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("dims", [10**6, 10**6], "72 bytes, but its shape needs 4000000000000"),
        ("dims", [-1, 6], "has a negative size"),
        ("data_type", 999, "72 bytes, but its shape needs 0"),
        ("data_type", TensorProto.INT4, "72 bytes, but its shape needs 9"),
    ],
)
def test_weights_that_contradict_themselves_are_refused(
    hub: Path, field: str, value: Any, said: str
) -> None:
    model = photo_network()
    (tensor,) = model.graph.initializer
    if field == "dims":
        tensor.dims[:] = value
    else:
        tensor.data_type = value
    (hub / "onnx" / "vision_model.onnx").write_bytes(model.SerializeToString())
    assert said in refused(hub, ArtifactCorruptError)


def test_an_input_of_another_type_is_refused(hub: Path) -> None:
    model = photo_network()
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.UINT8
    (hub / "onnx" / "vision_model.onnx").write_bytes(model.SerializeToString())
    assert "pixel_values is of the type uint8" in refused(hub, ArtifactFormatError)
    model.graph.input[0].type.tensor_type.elem_type = 999
    (hub / "onnx" / "vision_model.onnx").write_bytes(model.SerializeToString())
    assert "of the type undefined" in refused(hub, ArtifactFormatError)


def with_node(model: onnx.ModelProto, at: int, node: Any) -> onnx.ModelProto:
    nodes = list(model.graph.node)
    nodes[at] = node
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return model


def graph_of(name: str) -> onnx.ModelProto:
    """A photos' graph that cannot be used."""
    model = photo_network()
    if name == "custom operator":
        node = helper.make_node(
            "Twist", ["means", "weights"], ["image_embeds"], domain="my.operators"
        )
        return with_node(model, 1, node)
    if name == "another size":
        return photo_network(5)
    if name == "a batch of four":
        return photo_network(pixels=[4, 3, SIZE, SIZE])
    if name == "other pixels":
        return photo_network(pixels=["b", 3, 224, 224])
    if name == "grey pixels":
        return photo_network(pixels=["b", 1, SIZE, SIZE])
    if name == "another input":
        model.graph.input.append(
            helper.make_tensor_value_info("mask", TensorProto.FLOAT, ["b", DIMENSION])
        )
        nodes = [helper.make_node("Mul", ["unmasked", "mask"], ["image_embeds"])]
        model.graph.node[1].output[0] = "unmasked"
        model.graph.node.extend(nodes)
        return model
    if name == "no such output":
        del model.graph.output[1]
        return model
    if name == "nobody makes it":
        model.graph.node[1].input[0] = "nothing"
        return model
    if name == "two make it":
        return with_node(model, 3, model.graph.node[1])
    assert name == "a sequence"
    node = helper.make_node("Identity", ["pixel_values"], ["image_embeds"])
    return with_node(model, 1, node)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("custom operator", "needs the operator Twist of my.operators"),
        ("another size", "its output has 5 numbers instead of 6"),
        ("a batch of four", "its input pixel_values is 4x3x16x16, but would get 1x3x16x16"),
        ("other pixels", "its input pixel_values is ?x3x224x224, but would get nx3x16x16"),
        ("grey pixels", "is ?x1x16x16"),
        ("another input", "image_embeds needs pixel_values, mask, but gets at most 1"),
        ("no such output", "it has no output image_embeds; it has logits"),
        ("a sequence", "its output image_embeds has the shape"),
    ],
)
def test_a_graph_that_does_not_fit_is_refused(hub: Path, name: str, said: str) -> None:
    onnx.save(graph_of(name), hub / "onnx" / "vision_model.onnx")
    assert said in refused(hub, ArtifactFormatError)


def test_an_operator_that_the_embedding_does_not_need_does_not_matter(hub: Path) -> None:
    model = photo_network()
    node = helper.make_node("Twist", ["image_embeds"], ["logits"], domain="my.operators")
    onnx.save(with_node(model, 2, node), hub / "onnx" / "vision_model.onnx")
    assert import_folder(hub, hub.parent / "model", **ABOUT).dimension == DIMENSION


@pytest.mark.parametrize("content", [b"", b"<!doctype html><html>", b"\x08\x07" * 40])
def test_what_is_no_graph_is_refused(hub: Path, content: bytes) -> None:
    (hub / "onnx" / "vision_model.onnx").write_bytes(content)
    assert "vision_model.onnx" in refused(hub, ArtifactError)


def test_a_damaged_graph_is_refused(hub: Path) -> None:
    onnx.save(graph_of("nobody makes it"), hub / "onnx" / "vision_model.onnx")
    assert "nothing makes 'nothing'" in refused(hub, ArtifactCorruptError)
    onnx.save(graph_of("two make it"), hub / "onnx" / "vision_model.onnx")
    assert "two nodes make 'image_embeds'" in refused(hub, ArtifactCorruptError)


def test_a_tokenizer_of_another_network_is_refused(hub: Path) -> None:
    (hub / "tokenizer.json").write_text(tokenizer(VOCABULARY + 1))
    said = refused(hub, ArtifactFormatError)
    assert "it has 13 tokens, but text_model.onnx 12" in said
    (hub / "tokenizer.json").write_text(tokenizer(end=False))
    assert "has no token for the end of a text" in refused(hub, ArtifactFormatError)
    (hub / "tokenizer.json").write_text("<html>")
    assert "cannot be read as a tokenizer" in refused(hub, ArtifactCorruptError)


@pytest.mark.parametrize(
    "changes",
    [
        {"normalizer": {"type": "Precompiled", "precompiled_charsmap": "AAAA"}},
        {
            "post_processor": {
                "type": "TemplateProcessing",
                "single": [{"SpecialToken": {"id": "none", "type_id": 0}}],
                "pair": [],
                "special_tokens": {},
            }
        },
        {"model": {"type": "WordLevel", "vocab": {"a": 0}, "unk_token": "[none]"}},
        {"model": {"type": "Unigram", "unk_id": None, "vocab": [["a", 0.0]]}},
        {"model": {"type": "WordLevel", "vocab": {"a": -1}, "unk_token": "a"}},
    ],
)
def test_a_tokenizer_that_fails_is_refused(hub: Path, changes: dict[str, Any]) -> None:
    """It says so, panics when it is read, or panics at the first text that it does not know."""
    about = json.loads(tokenizer()) | changes
    (hub / "tokenizer.json").write_text(json.dumps(about))
    assert "cannot be read as a tokenizer" in refused(hub, ArtifactCorruptError)


def test_the_graph_knows_best_how_many_tokens_there_are(hub: Path) -> None:
    """Configs leave out what their class has by default, or say what another network has."""
    config = CLIP | {"text_config": {"max_position_embeddings": CONTEXT, "vocab_size": 900}}
    (hub / "config.json").write_text(json.dumps(config))
    tower = import_folder(hub, hub.parent / "model", **ABOUT).text_tower
    assert tower is not None
    assert tower.vocabulary == VOCABULARY


def deep(levels: int) -> str:
    return '{"size": ' * levels + "1" + "}" * levels


@pytest.mark.parametrize("name", ["config.json", "preprocessor_config.json"])
@pytest.mark.parametrize(
    "content",
    [
        "<!doctype html>\n<html>\n<title>429 Too Many Requests</title>",
        "",
        "[]",
        "null",
        '"clip"',
        '{"model_type": 7, "size": "large"}',
        '{"model_type": null, "size": [1, 2, 3]}',
        '{"model_type": "clip", "projection_dim": 1e400, "size": -1}',
        deep(100_000),
        "\0\1\2",
        "\ud800".encode("utf-8", "surrogatepass").decode("latin-1"),
    ],
)
def test_a_config_that_is_none_is_refused_in_a_line(hub: Path, name: str, content: str) -> None:
    (hub / name).write_text(content, encoding="latin-1")
    assert name in refused(hub, ArtifactError)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"image_mean": [float("nan"), 0, 0]}, "image_mean"),
        ({"image_std": [0, 1, 1]}, "std.0"),
        ({"image_std": [1, 1]}, "2 numbers for red, green and blue"),
        ({"size": {"shortest_edge": 10**9}}, "size"),
        ({"size": {"shortest_edge": 5000}, "crop_size": 5000}, "size"),
        ({"size": {"height": 16, "width": 24}}, "is not a square"),
        ({"size": {"height": 32, "width": 32}}, "it crops 16 pixels from a squashed photo of 32"),
        ({"size": {"shortest_edge": 8}}, "crop_size 16 is larger"),
        ({"size": {"shortest_edge": 8, "longest_edge": 16}}, "longest_edge"),
        ({"do_center_crop": False}, "shortest_edge without do_center_crop"),
        ({"resample": 0}, "resample 0 is neither"),
        ({"do_resize": False}, "do_resize"),
        ({"do_flip_channel_order": True}, "blue before red"),
        ({"max_num_patches": 256}, "NaFlex"),
        ({"rescale_factor": float("inf")}, "rescale_factor"),
    ],
)
def test_ways_with_photos_that_do_not_exist_here_are_refused(
    hub: Path, changes: dict[str, Any], said: str
) -> None:
    (hub / "preprocessor_config.json").write_text(json.dumps(PREPROCESSOR | changes))
    assert said in refused(hub, ArtifactError)


@pytest.mark.parametrize(
    ("about", "wanted"),
    [
        ({"size": 16, "do_center_crop": True, "crop_size": 16}, ("shortest", 16, 1.0)),
        ({"size": 20, "crop_size": {"height": 16, "width": 16}}, ("shortest", 16, 0.8)),
        ({"size": 16, "do_center_crop": False}, ("squash", 16, 1.0)),
        ({"size": {"shortest_edge": 16}, "do_center_crop": True}, ("shortest", 16, 1.0)),
        ({"size": {"height": 16, "width": 16}, "do_center_crop": False}, ("squash", 16, 1.0)),
        (
            {"size": {"height": 16, "width": 16}, "do_center_crop": True, "crop_size": 16},
            ("squash", 16, 1.0),
        ),
    ],
)
def test_old_and_new_files_say_the_same_in_other_words(
    hub: Path, about: dict[str, Any], wanted: tuple[str, int, float]
) -> None:
    (hub / "preprocessor_config.json").write_text(json.dumps(about))
    found = recognise(hub).preprocess
    assert found is not None
    assert (found.resize, found.size, found.crop) == wanted
    assert found.interpolation == "bicubic"  # CLIP's, where the file is silent


def test_another_scale_becomes_another_mean_and_deviation(hub: Path) -> None:
    """(value / 127.5 - 1) / 0.5 is (value / 255 - 0.5) / 0.25."""
    scale = {"rescale_factor": 1 / 127.5, "image_mean": 1, "image_std": [0.5]}
    (hub / "preprocessor_config.json").write_text(json.dumps(PREPROCESSOR | scale))
    found = recognise(hub).preprocess
    assert found is not None
    assert np.allclose((*found.mean, *found.std), [0.5] * 3 + [0.25] * 3)
    (hub / "preprocessor_config.json").write_text(
        json.dumps(PREPROCESSOR | {"do_normalize": False, "mean": [9, 9, 9]})
    )
    found = recognise(hub).preprocess
    assert found is not None
    assert (found.mean, found.std) == ((0, 0, 0), (1, 1, 1))


@pytest.mark.parametrize(
    "missing", ["config.json", "preprocessor_config.json", "onnx/text_model.onnx", "tokenizer.json"]
)
def test_a_missing_file_is_named(hub: Path, missing: str) -> None:
    (hub / missing).unlink()
    said = refused(hub, ArtifactMissingError)
    assert f"it has no {missing}, which an import needs" in said


def test_a_suffix_that_is_not_there_names_those_that_are(hub: Path) -> None:
    (hub / "onnx" / "vision_model_fp16.onnx").touch()
    said = refused(hub, ArtifactMissingError, suffix="q4")
    assert "it has no onnx/vision_model_q4.onnx; the existing suffixes are none, _fp16" in said
    assert "no onnx/text_model_fp16.onnx" in refused(hub, ArtifactMissingError, suffix="_fp16")


def test_photos_alone_are_enough(hub: Path) -> None:
    (hub / "tokenizer.json").unlink()
    (hub / "onnx" / "text_model.onnx").unlink()
    manifest = import_folder(hub, hub.parent / "model", **ABOUT)
    assert manifest.text_tower is None
    assert TEXT_ONNX not in manifest.files


TRANSFORMERS = ("config.json", "preprocessor_config.json")
IMMICH = ("config.json", "visual/preprocess_cfg.json", "visual/model.onnx")
WORDS = ("textual/model.onnx", "textual/tokenizer.json", "textual/tokenizer_config.json")


@pytest.mark.parametrize(
    ("names", "suffix", "wanted"),
    [
        (
            [*IMMICH, *WORDS, "visual/rknpu/rk3588/model.rknn", "textual/merges.txt"],
            "",
            {*IMMICH, *WORDS},
        ),
        (
            [
                *TRANSFORMERS,
                "tokenizer.json",
                "tokenizer_config.json",
                "onnx/vision_model.onnx",
                "onnx/vision_model_fp16.onnx",
                "onnx/vision_model_fp16.onnx_data",
                "onnx/vision_model_fp16.onnx_data_1",
                "onnx/text_model.onnx",
                "onnx/text_model_fp16.onnx",
                "onnx/text_model_fp16.onnx.data",
                "onnx/model_fp16.onnx",
                "model.safetensors",
            ],
            "fp16",
            {
                *TRANSFORMERS,
                "tokenizer.json",
                "tokenizer_config.json",
                "onnx/vision_model_fp16.onnx",
                "onnx/vision_model_fp16.onnx_data",
                "onnx/vision_model_fp16.onnx_data_1",
                "onnx/text_model_fp16.onnx",
                "onnx/text_model_fp16.onnx.data",
            },
        ),
        (
            [*TRANSFORMERS, "onnx/model.onnx", "onnx/model.onnx_data", "onnx/model_q4.onnx"],
            "",
            {*TRANSFORMERS, "onnx/model.onnx", "onnx/model.onnx_data"},
        ),
        ([*TRANSFORMERS, "model.onnx", "README.md"], "", {*TRANSFORMERS, "model.onnx"}),
        (
            ["open_clip_config.json", "open_clip_model.safetensors", "open_clip_pytorch_model.bin"],
            "",
            {"open_clip_config.json", "open_clip_model.safetensors"},
        ),
        (
            ["config.json", "model.safetensors", "pytorch_model.bin", "README.md"],
            "",
            {"config.json", "model.safetensors"},
        ),
    ],
)
def test_what_is_fetched_of_a_repository(names: list[str], suffix: str, wanted: set[str]) -> None:
    files = wanted_files(names, suffix)
    assert set(files) == wanted
    assert len(files) == len(wanted)
    assert files[0].endswith(".json")  # the small ones first


@pytest.mark.parametrize(
    ("names", "suffix", "said"),
    [
        ([], "", "it has no known layout"),
        (["README.md", "model.gguf"], "", "none of visual/model.onnx (immich-app)"),
        ([*TRANSFORMERS, "model.safetensors"], "", "weights for transformers on torch"),
        ([*IMMICH], "fp16", "immich-app's layout has no graphs by suffix (_fp16)"),
        ([*IMMICH, "textual/tokenizer.json"], "", "it has no textual/model.onnx"),
        ([*IMMICH[1:]], "", "it has no config.json"),
        (["open_clip_config.json"], "", "it has no open_clip_model.safetensors or"),
    ],
)
def test_a_repository_in_no_layout_is_refused(names: list[str], suffix: str, said: str) -> None:
    with pytest.raises(ArtifactError, match=r"^(it|immich-app's layout) ") as caught:
        wanted_files(names, suffix)
    assert said in str(caught.value)


def test_weights_for_torch_are_recognised_and_not_read_without_it(tmp_path: Path) -> None:
    folder = tmp_path / "timm"
    folder.mkdir()
    (folder / "config.json").write_text('{"architecture": "resnet34"}')
    (folder / "model.safetensors").touch()
    layout = recognise(folder)
    assert (layout.name, layout.family, layout.needs_torch) == ("timm", "resnet34", True)
    assert "only torch can read them" in refused(folder, ArtifactFormatError)
    (folder / "config.json").write_text('{"model_type": "bert"}')
    assert "has no architecture" in refused(folder, ArtifactFormatError)


def test_a_network_of_another_kind_is_refused(hub: Path) -> None:
    (hub / "config.json").write_text('{"model_type": "bert"}')
    assert "model_type 'bert' cannot be imported; supported are" in refused(
        hub, ArtifactFormatError
    )


def test_no_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtifactMissingError, match="is not a folder"):
        recognise(tmp_path / "nothing")


# Graphs as others write them


def words_of(hub: Path, out: str) -> np.ndarray:
    """The vector of a text by the Model that `hub` becomes."""
    import_folder(hub, hub.parent / out, **ABOUT)
    model = open_model(hub.parent / out)
    return TextEmbedder(model, runtime="onnxruntime", precision="f32").embed("word3 word4")


def photo_of(hub: Path, out: str) -> np.ndarray:
    import_folder(hub, hub.parent / out, **ABOUT)
    model = open_model(hub.parent / out)
    return Embedder(model, LIMITS, runtime="onnxruntime", precision="f32").embed(photo())


def save(hub: Path, model: onnx.ModelProto, name: str = "vision_model") -> None:
    (hub / "onnx" / f"{name}.onnx").write_bytes(model.SerializeToString())


def test_a_function_of_a_graph_is_written_out(hub: Path) -> None:
    given = photo_of(hub, "given")
    model = photo_network()
    make = helper.make_function(
        "local",
        "Times",
        ["a", "b"],
        ["c"],
        [helper.make_node("MatMul", ["a", "b"], ["c"])],
        [helper.make_opsetid("", 14)],
    )
    model.ir_version = 8
    model.functions.append(make)
    model.opset_import.append(helper.make_opsetid("local", 1))
    node = helper.make_node("Times", ["means", "weights"], ["image_embeds"], domain="local")
    save(hub, with_node(model, 1, node))
    assert np.array_equal(photo_of(hub, "written-out"), given)
    assert not onnx.load(hub.parent / "written-out" / ONNX).functions


def test_pixels_of_any_shape_are_taken(hub: Path) -> None:
    given = photo_of(hub, "given")
    model = photo_network()
    model.graph.input[0].type.tensor_type.ClearField("shape")
    save(hub, model)
    assert np.array_equal(photo_of(hub, "any"), given)


def test_sparse_weights_are_kept(hub: Path) -> None:
    model = photo_network()
    (weights,) = model.graph.initializer
    dense = np.zeros((3, DIMENSION), np.float32)
    dense[0, 1], dense[2, 4] = 2, 3
    weights.CopyFrom(numpy_helper.from_array(dense, "weights"))
    save(hub, model)
    given = photo_of(hub, "dense")
    del model.graph.initializer[:]
    values = numpy_helper.from_array(np.array([2, 3], np.float32), "weights")
    places = numpy_helper.from_array(np.array([1, 2 * DIMENSION + 4]), "places")
    model.graph.sparse_initializer.append(helper.make_sparse_tensor(values, places, [3, DIMENSION]))
    save(hub, model)
    assert np.array_equal(photo_of(hub, "sparse"), given)
    values.data_type = TensorProto.DOUBLE
    model.graph.sparse_initializer[0].values.CopyFrom(values)
    save(hub, model)
    (hub.parent / "sparse").rename(hub.parent / "kept")
    assert "needs 16" in refused(hub, ArtifactCorruptError)


def test_half_precision_beside_a_graph_is_widened_for_operators_of_runtimes(hub: Path) -> None:
    model = photo_network()
    (weights,) = model.graph.initializer
    half = numpy_helper.to_array(weights).astype(np.float16)
    weights.CopyFrom(numpy_helper.from_array(half, "weights"))
    node = helper.make_node(
        "FusedMatMul", ["means", "weights"], ["image_embeds"], domain="com.microsoft"
    )
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    onnx.save_model(
        with_node(model, 1, node),
        hub / "onnx" / "vision_model.onnx",
        save_as_external_data=True,
        location="weights",
        size_threshold=0,
    )
    import_folder(hub, hub.parent / "model", **ABOUT)
    (kept,) = onnx.load(hub.parent / "model" / ONNX).graph.initializer
    assert np.array_equal(numpy_helper.to_array(kept), half.astype(np.float32))


def test_a_table_of_words_in_int8_says_how_many_there_are(hub: Path) -> None:
    config = CLIP | {"text_config": {"max_position_embeddings": CONTEXT, "vocab_size": 900}}
    (hub / "config.json").write_text(json.dumps(config))
    model = text_network()
    (table,) = model.graph.initializer
    table.CopyFrom(numpy_helper.from_array(np.ones((VOCABULARY, DIMENSION), np.int8), "small"))
    scale = numpy_helper.from_array(np.array(0.5, np.float32), "scale")
    model.graph.initializer.append(scale)
    model.graph.node.insert(0, helper.make_node("DequantizeLinear", ["small", "scale"], ["table"]))
    save(hub, model, "text_model")
    tower = import_folder(hub, hub.parent / "model", **ABOUT).text_tower
    assert tower is not None
    assert tower.vocabulary == VOCABULARY


def test_words_without_a_table_are_as_many_as_the_config_says(hub: Path) -> None:
    model = text_network()
    nodes = [
        helper.make_node("Cast", ["input_ids"], ["numbers"], to=TensorProto.FLOAT),
        helper.make_node("MatMul", ["numbers", "positions"], ["text_embeds"]),
    ]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    positions = np.random.default_rng(2).normal(size=(CONTEXT, DIMENSION)).astype(np.float32)
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(positions, "positions"))
    save(hub, model, "text_model")
    assert np.isfinite(words_of(hub, "model")).all()
    tower = open_model(hub.parent / "model").manifest.text_tower
    assert tower is not None
    assert tower.vocabulary == VOCABULARY


def test_a_text_graph_gets_tokens_and_their_mask_only(hub: Path) -> None:
    model = text_network()
    model.graph.input.append(
        helper.make_tensor_value_info("position_ids", TensorProto.INT64, ["b", "s"])
    )
    model.graph.node[0].output[0] = "some"
    model.graph.node.insert(1, helper.make_node("Gather", ["table", "position_ids"], ["others"]))
    model.graph.node.insert(2, helper.make_node("Add", ["some", "others"], ["words"]))
    save(hub, model, "text_model")
    assert "it needs ids, position_ids, but gets only tokens and their mask" in refused(
        hub, ArtifactFormatError
    )


def test_a_graph_that_breaks_onnx_own_rules_is_refused(hub: Path) -> None:
    model = with_node(
        photo_network(), 1, helper.make_node("Twist", ["means", "weights"], ["image_embeds"])
    )
    save(hub, model)
    assert "is not a valid ONNX graph: No Op registered for Twist" in refused(
        hub, ArtifactCorruptError
    )
    model = photo_network()
    del model.opset_import[:]
    save(hub, model)
    assert "is not a valid ONNX graph" in refused(hub, ArtifactCorruptError)


def test_an_output_of_no_known_size_needs_a_config_that_says_it(hub: Path) -> None:
    (hub / "config.json").write_text('{"model_type": "dinov2"}')
    model = photo_network()
    node = helper.make_node(
        "FusedMatMul", ["means", "weights"], ["pooler_output"], domain="com.microsoft"
    )
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    del model.graph.node[2:], model.graph.output[:]
    model.graph.output.append(
        helper.make_tensor_value_info("pooler_output", TensorProto.FLOAT, ["b", "d"])
    )
    save(hub, with_node(model, 1, node))
    for name in ("tokenizer.json", "onnx/text_model.onnx"):
        (hub / name).unlink()
    assert "does not define the size of its output" in refused(hub, ArtifactFormatError)
    (hub / "config.json").write_text(f'{{"model_type": "dinov2", "hidden_size": {DIMENSION}}}')
    assert import_folder(hub, hub.parent / "model", **ABOUT).dimension == DIMENSION


def test_a_place_that_is_no_number_is_refused(hub: Path) -> None:
    (hub / "onnx" / "weights").write_bytes(bytes(3 * DIMENSION * 4))
    beside(hub, "weights")
    model = onnx.load(hub / "onnx" / "vision_model.onnx", load_external_data=False)
    model.graph.initializer[0].external_data[1].value = "near the end"
    save(hub, model)
    assert "offset or length of the tensor 'weights' is not a number" in refused(
        hub, ArtifactCorruptError
    )


def test_a_config_that_the_disk_does_not_give_is_named(hub: Path) -> None:
    (hub / "config.json").unlink()
    (hub / "config.json").symlink_to("/proc/self/mem")  # whose first byte nobody can read
    assert "config.json cannot be read: Input/output error" in refused(hub, ArtifactCorruptError)


def test_without_onnx_the_command_that_installs_it_is_named(
    hub: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(MissingExtraError, match=r"needs the package onnx: .*\[words\]"):
        import_folder(hub, hub.parent / "model", **ABOUT)


# open_clip's configs, which immich-app has too


@pytest.fixture
def immich(hub: Path) -> Path:
    """A folder in the layout of immich-app, without words."""
    (hub / "visual").mkdir()
    (hub / "onnx" / "vision_model.onnx").rename(hub / "visual" / "model.onnx")
    (hub / "visual" / "preprocess_cfg.json").write_text("{}")
    about = {"embed_dim": DIMENSION, "vision_cfg": {"image_size": SIZE}}
    (hub / "config.json").write_text(json.dumps(about))
    model = onnx.load(hub / "visual" / "model.onnx")
    model.graph.output[1].name = model.graph.node[1].output[0] = "image_embeds"
    onnx.save(model, hub / "visual" / "model.onnx")
    return hub


def test_immichs_photos_alone_are_enough(immich: Path) -> None:
    layout = recognise(immich)
    assert (layout.name, layout.dimension, layout.text) == ("immich-app", DIMENSION, None)


@pytest.mark.parametrize(
    ("about", "said"),
    [
        ({"resize_mode": "stretch"}, "resize_mode 'stretch' is none of shortest, squash, longest"),
        ({"interpolation": "nearest"}, "interpolation 'nearest' is neither bicubic nor bilinear"),
    ],
)
def test_ways_of_open_clip_that_do_not_exist_here_are_refused(
    about: dict[str, Any], said: str, immich: Path
) -> None:
    (immich / "visual" / "preprocess_cfg.json").write_text(json.dumps(about))
    assert said in refused(immich, ArtifactFormatError)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ({"hf_tokenizer_name": "o/n"}, "has no tokenizer.json, which an import needs"),
        ({"tokenizer_mode": "mask"}, "a tokenizer_mode, strip_sep_token or reduction_mask"),
    ],
)
def test_words_of_open_clip_that_cannot_be_told_are_refused(
    text: dict[str, Any], said: str, hub: Path
) -> None:
    for name in ("vision_model", "text_model"):
        (hub / "onnx" / f"{name}.onnx").unlink()
    (hub / "open_clip_model.safetensors").touch()
    about = {"model_cfg": {"embed_dim": DIMENSION, "text_cfg": text}}
    (hub / "open_clip_config.json").write_text(json.dumps(about))
    if "hf_tokenizer_name" in text:
        (hub / "tokenizer.json").unlink()
    assert said in refused(hub, ArtifactError)
