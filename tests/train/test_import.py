"""Encoders imported from each layout and family give what their own libraries give.

The networks have random weights, and are compared on photos of odd shapes and on odd texts. What
each known mistake would give is in a test as well, so that the comparisons are known to see it.
"""

import io
import json
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from PIL import Image
from torch import nn

from deepfood.api import build_gallery, open_gallery
from deepfood.config import load_settings
from deepfood.embed import Embedder
from deepfood.errors import ArtifactFormatError, MissingExtraError
from deepfood.model import Model, open_model
from deepfood.model.hub_layouts import recognise
from deepfood.model.imported import import_folder
from deepfood.photo import Preprocess
from deepfood.runtimes import quantization
from deepfood.train import export_hub
from deepfood.train.export_hub import with_graphs
from deepfood.words import TextEmbedder
from hub_folders import (
    Encoder,
    hub_clip,
    hub_dino,
    hub_siglip,
    immich_folder,
    open_clip_folder,
    timm_folder,
)
from plates import write_photos
from samples import LIMITS, picture

#: The least cosine to what the library of a network gives, in f32.
NEAR = 0.9999
#: What a mistake gives at most, where these tests are to see it.
FAR = 0.9995

MAKERS: dict[str, Callable[[Path], Encoder]] = {
    "transformers.js CLIP": hub_clip,
    "transformers.js CLIP with a mask": lambda folder: hub_clip(folder, mask=True),
    "transformers.js CLIP in one graph": lambda folder: hub_clip(folder, combined=True),
    "transformers.js SigLIP": lambda folder: hub_siglip(folder, False),
    "transformers.js SigLIP in one graph": lambda folder: hub_siglip(folder, False, combined=True),
    "transformers.js SigLIP 2": lambda folder: hub_siglip(folder, True),
    "transformers.js DINOv2": lambda folder: hub_dino(folder, 2),
    "transformers.js DINOv2 without pooling": lambda folder: hub_dino(folder, 2, pooled=False),
    "transformers.js DINOv3": lambda folder: hub_dino(folder, 3),
    "immich-app CLIP": lambda folder: immich_folder(folder, "clip"),
    "immich-app SigLIP 2": lambda folder: immich_folder(folder, "siglip2"),
    "immich-app Perception Encoder": lambda folder: immich_folder(folder, "pe"),
    "immich-app longest side": lambda folder: immich_folder(folder, "padded"),
    "open_clip CLIP": lambda folder: open_clip_folder(folder, "clip")[0],
    "open_clip SigLIP 2": lambda folder: open_clip_folder(folder, "siglip2")[0],
    "open_clip MobileCLIP": lambda folder: open_clip_folder(folder, "mobileclip")[0],
    "timm ResNet, centre": lambda folder: timm_folder(folder, "test_resnet"),
    "timm ViT, squash": lambda folder: timm_folder(
        folder, "test_vit", crop_mode="squash", crop_pct=1.0
    ),
}
WITH_WORDS = [name for name in MAKERS if "DINO" not in name and "timm" not in name]

#: Of the fourth, libraries begin their square at half a pixel, and round that in different ways.
SIZES = ((1, 900), (900, 1), (37, 211), (640, 427), (4000, 30), (300, 200))
TEXTS = {
    "plain": "a plate of rice with lentils",
    "capitals and punctuation": "Mint Leaves, fresh & GREEN (washed)!",
    "empty": "",
    "white space": "  rice \t and\nlentils  ",
    "emoji": "\N{STEAMING BOWL}\N{HOT PEPPER}",
    "10,000 letters": "x" * 10_000,
    "many words": "rice with fried onions " * 100,
    "right to left": "تبولة وحمص",
    "Chinese and Japanese": "塩ラーメンと麻婆豆腐",
    "accents": "crème brûlée",
}


