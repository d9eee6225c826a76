"""Download one file over HTTP: resumable, verified, and complete or absent.

    NAME.part          the bytes received so far
    .NAME.part.json    its URL, and the server's version of it (ETag or Last-Modified)
    .NAME.lock         held by the process that downloads it

A download resumes with `Range` and `If-Range`, so a file that has changed on the server is sent in
full (RFC 9110, 13.1.5 and 14.2). Servers without range support start over.
"""

import hashlib
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from deepfood.counted import counted
from deepfood.data.http_get import FileResponse, Refused, broken_text, get, shown
from deepfood.data.part_file import PartFile
from deepfood.errors import DiskFullError, DownloadError, raising_disk_full
from deepfood.locks import held
from deepfood.progress import bar

#: The default size limit of a download: more than any dataset here has.
MAX_BYTES = 64 * 2**30

#: Git's own hash of contents, beside those that hashlib names.
_GIT_BLOB = "git blob"

_CHUNK_BYTES = 2**20
#: An attempt that received this many bytes counts as progress: the count of failures restarts.
_PROGRESS_BYTES = 2**20


def download(
    url: str,
    to: Path,
    *,
    what: str,
    sha256: str | None = None,
    md5: str | None = None,
    git_blob: str | None = None,
    max_bytes: int = MAX_BYTES,
    headers: Mapping[str, str] | None = None,
    hints: Mapping[int, str] | None = None,
    timeout_s: float = 60,
    attempts: int = 5,
    backoff_s: float = 1,
    wait: bool = False,
    quiet: bool = False,
) -> Path:
    """Download `url` to `to` and return `to`; a complete file is left alone.

    `what` names it in messages ("the archive of Food-101"). Contents are checked against `sha256`,
    `md5` and `git_blob` (the SHA-1 by which git names contents), all hex, or, where none is given,
    against the hash that the server states, if any; an existing file with another hash is replaced.
    `headers` (credentials) go to the host of `url` only, not to redirects. `hints` tell users what
    to do about an HTTP status. The server may stay silent for `timeout_s` seconds. After `attempts`
    failures in a row without progress the download is given up; the pauses between them start at
    `backoff_s` and double. If another process is downloading to the same file, this one waits with
    `wait`, and fails without.

    Raises DownloadError or DiskFullError; the received bytes are kept for the next call.
    """
    wanted = {"sha256": sha256, "md5": md5, _GIT_BLOB: git_blob}
    pinned = {name: value for name, value in wanted.items() if value}
    try:
        with raising_disk_full(to), _only_one(to, what, wait):
            if to.is_file() and _difference(to, pinned, what, quiet) is None:
                return to
            job = _Job(
                url=url,
                part=PartFile(to, url),
                what=what,
                max_bytes=max_bytes,
                headers=dict(headers or {}),
                hints=dict(hints or {}),
                timeout_s=timeout_s,
                quiet=quiet,
            )
            _fetch_and_check(job, pinned, attempts, backoff_s)
    except OSError as error:
        raise DownloadError(
            f"{what} could not be downloaded: {to} cannot be written: {error.strerror or error}"
        ) from error
    return to


@dataclass(frozen=True)
class _Job:
    url: str
    part: PartFile
    what: str
    max_bytes: int
    headers: dict[str, str]
    hints: dict[int, str]
    timeout_s: float
    quiet: bool


def _fetch_and_check(job: _Job, pinned: dict[str, str], attempts: int, backoff_s: float) -> None:
    """Download, verify and commit."""
    while True:
        resumed = job.part.size > 0
        _fetch(job, attempts, backoff_s)
        wrong = _difference(job.part.path, pinned or job.part.stated, job.what, job.quiet)
        if wrong is None:
            job.part.commit()
            return
        job.part.clear()
        if not resumed:  # a resumed part may be of another file: try once more from the start
            raise DownloadError(
                f"{job.what} from {shown(job.url)} is not the file it should be: {wrong}; nothing "
                "of it was kept"
            )


