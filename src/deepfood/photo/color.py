"""Convert a photo's own colours to sRGB, by its ICC profile or the code points of ITU-T H.273.

HEIC, AVIF and PNG may state their colours as such code points (CICP; "nclx" in HEIC and AVIF): the
primaries, and the transfer function from light to values. HDR photos do so as well. Their values
can mean light far brighter than white, which sRGB cannot represent. They are shown with their
reference white as white (203 cd/m2, ITU-R BT.2408), and anything brighter as white too.
"""

import io
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageCms

#: RGB profiles have 1 to 4 KB, those of printing presses up to 3 MB.
_MAX_PROFILE_BYTES = 4 * 2**20

#: H.273's transfer functions that visibly differ from sRGB's; the others are close or unspecified.
_LINEAR, _PQ, _HLG = 8, 16, 18
_WHITE_CD_M2, _PQ_PEAK, _HLG_PEAK = 203.0, 10_000.0, 1_000.0
#: Matrices from linear RGB of other primaries to sRGB's, one row per colour; white is always D65.
_P3 = ((1.2249, -0.2247, 0.0), (-0.0420, 1.0419, 0.0), (-0.0197, -0.0786, 1.0979))
_TO_SRGB = {
    9: ((1.6605, -0.5876, -0.0728), (-0.1246, 1.1329, -0.0083), (-0.0182, -0.1006, 1.1187)),
    11: _P3,
    12: _P3,
}
_BT2020_LUMINANCE = np.array((0.2627, 0.6780, 0.0593), np.float32)

Light = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Cicp:
    """Colour primaries and transfer characteristics, as H.273 numbers them."""

    primaries: int
    transfer: int

    @property
    def is_srgb(self) -> bool:
        """Whether its colours are those of sRGB, or nearly."""
        return self.primaries not in _TO_SRGB and self.transfer not in (_LINEAR, _PQ, _HLG)


def to_srgb(image: Image.Image, icc: bytes | None, cicp: Cicp | None) -> Image.Image:
    """A picture of mode L, RGB, CMYK or LAB as RGB in sRGB; unusable profiles are ignored."""
    if icc and len(icc) <= _MAX_PROFILE_BYTES:
        transform = _transform_to_srgb(bytes(icc), image.mode)
        if transform is not None:
            return ImageCms.applyTransform(image, transform) or image
    if image.mode == "LAB":
        return ImageCms.applyTransform(image, _lab_to_srgb()) or image
    rgb = image if image.mode == "RGB" else image.convert("RGB")
    return rgb if cicp is None or cicp.is_srgb else _from_cicp(rgb, cicp)


@lru_cache(maxsize=16)  # bounded, as profiles come from strangers and are kept
def _transform_to_srgb(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """The transform from `profile` to sRGB; None if it is damaged or for another colour space."""
    try:
        return _transform(ImageCms.ImageCmsProfile(io.BytesIO(profile)), mode)
    except (ImageCms.PyCMSError, OSError, ValueError):
        return None


@lru_cache(maxsize=1)
def _lab_to_srgb() -> ImageCms.ImageCmsTransform:
    return _transform(ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")), "LAB")


def _transform(profile: ImageCms.ImageCmsProfile, mode: str) -> ImageCms.ImageCmsTransform:
    return ImageCms.buildTransform(
        profile,
        ImageCms.createProfile("sRGB"),
        mode,
        "RGB",
        # The cache inside a transform is not safe to share between threads.
        flags=ImageCms.Flags.NOCACHE,
    )


def _from_cicp(rgb: Image.Image, cicp: Cicp) -> Image.Image:
    light = _LIGHT.get(cicp.transfer, _srgb_light)(np.asarray(rgb, np.float32) / 255)
    matrix = _TO_SRGB.get(cicp.primaries)
    if matrix is not None:
        light = light @ np.array(matrix, np.float32).T
    light = np.clip(light, 0, 1)
    values = np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)
    return Image.fromarray(np.rint(values * 255).astype(np.uint8))


# Values, 0 to 1, to light; 1 is sRGB's white.


def _srgb_light(values: Light) -> Light:
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def _pq_light(values: Light) -> Light:
    """SMPTE ST 2084."""
    root = values ** np.float32(1 / 78.84375)
    share = np.maximum(root - 0.8359375, 0) / (18.8515625 - 18.6875 * root)
    shown: Light = share ** np.float32(1 / 0.1593017578125) * np.float32(_PQ_PEAK / _WHITE_CD_M2)
    return shown


def _hlg_light(values: Light) -> Light:
    """ITU-R BT.2100: scene light, then the light of a display of 1,000 cd/m2."""
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    scene = np.where(values <= 0.5, values**2 / 3, (np.exp((values - c) / a) + b) / 12)
    luminance = (scene @ _BT2020_LUMINANCE)[..., np.newaxis]
    shown: Light = scene * luminance ** np.float32(0.2) * np.float32(_HLG_PEAK / _WHITE_CD_M2)
    return shown


_LIGHT = {_LINEAR: lambda values: values, _PQ: _pq_light, _HLG: _hlg_light}
