"""Serving a release: whether one is served, and links to its photos in the bucket."""

from pathlib import Path
from urllib.parse import urlsplit

from deepfood.config import Settings
from deepfood.gallery import Photo
from deepfood.release.objects import blob_key
from deepfood.release.pull import Origin
from deepfood.release.shelf import is_release
from deepfood.storage import Bucket, S3Options, is_remote


def is_released(settings: Settings) -> bool:
    """Whether a release is served."""
    return settings.gallery is not None and is_release(settings.gallery)


class PhotoLinks:
    """Presigned addresses in the bucket, valid for `valid_s`, of a pulled gallery's photos."""

    def __init__(self, bucket: Bucket, valid_s: float) -> None:
        self._bucket = bucket
        self.valid_s = valid_s

    @classmethod
    def of(cls, gallery: Path | str, settings: Settings) -> "PhotoLinks | None":
        """None where photos are proxied, or lie in no S3 bucket."""
        if settings.photo_links == "proxied":
            return None
        origin = Origin.of(Path(gallery))
        if origin is None or origin.release.photos is None or not is_remote(origin.url):
            return None
        return cls(Bucket.open(origin.url, S3Options.of(settings)), settings.presigned_s)

    def to(self, photo: Photo) -> str:
        """Raises StorageError."""
        return self._bucket.presigned_url(blob_key(photo.sha256), self.valid_s)

    def host(self) -> str:
        """Scheme and host of all addresses, for the page's Content-Security-Policy."""
        address = urlsplit(self._bucket.presigned_url("any", self.valid_s))
        return f"{address.scheme}://{address.netloc}"
