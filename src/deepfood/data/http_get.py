"""One GET request with checked redirects, and the server's metadata of the file."""

import base64
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

import httpx

from deepfood import __version__
from deepfood.errors import DownloadError

_MAX_REDIRECTS = 10
_MAX_WAIT_S = 60
_WAY_OUT = "check the address and the network"
#: Host names, IPv4 and IPv6; other hosts that httpx accepts cannot be reached.
_HOST = re.compile(r"[\w.:-]+")
_BASE64 = "[A-Za-z0-9+/]"


class Refused(Exception):  # noqa: N818  (callers turn it into an error that names the file)
    """The server answered without the file: `status`, and whether a retry may help."""

    def __init__(self, url: str, response: httpx.Response) -> None:
        self.status = response.status_code
        #: What Hugging Face's hub calls the reason.
        self.code: str = response.headers.get("X-Error-Code", "")
        self.may_pass = self.status >= 500 or self.status in (408, 416, 425, 429)
        self.way_out = "check the address" if self.status in (404, 410) else _WAY_OUT
        wait = response.headers.get("Retry-After", "")
        self.wait_s = float(min(int(wait), _MAX_WAIT_S)) if wait.isascii() and wait.isdigit() else 0
        super().__init__(f"{shown(url)} answers {self.status} {response.reason_phrase}".rstrip())


@dataclass(frozen=True)
class FileResponse:
    """A file, or the rest of one from byte `begin`, as the server sends it.

    `total` is the complete file's length in bytes, `version` a validator for If-Range, and `stated`
    the hashes (hex, by name) of the complete file; each if the server sends it.
    """

    response: httpx.Response
    begin: int
    total: int | None
    version: str | None
    stated: dict[str, str]

    def chunks(self) -> Iterator[bytes]:
        """The bytes as they arrive, so that none is lost when the connection breaks."""
        # Raw: a .tar.gz that the server labels as gzip-encoded must not be decoded.
        return self.response.iter_raw()


@contextmanager
def get(
    url: str, own: Mapping[str, str], others: Mapping[str, str], *, timeout_s: float
) -> Iterator[FileResponse]:
    """Request `url`. The headers `own` go to its host only, `others` to redirects too.

    Raises Refused for a status other than success, httpx.HTTPError where the connection fails, and
    DownloadError for an address or a redirect that is not http(s).
    """
    plain = {"Accept-Encoding": "identity", "User-Agent": f"deepfood/{__version__}", **others}
    first = at = _parsed(url)
    stated: dict[str, str] = {}

    def check_redirect(response: httpx.Response) -> None:
        # Before httpx parses the target, as it takes an invalid one for a broken connection.
        if response.has_redirect_location:
            response.headers["Location"] = str(_redirected(url, response))

    with httpx.Client(timeout=timeout_s, event_hooks={"response": [check_redirect]}) as client:
        for _ in range(_MAX_REDIRECTS):
            headers = {**plain, **own} if _origin(at) == _origin(first) else plain
            response = client.send(client.build_request("GET", at, headers=headers), stream=True)
            try:
                stated |= _linked(response.headers)
                if not response.has_redirect_location:
                    yield _answer(url, response, stated)
                    return
                at = httpx.URL(response.headers["Location"])
            finally:
                response.close()
    raise DownloadError(f"{shown(url)} redirects more than {_MAX_REDIRECTS} times")


def shown(url: str) -> str:
    """A URL for messages, without password, query and fragment, which may hold secrets."""
    return str(httpx.URL(url).copy_with(userinfo=b"", query=None, fragment=None))


def broken_text(error: httpx.HTTPError, url: str, timeout_s: float) -> str:
    """One line on a connection that failed or broke."""
    if isinstance(error, httpx.TimeoutException):
        return f"{shown(url)} did not answer within {timeout_s:g} s"
    reason = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, httpx.ConnectError):
        return f"no connection to {shown(url)} ({reason})"
    return f"the connection to {shown(url)} broke ({reason})"


