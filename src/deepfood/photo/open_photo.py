"""A photo whose header has been read, and its rows, decoded in as little memory as possible."""

import io
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext

from PIL import ExifTags, Image

from deepfood.photo import flat
from deepfood.photo.color import Cicp
from deepfood.photo.defects import check_whole, lacks_end, nclx, png_metadata, with_end
from deepfood.photo.formats import READERS
from deepfood.photo.limits import Limits

#: Bytes per pixel that decoders use besides the photo, measured (benchmarks/photo_memory.py):
#: WebP's has two canvases and returns a third; those of HEIC and AVIF hold planes of YCbCr.
_DECODER_BYTES = {"WEBP": 12, "HEIF": 6, "AVIF": 9, "TIFF": 4}
_PIXEL_BYTES = {"1": 1, "L": 1, "P": 1, "I;16": 2, "I;16B": 2}
#: The memory for flattening and shrinking, the same for all photos.
_BAND_BYTES = 24 * flat.BAND_PIXELS


class OpenPhoto(ABC):
    """A photo as stored, before rotation and colour conversion.

    `orientation` is EXIF's, 1 to 8; `icc` or `cicp` define the colours.
    """

    format: str
    orientation: int = 1
    icc: bytes | None = None
    cicp: Cicp | None = None

    @property
    @abstractmethod
    def size(self) -> tuple[int, int]:
        """Width and height, of the rows that `bands` yields."""

    @abstractmethod
    def decoded(self, shorter: int, limits: Limits) -> AbstractContextManager[None]:
        """Make the rows readable, with memory reserved for them.

        A JPEG is decoded as small as possible with at least `shorter` pixels on its shorter side;
        `size` changes accordingly.
        """

    @abstractmethod
    def bands(self) -> Iterator[Image.Image]:
        """The rows from the top, one band at a time, in mode L, RGB, CMYK or LAB."""


class Picture(OpenPhoto):
    """A picture in memory, upright and in mode RGB."""

    format = ""

    def __init__(self, image: Image.Image) -> None:
        self._image = image

    @property
    def size(self) -> tuple[int, int]:
        return self._image.size

    def decoded(self, shorter: int, limits: Limits) -> AbstractContextManager[None]:
        return nullcontext()

    def bands(self) -> Iterator[Image.Image]:
        yield self._image


class PillowPhoto(OpenPhoto):
    """A photo that Pillow reads."""

    def __init__(self, data: bytes, orientation: int | None = None) -> None:
        """`orientation` overrides that of the photo."""
        png = png_metadata(data) if data.startswith(b"\x89PNG") else None
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
            colors = self._image.info.get("nclx_profile") or {}
            self.cicp = Cicp(
                colors.get("color_primaries", 2), colors.get("transfer_characteristics", 2)
            )
            exif = None  # libheif has already applied HEIC's own transforms, which alone count
        # XMP's orientation is ignored: it is that of a picture edited since.
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
                del self._image  # releases its memory

    def bands(self) -> Iterator[Image.Image]:
        # A BMP with alpha 0 everywhere has an unused channel; viewers ignore it.
        opaque = (
            self.format == "BMP"
            and self._image.mode == "RGBA"
            and self._image.getchannel("A").getextrema() == (0, 0)
        )
        return flat.bands(self._image, opaque=opaque)

    def _opened(self) -> Image.Image:
        image = Image.open(io.BytesIO(self._data), formats=READERS)
        if image.format == "TIFF":
            image.info.pop("xmp", None)  # Pillow would rotate it by its orientation
        return image

    def _draft(self, shorter: int) -> int:
        """Have a JPEG decoded at the smallest of 1/1, 1/2, 1/4, 1/8 that keeps `shorter` pixels.

        Returns the bytes that decoding takes.
        """
        image, cost = self._image, _BAND_BYTES
        if self.format in ("JPEG", "MPO"):
            # For several scans, libjpeg keeps all coefficients in memory, 2 bytes each.
            if "progressive" in image.info or self._data.count(b"\xff\xda") > 1:
                cost += 2 * _coefficients(image)
            image.draft(None, (shorter, shorter))
        each = _PIXEL_BYTES.get(image.mode, 4) + _DECODER_BYTES.get(self.format, 0)
        return cost + each * image.width * image.height


def _coefficients(jpeg: Image.Image) -> int:
    """The number of coefficients: as many as each component has samples."""
    factors: list[int] = [across * down for _, across, down, _ in getattr(jpeg, "layer", ())]
    return jpeg.width * jpeg.height * sum(factors) // max(factors, default=1)


def _raw_profile(png: Image.Image) -> bytes | None:
    """EXIF in a PNG by ImageMagick: as text, three lines followed by hex digits."""
    try:
        return bytes.fromhex("".join(png.info["Raw profile type exif"].split("\n")[3:]))
    except (KeyError, ValueError, AttributeError):
        return None


def _orientation(exif: bytes | None) -> int:
    tags = Image.Exif()
    try:
        tags.load(exif or b"")
        value = tags.get(ExifTags.Base.Orientation, 1)
    except Exception:  # a damaged EXIF block must not make the photo unusable
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1
