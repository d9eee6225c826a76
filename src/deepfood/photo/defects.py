"""Defects that decoders accept, and defects that they refuse although every pixel is there."""

import io
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from PIL import Image

from deepfood.errors import PhotoBrokenError
from deepfood.photo.color import Cicp
from deepfood.photo.flat import bands

#: Cameras and editors write 1 to about 10 scans per picture. libjpeg decodes the whole photo once
#: for each, so that 95 bytes of scan can cost 20 ms; without a limit one upload takes an hour.
_MAX_JPEG_SCANS = 100

_SCAN, _END = b"\xff\xda", b"\xff\xd9"


def check_whole(data: bytes, format_name: str) -> None:
    """Raise PhotoBrokenError for defects that decoders accept: JPEG scan bombs, cut HEIC, AVIF."""
    if format_name in ("JPEG", "MPO"):
        # Counting is fast but may count too many (thumbnails, appended videos); the walk is exact.
        if data.count(_SCAN) > _MAX_JPEG_SCANS and _jpeg_scans(data) > _MAX_JPEG_SCANS:
            raise PhotoBrokenError(
                f"the photo is a JPEG of more than {_MAX_JPEG_SCANS} scans: save it again"
            )
    elif format_name in ("HEIF", "AVIF"):
        # libheif paints missing tiles green and reports success.
        for kind, _, end in iso_boxes(data):
            if end > len(data) and kind in (b"meta", b"mdat"):
                raise PhotoBrokenError(
                    f"the photo is cut off: it has {len(data):,} of at least {end:,} bytes"
                )


# JPEG

_JPEG_MARKER = re.compile(rb"\xff+([^\x00\xff\xd0-\xd7])")


def _jpeg_scans(data: bytes) -> int:
    """The number of scans in the first picture, at most one more than the limit."""
    scans, position = 0, 2
    while scans <= _MAX_JPEG_SCANS:
        marker = _JPEG_MARKER.search(data, position)
        if marker is None or marker[1] == _END[1:]:
            break
        scans += marker[1] == _SCAN[1:]
        position = marker.end() + int.from_bytes(data[marker.end() : marker.end() + 2])
    return scans


def lacks_end(jpeg: bytes) -> bool:
    """Whether the last scan has no end marker; all pixels may be there nevertheless."""
    return not jpeg.endswith(_END) and jpeg.find(_END, jpeg.rfind(_SCAN) + 1) < 0


def with_end(jpeg: bytes) -> bytes:
    """The JPEG with its missing end marker, if all of its pixels are there.

    Decodes it twice, with different filler bytes after it: libjpeg makes missing pixels from them.
    Raises PhotoBrokenError if the results differ.
    """
    jpeg = jpeg.removesuffix(_END[:1])  # half of the marker
    one, other = (_pixels_checksum(jpeg + filler * 32 + _END) for filler in (b"\x55", b"\xaa"))
    if one != other:
        raise PhotoBrokenError("the photo is cut off: its last pixels are missing")
    return jpeg + _END


def _pixels_checksum(jpeg: bytes) -> int:
    checksum = 0
    with Image.open(io.BytesIO(jpeg), formats=["JPEG"]) as image:
        image.load()
        for band in bands(image, opaque=True):
            checksum = zlib.crc32(band.tobytes(), checksum)
    return checksum


# PNG

_PNG = b"\x89PNG\r\n\x1a\n"
#: Photos have a few thousand at most; more are left to the decoder.
_MAX_PNG_CHUNKS = 100_000


@dataclass(frozen=True)
class PngMetadata:
    """A PNG's metadata, from anywhere in the file, and the PNG without damaged chunks."""

    data: bytes
    exif: bytes | None = None
    cicp: Cicp | None = None


def png_metadata(data: bytes) -> PngMetadata:
    """Read the chunks that say how the pixels are shown; drop damaged ones.

    Only critical chunks are needed for the pixels. Like libpng, and so browsers, this ignores
    others whose checksum is wrong.
    """
    exif, cicp, kept, start = None, None, [], 0
    for kind, at, content in _png_chunks(data):
        end = at + 12 + len(content)
        if not kind[0] & 0x20:  # a critical chunk: the decoder checks it
            continue
        if zlib.crc32(content, zlib.crc32(kind)) != int.from_bytes(data[end - 4 : end]):
            kept.append(data[start:at])
            start = end
        elif kind == b"eXIf":
            exif = bytes(content)
        elif kind == b"cICP" and len(content) == 4:
            cicp = Cicp(content[0], content[1])
    whole = b"".join([*kept, data[start:]]) if kept else data
    return PngMetadata(whole, exif, cicp)


def _png_chunks(data: bytes) -> Iterator[tuple[bytes, int, memoryview]]:
    """Name, offset and content of each chunk, up to the end or to where the file is cut off."""
    at, view = len(_PNG), memoryview(data)
    for _ in range(_MAX_PNG_CHUNKS):
        length, kind = int.from_bytes(data[at : at + 4]), data[at + 4 : at + 8]
        if kind == b"IEND" or at + 12 + length > len(data):
            return
        yield kind, at, view[at + 8 : at + 8 + length]
        at += 12 + length


# HEIC and AVIF


def nclx(data: bytes) -> Cicp | None:
    """The colours in an AVIF's own box; None if there are none."""
    start, end = 0, len(data)
    for name, header in ((b"meta", 4), (b"iprp", 0), (b"ipco", 0)):
        inner = next((box for box in iso_boxes(data, start, end) if box[0] == name), None)
        if inner is None:
            return None
        start, end = inner[1] + header, min(inner[2], len(data))
    for kind, at, _ in iso_boxes(data, start, end):
        if kind == b"colr" and data[at : at + 4] == b"nclx" and at + 8 <= end:
            return Cicp(
                int.from_bytes(data[at + 4 : at + 6]), int.from_bytes(data[at + 6 : at + 8])
            )
    return None


def iso_boxes(
    data: bytes, start: int = 0, end: int | None = None
) -> Iterator[tuple[bytes, int, int]]:
    """Type, start of content, and end of each box of an ISO media file, while they are valid."""
    end = len(data) if end is None else end
    while start + 8 <= end:
        size, header = int.from_bytes(data[start : start + 4]), 8
        if size == 1:  # the size did not fit into 4 bytes
            size, header = int.from_bytes(data[start + 8 : start + 16]), 16
        if size < header:  # 0 is "to the end of the file"
            return
        yield data[start + 4 : start + 8], start + header, start + size
        start += size