@dataclass(frozen=True)
class Imported:
    encoder: Encoder
    model: Model

    def photos(self, **changes: Any) -> Embedder:
        """Its Embedder, with a Preprocess that is changed."""
        preprocess = self.model.manifest.preprocess.model_copy(update=changes)
        return Embedder(self._with(preprocess=preprocess), LIMITS, precision="f32", threads=1)

    def words(self, **changes: Any) -> TextEmbedder:
        tower = self.model.manifest.text_tower
        assert tower is not None
        changed = self._with(text_tower=tower.model_copy(update=changes))
        return TextEmbedder(changed, precision="f32", threads=1)

    def _with(self, **fields: Any) -> Model:
        return replace(self.model, manifest=self.model.manifest.model_copy(update=fields))


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def imported(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Imported]:
    made: dict[str, Imported] = {}

    def of(name: str) -> Imported:
        if name not in made:
            folder = tmp_path_factory.mktemp("hub")
            encoder = MAKERS[name](folder / "files")
            out = folder / "model"
            about = {"name": name, "source": "the tests", "licence": "none"}
            import_folder(encoder.folder, out, **about, export=with_graphs)
            made[name] = Imported(encoder, open_model(out))
        return made[name]

    return of


def png(photo: Image.Image) -> bytes:
    out = io.BytesIO()
    photo.save(out, "PNG")
    return out.getvalue()


def noise(width: int, height: int) -> Image.Image:
    values = np.random.default_rng(3).integers(0, 256, (height, width, 3), np.uint8)
    return Image.fromarray(values)


def cosine(first: np.ndarray, second: np.ndarray) -> float:
    return float(first.astype(np.float64) @ second)


@pytest.mark.parametrize("name", MAKERS)
def test_photos_have_the_vectors_of_their_library(
    name: str, imported: Callable[[str], Imported]
) -> None:
    one = imported(name)
    embedder = one.photos()
    found = {}
    # open_clip itself fails where the shorter side would have no pixel left.
    for size in SIZES if "longest" not in name else ((37, 211), (300, 200)):
        photo = picture(*size, seed=3)
        found[size] = cosine(embedder.embed(png(photo)), one.encoder.photo(photo))
    print("\nFIGURE photos", name, min(found.values()))
    assert min(found.values()) > NEAR, found
    # A network that sees nothing of a photo would agree as well.
    first, second = (embedder.embed(png(photo)) for photo in (photo, noise(300, 200)))
    assert cosine(first, second) < FAR


@pytest.mark.parametrize("name", WITH_WORDS)
def test_words_have_the_vectors_of_their_library(
    name: str, imported: Callable[[str], Imported]
) -> None:
    one = imported(name)
    embedder = one.words()
    assert one.encoder.words is not None
    found = {
        what: cosine(embedder.embed(text), one.encoder.words(text)) for what, text in TEXTS.items()
    }
    print("\nFIGURE words", name, min(found.values()))
    assert min(found.values()) > NEAR, found


def test_the_runtimes_agree_on_words(imported: Callable[[str], Imported]) -> None:
    model = imported("transformers.js CLIP with a mask").model
    first, second = (
        TextEmbedder(model, runtime=name, precision="f32", threads=1)
        for name in ("openvino", "onnxruntime")
    )
    assert cosine(first.embed("rice"), second.embed("rice")) > 1 - 1e-6


