"""The bytes of photos: at their source, or in the gallery's store where they were added."""

import hashlib
from collections.abc import Iterator
from functools import cached_property

from deepfood.config import Settings
from deepfood.data.bucket import BucketRoot
from deepfood.data.locate import PhotoAccess
from deepfood.errors import PhotoError, PhotoNotFoundError, SettingError, StorageError
from deepfood.gallery.photo import Photo, of_size
from deepfood.milvus.metadata import MilvusManifest
from deepfood.storage import Bucket, S3Options, is_remote


class StoredPhotos:
    """Reads photos that the catalogue knows, and keeps those that are added."""

    def __init__(self, manifest: MilvusManifest, settings: Settings) -> None:
        self.root = PhotoAccess.of(settings).root(manifest.photos_root)
        self.store = settings.photos_store or manifest.photos_store
        self._settings = settings

    def read(self, photo: Photo) -> bytes:
        """The photo's file, if it still is what was embedded. Raises PhotoNotFoundError.

        The content is compared with the catalogue, so that no name can make this read anything
        else than a photo of the gallery.
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
        """How many reads are worth having under way, as a Root says it."""
        added = BucketRoot.reads_ahead if is_remote(self.store or "") else 0
        return max(self.root.reads_ahead, added)

    def where(self, photo: Photo) -> str:
        """A photo's full name, to show."""
        if photo.added:
            return f"{self.store}/{_key(photo.sha256)}"
        return self.root.where(photo.file)

    def keep(self, photo: Photo, data: bytes) -> None:
        """Store the bytes of a photo that is added. Raises SettingError, StorageError."""
        self._bucket.write(_key(photo.sha256), data, content_type=photo.media_type)

    def kept(self) -> Iterator[str]:
        """The SHA-256 of each photo in the store."""
        if self.store:
            for entry in self._bucket.list("photos"):
                yield entry.key.rpartition("/")[2]

    def forget(self, photo: Photo) -> None:
        self._bucket.delete(_key(photo.sha256))

    @cached_property
    def _bucket(self) -> Bucket:
        if not self.store:
            raise SettingError(
                "photos can be added where their bytes can be kept: set photos_store to "
                "s3://BUCKET/PREFIX, or to a folder that every server reaches"
            )
        return Bucket.open(self.store, S3Options.of(self._settings))


def _key(sha256: str) -> str:
    return f"photos/{sha256[:2]}/{sha256}"