def _fetch(job: _Job, attempts: int, backoff_s: float) -> None:
    """Download the rest of the part, with retries."""
    failures = 0
    title, size = f"downloading {job.what}", job.part.size
    with bar(title, "B", 0, done=size, quiet=job.quiet, unit_scale=True) as progress:
        while not job.part.is_whole:
            before = job.part.size
            try:
                _attempt(job, progress)
                return
            except Refused as refused:
                if refused.status == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE:
                    job.part.clear()
                if not refused.may_pass:
                    hint = job.hints.get(refused.status, refused.way_out)
                    raise DownloadError(
                        f"{job.what} cannot be had: {refused}; {hint}", refused.status
                    ) from None
                reason, wait_s = str(refused), refused.wait_s
            except httpx.HTTPError as error:
                reason, wait_s = broken_text(error, job.url, job.timeout_s), 0.0
            failures = 1 if job.part.size - before >= _PROGRESS_BYTES else failures + 1
            if failures >= attempts:
                kept = f" ({job.part.size:,} bytes of it are kept)" if job.part.size else ""
                raise DownloadError(
                    f"{job.what} could not be downloaded: {reason}, "
                    f"{counted(failures, 'time')} in a row{kept}: check the network and run the "
                    "same command again"
                )
            time.sleep(max(backoff_s * 2 ** (failures - 1), wait_s))


def _attempt(job: _Job, progress: Any) -> None:
    """One request, from where the part ends; returns when the file is complete."""
    part = job.part
    with get(job.url, job.headers, part.range_headers(), timeout_s=job.timeout_s) as answer:
        if answer.begin and not part.is_continued_by(answer):
            part.clear()  # the next request asks for all of it
            raise httpx.RemoteProtocolError("another part of the file came than was asked for")
        _check_room(job, answer)
        progress.total, progress.n = answer.total, answer.begin
        progress.refresh()
        with part.writing(answer) as file:
            for chunk in answer.chunks():
                file.write(chunk)
                progress.update(len(chunk))
                if file.tell() > job.max_bytes:
                    raise _too_large(job, f"more than {job.max_bytes:,}")
    if part.size == 0:
        part.clear()
        raise DownloadError(f"{job.what} cannot be had: {shown(job.url)} is empty (0 bytes)")
    if answer.total is not None and part.size != answer.total:
        raise httpx.RemoteProtocolError(f"{part.size:,} of {answer.total:,} bytes came")


def _check_room(job: _Job, answer: FileResponse) -> None:
    """Raise DownloadError or DiskFullError before downloading more than fits."""
    if answer.total is None:
        return
    if answer.total > job.max_bytes:
        raise _too_large(job, f"{answer.total:,}")
    folder = job.part.path.parent
    wanted, free = answer.total - answer.begin, shutil.disk_usage(folder).free
    if wanted > free + (job.part.size if answer.begin == 0 else 0):
        raise DiskFullError(
            f"{job.what} needs {wanted:,} bytes, and the disk of {folder} has {free:,} free: free "
            "some and run the same command again"
        )


def _too_large(job: _Job, count: str) -> DownloadError:
    job.part.clear()
    return DownloadError(
        f"{job.what} from {shown(job.url)} has {count} bytes, and the limit is {job.max_bytes:,}"
    )


def _difference(path: Path, hashes: Mapping[str, str], what: str, quiet: bool) -> str | None:
    """How a file's contents differ from the expected hashes (hex); None if they do not."""
    size = path.stat().st_size
    found = {name: _hash(name, size) for name in hashes}
    if found:
        with (
            path.open("rb") as file,
            bar(f"checking {what}", "B", size, quiet=quiet, unit_scale=True) as progress,
        ):
            while chunk := file.read(_CHUNK_BYTES):
                for one in found.values():
                    one.update(chunk)
                progress.update(len(chunk))
    for name, wanted in hashes.items():
        if found[name].hexdigest() != wanted.lower():
            return f"its {name.upper()} is {found[name].hexdigest()} and should be {wanted}"
    return None


def _hash(name: str, size: int) -> "hashlib._Hash":
    """A hash of contents of `size` bytes, with what comes before them."""
    if name == _GIT_BLOB:
        return hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)
    return hashlib.new(name, usedforsecurity=False)


@contextmanager
def _only_one(to: Path, what: str, wait: bool) -> Iterator[None]:
    to.parent.mkdir(parents=True, exist_ok=True)
    busy = DownloadError(f"another process is downloading {what} to {to}: wait for it to finish")
    with held(to.with_name(f".{to.name}.lock"), None if wait else busy):
        yield
