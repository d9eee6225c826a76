"""TIFFs that Pillow refuses or misreads, read according to their tags."""

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
#: By PhotometricInterpretation: the number of colour samples, and Pillow's mode for them.
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
#: Candidates for white where it need not be the largest number of the type: 1 for floats, and the
#: largest 8-bit and 16-bit numbers, which may be stored in larger types.
_WHITES = (1.0, 255.0, 65535.0)
#: About this many samples are read to choose between them.
_SAMPLED = 10**6


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
        for samples in self._chunks.bands(self._needed):
            yield flatten(self._picture(samples, white))

    @property
    def _needed(self) -> int:
        return self._colors if self._alpha is None else self._alpha + 1

    def _white(self) -> float:
        """The number that is white.

        For unsigned integers of up to 16 bits, the largest one. Otherwise the smallest candidate
        that is not below the median of all samples that are not black, so that a few brighter than
        white, as in HDR photos, do not make the rest black.
        """
        bits, kind = self._chunks.bits, self._chunks.kind
        if kind == "u" and bits <= 16:
            return float(2**bits - 1)
        step = math.ceil(math.sqrt(self.size[0] * self.size[1] / _SAMPLED))
        bands = self._chunks.bands(self._colors)
        with np.errstate(all="ignore"):  # a file's floats may be NaN
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
        if self._is_lab:  # L is unsigned, a and b are signed, each with 16 bits
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
        # As Pillow scales 16 bits, which is exact for samples that once had 8.
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
            return PillowPhoto(data if as_it_is else page.as_first_page(), page.orientation)
        except UnidentifiedImageError:
            pass
    return TiffSamples(page)
