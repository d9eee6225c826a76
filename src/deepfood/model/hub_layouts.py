"""Recognise the layout of a hub repository's files: its graphs, and how to feed them.

Four layouts are known: immich-app's, that of transformers.js and optimum, open_clip's and timm's.
The last two have weights for torch only (`train.export_hub`). Only JSON is opened here.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from deepfood.errors import ArtifactFormatError, ArtifactMissingError, nearest
from deepfood.model.artifact import TextTower
from deepfood.model.hub_configs import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    OPENAI_MEAN,
    OPENAI_STD,
    HubConfig,
    HubDefaults,
    HubPreprocess,
    OpenClipConfig,
    OpenClipModel,
    OpenClipPreprocess,
    OpenClipText,
    TokenizerConfig,
    hub_preprocess,
    open_clip_preprocess,
    read_config,
)
from deepfood.model.tokenizer_file import TokenizerFile
from deepfood.photo import Preprocess

LayoutName = Literal["immich-app", "transformers.js", "open_clip", "timm"]


@dataclass(frozen=True)
class Output:
    """An output of a graph, and the part to use: all, or the first token of a sequence."""

    name: str
    pooling: Literal["none", "first"] = "none"


@dataclass(frozen=True)
class Tower:
    """A graph, and the candidates for its embedding: the first existing output is used."""

    graph: Path
    outputs: tuple[Output, ...]


@dataclass(frozen=True)
class Layout:
    """A repository's folder as recognised; missing parts are None."""

    name: LayoutName
    #: Its name for people: "SigLIP 2".
    family: str
    #: From its config.
    dimension: int | None = None
    #: None for timm's: see `train.backbone.preprocess_of`.
    preprocess: Preprocess | None = None
    photos: Tower | None = None
    text: Tower | None = None
    tokenizer: Path | None = None
    #: The tokenizer's largest token id plus one.
    tokens: int = 0
    text_tower: TextTower | None = None
    #: Weights that need torch to become a graph.
    weights: Path | None = None

    @property
    def needs_torch(self) -> bool:
        return self.weights is not None


@dataclass(frozen=True)
class _Files:
    """Names within the repository; the configs first, as they are small."""

    layout: LayoutName
    configs: tuple[str, ...]
    photos: str | None = None
    text: str | None = None
    tokenizer: str | None = None
    weights: str | None = None


@dataclass(frozen=True)
class _Family:
    """The meaning of a `model_type` of transformers."""

    words: str
    photo_outputs: tuple[Output, ...]
    defaults: HubDefaults
    text_output: str | None = None
    context: int = 77
    vocabulary: int = 49_408


_CLIP = HubDefaults(resample="bicubic", mean=OPENAI_MEAN, std=OPENAI_STD, crops=True)
_MOBILE = HubDefaults(resample="bilinear", mean=(0, 0, 0), std=(1, 1, 1), crops=True)
_HALF = (0.5, 0.5, 0.5)
_SIGLIP = HubDefaults(resample="bicubic", mean=_HALF, std=_HALF, crops=False)
_DINO2 = HubDefaults(resample="bicubic", mean=IMAGENET_MEAN, std=IMAGENET_STD, crops=True)
_DINO3 = HubDefaults(resample="bilinear", mean=IMAGENET_MEAN, std=IMAGENET_STD, crops=False)
_POOLED = Output("pooler_output")
#: The class token, for transformers that have one.
_CLASS_TOKEN = Output("last_hidden_state", "first")
_EMBEDS = Output("image_embeds")

_FAMILIES = {
    "clip": _Family("CLIP", (_EMBEDS,), _CLIP, "text_embeds"),
    "mobileclip": _Family("MobileCLIP", (_EMBEDS,), _MOBILE, "text_embeds"),
    "mobileclip2": _Family("MobileCLIP", (_EMBEDS,), _MOBILE, "text_embeds"),
    # Also for repositories with both towers: transformers.js opens each separately.
    "clip_vision_model": _Family("CLIP", (_EMBEDS,), _CLIP, "text_embeds"),
    "siglip": _Family("SigLIP", (_POOLED,), _SIGLIP, "pooler_output", 64, 32_000),
    "siglip2": _Family("SigLIP 2", (_POOLED,), _SIGLIP, "pooler_output", 64, 256_000),
    "siglip_vision_model": _Family("SigLIP", (_POOLED,), _SIGLIP),
    "dinov2": _Family("DINOv2", (_POOLED, _CLASS_TOKEN), _DINO2),
    "dinov2_with_registers": _Family("DINOv2", (_POOLED, _CLASS_TOKEN), _DINO2),
    "dinov3_vit": _Family("DINOv3", (_POOLED, _CLASS_TOKEN), _DINO3),
    "dinov3_convnext": _Family("DINOv3", (_POOLED,), _DINO3),
}
#: Parts of open_clip's names for towers and tokenizers, the more specific first.
_OPEN_CLIP_FAMILIES = {
    "siglip2": "SigLIP 2",
    "siglip": "SigLIP",
    "_mci": "MobileCLIP",
    "_pe_": "Perception Encoder",
}