#: Photos' mistakes: what has it, and which field of its Preprocess is wrong.
PHOTO_MISTAKES: dict[str, tuple[str, dict[str, Any]]] = {
    "cropped instead of squashed": ("transformers.js SigLIP", {"resize": "shortest"}),
    "squashed instead of cropped": ("transformers.js CLIP", {"resize": "squash"}),
    "cropped instead of padded": ("immich-app longest side", {"resize": "shortest"}),
    "the whole instead of the middle": ("transformers.js DINOv2", {"crop": 1.0}),
    "CLIP's mean and deviation for SigLIP": (
        "transformers.js SigLIP",
        {"mean": (0.48145466, 0.4578275, 0.40821073), "std": (0.26862954, 0.26130258, 0.27577711)},
    ),
    "SigLIP's mean and deviation for CLIP": (
        "transformers.js CLIP",
        {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)},
    ),
    "CLIP's mean and deviation for MobileCLIP": (
        "open_clip MobileCLIP",
        {"mean": (0.48145466, 0.4578275, 0.40821073), "std": (0.26862954, 0.26130258, 0.27577711)},
    ),
    "bilinear instead of bicubic": ("transformers.js CLIP", {"interpolation": "bilinear"}),
    "bicubic instead of bilinear": ("transformers.js SigLIP 2", {"interpolation": "bicubic"}),
}


@pytest.mark.parametrize("mistake", PHOTO_MISTAKES)
def test_a_mistake_with_photos_is_seen(mistake: str, imported: Callable[[str], Imported]) -> None:
    name, changes = PHOTO_MISTAKES[mistake]
    one = imported(name)
    # Filters differ where there are edges: each pixel of noise is one.
    smooth = changes.keys().isdisjoint({"interpolation", "crop"})
    photo = picture(300, 200, seed=3) if smooth else noise(300, 200)
    right = one.encoder.photo(photo)
    wrong = cosine(one.photos(**changes).embed(png(photo)), right)
    print("\nFIGURE mistake", mistake, wrong)
    assert wrong < FAR
    assert cosine(one.photos().embed(png(photo)), right) > NEAR


def test_a_square_photo_cannot_tell_cropping_from_squashing(
    imported: Callable[[str], Imported],
) -> None:
    one = imported("transformers.js SigLIP")
    square = png(picture(200, 200, seed=3))
    assert cosine(one.photos(resize="shortest").embed(square), one.photos().embed(square)) > NEAR


#: Words' mistakes: what has it, the text, and which field of its TextTower is wrong.
WORD_MISTAKES: dict[str, tuple[str, str, dict[str, Any]]] = {
    "SigLIP 2 padded with 1": ("transformers.js SigLIP 2", "plain", {"pad_id": 1}),
    "SigLIP padded with 0": ("transformers.js SigLIP", "plain", {"pad_id": 0}),
    "SigLIP 2 padded on the left": ("transformers.js SigLIP 2", "plain", {"pad_side": "left"}),
    "SigLIP 2 without its end": ("transformers.js SigLIP 2", "many words", {"end_id": None}),
    "CLIP without its end": ("transformers.js CLIP", "many words", {"end_id": None}),
    "MobileCLIP padded with its end": ("open_clip MobileCLIP", "plain", {"pad_id": 49_407}),
    "SigLIP 2 without lower case": (
        "transformers.js SigLIP 2",
        "capitals and punctuation",
        {"lowercase": False},
    ),
    "SigLIP without canonical form": (
        "transformers.js SigLIP",
        "capitals and punctuation",
        {"canonicalise": False},
    ),
    "open_clip's SigLIP 2 without canonical form": (
        "immich-app SigLIP 2",
        "capitals and punctuation",
        {"canonicalise": False},
    ),
}


@pytest.mark.parametrize("mistake", WORD_MISTAKES)
def test_a_mistake_with_words_is_seen(mistake: str, imported: Callable[[str], Imported]) -> None:
    name, what, changes = WORD_MISTAKES[mistake]
    one = imported(name)
    assert one.encoder.words is not None
    right = one.encoder.words(TEXTS[what])
    wrong = cosine(one.words(**changes).embed(TEXTS[what]), right)
    print("\nFIGURE mistake", mistake, wrong)
    assert wrong < FAR
    assert cosine(one.words().embed(TEXTS[what]), right) > NEAR


