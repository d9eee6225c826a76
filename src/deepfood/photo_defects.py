"""Defects that decoders let pass, found in the bytes before any decoding."""

import re
from collections.abc import Iterator

from deepfood.errors import PhotoBrokenError

#: Cameras and editors write 1 to some 10 scans, per picture. libjpeg decodes the whole photo once
#: for each, so 95 bytes of scan can cost 20 ms, and without a limit one upload takes an hour.
_MAX_JPEG_SCANS = 100


def check_whole(data: bytes, format_name: str) -> None:
    """Raise PhotoBrokenError for what decoders let pass: JPEG scan bombs, cut HEIC and AVIF."""
    if format_name in ("JPEG", "MPO"):
        # Counting is quick and counts too many (thumbnails, appended films); the walk is exact.
        if data.count(b"\xff\xda") > _MAX_JPEG_SCANS and _jpeg_scans(data) > _MAX_JPEG_SCANS:
            raise PhotoBrokenError(
                f"the photo is a JPEG of more than {_MAX_JPEG_SCANS} scans: save it again"
            )
    elif format_name in ("HEIF", "AVIF"):
        # libheif paints the tiles that are missing green, and calls the photo decoded.
        for kind, end in _boxes(data):
            if end > len(data) and kind in (b"meta", b"mdat"):
                raise PhotoBrokenError(
                    f"the photo is cut off: it has {len(data):,} of at least {end:,} bytes"
                )


_JPEG_MARKER = re.compile(rb"\xff+([^\x00\xff\xd0-\xd7])")


def _jpeg_scans(data: bytes) -> int:
    """The number of scans in the first picture, counted no further than one past the limit."""
    scans, position = 0, 2
    while scans <= _MAX_JPEG_SCANS:
        marker = _JPEG_MARKER.search(data, position)
        if marker is None or marker[1] == b"\xd9":
            break
        scans += marker[1] == b"\xda"
        position = marker.end() + int.from_bytes(data[marker.end() : marker.end() + 2])
    return scans


def _boxes(data: bytes) -> Iterator[tuple[bytes, int]]:
    """Type and end of each outermost box of an ISO media file, as far as they make sense."""
    start = 0
    while start + 8 <= len(data):
        size = int.from_bytes(data[start : start + 4])
        if size == 1:  # the size did not fit into 4 bytes
            size = int.from_bytes(data[start + 8 : start + 16])
        if size < 8:  # 0 is "to the end of the file"
            return
        yield data[start + 4 : start + 8], start + size
        start += size
