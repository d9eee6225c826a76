"""Small encoders with random weights in folders as hubs have them, and their libraries' answers.

The networks, image processors and tokenizers are those of `transformers` and `open_clip`; only the
weights and the vocabularies of SigLIP are made here, since nothing can be downloaded.
"""

import json
import math
import os
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import timm
import tokenizers
import torch
import transformers
from PIL import Image
from safetensors.torch import save_file
from tokenizers import models, normalizers, pre_tokenizers, processors, trainers
from torch import nn

os.environ["HF_HUB_OFFLINE"] = "1"

Vector = np.ndarray
#: Pixels a side, numbers of an embedding, and width of all towers.
SIZE, DIMENSION, WIDTH = 64, 48, 64
PATCH = 16

SENTENCES = (
    "a plate of rice with lentils and fried onions",
    "Chocolate cake, with cream and cherries!",
    "green salad & tomatoes in a bowl",
    "un bol de soupe aux légumes d'été",
    "塩ラーメンと餃子 تبولة وحمص",
)


@dataclass(frozen=True)
class Encoder:
    """A folder, and what the library that its network is from makes of photos and words."""

    folder: Path
    photo: Callable[[Image.Image], Vector]
    words: Callable[[str], Vector] | None = None
    #: What the network makes of tokens, also of such as no tokenizer would give it.
    tokens: Callable[[list[int]], Vector] | None = None


def unit(vector: torch.Tensor) -> Vector:
    values = vector.detach().numpy().reshape(-1).astype(np.float64)
    return values / np.linalg.norm(values)


def lively(network: nn.Module, seed: int = 0) -> nn.Module:
    """Weights that let each pixel and token count, as training's do; libraries begin near zero."""
    generator = torch.Generator().manual_seed(seed)
    kinds = (nn.BatchNorm2d, nn.GroupNorm, nn.LayerNorm)
    norms = {
        id(weight)
        for module in network.modules()
        if isinstance(module, kinds)
        for weight in module.parameters()
    }
    with torch.no_grad():
        for name, weight in network.named_parameters():
            if id(weight) in norms:  # a scale near zero would leave nothing of a photo
                continue
            if weight.ndim < 2:
                if weight.numel() > 1:
                    weight.normal_(0, 0.1, generator=generator)
                continue
            embeds = "embed" in name and "patch" not in name
            std = 0.5 if embeds else 1.5 / math.sqrt(weight[0].numel())
            weight.normal_(0, std, generator=generator)
    return network.eval()


class Part(nn.Module):
    """What `call` makes of a network, as a network to export."""

    def __init__(self, network: nn.Module, call: Callable[..., Any]) -> None:
        super().__init__()
        self.network = network
        self.call = call

    def forward(self, *inputs: torch.Tensor) -> Any:
        return self.call(self.network, *inputs)


def write_onnx(
    path: Path,
    network: nn.Module,
    inputs: dict[str, torch.Tensor],
    outputs: list[str],
    call: Callable[..., Any],
    *,
    dynamic: bool = True,
) -> None:
    """As optimum and immich-app do: by torch's older exporter."""
    path.parent.mkdir(parents=True, exist_ok=True)
    axes = {name: {0: "batch"} for name in (*inputs, *outputs)} if dynamic else None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            Part(network, call).eval(),
            tuple(inputs.values()),
            path,
            input_names=list(inputs),
            output_names=outputs,
            dynamic_axes=axes,
            opset_version=17,
            dynamo=False,
        )


def write_json(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=1), encoding="utf-8")


def save_processor(processor: Any, folder: Path) -> None:
    about = json.loads(processor.to_json_string())
    write_json(folder / "preprocessor_config.json", about)


@cache
def clip_tokenizer() -> Any:
    """CLIP's real one, of transformers; open_clip brings its vocabulary."""
    simple = open_clip.SimpleTokenizer()
    names = {"<start_of_text>": "<|startoftext|>", "<end_of_text>": "<|endoftext|>"}
    vocabulary = {names.get(word, word): number for word, number in simple.encoder.items()}
    return transformers.CLIPTokenizer(vocab=vocabulary, merges=list(simple.bpe_ranks))


@cache
def siglip_tokenizer(second: bool) -> tokenizers.Tokenizer:
    """Like T5's, which SigLIP uses, or Gemma's, which SigLIP 2 does.

    It ends a text with a token, and leaves capitals and punctuation as they are.
    """
    if second:
        special = ["<pad>", "<eos>", "<bos>", "<unk>", *(f"<0x{byte:02X}>" for byte in range(256))]
        made = tokenizers.Tokenizer(
            models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True)
        )
        made.normalizer = normalizers.Replace(" ", "▁")
        made.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
        trainer: Any = trainers.BpeTrainer(
            vocab_size=500, special_tokens=special, show_progress=False
        )
        end = "<eos>"
    else:
        special = ["<unk>", "</s>"]
        made = tokenizers.Tokenizer(models.Unigram())
        made.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Strip()])
        made.pre_tokenizer = pre_tokenizers.Metaspace()
        trainer = trainers.UnigramTrainer(
            vocab_size=400, special_tokens=special, unk_token="<unk>", show_progress=False
        )
        end = "</s>"
    made.train_from_iterator([s for s in SENTENCES for _ in range(9)], trainer)
    made.post_processor = processors.TemplateProcessing(
        single=f"$A {end}", special_tokens=[(end, made.token_to_id(end))]
    )
    return made


