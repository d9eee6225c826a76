"""TIFF: which of its pages is the photo, and which reader can read it.

A TIFF describes itself in tags. Pillow knows the usual combinations, and misreads or refuses
others. So the tags are read here first: samples of up to 8 bits go to Pillow; deeper ones, and what
Pillow refuses, go to `tiff_samples`.
"""

import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from deepfood.errors import PhotoBrokenError

NEW_SUBFILE_TYPE, OLD_SUBFILE_TYPE = 254, 255
WIDTH, LENGTH, BITS, COMPRESSION, PHOTOMETRIC, FILL_ORDER = 256, 257, 258, 259, 262, 266
STRIP_OFFSETS, ORIENTATION, SAMPLES, ROWS_PER_STRIP, STRIP_BYTES = 273, 274, 277, 278, 279
PLANAR, PREDICTOR, TILE_WIDTH, TILE_LENGTH, TILE_OFFSETS, TILE_BYTES = 284, 317, 322, 323, 324, 325
SUB_IFDS, EXTRA_SAMPLES, SAMPLE_FORMAT, ICC = 330, 338, 339, 34675

_REDUCED, _MASK, _OLD_REDUCED = 1, 4, 2
#: numpy's types for TIFF's integers: byte, short, long, and BigTIFF's long8; 13 and 18 are
#: offsets. No tag of another type is needed except the bytes of the ICC profile (7).
_TYPES = {1: "u1", 3: "u2", 4: "u4", 7: "u1", 13: "u4", 16: "u8", 18: "u8"}
#: The photo is looked for among the first pages.
_MAX_PAGES = 100


@dataclass(frozen=True)
class Page:
    """A page of a TIFF: its tags, with type, count and offset of their values."""

    data: bytes
    big: bool
    offset: int
    tags: dict[int, tuple[int, int, int]]
    next: int

    @property
    def order(self) -> str:
        """numpy's character for the file's byte order."""
        return "<" if self.data[:2] == b"II" else ">"

    def array(self, tag: int) -> npt.NDArray[np.unsignedinteger]:
        """The integers of a tag; empty if it is missing. Raises PhotoBrokenError."""
        kind, count, at = self.tags.get(tag, (1, 0, 0))
        if kind not in _TYPES:
            raise PhotoBrokenError(f"the photo is damaged: its TIFF tag {tag} is of type {kind}")
        try:
            return np.frombuffer(self.data, f"{self.order}{_TYPES[kind]}", count, at)
        except (ValueError, OverflowError):
            raise PhotoBrokenError(
                "the photo is cut off: its TIFF tags point past its end"
            ) from None

    def number(self, tag: int, default: int = 0) -> int:
        """The first number of a tag."""
        found = self.array(tag)
        return int(found[0]) if len(found) else default

    @property
    def is_photo(self) -> bool:
        """Whether it is neither a reduced version nor a mask of another page."""
        return not (
            self.number(NEW_SUBFILE_TYPE) & (_REDUCED | _MASK)
            or self.number(OLD_SUBFILE_TYPE) == _OLD_REDUCED
        )

    @cached_property
    def orientation(self) -> int:
        found = self.number(ORIENTATION, 1)
        return found if 1 <= found <= 8 else 1

    def as_first_page(self) -> bytes:
        """The TIFF with this page as its first one, without rotation."""
        data = bytearray(self.data)
        struct.pack_into(
            f"{self.order}{'Q' if self.big else 'L'}", data, 8 if self.big else 4, self.offset
        )
        if self.orientation != 1:
            kind, _, at = self.tags[ORIENTATION]
            size = int(_TYPES[kind][1:])
            data[at : at + size] = (1).to_bytes(size, "little" if self.order == "<" else "big")
        return bytes(data)


def photo_page(data: bytes) -> Page:
    """The first page that is not a reduced version: cameras put a thumbnail first."""
    pages = _pages(data, first_offset(data))
    first = next(pages)
    if first.is_photo:
        return first
    below = (page for offset in first.array(SUB_IFDS) for page in _pages(data, int(offset)))
    for others in (pages, below):
        for _, page in zip(range(_MAX_PAGES), others, strict=False):
            if page.is_photo:
                return page
    return first


def first_offset(data: bytes) -> int:
    at, size = (8, 8) if 43 in data[2:4] else (4, 4)
    return int.from_bytes(data[at : at + size], "little" if data[:2] == b"II" else "big")


def _pages(data: bytes, offset: int) -> Iterator[Page]:
    seen: set[int] = set()
    while offset and offset not in seen:
        seen.add(offset)
        page = _page(data, offset)
        yield page
        offset = page.next
    if not seen:
        raise PhotoBrokenError("the photo is a TIFF without a page: it is cut off or damaged")


def _page(data: bytes, offset: int) -> Page:
    big = 43 in data[2:4]
    order = "<" if data[:2] == b"II" else ">"
    number, entry = ("Q", "HHQQ") if big else ("H", "HHLL")
    size = struct.calcsize(f"={entry}")
    link = "Q" if big else "L"
    tags = {}
    try:
        (count,) = struct.unpack_from(order + number, data, offset)
        start = offset + struct.calcsize(f"={number}")
        if start + count * size > len(data):
            raise struct.error
        for at in range(start, start + count * size, size):
            tag, kind, values, place = struct.unpack_from(order + entry, data, at)
            inline = 8 if big else 4
            if values * int(_TYPES.get(kind, "u9")[1:]) <= inline:
                place = at + size - inline
            tags[tag] = kind, values, place
        (after,) = struct.unpack_from(order + link, data, start + count * size)
    except struct.error:
        raise PhotoBrokenError(
            "the photo begins like TIFF but cannot be opened: it is cut off or damaged"
        ) from None
    return Page(data, big, offset, tags, after)


def one_page_tiff(tags: Mapping[int, Sequence[int]], body: bytes) -> bytes:
    """A TIFF of one page, with these tags and a body that begins at byte 8."""
    entries, values = [], b""
    start = 8 + len(body)
    after = start + 2 + 12 * len(tags) + 4
    for tag, numbers in sorted(tags.items()):
        packed = struct.pack(f"<{len(numbers)}L", *numbers)
        if len(numbers) > 1:
            values += packed
            packed = struct.pack("<L", after + len(values) - len(packed))
        entries.append(struct.pack("<HHL", tag, 4, len(numbers)) + packed)
    page = struct.pack("<H", len(tags)) + b"".join(entries) + bytes(4)
    return struct.pack("<2sHL", b"II", 42, start) + body + page + values