@pytest.mark.parametrize("name", ["transformers.js SigLIP", "transformers.js SigLIP 2"])
def test_no_padding_is_seen(name: str, imported: Callable[[str], Imported]) -> None:
    one = imported(name)
    embedder = one.words()
    tower = embedder.tower
    tokens = embedder.tokens(TEXTS["plain"]).tolist()
    assert one.encoder.tokens is not None
    assert cosine(embedder.embed(TEXTS["plain"]), one.encoder.tokens(tokens)) > NEAR
    bare = tokens[: tokens.index(tower.end_id) + 1]
    assert len(bare) < len(tokens)
    wrong = cosine(embedder.embed(TEXTS["plain"]), one.encoder.tokens(bare))
    print("\nFIGURE mistake", "no padding", name, wrong)
    assert wrong < FAR


def test_what_a_padding_token_is_does_not_count_after_clips_end(
    imported: Callable[[str], Imported],
) -> None:
    """transformers pads CLIP with its end, open_clip with zeros: both are right."""
    one = imported("transformers.js CLIP")
    ours, theirs = (one.words(pad_id=pad).embed("rice") for pad in (0, 49_407))
    assert cosine(ours, theirs) > 1 - 1e-6


def test_half_precision_graphs_take_and_give_f32(tmp_path: Path) -> None:
    encoder = hub_clip(tmp_path / "files", half=True, suffix="_fp16")
    model = import_folder(
        encoder.folder, tmp_path / "model", suffix="fp16", name="h", source="s", licence="l"
    )
    assert model.dimension == 48
    one = Imported(encoder, open_model(tmp_path / "model"))
    photo = picture(300, 200)
    assert cosine(one.photos().embed(png(photo)), encoder.photo(photo)) > 0.999
    assert encoder.words is not None
    assert cosine(one.words().embed("rice"), encoder.words("rice")) > 0.999


@pytest.mark.parametrize("suffix", ["quantized", "q4", "q4f16"])
def test_quantised_graphs_run_on_both_runtimes(suffix: str, tmp_path: Path) -> None:
    """As transformers.js has them: dynamic int8, and blocks of 4 bits by com.microsoft's."""
    encoder = hub_clip(tmp_path / "files", half=suffix == "q4f16")
    for name in ("vision_model", "text_model"):
        plain = encoder.folder / "onnx" / f"{name}.onnx"
        quantise(plain, plain.with_name(f"{name}_{suffix}.onnx"), suffix)
        plain.unlink()
    import_folder(
        encoder.folder, tmp_path / "model", suffix=suffix, name="q", source="s", licence="l"
    )
    model = open_model(tmp_path / "model")
    photo = picture(300, 200)
    assert encoder.words is not None
    for runtime in ("openvino", "onnxruntime"):
        photos = Embedder(model, LIMITS, runtime=runtime, precision="f32", threads=1)
        words = TextEmbedder(model, runtime=runtime, precision="f32", threads=1)
        found = cosine(photos.embed(png(photo)), encoder.photo(photo))
        in_words = cosine(words.embed("rice"), encoder.words("rice"))
        print("\nFIGURE suffix", suffix, runtime, found, in_words)
        assert min(found, in_words) > 0.95


def quantise(source: Path, target: Path, suffix: str) -> None:
    tools = quantization()
    if suffix == "quantized":
        tools.quantize_dynamic(source, target, weight_type=tools.QuantType.QUInt8)
        return
    from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer

    made = MatMulNBitsQuantizer(onnx.load(source), block_size=32, is_symmetric=True)
    made.process()
    onnx.save(made.model.model, target)