def _parsed(url: str) -> httpx.URL:
    try:
        return _reachable(httpx.URL(url))
    except (httpx.InvalidURL, ValueError) as error:
        raise DownloadError(f"{url!r} is not an address: {error}") from error


def _reachable(url: httpx.URL) -> httpx.URL:
    """The URL itself. Raises ValueError where it is not http(s) or no host can be called so."""
    host = url.host
    host.encode("idna")  # as the system does, to look it up
    if url.scheme not in ("http", "https") or not _HOST.fullmatch(host):
        raise ValueError("it must begin with http:// or https:// and a host")
    return url


def _redirected(url: str, response: httpx.Response) -> httpx.URL:
    """The target of a redirect: never from https to http, nor to another scheme."""
    at, location = response.request.url, response.headers["Location"]
    try:
        # Checked before httpx parses the address, as it knows http(s) only.
        scheme = urlsplit(location).scheme or at.scheme
        if scheme not in ("http", "https") or (at.scheme, scheme) == ("https", "http"):
            raise DownloadError(f"{shown(url)} redirects from {at.scheme} to {scheme}: refused")
        return _reachable(at.join(location))
    except (httpx.InvalidURL, ValueError) as error:
        raise DownloadError(f"{shown(url)} redirects to an invalid address: {error}") from error


def _origin(url: httpx.URL) -> tuple[str, str, int | None]:
    return url.scheme, url.host, url.port


def _answer(url: str, response: httpx.Response, stated: dict[str, str]) -> FileResponse:
    headers = response.headers
    length = headers.get("Content-Length", "")
    total = int(length) if length.isascii() and length.isdigit() else None
    begin = 0
    if response.status_code == httpx.codes.PARTIAL_CONTENT:
        parts = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", headers.get("Content-Range", ""))
        if parts is None:
            raise httpx.RemoteProtocolError("a partial file without Content-Range")
        begin, total = int(parts[1]), None if parts[2] == "*" else int(parts[2])
    elif not response.is_success:
        raise Refused(url, response)
    return FileResponse(response, begin, total, _version(headers), stated | _stated(headers))


def _version(headers: httpx.Headers) -> str | None:
    """Identifies a version of the file: a strong ETag, else the modification time."""
    etag: str = headers.get("ETag", "")
    if re.fullmatch(r'"[^"]+"', etag):
        return etag
    changed: str = headers.get("Last-Modified", "")
    try:
        parsedate_to_datetime(changed)
    except ValueError:
        return None
    return changed


def _linked(headers: httpx.Headers) -> dict[str, str]:
    """The SHA-256 that the Hugging Face hub sends with its redirect to a file."""
    match = re.fullmatch(r'"?([0-9a-f]{64})"?', headers.get("X-Linked-ETag", ""))
    return {"sha256": match[1]} if match else {}


def _stated(headers: httpx.Headers) -> dict[str, str]:
    """Hashes that servers send: Repr-Digest (RFC 9530), Google Cloud Storage, Amazon S3."""
    stated: dict[str, str] = {}
    if match := re.search(rf"\bsha-256=:({_BASE64}{{43}}=):", headers.get("Repr-Digest", "")):
        stated["sha256"] = base64.b64decode(match[1]).hex()
    if match := re.search(rf"\bmd5=({_BASE64}{{22}}==)", headers.get("x-goog-hash", "")):
        stated["md5"] = base64.b64decode(match[1]).hex()
    # S3's ETag is the MD5 of an object uploaded in one part and not encrypted with a KMS key.
    plain = headers.get("x-amz-server-side-encryption", "AES256") == "AES256"
    match = re.fullmatch(r'"([0-9a-f]{32})"', headers.get("ETag", ""))
    if match and plain and "x-amz-request-id" in headers:
        stated["md5"] = match[1]
    return stated
