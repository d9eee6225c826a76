"""The JSON files of hub repositories, as far as imports need them.

Others write them: each field has a type and bounds, unknown fields are ignored, and an unusable
file becomes an ArtifactError of one line with its name.
"""

from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, JsonValue, ValidationError

from deepfood.artifacts import read_file
from deepfood.errors import ArtifactCorruptError, ArtifactFormatError
from deepfood.photo import Preprocess

#: The largest config in bytes; usual ones have a few thousand.
_LIMIT_BYTES = 4 * 2**20

OPENAI_MEAN = (0.48145466, 0.4578275, 0.40821073)
OPENAI_STD = (0.26862954, 0.26130258, 0.27577711)
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

Interpolation = Literal["bilinear", "bicubic"]
Side = Annotated[int, Field(ge=1, le=65_536)]
Dimension = Annotated[int, Field(ge=1, le=65_536)]
Context = Annotated[int, Field(ge=2, le=8192)]
Vocabulary = Annotated[int, Field(ge=1, le=2**31 - 1)]
#: A number for each of red, green and blue, or one for all three.
Channels = FiniteFloat | list[FiniteFloat]

#: Pillow's `resample`. Models support only these two.
_RESAMPLE: dict[int, Interpolation] = {2: "bilinear", 3: "bicubic"}

_Config = TypeVar("_Config", bound=BaseModel)


class _Read(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class OpenClipVision(_Read):
    image_size: Side | list[Side] = 224
    timm_model_name: str | None = None


class TokenizerArguments(_Read):
    clean: str | None = None
    strip_sep_token: bool = False
    reduction_mask: str | None = None


class OpenClipText(_Read):
    context_length: Context = 77
    vocab_size: Vocabulary | None = None
    hf_model_name: str | None = None
    hf_tokenizer_name: str | None = None
    tokenizer_kwargs: TokenizerArguments = TokenizerArguments()
    tokenizer_mode: str | None = None


class OpenClipModel(_Read):
    """open_clip's `model_cfg`, which immich-app's `config.json` is as well."""

    embed_dim: Dimension | None = None
    vision_cfg: OpenClipVision = OpenClipVision()
    text_cfg: OpenClipText = OpenClipText()


class OpenClipPreprocess(_Read):
    size: Side | list[Side] | None = None
    mean: Channels | None = None
    std: Channels | None = None
    interpolation: str | None = None
    resize_mode: str | None = None
    fill_color: Annotated[int, Field(ge=0, le=255)] = 0


class OpenClipConfig(_Read):
    """`open_clip_config.json`."""

    model_cfg: OpenClipModel
    preprocess_cfg: OpenClipPreprocess = OpenClipPreprocess()


class _HubTower(_Read):
    hidden_size: Dimension | None = None
    projection_size: Dimension | None = None
    projection_dim: Dimension | None = None
    max_position_embeddings: Context | None = None
    vocab_size: Vocabulary | None = None


class HubConfig(_HubTower):
    """`config.json` of transformers; `architecture` is timm's."""

    model_type: str = ""
    architecture: str | None = None
    #: timm's own, which it checks itself.
    pretrained_cfg: Annotated[dict[str, JsonValue], Field(default_factory=dict)]
    model_args: Annotated[dict[str, JsonValue], Field(default_factory=dict)]
    text_config: _HubTower | None = None
    vision_config: _HubTower | None = None


class Added(_Read):
    content: str


class TokenizerConfig(_Read):
    """`tokenizer_config.json`."""

    tokenizer_class: str | None = None
    pad_token: str | Added | None = None
    padding_side: str | None = None

    @property
    def pads_with(self) -> str | None:
        return self.pad_token.content if isinstance(self.pad_token, Added) else self.pad_token


class _Edges(_Read):
    shortest_edge: Side | None = None
    longest_edge: Side | None = None
    height: Side | None = None
    width: Side | None = None


class HubPreprocess(_Read):
    """`preprocessor_config.json` of transformers, also of old versions."""

    do_resize: bool = True
    do_center_crop: bool | None = None
    do_rescale: bool = True
    do_normalize: bool = True
    do_pad: bool | None = None
    do_flip_channel_order: bool | None = None
    size: Side | _Edges | None = None
    crop_size: Side | _Edges | None = None
    resample: int | None = None
    rescale_factor: Annotated[FiniteFloat, Field(gt=0)] = 1 / 255
    image_mean: Channels | None = None
    image_std: Channels | None = None
    mean: Channels | None = None
    std: Channels | None = None
    max_num_patches: int | None = None


class HubDefaults(_Read):
    """The defaults of a family's image processor."""

    resample: Interpolation
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    #: Whether it crops a square from the photo, instead of squashing it.
    crops: bool


def read_config(kind: type[_Config], path: Path) -> _Config:
    """The JSON file at `path`. Raises ArtifactCorruptError."""
    try:
        return kind.model_validate_json(read_file(path, _LIMIT_BYTES))
    except OSError as error:
        raise ArtifactCorruptError(f"{path} cannot be read: {error.strerror}") from error
    except ValidationError as error:
        one = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in one["loc"])
        fault = f"{where}: {one['msg']}" if where else one["msg"]
        raise ArtifactCorruptError(f"{path} cannot be used: {fault}") from error


