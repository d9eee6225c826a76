"""Backbones: any network of timm without its classifier, and its preprocessing."""

import math
from typing import Any

import timm
import torch
from timm.data import DEFAULT_CROP_PCT
from timm.models import group_modules
from torch import nn

from deepfood.errors import SettingError, TrainingError
from deepfood.photo import Preprocess, Resize
from deepfood.train.weights import Weights

#: timm's crop_mode; without one it is `center`.
_RESIZES: dict[str | None, Resize] = {"squash": "squash", "border": "pad"}

#: The most names that a message suggests.
_SUGGESTED = 3


def create_backbone(name: str) -> nn.Module:
    """The timm network `name` with random weights: float32 [n, 3, size, size] -> [n, dimension].

    Its output is the input of its own classifier: the pooled features, 512 for ResNet34. Raises
    SettingError if timm has no such network.
    """
    known = timm.list_models()
    if name.split(".")[0] not in known:
        import difflib

        near = difflib.get_close_matches(name, known, _SUGGESTED)
        raise SettingError(
            f"timm {timm.__version__} has no backbone {name!r}"
            + (f": did you mean {', '.join(near)}?" if near else ": see timm.list_models()")
        )
    try:
        network: nn.Module = timm.create_model(name, pretrained=False)
    except RuntimeError as error:  # timm knows the network, but not the tag after the dot
        raise SettingError(f"backbone {name!r}: {' '.join(str(error).split())}") from error
    return network


def fill(network: nn.Module, backbone: str, weights: Weights) -> None:
    """Load pretrained `weights` into `network`, which still has timm's classifier.

    The classifier's own weights need not fit, as it is removed next. Raises TrainingError that
    names the first tensor that differs.
    """
    wanted = network.state_dict()
    own = classifier_tensors(network)
    source, given = weights.origin.source, weights.tensors
    if weights.in_order:
        if len(given) != len(wanted):
            raise TrainingError(
                f"{source} has {len(given)} tensors, but {backbone} has {len(wanted)}: "
                "these are weights of another backbone"
            )
        given = dict(zip(wanted, given.values(), strict=True))
    for name, tensor in wanted.items():
        if name in own:
            continue
        if name not in given:
            # A counter that older files lack, and that is not used here.
            if name.endswith("num_batches_tracked"):
                given = {**given, name: tensor}
                continue
            raise TrainingError(
                f"{source} has no tensor {name!r} of shape {_shape(tensor)}: these are "
                f"weights of another backbone than {backbone}"
            )
        if given[name].shape != tensor.shape:
            raise TrainingError(
                f"{source}: tensor {name!r} has shape {_shape(given[name])}, but "
                f"{backbone} needs {_shape(tensor)}: give weights of this backbone, or the name of "
                "theirs with --backbone"
            )
    unexpected = sorted(set(given) - set(wanted) - own)
    if unexpected:
        raise TrainingError(
            f"{source}: tensor {unexpected[0]!r} of shape {_shape(given[unexpected[0]])} has "
            f"no place in {backbone}: these are weights of another backbone"
        )
    network.load_state_dict({name: given[name] for name in wanted if name not in own}, strict=False)


def without_classifier(network: nn.Module) -> int:
    """Remove timm's classifier from `network`; returns the new number of outputs."""
    reset: Any = network.reset_classifier
    reset(0)
    about: Any = network.pretrained_cfg
    size = about["input_size"][1]
    was_training = network.training
    with torch.no_grad():
        dimension = int(network.eval()(torch.zeros(1, 3, size, size)).shape[1])
    network.train(was_training)
    return dimension


def first_stages(network: nn.Module, share: float) -> tuple[str, ...]:
    """Names of the layers in the first `share` of `network`'s stages as timm counts them.

    The stem is a separate stage; a share below 1 leaves out at least the last one.
    """
    about: Any = network
    groups: dict[int, list[str]] = group_modules(network, about.group_matcher(coarse=True))
    first = sorted(groups)[: int(share * len(groups))]
    return tuple(name for group in first for name in groups[group])


def classifier_tensors(network: nn.Module) -> frozenset[str]:
    """Names in the state dict that belong to timm's classifier."""
    about: Any = network.pretrained_cfg
    named = about.get("classifier") or ()
    prefixes = tuple(f"{one}." for one in ((named,) if isinstance(named, str) else named))
    return frozenset(
        name for name in network.state_dict() if prefixes and name.startswith(prefixes)
    )


def preprocess_of(network: nn.Module, image_size: int | None = None) -> Preprocess:
    """The preprocessing of `network`, from timm's data config; `image_size` overrides its size.

    Pixels equal those of timm's own transform, with two exceptions: a filter that is neither
    bilinear nor bicubic (lanczos, random) becomes bicubic, and a crop_pct above 1, for which timm
    adds a black border, becomes 1. Raises SettingError for an unusable size.
    """
    about: Any = network.pretrained_cfg
    _, size, width = about["input_size"]
    if size != width:
        raise SettingError(
            f"{about['architecture']} takes photos of {width} x {size} pixels, but a Model of "
            "deepfood has as many across as down: give another backbone"
        )
    if image_size is not None:
        if about.get("fixed_input_size") and image_size != size:
            raise SettingError(
                f"image size {image_size}: {about['architecture']} takes {size} pixels only"
            )
        size = image_size
    filter_name = about.get("interpolation")
    mean = tuple(about["mean"])
    # timm resizes to a whole number of pixels, of which it crops `size`.
    resized = max(size, math.floor(size / (about.get("crop_pct") or DEFAULT_CROP_PCT)))
    resize = _RESIZES.get(about.get("crop_mode"), "shortest")
    return Preprocess(
        size=size,
        crop=size / resized,
        interpolation="bilinear" if filter_name == "bilinear" else "bicubic",
        resize=resize,
        fill=tuple(round(255 * value) for value in mean) if resize == "pad" else (0, 0, 0),
        mean=mean,
        std=tuple(about["std"]),
    )


def _shape(tensor: torch.Tensor) -> list[int]:
    return list(tensor.shape)
