"""The one way from bytes to pixels: training, building, searching and serving all use it.

`read_pixels` returns what a Model sees, `read_picture` the whole photo for training to crop,
`read_small` one to take `part_pixels` of, and `thumbnail` what a person sees. All open the bytes by
content (never by file name), check the limits before decoding, decode JPEGs at the smallest DCT
scale that is large enough, shrink band by band, and then convert colours and apply EXIF
orientation. Of several pictures in a file (animation, pages, MPO) the first is used, and only that
one must be intact.
"""

import base64
import io
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
import numpy.typing as npt
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field

from deepfood.errors import PhotoBrokenError
from deepfood.photo.color import to_srgb
from deepfood.photo.fit import Resize, Rounding, fit, visible_region
from deepfood.photo.flat import joined, shrink
from deepfood.photo.formats import FORMAT_NAMES, MEDIA_TYPES, SUFFIXES
from deepfood.photo.limits import Limits
from deepfood.photo.open_photo import OpenPhoto, Picture
from deepfood.photo.opening import opened
from deepfood.photo.window import cut, part_of_resized
from deepfood.photo_box import Box, along_stored

__all__ = [
    "FORMAT_NAMES",
    "MEDIA_TYPES",
    "SUFFIXES",
    "Header",
    "Limits",
    "Pixels",
    "Preprocess",
    "Resize",
    "from_data_url",
    "part_pixels",
    "read_header",
    "read_picture",
    "read_pixels",
    "read_small",
    "thumbnail",
]

_RESAMPLING = {
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
}
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

#: A picture in memory is not decoded any more.
_NO_LIMITS = Limits(2**40, 2**40)

Pixels = npt.NDArray[np.uint8]
Channel = Annotated[int, Field(ge=0, le=255)]


