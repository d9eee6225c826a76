"""What the service does, without HTTP: find photos like a photo, and hand photos out."""

import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace

from deepfood.config import Settings
from deepfood.embed import Embedder, open_embedder
from deepfood.errors import QueryError, SettingError
from deepfood.gallery import Answer, Gallery, Hit, Photo, gallery_model, judge
from deepfood.gallery.vote import VOTERS
from deepfood.heatmap import MatchExplainer
from deepfood.photo import thumbnail


class SearchService:
    """A gallery and the Embedder for its queries; every method may be called from many threads."""

    def __init__(self, gallery: Gallery, embedder: Embedder, settings: Settings) -> None:
        self.gallery = gallery
        self.embedder = embedder
        self.explainer = MatchExplainer(embedder.model, embedder.limits, embedder.threads)
        self.max_k = settings.max_k
        self._match_probability = settings.match_probability
        self._none_probability = settings.none_probability
        self._thumbnail_pixels = settings.thumbnail_pixels
        self._thumbnails = ByteCache(settings.thumbnail_cache_bytes)

    def search_photo(self, data: bytes, k: int) -> Answer:
        """The k photos most like the photo in `data`. Raises PhotoError or QueryError."""
        self._check(k)
        return self._judge(self.gallery.search(self.embedder.embed(data), max(k, VOTERS)), k)

    def search_like(self, photo_id: str, k: int) -> Answer:
        """The k photos most like one of the gallery, itself left out. Raises QueryError."""
        self._check(k)
        return self._judge(self.gallery.search_like(photo_id, max(k, VOTERS)), k)

    def photo(self, photo_id: str) -> tuple[Photo, bytes]:
        """A photo of the gallery and its file. Raises PhotoNotFoundError."""
        photo = self.gallery.photo(photo_id)
        return photo, self.gallery.read(photo)

    def thumbnail(self, photo_id: str) -> bytes:
        """A small JPEG of a photo of the gallery, made when first asked for."""
        photo = self.gallery.photo(photo_id)
        return self._thumbnails.get(
            photo.id,
            lambda: thumbnail(
                self.gallery.read(photo), self._thumbnail_pixels, self.embedder.limits
            ),
        )

    def close(self) -> None:
        self.gallery.close()

    def _judge(self, hits: list[Hit], k: int) -> Answer:
        answer = judge(
            hits,
            self.gallery.manifest.calibration,
            match_probability=self._match_probability,
            none_probability=self._none_probability,
        )
        return replace(answer, hits=answer.hits[:k])

    def _check(self, k: int) -> None:
        if not 1 <= k <= self.max_k:
            raise QueryError(f"k = {k}: ask for 1 to {self.max_k} photos")


class ByteCache:
    """The most recently used byte strings, up to `max_bytes` of them in all."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._kept: OrderedDict[str, bytes] = OrderedDict()
        self._size = 0
        self._lock = threading.Lock()

    def get(self, key: str, make: Callable[[], bytes]) -> bytes:
        """The kept value, or what `make` gives (called outside the lock, so perhaps twice)."""
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        value = make()
        with self._lock:
            if key not in self._kept:
                self._kept[key] = value
                self._size += len(value)
            while self._size > self._max_bytes:
                self._size -= len(self._kept.popitem(last=False)[1])
        return value


def open_service(settings: Settings) -> SearchService:
    """Open Model and gallery as the settings say. Raises SettingError or ArtifactError."""
    if settings.gallery is None:
        raise SettingError("no gallery: name one, or set DEEPFOOD_GALLERY")
    model = gallery_model(settings.gallery, settings.model)
    embedder = open_embedder(settings, model, latency=True)
    gallery = Gallery.open(settings.gallery, model, settings.photos_root)
    return SearchService(gallery, embedder, settings)
