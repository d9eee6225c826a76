"""Export graphs from weights that only torch can read: hub folders of open_clip and timm.

`import_folder` makes Models of them. Needs the extra `deepfood[train]`. No code of a repository is
run, and nothing is downloaded: a config may only name networks that the libraries have.
"""

import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import onnx
import torch
from torch import nn

from deepfood.errors import ArtifactFormatError
from deepfood.extras import missing_extra
from deepfood.model.hub_configs import HubConfig, OpenClipConfig, read_config
from deepfood.model.hub_layouts import Layout, Output, Tower, with_open_clip_text
from deepfood.train.backbone import fill, preprocess_of, without_classifier
from deepfood.train.weights import Weights, WeightsSource, read_tensors

#: The name of the exported output: torch already uses "embedding" for rows of a table.
_VECTOR = Output("vector")
#: The names of CLIP's special tokens in a tokenizer.json.
_SPECIAL = {"<start_of_text>": "<|startoftext|>", "<end_of_text>": "<|endoftext|>"}
#: Where CLIP's tokenizer splits a text, before it looks for parts of words.
_WORDS = (
    r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
)


def with_graphs(layout: Layout, scratch: Path) -> Layout:
    """Export the weights of `layout` as graphs into the folder `scratch`; returns the new layout.

    Raises ArtifactError, TrainingError or MissingExtraError.
    """
    assert layout.weights is not None
    with _one_line(layout.weights.parent):
        return (_of_timm if layout.name == "timm" else _of_open_clip)(layout, scratch)


def _of_timm(layout: Layout, scratch: Path) -> Layout:
    import timm

    assert layout.weights is not None
    path = layout.weights.with_name("config.json")
    about = read_config(HubConfig, path)
    architecture = about.architecture or ""
    if architecture not in timm.list_models():
        raise ArtifactFormatError(f"{path}: timm {timm.__version__} has no {architecture!r}")
    arguments: dict[str, Any] = {**about.model_args, "pretrained_cfg": about.pretrained_cfg}
    own: Any = timm.create_model(architecture, **arguments)
    tensors = read_tensors(layout.weights)
    fill(own, architecture, Weights(WeightsSource(layout.weights.name, ""), tensors))
    dimension = without_classifier(own)
    network = _fused(own)
    preprocess = preprocess_of(own)
    graph = scratch / "photos.onnx"
    _export(network, torch.zeros(2, 3, preprocess.size, preprocess.size), graph)
    return replace(
        layout,
        dimension=dimension,
        preprocess=preprocess,
        photos=Tower(graph, (_VECTOR,)),
    )


def _of_open_clip(layout: Layout, scratch: Path) -> Layout:
    try:
        import open_clip
    except ImportError:
        raise missing_extra("this layout needs the package open_clip_torch", "train") from None
    assert layout.weights is not None
    assert layout.preprocess is not None
    path = layout.weights.with_name("open_clip_config.json")
    about = read_config(OpenClipConfig, path).model_cfg
    name = about.vision_cfg.timm_model_name
    if name is not None and ":" in name:
        raise ArtifactFormatError(f"{path}: timm_model_name {name!r} is a location, not a network")
    network: Any = open_clip.create_model(
        f"local-dir:{path.parent}", load_weights=False, pretrained_text=False
    )
    open_clip.load_checkpoint(network, str(layout.weights))
    network.eval()
    network.visual = _fused(network.visual)
    photos = scratch / "photos.onnx"
    size = layout.preprocess.size
    _export(_Part(network, "encode_image"), torch.zeros(2, 3, size, size), photos)
    layout = replace(layout, photos=Tower(photos, (_VECTOR,)))
    if layout.tokenizer is None:
        tokenizer = scratch / "tokenizer.json"
        tokenizer.write_text(_clip_tokenizer(open_clip.SimpleTokenizer()), encoding="utf-8")
        layout = with_open_clip_text(layout, about.text_cfg, tokenizer, path)
    assert layout.text_tower is not None
    words = scratch / "words.onnx"
    ids = torch.zeros(1, layout.text_tower.context, dtype=torch.int64)
    _export(_Part(network, "encode_text"), ids, words)
    return replace(layout, text=Tower(words, (_VECTOR,)))


class _Part(nn.Module):
    """One tower of open_clip's network, as a module."""

    def __init__(self, network: nn.Module, way: str) -> None:
        super().__init__()
        self.network = network
        self.way: Callable[[torch.Tensor], torch.Tensor] = getattr(network, way)

    def forward(self, given: torch.Tensor) -> torch.Tensor:
        return self.way(given)


def _fused(network: Any) -> Any:
    """Merge branches that are separate in training only, like MobileCLIP's."""
    from timm.models import reparameterize_model

    return reparameterize_model(network.eval())


def _export(network: nn.Module, example: torch.Tensor, path: Path) -> None:
    """Write `network` as ONNX, with its weights beside it; for any batch size if possible."""
    name = "pixels" if example.is_floating_point() else "ids"
    options: dict[str, Any] = {"input_names": [name], "output_names": [_VECTOR.name]}
    options |= {"dynamo": True, "external_data": True, "verbose": False}
    if len(example) > 1:
        dynamic = ({0: torch.export.Dim("n")},)
        with suppress(Exception):  # of a torch that refuses a network that fixes the batch size
            torch.onnx.export(network, (example,), path, dynamic_shapes=dynamic, **options)
            if _takes_any_number(path):
                return
        example = example[:1]  # all that a Model needs
    torch.onnx.export(network, (example,), path, **options)


def _takes_any_number(path: Path) -> bool:
    """Whether the batch size of a graph is open."""
    (given,) = onnx.load(path, load_external_data=False).graph.input
    return not given.type.tensor_type.shape.dim[0].dim_value


def _clip_tokenizer(simple: Any) -> str:
    """CLIP's `tokenizer.json`, from open_clip's vocabulary: many folders lack the file."""
    from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors

    vocabulary = {_SPECIAL.get(word, word): number for word, number in simple.encoder.items()}
    begin, end = _SPECIAL.values()
    made: Any = Tokenizer(
        models.BPE(
            vocab=vocabulary,
            merges=list(simple.bpe_ranks),
            continuing_subword_prefix="",
            end_of_word_suffix="</w>",
            unk_token=end,
        )
    )
    made.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
    )
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_WORDS), behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    made.post_processor = processors.RobertaProcessing(
        (end, vocabulary[end]),
        (begin, vocabulary[begin]),
        trim_offsets=False,
        add_prefix_space=False,
    )
    made.add_special_tokens([begin, end])
    return str(made.to_str())


@contextmanager
def _one_line(folder: Path) -> Iterator[None]:
    """Turns errors of torch, timm and open_clip about unsuitable files into ours, in one line."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)  # open_clip logs each step to the root logger
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except (RuntimeError, ValueError, TypeError, KeyError, AssertionError, OSError) as error:
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        raise ArtifactFormatError(f"{folder} cannot be exported: {reason}") from error
    finally:
        logging.disable(before)
