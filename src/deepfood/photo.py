"""The one way from bytes to pixels: training, building, searching and serving all come through it.

`read_pixels` gives what a Model sees, `read_picture` the whole of it for training to cut from,
`thumbnail` what a person sees. All open the bytes by content (never by file name), check the limits
before decoding, decode JPEGs at the smallest DCT scale that is large enough, and then apply
transparency, colour profile and EXIF orientation. Of several pictures in a file (animation, pages,
MPO) the first counts, and only it must be whole.
"""

import base64
import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, Literal

import numpy as np
import numpy.typing as npt
import pillow_heif
from PIL import ExifTags, Image, ImageCms, UnidentifiedImageError
from pydantic import BaseModel, ConfigDict, Field

from deepfood.errors import PhotoBrokenError, PhotoError, PhotoTooLargeError, PhotoUnsupportedError
from deepfood.photo_box import Box
from deepfood.photo_defects import check_whole

#: Pillow's name of each format that is read, and its media type. Anything else is refused unopened.
MEDIA_TYPES = {
    "JPEG": "image/jpeg",
    "MPO": "image/jpeg",  # several JPEGs in one file, as some phones write; the first counts
    "PNG": "image/png",
    "WEBP": "image/webp",
    "GIF": "image/gif",
    "BMP": "image/bmp",
    "TIFF": "image/tiff",
    "HEIF": "image/heic",
    "AVIF": "image/avif",
}
FORMAT_NAMES = "JPEG, PNG, WebP, GIF, BMP, TIFF, HEIC or AVIF"

#: File name endings that a photo folder is searched for.
SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff"}
    | {".heic", ".heif", ".hif", ".avif"}
)

#: Pillow's readers, in the order they are tried. MPO has none: the JPEG reader finds it. AVIF comes
#: before HEIF, which would open an AVIF of the shared brand "mif1" and then fail to decode it.
_READERS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "HEIF")

#: RGB profiles have 1 to 4 KB, those of printing presses up to 3 MB.
_MAX_PROFILE_BYTES = 4 * 2**20

pillow_heif.register_heif_opener(thumbnails=False)
# Our own limit, checked before any decoding, replaces Pillow's process-wide warning.
Image.MAX_IMAGE_PIXELS = None
# Pillow warns of odd metadata, in words that the photo's sender chooses: noise in a log, memory in
# the registry of warnings already shown, and with `-W error` a good photo lost. A filter set once
# is safe with threads; warnings.catch_warnings around each photo is not.
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")

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

Pixels = npt.NDArray[np.uint8]