def write_siglip_tokenizer(folder: Path, second: bool) -> Any:
    """Write it as hubs have it; the same in transformers, which open_clip uses too."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "tokenizer.json"
    siglip_tokenizer(second).save(str(path))
    pad = "<pad>" if second else "</s>"
    write_json(
        folder / "tokenizer_config.json",
        {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "pad_token": pad,
            "eos_token": "<eos>" if second else "</s>",
            "unk_token": "<unk>",
            "model_max_length": 64,
        },
    )
    return transformers.AutoTokenizer.from_pretrained(folder)


def hub_clip(
    folder: Path,
    *,
    combined: bool = False,
    mask: bool = False,
    half: bool = False,
    suffix: str = "",
) -> Encoder:
    """CLIP in the layout of transformers.js, as Xenova has it."""
    config = transformers.CLIPConfig(
        text_config={
            "hidden_size": WIDTH,
            "intermediate_size": 2 * WIDTH,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "vocab_size": 49_408,
            "bos_token_id": 49_406,
            "eos_token_id": 49_407,
        },
        vision_config=vision(),
        projection_dim=DIMENSION,
    )
    network: Any = lively(transformers.CLIPModel(config))
    processor = transformers.CLIPImageProcessor(
        size={"shortest_edge": SIZE}, crop_size={"height": SIZE, "width": SIZE}
    )
    tokenizer = clip_tokenizer()
    config.save_pretrained(folder)
    save_processor(processor, folder)
    tokenizer.save_pretrained(folder)
    pixels, ids = torch.randn(2, 3, SIZE, SIZE), torch.randint(0, 49_406, (2, 77))
    ids[:, -1] = 49_407
    words = {"input_ids": ids} | ({"attention_mask": torch.ones_like(ids)} if mask else {})
    graphs = folder / "onnx"
    if half:
        network, pixels = network.half(), pixels.half()
    if combined:
        write_onnx(
            graphs / f"model{suffix}.onnx",
            network,
            {"input_ids": ids, "pixel_values": pixels, "attention_mask": torch.ones_like(ids)},
            ["logits_per_image", "logits_per_text", "text_embeds", "image_embeds"],
            lambda net, ids, pixels, mask: net(ids, pixels, mask)[:4],
        )
    else:
        write_onnx(
            graphs / f"vision_model{suffix}.onnx",
            network,
            {"pixel_values": pixels},
            ["image_embeds", "last_hidden_state"],
            lambda net, pixels: (
                net.visual_projection(net.vision_model(pixels).pooler_output),
                net.vision_model(pixels).last_hidden_state,
            ),
        )
        write_onnx(
            graphs / f"text_model{suffix}.onnx",
            network,
            words,
            ["text_embeds"],
            lambda net, *given: net.text_projection(net.text_model(*given).pooler_output),
        )
    network = network.float()

    def of_words(text: str) -> Vector:
        given = tokenizer(
            text, padding="max_length", max_length=77, truncation=True, return_tensors="pt"
        )
        return unit(network.text_projection(network.text_model(**given).pooler_output))

    def of_photo(photo: Image.Image) -> Vector:
        given = processor(photo, return_tensors="pt")
        return unit(network.visual_projection(network.vision_model(**given).pooler_output))

    return Encoder(folder, of_photo, of_words)


def vision(**more: Any) -> dict[str, Any]:
    return {
        "hidden_size": WIDTH,
        "intermediate_size": 2 * WIDTH,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "image_size": SIZE,
        "patch_size": PATCH,
    } | more


def hub_siglip(folder: Path, second: bool, *, combined: bool = False) -> Encoder:
    """SigLIP, or SigLIP 2, whose files say that they are SigLIP and nothing of lower case."""
    tokenizer = write_siglip_tokenizer(folder, second)
    config = transformers.SiglipConfig(
        text_config={
            "hidden_size": WIDTH,
            "intermediate_size": 2 * WIDTH,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "vocab_size": len(tokenizer),
            "projection_size": WIDTH,
        },
        vision_config=vision(),
    )
    network: Any = lively(transformers.SiglipModel(config))
    processor = transformers.SiglipImageProcessor(
        size={"height": SIZE, "width": SIZE}, resample=2 if second else 3
    )
    config.save_pretrained(folder)
    save_processor(processor, folder)
    pixels, ids = torch.randn(2, 3, SIZE, SIZE), torch.randint(0, len(tokenizer), (2, 64))
    graphs = folder / "onnx"
    if combined:
        write_onnx(
            graphs / "model.onnx",
            network,
            {"input_ids": ids, "pixel_values": pixels},
            ["logits_per_image", "logits_per_text", "text_embeds", "image_embeds"],
            lambda net, ids, pixels: net(ids, pixels)[:4],
        )
    else:
        for name, given in (("vision", {"pixel_values": pixels}), ("text", {"input_ids": ids})):
            write_onnx(
                graphs / f"{name}_model.onnx",
                getattr(network, f"{name}_model"),
                given,
                ["last_hidden_state", "pooler_output"],
                lambda net, given: net(given)[:2],
            )

    def of_words(text: str) -> Vector:
        # What the tokenizer of SigLIP, and the one of SigLIP 2, do to a text before its tokens.
        text = text.lower() if second else open_clip.tokenizer.canonicalize_text(text)
        given = tokenizer(
            text, padding="max_length", max_length=64, truncation=True, return_tensors="pt"
        )
        return unit(network.text_model(given["input_ids"]).pooler_output)

    def of_photo(photo: Image.Image) -> Vector:
        return unit(network.vision_model(**processor(photo, return_tensors="pt")).pooler_output)

    def of_tokens(ids: list[int]) -> Vector:
        return unit(network.text_model(torch.tensor([ids])).pooler_output)

    return Encoder(folder, of_photo, of_words, of_tokens)


def hub_dino(folder: Path, generation: int, *, pooled: bool = True) -> Encoder:
    """DINOv2, which crops, or DINOv3, which squashes and has registers beside the class token."""
    registers = {"num_register_tokens": 3} if generation == 3 else {}
    kind = {2: "Dinov2", 3: "DINOv3ViT"}[generation]
    config = getattr(transformers, f"{kind}Config")(**vision(**registers))
    network: Any = lively(getattr(transformers, f"{kind}Model")(config))
    if generation == 2:
        processor: Any = transformers.BitImageProcessor(
            size={"shortest_edge": 73},
            crop_size={"height": SIZE, "width": SIZE},
            image_mean=(0.485, 0.456, 0.406),
            image_std=(0.229, 0.224, 0.225),
        )
    else:
        processor = transformers.DINOv3ViTImageProcessor(size={"height": SIZE, "width": SIZE})
    config.save_pretrained(folder)
    save_processor(processor, folder)
    write_onnx(
        folder / "onnx" / "model.onnx",
        network,
        {"pixel_values": torch.randn(2, 3, SIZE, SIZE)},
        ["last_hidden_state", "pooler_output"][: 2 if pooled else 1],
        lambda net, pixels: net(pixels)[: 2 if pooled else 1],
    )

    def of_photo(photo: Image.Image) -> Vector:
        return unit(network(**processor(photo, return_tensors="pt")).last_hidden_state[:, 0])

    return Encoder(folder, of_photo)


#: The parts of open_clip's configs that its kinds of towers differ in.
_TEXT = {"width": WIDTH, "heads": 2, "layers": 1}
_NATIVE = {"image_size": SIZE, "layers": 1, "width": WIDTH, "head_width": 32, "patch_size": PATCH}
OPEN_CLIP: dict[str, dict[str, Any]] = {
    "clip": {
        "model_cfg": {
            "embed_dim": DIMENSION,
            "quick_gelu": True,
            "vision_cfg": _NATIVE,
            "text_cfg": _TEXT | {"context_length": 77, "vocab_size": 49_408},
        },
        "preprocess_cfg": {},
    },
    "siglip2": {
        "model_cfg": {
            "embed_dim": 64,
            "init_logit_bias": -10,
            "custom_text": True,
            "vision_cfg": {
                "image_size": 160,
                "timm_model_name": "test_vit",
                "timm_pool": "map",
                "timm_proj": "none",
            },
            "text_cfg": _TEXT
            | {
                "context_length": 64,
                "vocab_size": 600,
                "hf_tokenizer_name": "timm/ViT-B-32-SigLIP2-256",
                "tokenizer_kwargs": {"clean": "canonicalize"},
                "no_causal_mask": True,
                "proj_bias": True,
                "pool_type": "last",
            },
        },
        "preprocess_cfg": {
            "mean": [0.5, 0.5, 0.5],
            "std": [0.5, 0.5, 0.5],
            "interpolation": "bicubic",
            "resize_mode": "squash",
        },
    },
    "mobileclip": {
        "model_cfg": {
            "embed_dim": DIMENSION,
            "custom_text": True,
            "vision_cfg": {
                "image_size": 256,
                "timm_model_name": "fastvit_t8",
                "timm_pool": "avg",
                "timm_proj": None,
            },
            "text_cfg": _TEXT
            | {"context_length": 77, "vocab_size": 49_408, "no_causal_mask": True},
        },
        "preprocess_cfg": {
            "mean": [0.0, 0.0, 0.0],
            "std": [1.0, 1.0, 1.0],
            "interpolation": "bilinear",
        },
    },
    # Perception Encoder's ways with photos and words, on towers that are quick to make.
    "pe": {
        "model_cfg": {
            "embed_dim": DIMENSION,
            "custom_text": True,
            "vision_cfg": _NATIVE,
            "text_cfg": _TEXT | {"context_length": 32, "vocab_size": 49_408},
        },
        "preprocess_cfg": {
            "mean": [0.5, 0.5, 0.5],
            "std": [0.5, 0.5, 0.5],
            "interpolation": "bilinear",
            "resize_mode": "squash",
        },
    },
    "padded": {
        "model_cfg": {
            "embed_dim": DIMENSION,
            "vision_cfg": _NATIVE,
            "text_cfg": _TEXT | {"context_length": 77, "vocab_size": 49_408},
        },
        "preprocess_cfg": {"resize_mode": "longest", "interpolation": "bicubic"},
    },
}


def open_clip_folder(folder: Path, kind: str, *, weights: bool = True) -> tuple[Encoder, Any]:
    """In open_clip's own layout; the network too. CLIP's kinds have no tokenizer.json there."""
    folder.mkdir(parents=True)
    write_json(folder / "open_clip_config.json", OPEN_CLIP[kind])
    if kind == "siglip2":
        write_siglip_tokenizer(folder, second=True)
    name = f"local-dir:{folder}"
    network: Any = lively(open_clip.create_model(name, pretrained_text=False))
    if weights:
        save_file(network.state_dict(), folder / "open_clip_model.safetensors")
    about = open_clip.transform.PreprocessCfg(**network.visual.preprocess_cfg)
    transform = open_clip.transform.image_transform_v2(about, is_train=False)
    tokenizer = open_clip.get_tokenizer(name)

    def of_photo(photo: Image.Image) -> Vector:
        return unit(network.encode_image(transform(photo).unsqueeze(0)))

    def of_words(text: str) -> Vector:
        return unit(network.encode_text(tokenizer([text])))

    def of_tokens(ids: list[int]) -> Vector:
        return unit(network.encode_text(torch.tensor([ids])))

    return Encoder(folder, of_photo, of_words, of_tokens), network


def immich_folder(folder: Path, kind: str) -> Encoder:
    """As immich-app exports it: one photo or text, int32 tokens, and unit vectors."""
    own, network = open_clip_folder(
        folder.with_name(f"{folder.name}-open_clip"), kind, weights=False
    )
    config = OPEN_CLIP[kind]["model_cfg"]
    write_json(folder / "config.json", config)
    write_json(folder / "visual" / "preprocess_cfg.json", network.visual.preprocess_cfg)
    if kind == "siglip2":
        write_siglip_tokenizer(folder / "textual", second=True)
    else:
        clip_tokenizer().save_pretrained(folder / "textual")
    size = config["vision_cfg"]["image_size"]
    context = config["text_cfg"]["context_length"]
    write_onnx(
        folder / "visual" / "model.onnx",
        network,
        {"image": torch.randn(1, 3, size, size)},
        ["embedding"],
        lambda net, image: net.encode_image(image, normalize=True),
        dynamic=False,
    )
    write_onnx(
        folder / "textual" / "model.onnx",
        network,
        {"text": torch.ones(1, context, dtype=torch.int32)},
        ["embedding"],
        lambda net, text: net.encode_text(text, normalize=True),
        dynamic=False,
    )
    return Encoder(folder, own.photo, own.words, own.tokens)


def timm_folder(folder: Path, architecture: str, **pretrained: Any) -> Encoder:
    """In timm's layout; `pretrained` are fields of its pretrained_cfg."""
    network: Any = lively(timm.create_model(architecture, num_classes=7))
    about = {**network.pretrained_cfg, "num_classes": 7, **pretrained}
    about = {key: value for key, value in about.items() if value is not None}
    write_json(
        folder / "config.json",
        {"architecture": architecture, "num_classes": 7, "pretrained_cfg": about},
    )
    save_file(network.state_dict(), folder / "model.safetensors")
    with_cfg = timm.data.resolve_data_config({}, pretrained_cfg=about)
    transform: Any = timm.data.create_transform(**with_cfg)

    def of_photo(photo: Image.Image) -> Vector:
        features = network.forward_features(transform(photo).unsqueeze(0))
        return unit(network.forward_head(features, pre_logits=True))

    return Encoder(folder, of_photo)
