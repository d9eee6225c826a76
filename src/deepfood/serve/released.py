"""What is special where a release in a bucket is served: it is followed, and never changed here."""

from pathlib import Path
from urllib.parse import urlsplit

from fastapi import Request
from starlette.exceptions import HTTPException

from deepfood.config import Settings
from deepfood.gallery import Photo
from deepfood.release.pull import Origin
from deepfood.release.record import blob_key
from deepfood.release.shelf import is_release
from deepfood.storage import Bucket, is_remote


def is_released(settings: Settings) -> bool:
    """Whether what is served is a release."""
    return settings.gallery is not None and is_release(settings.gallery)


async def refuse_to_change_a_release(request: Request) -> None:
    """Raise HTTPException 409 where a release is served."""
    if is_released(request.app.state.settings):
        raise HTTPException(
            409, "what is served is a release, which never changes: push a new one instead"
        )


class PhotoLinks:
    """Addresses in the bucket, each good for a while, for photos of a gallery that was pulled."""

    def __init__(self, bucket: Bucket, good_for_s: float) -> None:
        self._bucket = bucket
        self.good_for_s = good_for_s

    @classmethod
    def of(cls, gallery: Path | str, settings: Settings) -> "PhotoLinks | None":
        """None where photos are proxied, or are in no bucket of S3."""
        if settings.photo_links == "proxied":
            return None
        origin = Origin.of(Path(gallery))
        if origin is None or origin.release.photos is None or not is_remote(origin.url):
            return None
        return cls(Bucket.open(origin.url, settings), settings.presigned_s)

    def to(self, photo: Photo) -> str:
        """Raises StorageError."""
        return self._bucket.presigned_url(blob_key(photo.sha256), self.good_for_s)

    def host(self) -> str:
        """Scheme and host of all addresses, for the page's Content-Security-Policy."""
        address = urlsplit(self._bucket.presigned_url("any", self.good_for_s))
        return f"{address.scheme}://{address.netloc}"
