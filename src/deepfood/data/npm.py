"""Fetch the files of one pinned npm package, with the user's own npm client.

npm uses the user's registry, proxy and cache settings. The tarball must have the SHA-512 that is
pinned here, and even then no name in it becomes a path: the caller gets bytes by name, for names
that match a pattern.
"""

import base64
import gzip
import hashlib
import io
import json
import re
import subprocess
import sys
import tarfile
import time
import zlib
from dataclasses import dataclass
from pathlib import Path

from deepfood.config import find_program
from deepfood.errors import DiskFullError, DownloadError
from deepfood.progress import bar

#: The most a package may unpack to, in total and per file; the pinned ones need 15 MB and 1.1 MB.
MAX_UNPACKED_BYTES = 64 * 2**20
MAX_FILE_BYTES = 4 * 2**20

_FLAGS = (
    "--json",
    "--ignore-scripts",  # never run code of a package
    "--no-update-notifier",
    "--no-dry-run",
    "--loglevel=error",
)
_WAY_OUT = "check the network, and npm's registry setting (npm config get registry)"


@dataclass(frozen=True)
class Package:
    """One version of an npm package; `integrity` (npm's "sha512-…") and size are the tarball's."""

    name: str
    version: str
    integrity: str
    size_bytes: int

    def __str__(self) -> str:
        return f"{self.name} {self.version}"


def fetch(
    package: Package, wanted: re.Pattern[str], folder: Path, *, timeout_s: float
) -> dict[str, bytes]:
    """The contents of the package's regular files whose whole name matches `wanted`.

    `folder` is an empty folder for the tarball; npm gets `timeout_s` seconds.
    Raises DownloadError (no npm, no connection, no such package, other contents than pinned, not a
    tarball, too large) or DiskFullError.
    """
    npm = find_program("npm")
    if npm is None:
        raise DownloadError(
            f"{package} is fetched with npm, and there is none in the PATH: install Node.js, "
            "which has npm, and run the same command again"
        )
    spec = f"{package.name}@{package.version}"
    command = [npm, "pack", spec, "--pack-destination", str(folder), *_FLAGS]
    _run(command, package, folder, timeout_s)
    # Old npm versions report another file name than they write, so look for the file itself.
    tarballs = list(folder.glob("*.tgz"))
    if len(tarballs) != 1:
        raise DownloadError(
            f"npm fetched {package} without an error, but wrote no tarball: update npm"
        )
    _check(package, tarballs[0])
    return unpack(package, tarballs[0], wanted)


def _run(command: list[str], package: Package, folder: Path, timeout_s: float) -> None:
    """Run npm, with the time it takes on stderr."""
    title = f"fetching {package} ({package.size_bytes / 1e6:.1f} MB)"
    give_up = time.monotonic() + timeout_s
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            errors="replace",
        )
    except OSError as error:
        raise DownloadError(
            f"npm ({command[0]}) does not start: {error.strerror}; install Node.js again"
        ) from error
    # npm reports no progress to other programs, so show the elapsed time on a terminal.
    with process, bar(title, "", 0, bar_format="{desc} {elapsed}") as clock:
        try:
            while True:
                try:
                    wait_s = min(0.5, max(0.0, give_up - time.monotonic()))
                    stdout, stderr = process.communicate(timeout=wait_s)
                    break
                except subprocess.TimeoutExpired:
                    if time.monotonic() >= give_up:
                        raise DownloadError(
                            f"npm did not fetch {package} within {timeout_s:g} s: {_WAY_OUT}"
                        ) from None
                    if sys.stderr.isatty():
                        clock.refresh()
        finally:
            process.kill()  # does nothing where npm has ended
    if process.returncode != 0:
        raise _failure(package, folder, stdout, stderr)


def _failure(
    package: Package, folder: Path, stdout: str, stderr: str
) -> DownloadError | DiskFullError:
    """npm's own error, as one line."""
    try:
        error = json.loads(stdout)["error"]
        code, reason = str(error["code"]), str(error["summary"])
    except (ValueError, KeyError, TypeError):
        # It ended without a report: the first line on stderr is the closest to a cause.
        code, reason = "", next(iter(stderr.strip().splitlines()), "it gave no reason")
    if code in ("ENOSPC", "EDQUOT"):
        return DiskFullError(
            f"no space left on the disk of {folder} or of npm's cache: free some and run the same "
            "command again"
        )
    # One short line.
    reason = " ".join(f"{code} {reason}".split())[:300].rstrip(".")
    return DownloadError(f"npm could not fetch {package}: {reason}; {_WAY_OUT}")


def _check(package: Package, tarball: Path) -> None:
    """Raise DownloadError unless the file has the pinned SHA-512."""
    with tarball.open("rb") as file:
        digest = hashlib.file_digest(file, "sha512").digest()
    if f"sha512-{base64.b64encode(digest).decode()}" != package.integrity:
        raise DownloadError(
            f"{package} from npm's registry is not the one deepfood knows: its SHA-512 differs; "
            "nothing of it was used, check npm's registry setting (npm config get registry)"
        )


def unpack(package: Package, tarball: Path, wanted: re.Pattern[str]) -> dict[str, bytes]:
    """Read the wanted regular files into memory; links, devices and other names are skipped."""
    try:
        with gzip.open(tarball) as file:
            # One bounded read, so that neither skipped files nor headers can expand without limit.
            unpacked = file.read(MAX_UNPACKED_BYTES + 1)
        if len(unpacked) > MAX_UNPACKED_BYTES:
            raise DownloadError(f"{package} unpacks to more than {MAX_UNPACKED_BYTES:,} bytes")
        found: dict[str, bytes] = {}
        with tarfile.open(fileobj=io.BytesIO(unpacked), mode="r:") as tar:
            for member in tar:
                # A sparse file may claim any size without having the bytes.
                regular = member.isreg() and not member.issparse()
                if not regular or not wanted.fullmatch(member.name):
                    continue
                if member.size > MAX_FILE_BYTES:
                    raise DownloadError(
                        f"{package} has a file of {member.size:,} bytes, {member.name}, and the "
                        f"limit is {MAX_FILE_BYTES:,}"
                    )
                contents = tar.extractfile(member)
                assert contents is not None  # it is a regular file
                found[member.name] = contents.read()
    except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DownloadError(f"{package} is not a complete tarball: {error}") from error
    return found