class Preprocess(BaseModel):
    """How a Model's photos are prepared; part of its manifest and of its fingerprint.

    The network gets `size` x `size` pixels, `(value / 255 - mean) / std` for each of red, green and
    blue. `resize` says which pixels:

    - `square`: the centred square, `crop` of the shorter side, in whole pixels of the photo,
      resized in one step.
    - `shortest`: the photo resized to `size / crop` pixels on its shorter side, then the centred
      square: torchvision's Resize and CenterCrop, pixel for pixel.
    - `squash`: the photo resized to `size / crop` pixels on each side, then the centred square:
      the whole photo if `crop` is 1.
    - `pad`: the photo resized to `size / crop` pixels on its longer side, then the centred
      square, padded with `fill`: timm's `border`, open_clip's `longest`.

    Bilinear and bicubic both antialias, as in Pillow.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    size: Annotated[int, Field(ge=8, le=4096)]
    crop: Annotated[float, Field(gt=0, le=1)]
    interpolation: Literal["bilinear", "bicubic"]
    resize: Resize = "square"
    #: How the corner of the centred square is rounded from half a pixel, except for `square`:
    #: torchvision rounds to the even pixel, transformers down.
    rounding: Rounding = "even"
    #: The colour of the padding: red, green and blue, 0 to 255.
    fill: tuple[Channel, Channel, Channel] = (0, 0, 0)
    mean: tuple[float, float, float]
    std: tuple[
        Annotated[float, Field(gt=0)], Annotated[float, Field(gt=0)], Annotated[float, Field(gt=0)]
    ]

    def visible_region(self, width: int, height: int) -> tuple[float, float, float, float]:
        """The region of an upright photo that the Model sees: left, top, right, bottom in pixels.

        It reaches beyond a photo that is padded.
        """
        return visible_region(self.resize, self.size, self.crop, width, height, self.rounding)

    def visible_in(
        self, box: Box | None, width: int, height: int
    ) -> tuple[float, float, float, float]:
        """As `visible_region`, where a box of the photo counts as the photo."""
        if box is None:
            return self.visible_region(width, height)
        x, y = box.x * width, box.y * height
        part = max(1, round(box.width * width)), max(1, round(box.height * height))
        left, top, right, bottom = self.visible_region(*part)
        return x + left, y + top, x + right, y + bottom

    def visible_shares(
        self, width: int, height: int, box: Box | None = None
    ) -> tuple[float, float, float, float]:
        """The same as left, top, width and height in shares of the photo, as in a Box."""
        left, top, right, bottom = self.visible_in(box, width, height)
        return left / width, top / height, (right - left) / width, (bottom - top) / height


def read_pixels(
    data: bytes, preprocess: Preprocess, limits: Limits, box: Box | None = None
) -> Pixels:
    """The pixels that a Model sees: uint8 [size, size, 3], RGB, 0 to 255.

    With a `box`, that region is treated as the photo. Raises PhotoTooLargeError,
    PhotoUnsupportedError or PhotoBrokenError.
    """
    with opened(data, limits) as photo:
        return _read(photo, preprocess, limits, box)


def part_pixels(picture: Image.Image, preprocess: Preprocess, box: Box) -> Pixels:
    """What a Model sees of a region of a picture from `read_small`.

    It is what `read_pixels` gives for the same box of a photo that is no larger than the picture.
    """
    return _read(Picture(picture), preprocess, _NO_LIMITS, box)


def _read(photo: OpenPhoto, preprocess: Preprocess, limits: Limits, box: Box | None) -> Pixels:
    read = _read_square if preprocess.resize == "square" else _read_fitted
    return np.asarray(read(photo, preprocess, limits, box))


def _read_square(
    photo: OpenPhoto, preprocess: Preprocess, limits: Limits, box: Box | None
) -> Image.Image:
    size = preprocess.size
    shorter = -(-size // preprocess.crop)  # the pixels needed on the whole photo's shorter side
    if box is not None:
        shorter = box.whole_shorter(shorter, photo.size, photo.orientation)
    with photo.decoded(int(shorter), limits):
        x, y, width, height = _region(photo, box)
        left, top, right, bottom = preprocess.visible_region(width, height)
        square = (x + left, y + top, x + right, y + bottom)
        how = _RESAMPLING[preprocess.interpolation]
        small = shrink(photo.bands(), photo.size, (size, size), how, square)
        return _upright(to_srgb(small, photo.icc, photo.cicp), photo.orientation)


def _read_fitted(
    photo: OpenPhoto, preprocess: Preprocess, limits: Limits, box: Box | None
) -> Image.Image:
    size, turned = preprocess.size, photo.orientation
    width, height = _region(photo, box)[2:]
    upright = (height, width) if turned >= 5 else (width, height)
    # From the size of the stored photo: the decoded one may be slightly larger in proportion.
    fitted = fit(preprocess.resize, size, preprocess.crop, *upright, preprocess.rounding)
    shorter = min(fitted.resized)
    if preprocess.resize == "pad":
        shorter = max(1, max(fitted.resized) * min(width, height) // max(width, height))
    if box is not None:
        shorter = box.whole_shorter(shorter, photo.size, turned)
    with photo.decoded(shorter, limits):
        x, y, width, height = _region(photo, box)
        bands = photo.bands()
        if box is not None:
            bands = cut(bands, (x, y, x + width, y + height))
        resized = fitted.resized[::-1] if turned >= 5 else fitted.resized
        left, top, right, bottom = fitted.part
        region = (left, top, right - left, bottom - top)
        left, top, across, down = along_stored(region, fitted.resized, turned)
        part = (left, top, left + across, top + down)
        how = _RESAMPLING[preprocess.interpolation]
        small = part_of_resized(bands, (width, height), resized, part, how)
        seen_part = _upright(to_srgb(small, photo.icc, photo.cicp), turned)
    if seen_part.size == (size, size):
        return seen_part
    padded = Image.new("RGB", (size, size), preprocess.fill)
    padded.paste(seen_part, (max(-fitted.left, 0), max(-fitted.top, 0)))
    return padded


def _region(photo: OpenPhoto, box: Box | None) -> tuple[int, int, int, int]:
    """Left, top, width and height, in pixels of the stored or decoded photo."""
    if box is None:
        return (0, 0, *photo.size)
    return box.pixels(photo.size, photo.orientation)


def read_picture(data: bytes, shorter: int, limits: Limits) -> Image.Image:
    """The whole photo as an upright RGB picture, from which training takes crops.

    Its shorter side has at least `shorter` pixels if the photo has as many; a JPEG is decoded no
    larger than needed. Raises like `read_pixels`.
    """
    with opened(data, limits) as photo, photo.decoded(shorter, limits):
        whole = joined(photo.bands(), photo.size)
        return _upright(to_srgb(whole, photo.icc, photo.cicp), photo.orientation)


def read_small(data: bytes, longest: int, limits: Limits) -> Image.Image:
    """The whole photo as an upright RGB picture, its longest side at most `longest` pixels.

    Raises like `read_pixels`.
    """
    with opened(data, limits) as photo:
        return _read_small(photo, longest, limits)


def _read_small(photo: OpenPhoto, longest: int, limits: Limits) -> Image.Image:
    width, height = photo.size
    # The shorter side after shrinking bounds the scale that decoding may use.
    with photo.decoded(max(1, longest * min(width, height) // max(width, height)), limits):
        width, height = photo.size
        scale = min(1, longest / max(width, height))
        size = max(1, round(width * scale)), max(1, round(height * scale))
        whole = (0, 0, width, height)
        flat = shrink(photo.bands(), photo.size, size, Image.Resampling.BICUBIC, whole)
    return _upright(to_srgb(flat, photo.icc, photo.cicp), photo.orientation)


def thumbnail(data: bytes, longest: int, limits: Limits) -> bytes:
    """A JPEG of the whole photo without metadata, its longest side at most `longest` pixels."""
    with opened(data, limits) as photo:
        small = _read_small(photo, longest, limits)
        small.info.clear()
        out = io.BytesIO()
        small.save(out, "JPEG", quality=82, optimize=True)
        return out.getvalue()


@dataclass(frozen=True)
class Header:
    """A photo's type and size before decoding; width and height of the upright photo."""

    media_type: str
    width: int
    height: int


def read_header(data: bytes, limits: Limits) -> Header:
    """Format and size of a photo, without decoding its pixels. Raises like `read_pixels`."""
    with opened(data, limits) as photo:
        width, height = photo.size
        if photo.orientation >= 5:
            width, height = height, width
        return Header(MEDIA_TYPES[photo.format], width, height)


def from_data_url(url: str) -> bytes:
    """The bytes in a `data:image/...;base64,...` URL. Raises PhotoBrokenError."""
    head, comma, body = url.partition(",")
    if not comma or not head.lower().startswith("data:") or ";base64" not in head.lower():
        raise PhotoBrokenError(
            "the photo is not a base64 data URL: expected data:image/jpeg;base64,…"
        )
    # An unencoded form turns "+" into a space; padding may be missing.
    body = "".join(body.split("\n")).replace("\r", "").replace(" ", "+").rstrip("=")
    try:
        return base64.b64decode(body + "=" * (-len(body) % 4), validate=True)
    except ValueError as error:  # also binascii.Error, and the error for non-ASCII characters
        raise PhotoBrokenError(f"the photo's data URL is not base64: {error}") from error


def _upright(image: Image.Image, orientation: int) -> Image.Image:
    how = _UPRIGHT.get(orientation)
    return image if how is None else image.transpose(how)
