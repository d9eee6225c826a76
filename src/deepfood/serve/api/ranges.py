"""Parts of a photo: the Range header, 206 and 416 (RFC 9110, 14)."""

import re

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

_ONE_RANGE = re.compile(r"bytes=(\d*)-(\d*)", re.ASCII | re.IGNORECASE)


def in_parts(request: Request, data: bytes, media_type: str, headers: dict[str, str]) -> Response:
    """All of the data, or the one range of it that was asked for.

    A range in another form, several ranges, and one whose `If-Range` is not the ETag in `headers`
    are answered with all. Raises HTTPException 416.
    """
    headers = {**headers, "Accept-Ranges": "bytes"}
    found = _ONE_RANGE.fullmatch(request.headers.get("range", "").strip())
    if_range = request.headers.get("if-range")
    if found is None or not (found[1] or found[2]) or if_range not in (None, headers["ETag"]):
        return Response(data, media_type=media_type, headers=headers)
    size = len(data)
    if found[1]:
        start, stop = int(found[1]), int(found[2]) + 1 if found[2] else size
        if found[2] and stop <= start:  # not valid, and so to be ignored
            return Response(data, media_type=media_type, headers=headers)
    else:  # the last bytes
        start, stop = max(0, size - int(found[2])), size
    stop = min(stop, size)
    if start >= size:
        raise HTTPException(
            416,
            f"the photo has {size:,} bytes, and the range begins at {start:,}",
            headers={"Content-Range": f"bytes */{size}"},
        )
    headers["Content-Range"] = f"bytes {start}-{stop - 1}/{size}"
    return Response(data[start:stop], 206, media_type=media_type, headers=headers)