#: Suffixes of the data beside a graph of more than 2 GB; numbered from the second file on.
_DATA_SUFFIXES = (".onnx_data", ".onnx.data")
_OPEN_CLIP_WEIGHTS = (
    "open_clip_model.safetensors",
    "open_clip_pytorch_model.safetensors",
    "open_clip_pytorch_model.bin",
)
_TORCH_WEIGHTS = ("model.safetensors", "pytorch_model.bin")
_OPEN_CLIP_CONFIG = "open_clip_config.json"
_VISUAL, _TEXTUAL = "visual/model.onnx", "textual/model.onnx"
_PREPROCESS, _HUB_PREPROCESS = "visual/preprocess_cfg.json", "preprocessor_config.json"
_TOKENIZER, _TOKENIZER_CONFIG = "tokenizer.json", "tokenizer_config.json"
_FOLDERS = ("", "onnx", "visual", "textual")


def wanted_files(names: Iterable[str], suffix: str = "") -> tuple[str, ...]:
    """The files of a repository that an import needs, small ones first.

    `suffix` chooses among the graphs of transformers.js: "fp16", "_quantized"... Raises
    ArtifactFormatError or ArtifactMissingError if an import is not possible.
    """
    have = frozenset(names)
    files = _find(have, suffix)
    graphs = [name for name in dict.fromkeys((files.photos, files.text)) if name]
    data = [name for graph in graphs for name in sorted(have) if _is_data_of(name, graph)]
    rest = (files.tokenizer, *graphs, *data, files.weights)
    return (*files.configs, *(name for name in rest if name))


def recognise(folder: Path, suffix: str = "") -> Layout:
    """The layout of the files in `folder`. Raises ArtifactError, MissingExtraError."""
    if not folder.is_dir():
        raise ArtifactMissingError(f"{folder} is not a folder: {nearest(folder)}")
    places = [folder / place for place in _FOLDERS if (folder / place).is_dir()]
    have = {
        path.relative_to(folder).as_posix()
        for place in places
        for path in place.iterdir()
        if path.is_file()
    }
    try:
        files = _find(frozenset(have), suffix)
    except (ArtifactFormatError, ArtifactMissingError) as error:
        raise type(error)(f"{folder}: {error}") from None
    read = {
        "immich-app": _immich,
        "transformers.js": _transformers,
        "open_clip": _open_clip,
        "timm": _timm,
    }
    return read[files.layout](folder, files)


def _find(have: frozenset[str], suffix: str) -> _Files:
    suffix = f"_{suffix}" if suffix and not suffix.startswith("_") else suffix
    onnx = _transformers_files(have, suffix)
    if _VISUAL in have:
        found = _immich_files(have)
    elif onnx:
        return onnx
    elif _OPEN_CLIP_CONFIG in have:
        found = _Files(
            "open_clip",
            (_OPEN_CLIP_CONFIG, *_there(have, _TOKENIZER_CONFIG)),
            tokenizer=_one(have, _TOKENIZER),
            weights=_needed(have, *_OPEN_CLIP_WEIGHTS),
        )
    elif "config.json" in have and _one(have, *_TORCH_WEIGHTS):
        if _HUB_PREPROCESS in have:
            raise ArtifactFormatError(
                "it has weights for transformers on torch, but no ONNX graph: take a repository "
                "with onnx/model.onnx or onnx/vision_model.onnx, such as many of "
                "onnx-community"
            )
        found = _Files("timm", ("config.json",), weights=_needed(have, *_TORCH_WEIGHTS))
    else:
        raise ArtifactFormatError(
            f"it has no known layout: none of {_VISUAL} (immich-app), "
            "onnx/vision_model.onnx, onnx/model.onnx (transformers.js), "
            f"{_OPEN_CLIP_CONFIG} (open_clip) and config.json with {_TORCH_WEIGHTS[0]} (timm) "
            "is there"
        )
    if suffix:
        raise ArtifactFormatError(f"{found.layout}'s layout has no graphs by suffix ({suffix})")
    return found


