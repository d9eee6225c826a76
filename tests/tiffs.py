"""TIFFs of every description, written by hand: Pillow writes few of them."""

import struct
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

#: Pillow and everybody else call them so.
WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, PALETTE, CMYK, YCBCR, LAB, CFA = 0, 1, 2, 3, 5, 6, 8, 32803
RAW, DEFLATE = 1, 8
REDUCED = 1

_TYPES = {"B": 1, "H": 3, "L": 4, "Q": 16}
_FORMATS = {"u": 1, "i": 2, "f": 3}


def tiff(
    samples: npt.NDArray[Any],
    photometric: int,
    *,
    big_endian: bool = False,
    big: bool = False,
    **layout: Any,
) -> bytes:
    """A TIFF of one page, which `page` describes."""
    one = page(samples, photometric, big_endian=big_endian, **layout)
    return join([one], big_endian=big_endian, big=big)


Page = tuple[dict[int, Sequence[int]], list[bytes]]


def page(
    samples: npt.NDArray[Any],
    photometric: int,
    *,
    bits: int | None = None,
    planar: bool = False,
    big_endian: bool = False,
    compression: int = RAW,
    predictor: int = 1,
    rows: int | None = None,
    tile: int | None = None,
    more: dict[int, Sequence[int]] | None = None,
) -> Page:
    """Tags, without the places of strips or tiles, and the strips or tiles.

    Of samples [height, width, samples], whose type says their format. `bits` are those that each
    takes, if it is less than the type has; strips have `rows` rows, tiles are `tile` x `tile`.
    `more` are further tags.
    """
    if samples.ndim == 2:
        samples = samples[..., np.newaxis]
    height, width, count = samples.shape
    bits = bits or samples.dtype.itemsize * 8
    rows = rows or height
    planes = np.split(samples, count, axis=2) if planar else [samples]
    chunks = []
    for plane in planes:
        if tile:
            padded = np.pad(plane, ((0, -height % tile), (0, -width % tile), (0, 0)))
            for y in range(0, padded.shape[0], tile):
                for x in range(0, padded.shape[1], tile):
                    chunks.append(padded[y : y + tile, x : x + tile])
        else:
            chunks += [plane[y : y + rows] for y in range(0, height, rows)]
    order = ">" if big_endian else "<"
    packed = [_packed(chunk, bits, predictor, order) for chunk in chunks]
    if compression == DEFLATE:
        packed = [zlib.compress(one) for one in packed]
    tags: dict[int, Sequence[int]] = {
        256: [width],
        257: [height],
        258: [bits] * count,
        259: [compression],
        262: [photometric],
        277: [count],
        284: [2 if planar else 1],
        317: [predictor],
        339: [_FORMATS[samples.dtype.kind]] * count,
    }
    tags |= {322: [tile], 323: [tile]} if tile else {278: [rows]}
    return {**tags, **(more or {})}, packed


def _packed(chunk: npt.NDArray[Any], bits: int, predictor: int, order: str) -> bytes:
    size = chunk.dtype.itemsize
    if predictor == 2:  # each less the one to its left
        whole = chunk.view(f"u{size}")
        chunk = np.diff(whole, axis=1, prepend=np.zeros_like(whole[:, :1]))
    if predictor == 3:  # high bytes first, and each less the one before
        height, width, count = chunk.shape
        apart = chunk.astype(chunk.dtype.newbyteorder(">")).view(np.uint8)
        apart = apart.reshape(height, width * count, size).swapaxes(1, 2).reshape(height, -1, count)
        return np.diff(apart, axis=1, prepend=np.zeros_like(apart[:, :1])).tobytes()
    if bits == size * 8:
        return chunk.astype(chunk.dtype.newbyteorder(order)).tobytes()  # type: ignore[arg-type]
    if bits == 24:
        each = chunk.astype(f"{order}u4")[..., np.newaxis].view(np.uint8)
        return (each[..., 1:] if order == ">" else each[..., :3]).tobytes()
    places = np.arange(bits - 1, -1, -1)
    digits = (chunk.reshape(len(chunk), -1, 1).astype(np.uint64) >> places.astype(np.uint64)) & 1
    return np.packbits(digits.astype(np.uint8).reshape(len(chunk), -1), axis=1).tobytes()


def join(
    pages: Sequence[Page],
    *,
    big_endian: bool = False,
    big: bool = False,
    below: Sequence[Page] = (),
) -> bytes:
    """Pages as one TIFF, or BigTIFF; those `below` are SubIFDs of the first one."""
    order, place = (">" if big_endian else "<"), "Q" if big else "L"
    word = struct.calcsize(f"={place}")
    body = bytearray(16 if big else 8)
    link = 8 if big else 4  # where the place of the next page is written
    sub_places: list[int] = []
    for tags, chunks in [*below, *pages]:
        is_below = len(sub_places) < len(below)
        starts = []
        for chunk in chunks:
            starts.append(len(body))
            body += chunk
        names = (324, 325) if 322 in tags else (273, 279)
        tags = {**tags, names[0]: starts, names[1]: [len(chunk) for chunk in chunks]}
        if below and not is_below and link in (4, 8):  # the first page
            tags[330] = sub_places
        entries = b""
        for tag, numbers in sorted(tags.items()):
            kind = place if tag in (*names, 330) else "H" if max(numbers) < 65536 else "L"
            kind = "B" if tag == 34675 else kind  # a colour profile
            values = struct.pack(f"{order}{len(numbers)}{kind}", *numbers)
            if len(values) > word:
                body += bytes(len(body) % 2)
                at, body = len(body), body + values
                values = struct.pack(f"{order}{place}", at)
            entries += struct.pack(f"{order}HH{place}", tag, _TYPES[kind], len(numbers))
            entries += values.ljust(word, b"\0")
        body += bytes(len(body) % 2)
        here = len(body)
        body += struct.pack(f"{order}{'Q' if big else 'H'}", len(tags)) + entries
        if is_below:
            sub_places.append(here)
        else:
            struct.pack_into(f"{order}{place}", body, link, here)
            link = len(body)
        body += bytes(word)
    head = (b"MM" if big_endian else b"II") + struct.pack(f"{order}H", 43 if big else 42)
    body[:4] = head
    if big:
        struct.pack_into(f"{order}HH", body, 4, 8, 0)
    return bytes(body)
