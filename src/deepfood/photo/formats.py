"""The formats that are read, and the setup of Pillow for them."""

import warnings

import pillow_heif
from PIL import (  # importing it registers the format with Pillow
    AvifImagePlugin,  # noqa: F401
    BmpImagePlugin,  # noqa: F401
    GifImagePlugin,  # noqa: F401
    Image,
    JpegImagePlugin,  # noqa: F401
    PngImagePlugin,  # noqa: F401
    TiffImagePlugin,
    WebPImagePlugin,  # noqa: F401
)

#: Pillow's name for each supported format, and its media type. Others are refused unopened.
MEDIA_TYPES = {
    "JPEG": "image/jpeg",
    "MPO": "image/jpeg",  # several JPEGs in one file, written by some phones; the first is used
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
READERS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "HEIF")

pillow_heif.register_heif_opener(thumbnails=False)
# Our own limit, checked before any decoding, replaces Pillow's process-wide warning.
Image.MAX_IMAGE_PIXELS = None
# libtiff also reads uncompressed files: Pillow's own reader takes planes of 16 bits for 8, and
# ignores subsampling of YCbCr.
TiffImagePlugin.READ_LIBTIFF = True
# Pillow warns of odd metadata, in text that the photo's sender controls: noise in the log, memory
# in the registry of shown warnings, and with `-W error` the loss of a good photo. A filter set once
# is safe with threads; warnings.catch_warnings around each photo is not.
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")


def begins_like(data: bytes) -> str | None:
    """The format that the first bytes indicate; None if it is not supported."""
    for name in READERS:
        _, begins = Image.OPEN[name]
        if begins is not None and begins(data[:16]) is True:
            return name
    return None
