"""A small real Model with a text tower that knows colours: `red` is near photos that are red.

It sees the means of a photo's blocks, and a word is the photo of that colour; words add up.
"""

import io
import json
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from deepfood.model import TextTower, open_model
from deepfood.model.artifact import ONNX, TEXT_ONNX, TOKENIZER, write_model
from live import run_deepfood
from plates import write_tiny_model

PAD, BEGIN, END, UNKNOWN = range(4)
SPECIAL = ("<pad>", "<begin>", "<end>", "<unknown>")
COLOURS = {
    "red": (255, 0, 0),
    "green": (0, 255, 0),
    "blue": (0, 0, 255),
    "yellow": (255, 255, 0),
    "white": (255, 255, 255),
    "black": (0, 0, 0),
}
VOCABULARY = (*SPECIAL, *COLOURS)
CONTEXT = 6


def write_colour_model(folder: Path, *, louder: float = 1, **tower: object) -> Path:
    """The Model; `tower` are other fields of its TextTower, `louder` scales what words give."""
    plain = open_model(write_tiny_model(folder / "photos-only"))
    about = plain.manifest
    settings = TextTower.model_validate(
        {
            "context": CONTEXT,
            "pad_id": PAD,
            "end_id": END,
            "vocabulary": len(VOCABULARY),
            "lowercase": True,
        }
        | tower
    )
    files = {
        TEXT_ONNX: text_network(about.dimension, settings, louder),
        TOKENIZER: tokenizer().to_str().encode(),
    }
    write_model(
        folder,
        (plain.folder / ONNX).read_bytes(),
        "",
        files=files,
        name="colours",
        text_tower=settings,
        preprocess=about.preprocess,
        **about.model_dump(include={"backbone", "dimension", "source", "licence"}),
    )
    return folder


def build_colour_gallery(root: Path) -> Path:
    """A photo of each colour, named by a number, so that nothing but its looks says what it is."""
    write_colour_model(root / "model")
    (root / "photos").mkdir()
    for number, colour in enumerate(COLOURS.values()):
        Image.new("RGB", (90, 70), colour).save(root / "photos" / f"{number}.png")
    run_deepfood("build", root / "photos", "--out", root / "gallery", "--model", root / "model")
    return root / "gallery"


def photo_of(colour: str) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (64, 64), COLOURS[colour]).save(out, "PNG")
    return out.getvalue()


def text_network(dimension: int, tower: TextTower, louder: float = 1) -> bytes:
    """The sum of its tokens' vectors, those of colours times 10 and small ones for the others."""
    rng = np.random.default_rng(3)
    table = rng.normal(0, 0.01, (tower.vocabulary, dimension)).astype(np.float32)
    table[PAD] = 0
    for row, colour in enumerate(COLOURS.values(), len(SPECIAL)):
        shades = (np.array(colour, np.float32) / 255 - 0.5) / 0.25
        table[row] = 10 * louder * np.repeat(shades, dimension // 3)
    ids = TensorProto.INT64 if tower.id_type == "int64" else TensorProto.INT32
    inputs = [helper.make_tensor_value_info("ids", ids, [1, tower.context])]
    if tower.attention_mask:
        inputs.append(helper.make_tensor_value_info("mask", ids, [1, tower.context]))
    nodes = [helper.make_node("Gather", ["table", "ids"], ["each"])]
    last = "each"
    if tower.attention_mask:
        nodes += [
            helper.make_node("Cast", ["mask"], ["weight"], to=TensorProto.FLOAT),
            helper.make_node("Unsqueeze", ["weight", "last"], ["column"]),
            helper.make_node("Mul", ["each", "column"], ["masked"]),
        ]
        last = "masked"
    nodes.append(helper.make_node("ReduceSum", [last, "one"], ["embedding"], keepdims=0))
    graph = helper.make_graph(
        nodes,
        "words",
        inputs,
        [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, [1, dimension])],
        [
            numpy_helper.from_array(table, "table"),
            numpy_helper.from_array(np.array([1]), "one"),
            numpy_helper.from_array(np.array([-1]), "last"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def tokenizer() -> Tokenizer:
    """Words between begin and end; what it does not know is one token, and case counts."""
    vocabulary = {word: number for number, word in enumerate(VOCABULARY)}
    made = Tokenizer(models.WordLevel(vocabulary, unk_token=SPECIAL[UNKNOWN]))
    made.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    made.post_processor = processors.TemplateProcessing(
        single=f"{SPECIAL[BEGIN]} $A {SPECIAL[END]}",
        special_tokens=[(SPECIAL[BEGIN], BEGIN), (SPECIAL[END], END)],
    )
    return made


def with_more_tokens(tokens: bytes) -> bytes:
    """The tokenizer of a larger network: one more word than the tower has."""
    said = json.loads(tokens)
    said["model"]["vocab"]["magenta"] = len(VOCABULARY)
    return json.dumps(said).encode()
