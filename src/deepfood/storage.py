"""Storage: objects in an S3 bucket, or files in a local folder, behind one interface.

obstore signs requests, retries with exponential backoff and jitter, and limits time. A `Bucket` is
everything below a prefix. Credentials come from the same sources as for AWS's own tools: the
environment, a profile in ~/.aws/credentials, or the role of the machine.
"""

import re
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Self

from obstore import exceptions, sign
from obstore.store import LocalStore, S3Store

from deepfood.config import Settings, aws_endpoint, aws_profile_keys
from deepfood.errors import (
    SettingError,
    StorageError,
    StorageMissingError,
    nearest,
    system_error_text,
)
from deepfood.locks import held
from deepfood.storage_errors import ENVIRONMENT, way_out

if TYPE_CHECKING:
    from obstore import PutMode
    from obstore.store import ClientConfig, S3Config, S3Credential

S3 = "s3://"

#: http(s) and a host, perhaps with a port and a path; obstore panics at others.
_ENDPOINT = re.compile(r"https?://([\w.-]+|\[[0-9a-fA-F:.]+\])(:\d+)?(/\S*)?")
_BUCKET_NAME = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
#: Seconds until the keys of a profile are read again, as they may be renewed.
_PROFILE_S = 300
#: The limit of a whole transfer; one that stalls ends after s3_timeout_s.
_WHOLE_REQUEST_S = 3600
#: Seconds that a conditional write into a folder waits for another one.
_TURN_S = 10


def is_remote(text: str | Path) -> bool:
    """Whether it is an `s3://…` URL, even if a Path has folded its slashes."""
    return str(text).startswith((S3, "s3:/"))


@dataclass(frozen=True)
class S3Options:
    """The S3 server to ask and how long to wait for it: the settings `s3_endpoint` and so on.

    Where `endpoint` or `region` is empty, the variables of AWS's own tools count.
    """

    endpoint: str = ""
    region: str = ""
    timeout_s: float = 30.0
    retry_s: float = 60.0

    @classmethod
    def of(cls, settings: Settings) -> Self:
        return cls(
            settings.s3_endpoint, settings.s3_region, settings.s3_timeout_s, settings.s3_retry_s
        )


#: AWS's own S3, or the server that the variables of AWS's tools name.
AWS = S3Options()


@dataclass(frozen=True)
class Entry:
    """An object below the prefix: its key, size in bytes, ETag, and when it was written (UTC)."""

    key: str
    bytes: int
    etag: str | None
    modified: datetime


