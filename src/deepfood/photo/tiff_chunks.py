"""The samples of a TIFF, one band of rows at a time, from its strips or tiles.

Pillow's libtiff decompresses the bytes, whatever they mean: it gets a TIFF of grey bytes with the
same compressed data. Predictors, byte order and depth are handled here.
"""

import io
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from deepfood.errors import PhotoBrokenError, PhotoUnsupportedError
from deepfood.photo import tiff
from deepfood.photo.flat import BAND_PIXELS

Packed = npt.NDArray[np.uint8]
#: Samples of one type, [rows, width, samples].
Samples = npt.NDArray[Any]

_RAW = 1
#: Raw, LZW, deflate (two numbers), PackBits, LZMA, Zstandard. JPEG and others encode samples.
_COMPRESSIONS = {_RAW, 5, 8, 32773, 32946, 34925, 50000}
_HORIZONTAL, _FLOATING = 2, 3
_UNSIGNED, _SIGNED, _FLOAT = 1, 2, 3
#: numpy's letters for SampleFormat; 4 is "unknown", treated as unsigned.
_KINDS = {_UNSIGNED: "u", _SIGNED: "i", _FLOAT: "f", 4: "u"}
_WHOLE = (8, 16, 32, 64)
_MAX_SAMPLES = 16


def unsupported(what: str) -> PhotoUnsupportedError:
    return PhotoUnsupportedError(
        f"the photo is a TIFF {what}, which is not read: save it as PNG or JPEG"
    )