class Preprocess(BaseModel):
    """How a Model wants its photos; part of the Model's manifest and of its fingerprint.

    The photo's centred square, `crop` of its shorter side, is resized to `size` x `size` pixels;
    the network then gets `(value / 255 - mean) / std` for each of red, green and blue.
    This is torchvision's Resize(size / crop) and CenterCrop(size) in one step.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    size: Annotated[int, Field(ge=8, le=4096)]
    crop: Annotated[float, Field(gt=0, le=1)]
    interpolation: Literal["bilinear", "bicubic"]
    mean: tuple[float, float, float]
    std: tuple[
        Annotated[float, Field(gt=0)], Annotated[float, Field(gt=0)], Annotated[float, Field(gt=0)]
    ]


@dataclass(frozen=True)
class Limits:
    """What a photo may cost: file size in bytes, and width times height."""

    max_bytes: int
    max_pixels: int

    def check_bytes(self, count: int) -> None:
        """Raise PhotoTooLargeError for a file of `count` bytes if that is more than allowed."""
        if count > self.max_bytes:
            raise PhotoTooLargeError(
                f"the photo has {count:,} bytes, and the limit max_photo_bytes is "
                f"{self.max_bytes:,}"
            )


def read_pixels(
    data: bytes, preprocess: Preprocess, limits: Limits, box: Box | None = None
) -> Pixels:
    """The pixels a Model sees: uint8 [size, size, 3], RGB, 0 to 255.

    With a `box` that region counts as the photo. Raises PhotoTooLargeError, PhotoUnsupportedError
    or PhotoBrokenError.
    """
    size = preprocess.size
    with _opened(data, limits) as image:
        shorter = -(-size // preprocess.crop)  # what the whole photo's shorter side must keep
        if box is not None:
            shorter = box.whole_shorter(shorter, image.size, _orientation(image))
        _decode_small(image, int(shorter))
        flat = _flatten(image)
        x, y, width, height = (0, 0, *flat.size)
        if box is not None:
            x, y, width, height = box.pixels(flat.size, _orientation(image))
        side = min(width, height) * preprocess.crop
        # Whole pixels, so that a photo already at the right size is cropped and not resampled.
        left, top = x + round((width - side) / 2), y + round((height - side) / 2)
        square = (left, top, min(left + side, x + width), min(top + side, y + height))
        small = flat.resize((size, size), _RESAMPLING[preprocess.interpolation], box=square)
        return np.asarray(_upright(_to_srgb(small, image), image))


def read_picture(data: bytes, shorter: int, limits: Limits) -> Image.Image:
    """The whole photo as an upright RGB picture, for training, which cuts pieces out of it.

    Its shorter side has `shorter` pixels or more, where the photo has as many; a JPEG is decoded
    no larger than that needs. Raises like `read_pixels`.
    """
    with _opened(data, limits) as image:
        _decode_small(image, shorter)
        return _upright(_to_srgb(_flatten(image), image), image)


def thumbnail(data: bytes, longest: int, limits: Limits) -> bytes:
    """A JPEG of the whole photo, its longest side at most `longest` pixels; no metadata in it."""
    with _opened(data, limits) as image:
        # The shorter side after shrinking bounds the scale that decoding may use.
        _decode_small(image, max(1, longest * min(image.size) // max(image.size)))
        flat = _flatten(image)
        flat.thumbnail((longest, longest), Image.Resampling.BICUBIC)
        out = io.BytesIO()
        small = _upright(_to_srgb(flat, image), image)
        small.info.clear()
        small.save(out, "JPEG", quality=82, optimize=True)
        return out.getvalue()


@dataclass(frozen=True)
class Header:
    """What a photo says of itself before decoding; width and height as shown, upright."""

    media_type: str
    width: int
    height: int


def read_header(data: bytes, limits: Limits) -> Header:
    """Format and size of a photo, without decoding its pixels. Raises like `read_pixels`."""
    with _opened(data, limits) as image:
        width, height = image.size
        # Pillow has already turned the size of a TIFF, and of no other format.
        if _orientation(image) >= 5 and image.format != "TIFF":
            width, height = height, width
        return Header(MEDIA_TYPES[image.format or ""], width, height)


def from_data_url(url: str) -> bytes:
    """The bytes in a `data:image/...;base64,...` URL. Raises PhotoBrokenError."""
    head, comma, body = url.partition(",")
    if not comma or not head.lower().startswith("data:") or ";base64" not in head.lower():
        raise PhotoBrokenError("the photo is no base64 data URL: expected data:image/jpeg;base64,…")
    # A form that was not encoded turns "+" into a space; padding may be left off.
    body = "".join(body.split("\n")).replace("\r", "").replace(" ", "+").rstrip("=")
    try:
        return base64.b64decode(body + "=" * (-len(body) % 4), validate=True)
    except ValueError as error:  # binascii.Error is one, and so is a letter beyond ASCII
        raise PhotoBrokenError(f"the photo's data URL is not base64: {error}") from error


@contextmanager
def _opened(data: bytes, limits: Limits) -> Iterator[Image.Image]:
    """Open by content within the limits; whatever a decoder raises becomes a PhotoError."""
    if not data:
        raise PhotoBrokenError("the photo is empty (0 bytes)")
    limits.check_bytes(len(data))
    try:
        with Image.open(io.BytesIO(data), formats=_READERS) as image:
            if image.width * image.height > limits.max_pixels:
                raise PhotoTooLargeError(
                    f"the photo has {image.width} x {image.height} pixels, and the limit "
                    f"max_photo_pixels is {limits.max_pixels:,}"
                )
            check_whole(data, image.format or "")
            yield image
    except PhotoError:
        raise
    except UnidentifiedImageError:
        for name in _READERS:
            _, begins_like = Image.OPEN[name]
            if begins_like is not None and begins_like(data[:16]) is True:
                raise PhotoBrokenError(
                    f"the photo begins like {name} and cannot be opened: it is cut off or damaged"
                ) from None
        raise PhotoUnsupportedError(f"the photo is not {FORMAT_NAMES}") from None
    except MemoryError as error:
        raise PhotoTooLargeError("the photo needs more memory than there is") from error
    except Exception as error:
        # Decoders meet hostile bytes with nearly any exception; all of them mean the same.
        reason = " ".join(str(error).split()) or type(error).__name__
        raise PhotoBrokenError(f"the photo is damaged: {reason}") from error


def _decode_small(image: Image.Image, shorter: int) -> None:
    """Decode; a JPEG at the smallest of 1/1, 1/2, 1/4, 1/8 that keeps `shorter` pixels."""
    if image.format in ("JPEG", "MPO"):
        image.draft(None, (shorter, shorter))
    image.load()


def _flatten(image: Image.Image) -> Image.Image:
    """As mode L, RGB or CMYK: 16 bits scaled to 8, palettes looked up, alpha laid over white."""
    if image.mode.startswith("I;16"):
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if image.mode in ("I", "F"):
        return Image.fromarray(_eight_bits(np.asarray(image, dtype=np.float32)))
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        white = Image.new("RGBA", rgba.size, "white")
        return Image.alpha_composite(white, rgba).convert("RGB")
    if image.mode in ("L", "RGB", "CMYK"):
        return image
    return image.convert("L" if image.mode in ("1", "LA", "La") else "RGB")


def _eight_bits(values: npt.NDArray[np.float32]) -> Pixels:
    """Grey of unknown range: up to 1 is taken as 0 to 1, up to 255 as 8 bit, else as 16 bit."""
    values = np.nan_to_num(values, posinf=0, neginf=0)
    highest = float(values.max(initial=0))
    scale = 255.0 if highest <= 1 else 1.0 if highest <= 255 else 255 / 65535
    eight_bits: Pixels = np.rint(np.clip(values * scale, 0, 255)).astype(np.uint8)
    return eight_bits


def _to_srgb(image: Image.Image, source: Image.Image) -> Image.Image:
    """Convert to RGB through the photo's own colour profile where it has a usable one."""
    profile = source.info.get("icc_profile")
    if profile and len(profile) <= _MAX_PROFILE_BYTES:
        transform = _transform_to_srgb(bytes(profile), image.mode)
        if transform is not None:
            return ImageCms.applyTransform(image, transform) or image
    return image if image.mode == "RGB" else image.convert("RGB")


@lru_cache(maxsize=16)  # the profiles are kept too, and strangers send them
def _transform_to_srgb(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """The transform from `profile` to sRGB; None if it is damaged or for another colour space."""
    try:
        return ImageCms.buildTransform(
            ImageCms.getOpenProfile(io.BytesIO(profile)),
            ImageCms.createProfile("sRGB"),
            mode,
            "RGB",
            # The cache inside a transform is not safe to share between threads.
            flags=ImageCms.Flags.NOCACHE,
        )
    except (ImageCms.PyCMSError, OSError, ValueError):
        return None


def _orientation(image: Image.Image) -> int:
    try:
        value = image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # a damaged EXIF block must not cost the photo
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def _upright(image: Image.Image, source: Image.Image) -> Image.Image:
    how = _UPRIGHT.get(_orientation(source))
    return image.transpose(how) if how is not None else image
