"""A photo whose header has been read, and its rows, decoded in as little memory as can be."""

import io
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager

from PIL import ExifTags, Image

from deepfood.photo import flat
from deepfood.photo.color import Cicp
from deepfood.photo.defects import check_whole, lacks_end, nclx, png_notes, with_end
from deepfood.photo.formats import READERS
from deepfood.photo.limits import Limits

#: Bytes a pixel that decoders take beside the photo itself, measured (benchmarks/photo_memory.py):
#: WebP's has two canvases and hands over a third, those of HEIC and AVIF hold planes of YCbCr.
_DECODER_BYTES = {"WEBP": 12, "HEIF": 6, "AVIF": 9, "TIFF": 4}
_PIXEL_BYTES = {"1": 1, "L": 1, "P": 1, "I;16": 2, "I;16B": 2}
#: What flattening and shrinking take, whatever the photo.
_BAND_BYTES = 24 * flat.BAND_PIXELS


class OpenPhoto(ABC):
    """A photo as stored, before it is turned upright and its colours are converted.

    `orientation` is EXIF's, 1 to 8; `icc` or `cicp` say the colours.
    """

    format: str
    orientation: int = 1
    icc: bytes | None = None
    cicp: Cicp | None = None

    @property
    @abstractmethod
    def size(self) -> tuple[int, int]:
        """Width and height, of the rows that `bands` gives."""

    @abstractmethod
    def decoded(self, shorter: int, limits: Limits) -> AbstractContextManager[None]:
        """Make the rows readable, holding room in memory for them.

        A JPEG gets as small as keeps `shorter` pixels on its shorter side; `size` says how small.
        """

    @abstractmethod
    def bands(self) -> Iterator[Image.Image]:
        """The rows from the top, a band of them at a time, in mode L, RGB, CMYK or LAB."""


class PillowPhoto(OpenPhoto):
    """A photo that Pillow reads."""

    def __init__(self, data: bytes, orientation: int | None = None) -> None:
        """`orientation` stands in for what the photo itself says."""
        png = png_notes(data) if data.startswith(b"\x89PNG") else None
        self._data = png.data if png else data
        self._image = self._opened()
        self.format = self._image.format or ""
        self.icc = self._image.info.get("icc_profile")
        exif = self._image.info.get("exif")
        if png:
            exif = png.exif or _raw_profile(self._image)
            self.cicp = png.cicp
        elif self.format == "AVIF":
            self.cicp = nclx(data)
        elif self.format == "HEIF":
            said = self._image.info.get("nclx_profile") or {}
            self.cicp = Cicp(
                said.get("color_primaries", 2), said.get("transfer_characteristics", 2)
            )
            exif = None  # HEIC is turned by its own transforms alone, and libheif has done so
        # An orientation that stands in XMP is of a picture that was edited since.
        self.orientation = orientation or _orientation(exif)
        check_whole(data, self.format)

    @property
    def size(self) -> tuple[int, int]:
        return self._image.size

    @contextmanager
    def decoded(self, shorter: int, limits: Limits) -> Iterator[None]:
        with ExitStack() as room:
            room.enter_context(limits.decoding(self._draft(shorter)))
            try:
                self._image.load()
            except OSError:
                if self.format not in ("JPEG", "MPO") or not lacks_end(self._data):
                    raise
                room.close()
                self._image = self._opened()
                with limits.decoding(self._draft(min(self.size))):
                    self._data = with_end(self._data)
                self._image = self._opened()
                room.enter_context(limits.decoding(self._draft(shorter)))
                self._image.load()
            try:
                yield
            finally:
                del self._image  # its memory goes with it

    def bands(self) -> Iterator[Image.Image]:
        # A BMP whose alpha is 0 everywhere has none, only room for it, and viewers show it so.
        opaque = (
            self.format == "BMP"
            and self._image.mode == "RGBA"
            and self._image.getchannel("A").getextrema() == (0, 0)
        )
        return flat.bands(self._image, opaque=opaque)

    def _opened(self) -> Image.Image:
        image = Image.open(io.BytesIO(self._data), formats=READERS)
        if image.format == "TIFF":
            image.info.pop("xmp", None)  # Pillow would turn it by that
        return image

    def _draft(self, shorter: int) -> int:
        """Let a JPEG be decoded at the smallest of 1/1, 1/2, 1/4, 1/8 that keeps `shorter` pixels.

        Returns the bytes that decoding takes.
        """
        image, cost = self._image, _BAND_BYTES
        if self.format in ("JPEG", "MPO"):
            # libjpeg keeps all coefficients, 2 bytes each, of a photo that comes in several scans.
            if "progressive" in image.info or self._data.count(b"\xff\xda") > 1:
                cost += 2 * _coefficients(image)
            image.draft(None, (shorter, shorter))
        each = _PIXEL_BYTES.get(image.mode, 4) + _DECODER_BYTES.get(self.format, 0)
        return cost + each * image.width * image.height


def _coefficients(jpeg: Image.Image) -> int:
    """How many there are: of each component as many as it has samples."""
    factors: list[int] = [across * down for _, across, down, _ in getattr(jpeg, "layer", ())]
    return jpeg.width * jpeg.height * sum(factors) // max(factors, default=1)


def _raw_profile(png: Image.Image) -> bytes | None:
    """EXIF as ImageMagick keeps it in a PNG: as text, three lines and then hex digits."""
    try:
        return bytes.fromhex("".join(png.info["Raw profile type exif"].split("\n")[3:]))
    except (KeyError, ValueError, AttributeError):
        return None


def _orientation(exif: bytes | None) -> int:
    tags = Image.Exif()
    try:
        tags.load(exif or b"")
        value = tags.get(ExifTags.Base.Orientation, 1)
    except Exception:  # a damaged EXIF block must not cost the photo
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1
