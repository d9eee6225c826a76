"""Well-known encoders by short names: their properties, and where to get them.

The figures are their authors' or open_clip's (its docs/openclip_results.csv): the share of
Food-101's test photos that are given the right one of 101 names, from the names alone ("zero-shot")
or by a linear classifier trained on its training photos ("linear").
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from deepfood.model.hub import HubSource
from deepfood.model.licence import Licence

_MIT, _APACHE = Licence("MIT"), Licence("Apache-2.0")
_APPLE = Licence(
    "Apple AMLR",
    "https://huggingface.co/apple/MobileCLIP2-S2/blob/main/LICENSE",
    "it allows research only, no product and no service",
)
_DINOV3 = Licence(
    "DINOv3 License",
    "https://ai.meta.com/resources/models-and-libraries/dinov3-license/",
    "it has terms of its own",
)
ENGLISH, MANY, NO_WORDS = "English", "more than 100", ""


@dataclass(frozen=True)
class Encoder:
    """An encoder. `name` is its short name; `parameters` are millions, for photos and for words.

    `pixels` is the side of its square input, `languages` those of its words ("" without a text
    tower), `food101` a percentage, measured as in `measured`, None if nobody published it. `files`
    are the needed files of the repository, by their names in the layout; empty if the layout
    defines them. `extra` is the extra of deepfood that an import needs.
    """

    name: str
    title: str
    repository: str
    pixels: int
    parameters: tuple[float, float]
    licence: Licence
    languages: str = ENGLISH
    food101: float | None = None
    measured: str = "zero-shot"
    files: Mapping[str, str] = field(default_factory=dict)
    extra: str = ""

    @property
    def source(self) -> HubSource:
        return HubSource.parse(self.repository)

    @property
    def megabytes(self) -> int:
        """The approximate size of its float32 weights, which is what is downloaded."""
        return round(4 * sum(self.parameters))


def _mobileclip2(size: str) -> dict[str, str]:
    """A repository of several encoders, each in its own folder below `onnx`."""
    return {
        "onnx/vision_model.onnx": f"onnx/{size}/vision_model.onnx",
        "onnx/text_model.onnx": f"onnx/{size}/text_model.onnx",
        "config.json": "config.json",
        "preprocessor_config.json": f"onnx/{size}/preprocessor_config.json",
        "tokenizer.json": "tokenizer.json",
        "tokenizer_config.json": "tokenizer_config.json",
    }


_MOBILECLIP2 = "plhery/mobileclip2-onnx"
_ENCODERS = (
    Encoder(
        "clip-b32-datacomp",
        "CLIP ViT-B/32-256, DataComp",
        "laion/CLIP-ViT-B-32-256x256-DataComp-s34B-b86K",
        256,
        (87.9, 63.4),
        _MIT,
        food101=89.1,
        extra="train",
    ),
    Encoder(
        "clip-b32-openai",
        "CLIP ViT-B/32, OpenAI",
        "immich-app/ViT-B-32__openai",
        224,
        (87.9, 63.4),
        _MIT,
        food101=84.0,
    ),
    Encoder(
        "siglip-b16",
        "SigLIP B/16",
        "immich-app/ViT-B-16-SigLIP__webli",
        224,
        (92.9, 110.3),
        _APACHE,
        food101=91.6,
    ),
    Encoder(
        "siglip-so400m-384",
        "SigLIP SO400M/14-384",
        "immich-app/ViT-SO400M-14-SigLIP-384__webli",
        384,
        (428.2, 449.7),
        _APACHE,
        food101=96.4,
    ),
    Encoder(
        "siglip2-b32-256",
        "SigLIP 2 B/32-256",
        "immich-app/ViT-B-32-SigLIP2-256__webli",
        256,
        (94.6, 282.3),
        _APACHE,
        MANY,
    ),
    Encoder(
        "siglip2-b16",
        "SigLIP 2 B/16",
        "immich-app/ViT-B-16-SigLIP2__webli",
        224,
        (92.9, 282.3),
        _APACHE,
        MANY,
    ),
    Encoder(
        "mobileclip2-s0",
        "MobileCLIP2 S0",
        _MOBILECLIP2,
        256,
        (11.4, 63.4),
        _APPLE,
        food101=84.9,
        files=_mobileclip2("s0"),
    ),
    Encoder(
        "mobileclip2-s2",
        "MobileCLIP2 S2",
        _MOBILECLIP2,
        256,
        (35.8, 63.4),
        _APPLE,
        food101=90.6,
        files=_mobileclip2("s2"),
    ),
    Encoder(
        "mobileclip2-b",
        "MobileCLIP2 B",
        _MOBILECLIP2,
        224,
        (86.3, 63.4),
        _APPLE,
        food101=93.0,
        files=_mobileclip2("b"),
    ),
    Encoder(
        "dinov2-s",
        "DINOv2 S/14",
        "onnx-community/dinov2-small",
        224,
        (22.1, 0),
        _APACHE,
        NO_WORDS,
        food101=89.0,
        measured="linear",
    ),
    Encoder(
        "dinov2-b",
        "DINOv2 B/14",
        "onnx-community/dinov2-base",
        224,
        (86.6, 0),
        _APACHE,
        NO_WORDS,
        food101=93.0,
        measured="linear",
    ),
    Encoder(
        "dinov3-s",
        "DINOv3 S/16",
        "onnx-community/dinov3-vits16-pretrain-lvd1689m-ONNX",
        224,
        (21.6, 0),
        _DINOV3,
        NO_WORDS,
    ),
)
ENCODERS: Mapping[str, Encoder] = {one.name: one for one in _ENCODERS}
