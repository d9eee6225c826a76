"""Small pictures of a gallery's photos, each made once; files gone or damaged are noted."""

import base64

from deepfood.errors import PhotoError, PhotoNotFoundError
from deepfood.gallery import Photo
from deepfood.gallery.protocol import SearchedGallery
from deepfood.photo import Limits, thumbnail


class Thumbs:
    """JPEGs of at most `pixels` on the longest side, by photo id; `skipped` has those without."""

    def __init__(self, gallery: SearchedGallery, limits: Limits, pixels: int) -> None:
        self._gallery = gallery
        self._limits = limits
        self._pixels = pixels
        self._made: dict[str, bytes | None] = {}
        self.skipped: list[dict[str, str]] = []

    def has(self, photo: Photo) -> bool:
        return self._of(photo) is not None

    def jpeg(self, photo: Photo) -> bytes:
        """The JPEG of a photo that `has` one."""
        made = self._of(photo)
        assert made is not None, photo.id
        return made

    def data_url(self, photo: Photo) -> str:
        return "data:image/jpeg;base64," + base64.b64encode(self.jpeg(photo)).decode("ascii")

    def _of(self, photo: Photo) -> bytes | None:
        if photo.id not in self._made:
            made = None
            try:
                made = thumbnail(self._gallery.read(photo), self._pixels, self._limits)
            except (PhotoError, PhotoNotFoundError) as error:
                self.skipped.append({"file": photo.file, "reason": str(error)})
            self._made[photo.id] = made
        return self._made[photo.id]
