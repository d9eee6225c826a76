"""The Shelf: the releases below one prefix, and which of them is the latest."""

import hashlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from deepfood.artifacts import MANIFEST
from deepfood.config import Settings
from deepfood.errors import SettingError, StorageError, StorageMissingError
from deepfood.release.marks import Mark, marked
from deepfood.release.objects import (
    LATEST,
    RELEASES,
    Latest,
    Release,
    blob_key,
    check_name,
    damaged_list,
    parse_address,
    parse_photo_lines,
    release_key,
)
from deepfood.storage import Bucket, S3Options, is_remote

#: How often updating `latest` is retried after concurrent changes.
_TRIES = 20


def is_release(place: Path | str) -> bool:
    """Whether `PREFIX[@RELEASE]` names a release: in a bucket, or in a folder of releases."""
    if is_remote(place):
        return True
    prefix = str(place)
    if not Path(prefix).exists():
        prefix = parse_address(prefix)[0]
    return Path(prefix, RELEASES).is_dir() and not Path(prefix, MANIFEST).exists()


def never_changes(release: object) -> SettingError:
    """The error for an attempt to change a release."""
    return SettingError(
        f"{release} is a release, which never changes: deepfood pull it, change that, and push"
    )


class Shelf:
    """Releases of one artifact; every method raises StorageError."""

    def __init__(self, bucket: Bucket) -> None:
        self.bucket = bucket

    @classmethod
    def open(cls, url: str, settings: Settings, *, make: bool = False) -> "Shelf":
        """Open the releases below a prefix; a folder is made with `make`. Raises SettingError."""
        return cls(Bucket.open(url, S3Options.of(settings), make=make))

    def names(self) -> list[str]:
        """Names of all releases, sorted; names that deepfood gives sort by time."""
        keys = [one.key for one in self.bucket.list(RELEASES)]
        return sorted(
            key.removeprefix(f"{RELEASES}/").removesuffix(".json")
            for key in keys
            if key.endswith(".json")
        )

    def all(self) -> list[Release]:
        """All releases, the oldest first."""
        found = [self.read(name) for name in self.names()]
        return sorted(found, key=lambda one: (one.created, one.name))

    def read(self, name: str) -> Release:
        """One release."""
        key = release_key(check_name(name))
        try:
            release = Release.parse(self.bucket.read(key), self.bucket.place(key))
        except StorageMissingError:
            raise StorageMissingError(
                f"there is no release {name} in {self.bucket.url}: see deepfood releases"
            ) from None
        if release.name != name:
            raise StorageError(f"{self.bucket.place(key)} is damaged: it has another name inside")
        return release

    def latest(self) -> Latest | None:
        """The object `latest`; None where nothing was ever pushed."""
        try:
            return self._parsed(self.bucket.read(LATEST))
        except StorageMissingError:
            return None

    def _parsed(self, latest: bytes) -> Latest:
        return Latest.parse(latest, self.bucket.place(LATEST))

    def resolve(self, name: str | None) -> str:
        """The name of a release, None being the latest."""
        return self.promoted().release if name is None else name

    def promoted(self) -> Latest:
        """The object `latest`, which must exist."""
        latest = self.latest()
        if latest is None:
            raise StorageMissingError(
                f"there is no release in {self.bucket.url}: make one with deepfood push"
            )
        return latest

    def photos(self, release: Release) -> dict[str, int]:
        """SHA-256 and bytes of the photos in a release."""
        if release.photos is None:
            return {}
        text = b"".join(self.bucket.read(blob_key(chunk)) for chunk in release.photos.chunks)
        place = self.bucket.place(release_key(release.name))
        if hashlib.sha256(text).hexdigest() != release.photos.sha256:
            raise damaged_list(place)
        return parse_photo_lines(text, place)

    def publish(self, release: Release) -> None:
        """Make a release visible; all its blobs must exist."""
        key = release_key(release.name)
        text = release.model_dump_json(indent=1).encode() + b"\n"
        if not self.bucket.write(key, text, content_type="application/json", if_absent=True):
            raise StorageError(
                f"{self.bucket.url} already has a release {release.name}: give another name"
            )

    def promote(self, name: str) -> Latest:
        """Make a release the latest, atomically; it is an error during a prune."""
        with marked(self.bucket, "promote") as mark:
            return self.make_latest(name, mark)

    def make_latest(self, name: str, mark: Mark) -> Latest:
        """`promote`, for a caller with a mark."""

        def moved(text: bytes | None) -> Latest:
            now = None
            with suppress(StorageError):  # a damaged one is ignored
                now = None if text is None else self._parsed(text)
            if now is not None and now.release == name:
                return now
            self.read(name)
            return Latest(release=name, before=now and now.release)

        return self._move(moved, mark)

    def rollback(self) -> Latest:
        """Go back to the release that was the latest before; a second time goes forward again."""

        def moved(text: bytes | None) -> Latest:
            now = None if text is None else self._parsed(text)
            if now is None or now.before is None:
                raise StorageError(
                    f"{self.bucket.url} has no earlier latest release: choose one with deepfood "
                    "promote"
                )
            self.read(now.before)
            return Latest(release=now.before, before=now.release)

        with marked(self.bucket, "promote") as mark:
            return self._move(moved, mark)

    def _move(self, moved: Callable[[bytes | None], Latest], mark: Mark) -> Latest:
        """Replace `latest` by the result of `moved`, if it is unchanged since it was read."""
        tried = set()
        for _ in range(_TRIES):
            text, tag = None, None
            with suppress(StorageMissingError):
                text, tag = self.bucket.read_tagged(LATEST)
            if text and text in tried:  # it was written, and only the response was lost
                return self._parsed(text)
            wanted = moved(text)
            written = wanted.model_dump_json().encode() + b"\n"
            if text == written:
                return wanted
            tried.add(written)
            mark.check()
            if self.bucket.write(
                LATEST,
                written,
                content_type="application/json",
                if_absent=text is None,
                if_match=tag,
            ):
                return wanted
        raise StorageError(f"{self.bucket.place(LATEST)} is being changed by others: try again")