def open_clip_preprocess(about: OpenClipPreprocess, size: Any, path: Path) -> Preprocess:
    """The preprocessing of open_clip's transform; `size` is used if `about` has none.

    Raises ArtifactFormatError.
    """
    modes: dict[str, Literal["shortest", "squash", "pad"]] = {
        "shortest": "shortest",
        "squash": "squash",
        "longest": "pad",
    }
    mode = about.resize_mode or "shortest"
    if mode not in modes:
        raise _unusable(path, f"resize_mode {mode!r} is none of {', '.join(modes)}")
    filter_name = about.interpolation or "bicubic"
    if filter_name not in ("bicubic", "bilinear", "random"):
        raise _unusable(path, f"interpolation {filter_name!r} is neither bicubic nor bilinear")
    return _preprocess(
        path,
        size=_side(about.size or size, path),
        resize=modes[mode],
        interpolation="bilinear" if filter_name == "bilinear" else "bicubic",
        fill=(about.fill_color,) * 3,
        mean=_three(OPENAI_MEAN if about.mean is None else about.mean, path),
        std=_three(OPENAI_STD if about.std is None else about.std, path),
    )


def hub_preprocess(about: HubPreprocess, family: HubDefaults, path: Path) -> Preprocess:
    """The preprocessing of transformers' image processor. Raises ArtifactFormatError."""
    if about.max_num_patches is not None:
        raise _unusable(
            path, "it is for pictures of any shape (NaFlex), but deepfood's photos are square"
        )
    if about.do_flip_channel_order:
        raise _unusable(path, "do_flip_channel_order: blue before red is not supported")
    if not about.do_resize or about.do_pad:
        raise _unusable(path, "pictures keep their shape (do_resize, do_pad), but must be square")
    if about.resample is not None and about.resample not in _RESAMPLE:
        raise _unusable(path, f"resample {about.resample} is neither 2 (bilinear) nor 3 (bicubic)")
    size, crop, resize = _geometry(about, family, path)
    scale = 255 * (about.rescale_factor if about.do_rescale else 1.0)
    mean, std = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
    if about.do_normalize:
        mean = _three(_first(about.image_mean, about.mean, family.mean), path)
        std = _three(_first(about.image_std, about.std, family.std), path)
    if abs(scale - 1) < 1e-6:  # 1 / 255 with any number of digits
        scale = 1.0
    return _preprocess(
        path,
        size=size,
        crop=crop,
        resize=resize,
        rounding="down",
        interpolation=family.resample if about.resample is None else _RESAMPLE[about.resample],
        mean=tuple(value / scale for value in mean),
        std=tuple(value / scale for value in std),
    )


def _geometry(
    about: HubPreprocess, family: HubDefaults, path: Path
) -> tuple[int, float, Literal["shortest", "squash"]]:
    """The size, the crop as a share of the resized shorter side, and the way of resizing."""
    crops = family.crops if about.do_center_crop is None else about.do_center_crop
    size = about.size if about.size is not None else 224
    if isinstance(size, int):
        size = _Edges(shortest_edge=size) if crops else _Edges(height=size, width=size)
    cut = about.crop_size if about.crop_size is not None else size
    if size.longest_edge is not None:
        raise _unusable(path, "size.longest_edge gives pictures that are not square")
    if size.shortest_edge is None:
        side = _side([size.height, size.width], path)
        if crops and _edge(cut, path) != side:
            raise _unusable(
                path, f"it crops {_edge(cut, path)} pixels from a squashed photo of {side}"
            )
        return side, 1.0, "squash"
    if not crops:
        raise _unusable(path, "size.shortest_edge without do_center_crop: not square")
    side = _edge(cut, path)
    if side > size.shortest_edge:
        raise _unusable(
            path, f"crop_size {side} is larger than the resized photo ({size.shortest_edge})"
        )
    return side, side / size.shortest_edge, "shortest"


def _edge(size: int | _Edges, path: Path) -> int:
    if isinstance(size, int):
        return size
    if size.shortest_edge is not None:
        return size.shortest_edge
    return _side([size.height, size.width], path)


def _side(size: Any, path: Path) -> int:
    """The side of a square, given once or twice. Raises ArtifactFormatError."""
    sides = size if isinstance(size, list) else [size]
    if len(sides) not in (1, 2) or None in sides or len(set(sides)) != 1:
        raise _unusable(path, f"size {size} is not a square")
    return int(sides[0])


def _three(values: Any, path: Path) -> tuple[float, float, float]:
    given = list(values) if isinstance(values, list | tuple) else [values]
    if len(given) == 1:
        given *= 3
    if len(given) != 3:
        raise _unusable(path, f"{len(given)} numbers for red, green and blue")
    red, green, blue = map(float, given)
    return red, green, blue


def _first(*values: Any) -> Any:
    return next(value for value in values if value is not None)


def _preprocess(path: Path, *, crop: float = 1.0, **fields: Any) -> Preprocess:
    try:
        return Preprocess(crop=crop, **fields)
    except ValidationError as error:
        one = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in one["loc"])
        raise _unusable(path, f"{where}: {one['msg']}") from error


def _unusable(path: Path, why: str) -> ArtifactFormatError:
    return ArtifactFormatError(f"{path} cannot be used: {why}")
