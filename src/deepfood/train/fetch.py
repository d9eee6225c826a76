"""Fetch one file over HTTP: whole, checked, and kept only then."""

import hashlib
import re
from pathlib import Path

import httpx

from deepfood.artifacts import sync_folder
from deepfood.beside import beside
from deepfood.errors import DownloadError, raising_disk_full
from deepfood.progress import bar

#: Seconds to connect, and for each piece to arrive.
TIMEOUT_S = 15.0


def fetch(url: str, to: Path, *, headers: dict[str, str] | None = None) -> None:
    """Fetch `url` into the file `to`, which appears when it is whole, or not at all.

    Length is checked, and the SHA-256 where the server names it (as the hub does, in
    `X-Linked-ETag`). Raises DownloadError within TIMEOUT_S of the last byte, and DiskFullError.
    """
    try:
        with raising_disk_full(to):
            to.parent.mkdir(parents=True, exist_ok=True)
            with beside(to) as new:
                _stream(url, new, headers or {}, to.name)
                new.replace(to)
                sync_folder(to.parent)
    except httpx.HTTPError as error:
        reason = str(error) or type(error).__name__
        raise DownloadError(f"{url} cannot be fetched: {reason}") from error
    except httpx.InvalidURL as error:
        raise DownloadError(f"{url!r} is no address: {error}") from error


def _stream(url: str, path: Path, headers: dict[str, str], name: str) -> None:
    digest = hashlib.sha256()
    # Compressed, the length would be that of other bytes.
    headers = {**headers, "accept-encoding": "identity"}
    with httpx.stream(
        "GET", url, headers=headers, timeout=TIMEOUT_S, follow_redirects=True
    ) as answer:
        if answer.status_code != 200:
            hints = {
                401: " (a token is needed)",
                403: " (the server does not let you)",
                404: " (there is no such file)",
            }
            raise DownloadError(
                f"{url} answers {answer.status_code}{hints.get(answer.status_code, '')}"
            )
        total = int(answer.headers.get("content-length", 0))
        with (
            path.open("wb") as file,
            bar(f"fetching {name}", "B", total, unit_scale=True) as progress,
        ):
            for piece in answer.iter_bytes():
                file.write(piece)
                digest.update(piece)
                progress.update(len(piece))
            got = file.tell()
    if total and got != total:
        raise DownloadError(f"{url} broke off after {got:,} of {total:,} bytes")
    for one in (*answer.history, answer):
        named = one.headers.get("x-linked-etag", "").strip('"')
        if re.fullmatch("[0-9a-f]{64}", named) and named != digest.hexdigest():
            raise DownloadError(f"{url}: the bytes that came differ from the hub's SHA-256")
