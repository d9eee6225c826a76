"""The bytes of photos: at their source, or in the gallery's store for added photos."""

import hashlib
from collections.abc import Iterator, Sequence
from functools import cached_property

from deepfood.config import Settings
from deepfood.data.bucket import BucketRoot
from deepfood.data.locate import PhotoAccess
from deepfood.errors import (
    PhotoError,
    PhotoNotFoundError,
    SettingError,
    StorageError,
    StorageMissingError,
)
from deepfood.gallery.photo import Photo, of_size
from deepfood.milvus.metadata import MilvusManifest
from deepfood.storage import Bucket, S3Options, is_remote


class StoredPhotos:
    """Reads photos of the gallery, and stores added ones."""

    def __init__(self, manifest: MilvusManifest, settings: Settings) -> None:
        self.root = PhotoAccess.of(settings).root(manifest.photos_root)
        self.store = settings.photos_store or manifest.photos_store
        self._settings = settings

    def read(self, photo: Photo) -> bytes:
        """The bytes of a photo, if they still are those that were embedded.

        The content is compared with the photo's SHA-256, so that nothing but the gallery's photos
        can be read. Raises PhotoNotFoundError.
        """
        try:
            if photo.added:
                data = self._bucket.read(_key(photo.sha256))
            else:
                data = self.root.read(photo.file, of_size(photo))
        except (OSError, PhotoError, StorageError):
            data = b""
        if hashlib.sha256(data).hexdigest() != photo.sha256:
            raise PhotoNotFoundError(
                f"photo {photo.id} is no longer what the gallery was built from: build it again"
            )
        return data

    @property
    def reads_ahead(self) -> int:
        """How many photos are worth reading ahead, as in a Root."""
        added = BucketRoot.reads_ahead if is_remote(self.store or "") else 0
        return max(self.root.reads_ahead, added)

    def where(self, photo: Photo) -> str:
        """The path or s3:// URL of a photo's file."""
        if photo.added:
            return f"{self.store}/{_key(photo.sha256)}"
        return self.root.where(photo.file)

    def keep(self, photo: Photo, data: bytes) -> None:
        """Store the bytes of an added photo. Raises SettingError, StorageError."""
        self._bucket.write(_key(photo.sha256), data, content_type=photo.media_type)

    def kept(self) -> Iterator[str]:
        """The SHA-256 of each photo in the store."""
        if self.store:
            for entry in self._bucket.list("photos"):
                yield entry.key.rpartition("/")[2]

    def has(self, photo: Photo) -> bool:
        """Whether the store has an added photo. Raises StorageError if it cannot be asked."""
        try:
            self._bucket.entry(_key(photo.sha256))
        except StorageMissingError:
            return False
        return True

    def forget(self, photos: Sequence[Photo]) -> None:
        """Delete the bytes of added photos from the store."""
        if photos:
            self._bucket.delete(*(_key(photo.sha256) for photo in photos))

    @cached_property
    def _bucket(self) -> Bucket:
        if not self.store:
            raise SettingError(
                "added photos need a place for their bytes: set photos_store to "
                "s3://BUCKET/PREFIX, or to a folder that every server reaches"
            )
        return Bucket.open(self.store, S3Options.of(self._settings))


def _key(sha256: str) -> str:
    return f"photos/{sha256[:2]}/{sha256}"