def _immich_files(have: frozenset[str]) -> _Files:
    configs = (_needed(have, "config.json"), _needed(have, _PREPROCESS))
    if _TEXTUAL not in have:
        if any(name.startswith("textual/") for name in have):
            _needed(have, _TEXTUAL)
        return _Files("immich-app", configs, photos=_VISUAL)
    tokenizer_config = _there(have, f"textual/{_TOKENIZER_CONFIG}")
    tokenizer = _needed(have, f"textual/{_TOKENIZER}")
    return _Files("immich-app", (*configs, *tokenizer_config), _VISUAL, _TEXTUAL, tokenizer)


def _transformers_files(have: frozenset[str], suffix: str) -> _Files | None:
    """None if there is no graph of transformers.js with any suffix."""
    for folder in ("onnx/", ""):
        for stem in ("vision_model", "model"):
            others = [
                name.removeprefix(folder + stem).removesuffix(".onnx")
                for name in sorted(have)
                if name.startswith(folder + stem) and name.endswith(".onnx")
            ]
            others = [other for other in others if other == "" or other.startswith("_")]
            if not others:
                continue
            photos = f"{folder}{stem}{suffix}.onnx"
            if photos not in have:
                there = ", ".join(other or "none" for other in others)
                raise ArtifactMissingError(f"it has no {photos}; the existing suffixes are {there}")
            configs = (_needed(have, "config.json"), _needed(have, _HUB_PREPROCESS))
            tokenizer = _one(have, _TOKENIZER)
            if tokenizer is None and not any(
                name.startswith(f"{folder}text_model") for name in have
            ):
                return _Files("transformers.js", configs, photos)
            text = photos if stem == "model" else _needed(have, f"{folder}text_model{suffix}.onnx")
            tokenizer_config = _there(have, _TOKENIZER_CONFIG)
            return _Files(
                "transformers.js",
                (*configs, *tokenizer_config),
                photos,
                text,
                _needed(have, _TOKENIZER),
            )
    return None


def _immich(folder: Path, files: _Files) -> Layout:
    about = read_config(OpenClipModel, folder / "config.json")
    path = folder / _PREPROCESS
    preprocess = read_config(OpenClipPreprocess, path)
    assert files.photos is not None
    layout = Layout(
        "immich-app",
        _open_clip_family(about),
        about.embed_dim,
        open_clip_preprocess(preprocess, about.vision_cfg.image_size, path),
        Tower(folder / files.photos, (Output("embedding"), _EMBEDS)),
    )
    if files.text is None or files.tokenizer is None:
        return layout
    text = Tower(folder / files.text, (Output("embedding"), Output("text_embeds")))
    return with_open_clip_text(
        replace(layout, text=text),
        about.text_cfg,
        folder / files.tokenizer,
        folder / "config.json",
    )


def _open_clip(folder: Path, files: _Files) -> Layout:
    path = folder / _OPEN_CLIP_CONFIG
    about = read_config(OpenClipConfig, path)
    model = about.model_cfg
    assert files.weights is not None
    layout = Layout(
        "open_clip",
        _open_clip_family(model),
        model.embed_dim,
        open_clip_preprocess(about.preprocess_cfg, model.vision_cfg.image_size, path),
        weights=folder / files.weights,
    )
    if files.tokenizer is None:
        if model.text_cfg.hf_tokenizer_name:
            raise ArtifactMissingError(f"{folder} has no {_TOKENIZER}, which an import needs")
        return layout  # the tokenizer is CLIP's, which open_clip brings
    return with_open_clip_text(layout, model.text_cfg, folder / files.tokenizer, path)


def with_open_clip_text(
    layout: Layout, about: OpenClipText, tokenizer: Path, config: Path
) -> Layout:
    """Add the text tower as open_clip's `get_tokenizer` would. Raises ArtifactError."""
    arguments = about.tokenizer_kwargs
    if about.tokenizer_mode or arguments.strip_sep_token or arguments.reduction_mask:
        raise ArtifactFormatError(
            f"{config} cannot be used: text_cfg asks for a tokenizer_mode, strip_sep_token or "
            "reduction_mask, which are not supported"
        )
    # Without a name it is CLIP's own, which pads with zeros regardless of the tokenizer's file.
    own = not about.hf_tokenizer_name
    clean = arguments.clean or ("lower" if own else "whitespace")
    file = TokenizerFile.read(tokenizer, _tokenizer_config(tokenizer))
    tower = TextTower(
        context=about.context_length,
        pad_id=0 if own else file.pad_id_or(0),
        pad_side="right" if own else file.pad_side,
        end_id=file.end_id,
        vocabulary=about.vocab_size or file.size,
        lowercase=clean in ("lower", "canonicalize"),
        canonicalise=clean == "canonicalize",
    )
    return replace(layout, tokenizer=tokenizer, tokens=file.size, text_tower=tower)