class Bucket:
    """What lies below `s3://bucket/prefix`, or in a local folder; for many threads.

    Keys have `/` between their parts. Every method raises StorageError, one line with the place and
    what to do about it; StorageMissingError where there is no such key.
    """

    def __init__(self, url: str, store: S3Store | LocalStore) -> None:
        self.url = url
        self._store = store

    @classmethod
    def open(cls, url: str | Path, s3: S3Options = AWS, *, make: bool = True) -> Self:
        """Open `s3://bucket/prefix`, or a folder. No request is sent.

        A folder is made with `make`. Raises SettingError where there is none, or for a name that
        cannot be one.
        """
        if not is_remote(url):
            folder = Path(url).expanduser().absolute()
            if not make and not folder.is_dir():
                what = "it is a file" if folder.exists() else nearest(folder)
                raise SettingError(f"there is no folder {url}: {what}")
            try:
                return cls(str(folder), LocalStore(folder, mkdir=make))
            except Exception as error:  # obstore's own, and OSError
                text = way_out(str(error), remote=False)
                raise SettingError(f"{url} is not a usable folder: {text}") from error
        name, _, prefix = re.sub("^s3:/+", "", str(url)).partition("/")
        if not _BUCKET_NAME.fullmatch(name):
            raise SettingError(f"{url}: {name!r} is not a bucket's name: give {S3}bucket/prefix")
        prefix = prefix.strip("/")
        if any(part in ("", ".", "..") for part in prefix.split("/")) and prefix:
            raise SettingError(f"{url}: the prefix has an empty part, '.' or '..'")
        whole = f"{S3}{name}/{prefix}".rstrip("/")
        return cls(whole, _s3_store(name, prefix, s3))

    def place(self, key: str) -> str:
        """The name of an object for users."""
        return f"{self.url}/{key}" if key else self.url

    def list(self, prefix: str = "") -> Iterator[Entry]:
        """All objects below `prefix`, which is whole parts of a key (`a/b` has no `a/bc`)."""
        with self._named(prefix, stat.S_IFDIR):
            for some in self._store.list(prefix or None, chunk_size=1000):
                for one in some:
                    yield Entry(one["path"], one["size"], one["e_tag"], one["last_modified"])

    def entry(self, key: str) -> Entry:
        """The Entry of one object."""
        with self._named(key, stat.S_IFREG):
            one = self._store.head(key)
            return Entry(one["path"], one["size"], one["e_tag"], one["last_modified"])

    def read(self, key: str, check_bytes: Callable[[int], object] | None = None) -> bytes:
        """The whole object; `check_bytes` is given its size before it is read, and may raise."""
        with self._named(key, stat.S_IFREG):
            found = self._store.get(key)
            if check_bytes is not None:
                check_bytes(found.meta["size"])
            return bytes(found.bytes())

    def read_tagged(self, key: str) -> tuple[bytes, str | None]:
        """The whole object, and its ETag, for the `if_match` of `write`."""
        with self._named(key, stat.S_IFREG):
            found = self._store.get(key)
            return bytes(found.bytes()), found.meta["e_tag"]

    def read_range(self, key: str, start: int, stop: int) -> bytes:
        """Bytes start to stop of an object, fewer where it ends before."""
        with self._named(key, stat.S_IFREG):
            return bytes(self._store.get_range(key, start=start, end=stop))

    def write(
        self,
        key: str,
        contents: bytes | Path,
        *,
        content_type: str = "application/octet-stream",
        if_absent: bool = False,
        if_match: str | None = None,
    ) -> bool:
        """Write an object atomically.

        With `if_absent`, returns False if the object exists; with `if_match`, an ETag,
        returns False if the object has changed or is gone. Large files are sent in parts. The
        content type is kept on S3 only.
        """
        local = isinstance(self._store, LocalStore)
        if local and if_match is not None:
            return self._replace_file(key, contents, if_match)
        mode: PutMode = "create" if if_absent else "overwrite"
        with self._named(key):
            try:
                self._store.put(
                    key,
                    contents,
                    attributes=None if local else {"Content-Type": content_type},
                    mode=mode if if_match is None else {"e_tag": if_match},
                )
            except (exceptions.AlreadyExistsError, exceptions.PreconditionError):
                return False
        return True

    def _replace_file(self, key: str, contents: bytes | Path, seen: str) -> bool:
        """A conditional write into a folder, serialized by a lock."""
        busy = StorageError(f"{self.place(key)} is being written by others: try again")
        lock = Path(self.url) / f".{key.replace('/', '-')}.lock"
        with self._named(key), held(lock, busy, _TURN_S):
            try:
                if self._store.head(key)["e_tag"] != seen:
                    return False
            except FileNotFoundError:
                return False
            self._store.put(key, contents)
        return True

    def delete(self, *keys: str) -> None:
        """Delete objects; missing ones are ignored."""
        with self._named(keys[0] if len(keys) == 1 else ""):
            if isinstance(self._store, S3Store):
                self._store.delete(keys)
                return
            for key in keys:
                try:
                    self._store.delete(key)
                except FileNotFoundError:
                    continue

    def presigned_url(self, key: str, expires_s: float) -> str:
        """A URL with which anyone can read the object for so many seconds. S3 only."""
        if not isinstance(self._store, S3Store):
            raise StorageError(f"{self.place(key)} is a local file, which has no presigned address")
        with self._named(key):
            return sign(self._store, "GET", key, timedelta(seconds=expires_s))

    @contextmanager
    def _named(self, key: str, wanted: int = 0) -> Iterator[None]:
        """Faults with their place; in a folder, what is there must be the `wanted` kind of file."""
        try:
            if wanted and isinstance(self._store, LocalStore):
                # A pipe would be waited for, and a device might never end.
                with suppress(FileNotFoundError):
                    if stat.S_IFMT(Path(self.url, key).stat().st_mode) != wanted:
                        what = "folder" if wanted == stat.S_IFDIR else "regular file"
                        raise StorageError(f"{self.place(key)} is not a {what}: move it away")
            yield
        except FileNotFoundError as error:
            if "NoSuchBucket" in str(error):
                raise self._error(key, error) from error
            raise StorageMissingError(f"there is no {self.place(key)}") from error
        except (exceptions.BaseError, OSError, ValueError) as error:
            raise self._error(key, error) from error

    def _error(self, key: str, error: Exception) -> StorageError:
        if isinstance(error, OSError) and error.errno:
            return StorageError(f"{self.place(key)}: {system_error_text(error, named=False)}")
        return StorageError(f"{self.place(key)}: {way_out(str(error), is_remote(self.url))}")


def _s3_store(name: str, prefix: str, s3: S3Options) -> S3Store:
    endpoint = s3.endpoint or aws_endpoint()
    if endpoint and not _ENDPOINT.fullmatch(endpoint):
        raise SettingError(
            f"the S3 server {endpoint!r} is not an address that begins with http:// or https://: "
            "set s3_endpoint, or AWS_ENDPOINT_URL"
        )
    limit = timedelta(seconds=s3.timeout_s)
    client: ClientConfig = {
        "timeout": timedelta(seconds=_WHOLE_REQUEST_S),
        "read_timeout": limit,
        "connect_timeout": min(limit, timedelta(seconds=10)),
        # Only ever for a server that was named as one without TLS.
        "allow_http": endpoint.startswith("http://"),
    }
    retry_s = timedelta(seconds=s3.retry_s)
    config: S3Config = {}
    if endpoint:
        config["endpoint"] = endpoint
    if s3.region:
        config["region"] = s3.region
    profile_keys = aws_profile_keys()
    return S3Store(
        name,
        prefix=prefix or None,
        client_options=client,
        # As many tries as fit into the time.
        retry_config={
            "max_retries": 1000,
            "retry_timeout": retry_s,
            "backoff": {
                "init_backoff": timedelta(seconds=0.1),
                "max_backoff": timedelta(seconds=5),
                "base": 2,
            },
        },
        credential_provider=_profile_credential if profile_keys else None,
        config=config,
    )


def _profile_credential() -> "S3Credential":
    keys = aws_profile_keys()
    if keys is None:  # it was there when the bucket was opened
        raise StorageError(f"the AWS profile has gone: {ENVIRONMENT}")
    key, secret, token = keys
    return {
        "access_key_id": key,
        "secret_access_key": secret,
        "token": token,
        "expires_at": datetime.now(UTC) + timedelta(seconds=_PROFILE_S),
    }