class Chunks:
    """The strips or tiles of a page, which must have `samples` of a depth that numpy can hold.

    `bits` and `kind` ("u", "i" or "f") are the type of a sample; `cost` is the memory in bytes of
    the strips or tiles that are unpacked at once. Raises PhotoBrokenError and
    PhotoUnsupportedError.
    """

    def __init__(self, page: tiff.Page) -> None:
        self._page = page
        self.width, self.height = page.number(tiff.WIDTH), page.number(tiff.LENGTH)
        self.samples = page.number(tiff.SAMPLES, 1)
        if not self.width or not self.height or not self.samples:
            raise PhotoBrokenError("the photo is damaged: a TIFF without pixels")
        if self.samples > _MAX_SAMPLES:
            raise unsupported(f"of {self.samples} samples a pixel")
        self.bits, self.kind = self._depth()
        self._compression = page.number(tiff.COMPRESSION, _RAW)
        if self._compression not in _COMPRESSIONS:
            raise unsupported(f"in compression {self._compression}")
        self._predictor = page.number(tiff.PREDICTOR, 1)
        if (self._predictor == _HORIZONTAL and self.bits not in _WHOLE) or (
            self._predictor == _FLOATING and self.kind != "f"
        ):
            raise unsupported(f"of {self.bits} bits with predictor {self._predictor}")
        planar = page.number(tiff.PLANAR, 1) == 2
        self._planes, self._each = (self.samples, 1) if planar else (1, self.samples)
        self._tiled = tiff.TILE_OFFSETS in page.tags
        if self._tiled:
            self._chunk = page.number(tiff.TILE_WIDTH), page.number(tiff.TILE_LENGTH)
            self._offsets, self._counts = page.array(tiff.TILE_OFFSETS), page.array(tiff.TILE_BYTES)
        else:
            rows = min(page.number(tiff.ROWS_PER_STRIP, self.height), self.height)
            self._chunk = self.width, rows
            self._offsets = page.array(tiff.STRIP_OFFSETS)
            self._counts = page.array(tiff.STRIP_BYTES)
        if not all(self._chunk):
            raise PhotoBrokenError("the photo is damaged: a TIFF without rows")
        self._across, self._down = (
            -(-side // chunk)
            for side, chunk in zip((self.width, self.height), self._chunk, strict=True)
        )
        if len(self._offsets) < self._planes * self._across * self._down:
            raise PhotoBrokenError("the photo is cut off: a TIFF that lacks strips")
        self._row_bytes = -(-self._chunk[0] * self._each * self.bits // 8)
        self._is_raw = (
            self._compression == _RAW and page.number(tiff.FILL_ORDER, 1) == 1 and not self._tiled
        )
        rows = max(1, BAND_PIXELS // self.width)
        self._band_rows = rows
        self._step = rows if self._is_raw else max(1, rows // self._chunk[1]) * self._chunk[1]
        held = self._step * self._across * self._row_bytes * self._planes
        self.cost = 3 * held + 24 * self.samples * BAND_PIXELS

    def _depth(self) -> tuple[int, str]:
        """Bits and kind of the samples, which must all be alike."""
        bits = set(self._page.array(tiff.BITS).tolist()) or {1}
        formats = set(self._page.array(tiff.SAMPLE_FORMAT).tolist()) or {_UNSIGNED}
        if len(bits) > 1 or len(formats) > 1:
            raise unsupported("of samples that differ in depth")
        depth, kind = bits.pop(), _KINDS.get(formats.pop(), "")
        known = {"u": range(1, 33), "i": _WHOLE, "f": (16, 32, 64)}
        if depth not in known.get(kind, ()) and (kind, depth) != ("u", 64):
            names = {"u": "whole", "i": "whole signed", "f": "floating", "": "complex"}
            raise unsupported(f"of {names[kind]} numbers of {depth} bits")
        return depth, kind

    def bands(self, wanted: int) -> Iterator[Samples]:
        """The first `wanted` samples of each pixel, from the top: [rows, width, wanted]."""
        planes = range(wanted) if self._planes > 1 else range(1)
        for top in range(0, self.height, self._step):
            bottom = min(self.height, top + self._step)
            packed = [self._unpacked(plane, top, bottom) for plane in planes]
            for start in range(0, bottom - top, self._band_rows):
                rows = slice(start, min(start + self._band_rows, bottom - top))
                found = [self._samples(one[rows]) for one in packed]
                yield (found[0] if len(found) == 1 else np.concatenate(found, 2))[..., :wanted]

    def _unpacked(self, plane: int, top: int, bottom: int) -> Packed:
        """The bytes of some rows, [rows or more, chunks across, bytes per row of a chunk]."""
        if self._is_raw:
            pieces, row = [], top
            while row < bottom:
                strip, inside = divmod(row, self._chunk[1])
                stop = min(bottom, (strip + 1) * self._chunk[1])
                at = int(self._offsets[plane * self._down + strip]) + inside * self._row_bytes
                pieces.append(self._page.data[at : at + (stop - row) * self._row_bytes])
                row = stop
            packed = np.frombuffer(b"".join(pieces), np.uint8)
        else:
            first = (plane * self._down + top // self._chunk[1]) * self._across
            last = first + -(-(bottom - top) // self._chunk[1]) * self._across
            grey = self._as_grey(range(first, last), bottom - top)
            with Image.open(io.BytesIO(grey), formats=["TIFF"]) as image:
                packed = np.asarray(image).reshape(-1)
        if len(packed) < (bottom - top) * self._across * self._row_bytes:
            raise PhotoBrokenError("the photo is cut off: its last rows are missing")
        return packed.reshape(-1, self._across, self._row_bytes)

    def _as_grey(self, chunks: range, rows: int) -> bytes:
        """Some chunks as a TIFF of grey bytes, so that libtiff need not know their meaning."""
        counts = self._counts
        if len(counts) < chunks.stop:
            raise PhotoBrokenError("the photo is cut off: a TIFF that lacks strips")
        pieces, offsets, at = [], [], 8
        for number in chunks:
            start = int(self._offsets[number])
            pieces.append(self._page.data[start : start + int(counts[number])])
            offsets.append(at)
            at += len(pieces[-1])
        width, height = self._across * self._row_bytes, rows
        if self._tiled:
            height = -(-rows // self._chunk[1]) * self._chunk[1]
            layout = {
                tiff.TILE_WIDTH: [self._row_bytes],
                tiff.TILE_LENGTH: [self._chunk[1]],
                tiff.TILE_OFFSETS: offsets,
                tiff.TILE_BYTES: [len(piece) for piece in pieces],
            }
        else:
            layout = {
                tiff.STRIP_OFFSETS: offsets,
                tiff.ROWS_PER_STRIP: [self._chunk[1]],
                tiff.STRIP_BYTES: [len(piece) for piece in pieces],
            }
        tags = {
            tiff.WIDTH: [width],
            tiff.LENGTH: [height],
            tiff.BITS: [8],
            tiff.COMPRESSION: [self._compression],
            tiff.PHOTOMETRIC: [1],
            tiff.FILL_ORDER: [self._page.number(tiff.FILL_ORDER, 1)],
            tiff.SAMPLES: [1],
            **layout,
        }
        return tiff.one_page_tiff(tags, b"".join(pieces))

    def _samples(self, packed: Packed) -> Samples:
        """Bytes [rows, chunks across, bytes] as samples [rows, width, samples of a chunk]."""
        rows, across, _ = packed.shape
        count = self._chunk[0] * self._each
        if self._predictor == _FLOATING:
            whole = self._floats(packed, count)
        elif self.bits in _WHOLE:
            kept = np.ascontiguousarray(packed[..., : count * self.bits // 8])
            whole = kept.view(f"{self._page.order}u{self.bits // 8}").astype(f"u{self.bits // 8}")
        else:  # packed without gaps, highest bit first, in either byte order
            bits = np.unpackbits(packed, axis=-1)[..., : count * self.bits]
            places = bits.reshape(rows, across, count, self.bits)
            whole = np.zeros((rows, across, count), np.uint32)
            for place in range(self.bits):
                whole = whole << 1 | places[..., place]
        if self._predictor == _HORIZONTAL:
            pixels = whole.reshape(rows, across, -1, self._each)
            whole = np.cumsum(pixels, axis=2, dtype=whole.dtype)
        typed = whole.view(f"{self.kind}{self.bits // 8}") if self.kind != "u" else whole
        return typed.reshape(rows, -1, self._each)[:, : self.width]

    def _floats(self, packed: Packed, count: int) -> Samples:
        """Undo predictor 3: each row has all high bytes first, then the next, as differences."""
        rows, across, _ = packed.shape
        steps = packed[..., : count * self.bits // 8].reshape(rows, across, -1, self._each)
        planes = np.cumsum(steps, axis=2, dtype=np.uint8).reshape(rows, across, -1, count)
        together = np.ascontiguousarray(planes.swapaxes(2, 3))
        return (
            together.reshape(rows, across, -1)
            .view(f">u{self.bits // 8}")
            .astype(f"u{self.bits // 8}")
        )