def _transformers(folder: Path, files: _Files) -> Layout:
    path = folder / "config.json"
    about = read_config(HubConfig, path)
    family = _FAMILIES.get(about.model_type)
    if family is None:
        raise ArtifactFormatError(
            f"{path}: model_type {about.model_type!r} cannot be imported; supported are "
            + ", ".join(_FAMILIES)
        )
    preprocess_path = folder / _HUB_PREPROCESS
    preprocess = read_config(HubPreprocess, preprocess_path)
    assert files.photos is not None
    combined = files.text == files.photos and family.text_output is not None
    layout = Layout(
        "transformers.js",
        family.words,
        _hub_dimension(about, family),
        hub_preprocess(preprocess, family.defaults, preprocess_path),
        Tower(folder / files.photos, (_EMBEDS,) if combined else family.photo_outputs),
    )
    if files.text is None or files.tokenizer is None or family.text_output is None:
        return layout
    tokenizer = folder / files.tokenizer
    file = TokenizerFile.read(tokenizer, _tokenizer_config(tokenizer))
    if file.end_id is None:
        raise ArtifactFormatError(
            f"{tokenizer} has no token for the end of a text, but {family.words} needs one: "
            "it is the tokenizer of another network"
        )
    # SigLIP 2's config calls it SigLIP: the kind of tokenizer differs.
    siglip = _EMBEDS not in family.photo_outputs
    second = siglip and file.kind == "BPE"
    words = "SigLIP 2" if second else family.words
    text = about.text_config
    return replace(
        layout,
        family=words,
        text=Tower(
            folder / files.text, (Output("text_embeds" if combined else family.text_output),)
        ),
        tokenizer=tokenizer,
        tokens=file.size,
        text_tower=TextTower(
            context=(text and text.max_position_embeddings) or family.context,
            # CLIP's towers either ignore what follows the end, or were trained with zeros.
            pad_id=file.pad_id_or(0 if second else 1) if siglip else 0,
            pad_side=file.pad_side,
            end_id=file.end_id,
            vocabulary=(text and text.vocab_size) or family.vocabulary,
            # SigLIP 2's files omit it, but it was trained on lower case (big_vision #166).
            lowercase=True,
            canonicalise=siglip and not second,
        ),
    )


def _timm(folder: Path, files: _Files) -> Layout:
    path = folder / "config.json"
    about = read_config(HubConfig, path)
    assert files.weights is not None
    if about.architecture is None:
        raise ArtifactFormatError(f"{path} has no architecture: it is not timm's")
    return Layout("timm", about.architecture, weights=folder / files.weights)


def _hub_dimension(about: HubConfig, family: _Family) -> int | None:
    """The dimension in the config; None if it is a default of a class in transformers."""
    if _EMBEDS in family.photo_outputs:
        return about.projection_dim
    return (about.vision_config or about).hidden_size


def _open_clip_family(about: OpenClipModel) -> str:
    names = f"{about.vision_cfg.timm_model_name} {about.text_cfg.hf_tokenizer_name}".lower()
    return next((words for part, words in _OPEN_CLIP_FAMILIES.items() if part in names), "CLIP")


def _tokenizer_config(tokenizer: Path) -> TokenizerConfig:
    path = tokenizer.with_name(_TOKENIZER_CONFIG)
    return read_config(TokenizerConfig, path) if path.is_file() else TokenizerConfig()


def _is_data_of(name: str, graph: str) -> bool:
    stem = graph.removesuffix(".onnx")
    rest = next((name[len(stem + s) :] for s in _DATA_SUFFIXES if name.startswith(stem + s)), None)
    return rest is not None and (rest == "" or rest.removeprefix("_").isdecimal())


def _one(have: frozenset[str], *names: str) -> str | None:
    """The first of `names` that exists."""
    return next((name for name in names if name in have), None)


def _there(have: frozenset[str], name: str) -> tuple[str, ...]:
    return (name,) if name in have else ()


def _needed(have: frozenset[str], *names: str) -> str:
    found = _one(have, *names)
    if found is None:
        raise ArtifactMissingError(f"it has no {' or '.join(names)}, which an import needs")
    return found