def test_each_family_is_fed_in_its_own_way(imported: Callable[[str], Imported]) -> None:
    """The table of docs/encoders.md."""
    facts = {}
    for name in ("immich-app CLIP", "transformers.js SigLIP", "transformers.js SigLIP 2"):
        tower = imported(name).model.manifest.text_tower
        assert tower is not None
        facts[name] = (tower.context, tower.pad_id, tower.end_id, tower.id_type)
    assert facts == {
        "immich-app CLIP": (77, 0, 49_407, "int32"),
        "transformers.js SigLIP": (64, 1, 1, "int64"),
        "transformers.js SigLIP 2": (64, 0, 1, "int64"),
    }
    mobile = imported("open_clip MobileCLIP").model.manifest
    assert (mobile.preprocess.mean, mobile.preprocess.std) == ((0, 0, 0), (1, 1, 1))
    assert mobile.preprocess.interpolation == "bilinear"
    wanted = Preprocess(
        size=64,
        crop=64 / 73,
        interpolation="bicubic",
        resize="shortest",
        rounding="down",
        mean=(0.485, 0.456, 0.406),
        std=(0.229, 0.224, 0.225),
    )
    assert imported("transformers.js DINOv2").model.manifest.preprocess == wanted


# Weights of torch that become no graph


def refused(folder: Path) -> str:
    about = {"name": "n", "source": "the tests", "licence": "none"}
    with pytest.raises(ArtifactFormatError) as caught:
        import_folder(folder, folder.parent / "model", **about, export=with_graphs)
    assert "\n" not in str(caught.value)
    assert not (folder.parent / "model").exists()
    return str(caught.value)


@pytest.mark.parametrize(
    ("about", "said"),
    [
        ({"architecture": "resnet0"}, "has no 'resnet0'"),
        ({"architecture": "test_resnet", "model_args": {"wide": 1}}, "cannot be exported: .*wide"),
    ],
)
def test_a_network_that_timm_cannot_make_is_refused(
    about: dict[str, Any], said: str, tmp_path: Path
) -> None:
    folder = tmp_path / "files"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(about))
    (folder / "model.safetensors").touch()
    assert re.search(said, refused(folder))


def test_a_config_of_open_clip_may_name_no_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "files"
    folder.mkdir()
    vision = {"image_size": 64, "timm_model_name": "hf-hub:someone/code"}
    about = {"model_cfg": {"embed_dim": 8, "vision_cfg": vision}}
    (folder / "open_clip_config.json").write_text(json.dumps(about))
    (folder / "open_clip_model.safetensors").touch()
    assert "'hf-hub:someone/code' is a location, not a network" in refused(folder)
    monkeypatch.setitem(sys.modules, "open_clip", None)
    with pytest.raises(MissingExtraError, match=r"needs the package open_clip_torch: .*\[train\]"):
        with_graphs(recognise(folder), tmp_path)


class OneAtATime(nn.Module):
    """A network that takes any number of photos, but each number in another way."""

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        means = pixels.mean((2, 3))
        return means if len(pixels) == 1 else means.flip(0)


def test_a_network_that_fixes_how_many_photos_it_takes_gets_one(tmp_path: Path) -> None:
    path = tmp_path / "one.onnx"
    export_hub._export(OneAtATime().eval(), torch.zeros(2, 3, 8, 8), path)
    (pixels,) = onnx.load(path).graph.input
    assert [dim.dim_value for dim in pixels.type.tensor_type.shape.dim] == [1, 3, 8, 8]


@pytest.mark.parametrize(
    "name", ["timm ViT, squash", "transformers.js DINOv2", "immich-app SigLIP 2"]
)
def test_a_plate_is_searched_with_a_model_of_tokens(
    imported: Callable[[str], Imported], name: str, tmp_path: Path
) -> None:
    """Its parts are embedded as this Model sees photos; where they are, the default Model finds."""
    settings = load_settings(model=imported(name).model.folder)
    photos = write_photos(tmp_path / "photos", 4)
    build_gallery(photos, tmp_path / "gallery", settings)
    with open_gallery(tmp_path / "gallery", settings) as gallery:
        found = gallery.search(png(picture(300, 200)), plate=True, k=2)
    assert [note.code for note in found.notes] == ["plates_not_calibrated"]
    assert found.parts
    assert all(len(part.hits) == 2 for part in found.parts)
