"""TIFFs that Pillow does not read, or not right: what their samples mean, as their tags say it."""

import math
from collections.abc import Iterator
from contextlib import AbstractContextManager

import numpy as np
from PIL import Image, UnidentifiedImageError

from deepfood.errors import PhotoBrokenError
from deepfood.photo import tiff
from deepfood.photo.flat import flatten
from deepfood.photo.limits import Limits
from deepfood.photo.open_photo import OpenPhoto, PillowPhoto
from deepfood.photo.tiff_chunks import Chunks, Packed, Samples, unsupported

_WHITE_IS_ZERO, _LAB = 0, 8
#: By PhotometricInterpretation: how many samples are colour, and Pillow's mode of them.
_COLORS = {
    _WHITE_IS_ZERO: (1, "L"),
    1: (1, "L"),
    2: (3, "RGB"),
    5: (4, "CMYK"),
    _LAB: (3, "LAB"),
}
_NOT_READ = {
    3: "of palette colours of such depth",
    6: "of YCbCr of such depth",
    32803: "of a camera's raw data",
    34892: "of a camera's raw data",
}
_PREMULTIPLIED, _ALPHA = 1, 2
#: What may be white where the largest number of the type need not be: 1 among floats, and what
#: whole numbers of 8 and 16 bits, kept in larger ones, go to.
_WHITES = (1.0, 255.0, 65535.0)
#: So many samples tell which of them it is.
_LOOKED_AT = 10**6


class TiffSamples(OpenPhoto):
    """A page of a TIFF, read by its tags. Raises PhotoUnsupportedError and PhotoBrokenError."""

    format = "TIFF"

    def __init__(self, page: tiff.Page) -> None:
        photometric = page.number(tiff.PHOTOMETRIC)
        if photometric not in _COLORS:
            raise unsupported(_NOT_READ.get(photometric, f"of colour space {photometric}"))
        self._chunks = Chunks(page)
        self._colors, self._mode = _COLORS[photometric]
        if self._chunks.samples < self._colors:
            raise PhotoBrokenError(
                f"the photo is damaged: a TIFF of too few samples for {self._mode}"
            )
        self._is_negative, self._is_lab = photometric == _WHITE_IS_ZERO, photometric == _LAB
        if self._is_lab and (self._chunks.bits, self._chunks.kind) != (16, "u"):
            raise unsupported(f"of CIELab in {self._chunks.bits} bits")
        extra = page.array(tiff.EXTRA_SAMPLES)[: self._chunks.samples - self._colors].tolist()
        alphas = [at for at, what in enumerate(extra) if what in (_PREMULTIPLIED, _ALPHA)]
        self._alpha = self._colors + alphas[0] if alphas and self._mode in ("L", "RGB") else None
        if self._alpha is not None:
            self._mode += "a" if extra[alphas[0]] == _PREMULTIPLIED else "A"
        self.orientation = page.orientation
        self.icc = page.array(tiff.ICC).tobytes() or None

    @property
    def size(self) -> tuple[int, int]:
        return self._chunks.width, self._chunks.height

    def decoded(self, shorter: int, limits: Limits) -> AbstractContextManager[None]:
        return limits.decoding(self._chunks.cost)

    def bands(self) -> Iterator[Image.Image]:
        white = self._white()
        for samples in self._chunks.bands(self._wanted):
            yield flatten(self._picture(samples, white))

    @property
    def _wanted(self) -> int:
        return self._colors if self._alpha is None else self._alpha + 1

    def _white(self) -> float:
        """The number that is white.

        Whole numbers without sign, up to 16 bits, go to the largest of them. Of others it is what
        the middle one of all that are not black comes up to: so a few that are brighter than white,
        as HDR photos have them, do not make the rest black.
        """
        bits, kind = self._chunks.bits, self._chunks.kind
        if kind == "u" and bits <= 16:
            return float(2**bits - 1)
        step = math.ceil(math.sqrt(self.size[0] * self.size[1] / _LOOKED_AT))
        bands = self._chunks.bands(self._colors)
        with np.errstate(all="ignore"):  # a file's floats may be no numbers
            seen = [one[::step, ::step].astype(np.float64).reshape(-1) for one in bands]
        values = np.concatenate(seen)
        values = values[np.isfinite(values) & (values > 0)]
        middle = float(np.median(values)) if len(values) else 0.0
        whites = list(_WHITES)
        if kind != "f":
            top = float(2 ** (bits - (kind == "i")) - 1)
            whites = [*(white for white in _WHITES[1:] if white < top), top]
        return next((white for white in whites if middle <= white), whites[-1])

    def _picture(self, samples: Samples, white: float) -> Image.Image:
        if self._is_lab:  # 16 bits without sign, and twice with one
            eight = (samples >> 8).astype(np.uint8)
            eight[..., 1:] += 128
        else:
            eight = _eight_bits(samples, white)
        colors = eight[..., : self._colors]
        if self._is_negative:
            colors = 255 - colors
        if self._alpha is not None:
            colors = np.concatenate([colors, eight[..., self._alpha :]], 2)
        size = colors.shape[1], colors.shape[0]
        return Image.frombytes(self._mode, size, np.ascontiguousarray(colors).tobytes())


def _eight_bits(samples: Samples, white: float) -> Packed:
    if samples.dtype.kind == "u" and 255 <= white <= 65535 and samples.dtype.itemsize <= 4:
        # As Pillow scales 16 bits, which is exact for what had 8 once.
        shift = round(math.log2(white + 1)) - 8
        shifted: Packed = np.minimum(samples >> shift, 255).astype(np.uint8)
        return shifted
    with np.errstate(all="ignore"):
        scaled = samples.astype(np.float32) * np.float32(255 / white)
    scaled = np.nan_to_num(scaled, posinf=0, neginf=0)
    rounded: Packed = np.rint(np.clip(scaled, 0, 255)).astype(np.uint8)
    return rounded


def open_tiff(data: bytes) -> OpenPhoto:
    """The photo in a TIFF. Raises PhotoBrokenError, or PhotoUnsupportedError with the reason."""
    page = tiff.photo_page(data)
    if max(page.array(tiff.BITS), default=1) <= 8:
        try:
            as_it_is = page.orientation == 1 and page.offset == tiff.first_offset(data)
            return PillowPhoto(data if as_it_is else page.alone(), page.orientation)
        except UnidentifiedImageError:
            pass
    return TiffSamples(page)
