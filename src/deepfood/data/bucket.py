"""Photos in a bucket: a Root below `s3://BUCKET/PREFIX`.

The objects are listed once, on first use, 1,000 per request; the list has everything but their
bytes. A photo's `file` is its key below the prefix. Keys are untrusted: they are displayed and
requested, and never become a path on this machine.
"""

import contextlib
import hashlib
import io
import threading
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, ClassVar

from deepfood.beside import name_beside
from deepfood.data.passed_over import Tally, why_not_file, why_not_folder
from deepfood.data.root import CheckBytes, Root, stamp_ns
from deepfood.errors import PhotoMissingError, StorageMissingError, raising_disk_full
from deepfood.storage import Bucket, Entry

#: The longest key that S3 allows, in bytes.
_MAX_KEY = 1024
_DIGEST = hashlib.sha256().digest_size

Stamp = tuple[int, int]


class BucketRoot(Root):
    """What lies below `below` (whole parts of a key, or nothing) in a Bucket.

    `listing` has the stamps of all objects by `file`; None lists the bucket. With `keep`, a folder,
    photos that were read are cached there. Methods that access the bucket raise StorageError where
    it cannot be read.
    """

    #: At 30 ms per request, fewer leave two cores idle, and more do not speed up a build
    #: (benchmarks/bucket_photos.py).
    reads_ahead: ClassVar[int] = 16

    def __init__(
        self,
        bucket: Bucket,
        below: str = "",
        listing: dict[str, Stamp] | None = None,
        keep: Path | None = None,
    ) -> None:
        self._bucket = bucket
        self._below = below
        self._listed = listing
        self._listing = threading.Lock()
        self._keep = keep

    def __str__(self) -> str:
        return self._bucket.place(self._below)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, BucketRoot) and str(self) == str(other)

    def __hash__(self) -> int:
        return hash(str(self))

    @property
    def name(self) -> str:
        return PurePosixPath(str(self)).name

    def where(self, file: str) -> str:
        return self._bucket.place(self._key(file))

    def stamp(self, file: str) -> Stamp:
        return self._stamps().get(file, (-1, -1))

    def present(self, files: Iterable[str]) -> list[bool]:
        stamps = self._stamps()
        return [file in stamps for file in files]

    def read(self, file: str, check_bytes: CheckBytes) -> bytes:
        if not _can_be_key(file, self._key(file)):
            raise PhotoMissingError(f"no object below {self} can have that name")
        if self._keep is None:
            return self._fetch(file, check_bytes)
        # The file's name is a hash of the request: no key decides where a file is written.
        asked = f"{self}\0{file}\0{self.stamp(file)}".encode("utf-8", "surrogateescape")
        digest = hashlib.sha256(asked).hexdigest()
        kept = self._keep / digest[:2] / digest
        with contextlib.suppress(FileNotFoundError):
            contents = kept.read_bytes()
            data = contents[_DIGEST:]
            if hashlib.sha256(data).digest() == contents[:_DIGEST]:  # else damaged: fetched again
                check_bytes(len(data))
                return data
        data = self._fetch(file, check_bytes)
        with raising_disk_full(self._keep):
            kept.parent.mkdir(parents=True, exist_ok=True)
            beside = name_beside(kept)
            beside.write_bytes(hashlib.sha256(data).digest() + data)
            beside.replace(kept)
        return data

    def _fetch(self, file: str, check_bytes: CheckBytes) -> bytes:
        try:
            return self._bucket.read(self._key(file), check_bytes)
        except StorageMissingError as error:
            raise PhotoMissingError("there is no such object") from error

    def head(self, file: str, count: int) -> bytes:
        try:
            return self._bucket.read_range(self._key(file), 0, count)
        except StorageMissingError as error:
            raise PhotoMissingError("there is no such object") from error

    def is_dir(self, below: str) -> bool:
        return any(file.startswith(f"{below}/") for file in self._stamps())

    def is_file(self, below: str) -> bool:
        return below in self._stamps()

    def names(self, below: str) -> list[str]:
        start = f"{below}/" if below else ""
        inner = (file.removeprefix(start) for file in self._stamps() if file.startswith(start))
        return list({file.partition("/")[0] for file in inner})

    def inside(self, path: str) -> str | None:
        start = f"{self}/"
        return path.removeprefix(start) if path.startswith(start) else None

    def sub_folders(self) -> list[str]:
        first = {file.partition("/")[0] for file in self._stamps() if "/" in file}
        return [name for name in first if why_not_folder(name) is None]

    def photos(self, below: str, passed_over: Tally) -> Iterator[str]:
        start = f"{below}/" if below else ""
        seen = set()
        for file, (size, _) in self._stamps().items():
            if not file.startswith(start):
                continue
            inner = file.removeprefix(start)
            *folders, name = inner.split("/")
            depth = next((n for n, one in enumerate(folders) if why_not_folder(one)), None)
            if depth is not None:  # a skipped folder counts once, however many objects it holds
                folder = "/".join(folders[: depth + 1])
                if folder not in seen:
                    seen.add(folder)
                    passed_over.add(folder, why_not_folder(folders[depth]) or "")
            elif reason := why_not_file(name):
                if size:  # an empty object marks a folder, and is listed without its last "/"
                    passed_over.add(inner, reason)
            else:
                yield inner

    @contextmanager
    def text(self, file: str) -> Iterator[IO[str]]:
        data = self._bucket.read(self._key(file))
        yield io.StringIO(data.decode("utf-8-sig"), newline="")

    def below(self, folder: str) -> "BucketRoot":
        start = f"{folder}/"
        inner = {
            file.removeprefix(start): stamp
            for file, stamp in self._stamps().items()
            if file.startswith(start)
        }
        return BucketRoot(self._bucket, self._key(folder), inner)

    def knowing(self, stamps: dict[str, Stamp]) -> "BucketRoot":
        return BucketRoot(self._bucket, self._below, stamps, self._keep)

    def resolve(self) -> "BucketRoot":
        return self

    def kept_in(self, folder: Path) -> "BucketRoot":
        return BucketRoot(self._bucket, self._below, self._listed, folder)

    def _key(self, file: str) -> str:
        return f"{self._below}/{file}" if self._below else file

    def _stamps(self) -> dict[str, Stamp]:
        with self._listing:
            if self._listed is None:
                start = f"{self._below}/" if self._below else ""
                self._listed = {
                    one.key.removeprefix(start): stamp_of(one)
                    for one in self._bucket.list(self._below)
                }
            return self._listed


def stamp_of(entry: Entry) -> Stamp:
    """Size and modification time; as S3 counts in seconds, the ETag replaces the nanoseconds.

    So an object that is overwritten within a second, at the same size, also gets another stamp.
    """
    tag = zlib.crc32((entry.etag or "").encode()) % 1_000_000_000
    return entry.bytes, stamp_ns(int(entry.modified.timestamp()) * 1_000_000_000 + tag)


def _can_be_key(file: str, key: str) -> bool:
    """Whether an object can have that key, and no reading of the key leaves the prefix."""
    plain = file.isprintable() or not any(ord(letter) < 32 or ord(letter) == 127 for letter in file)
    return (
        plain
        and not any(part in ("", ".", "..") for part in file.split("/"))
        and len(key.encode("utf-8", "replace")) <= _MAX_KEY
    )
