"""What the service does, without HTTP: find photos like a photo, and hand photos out."""

import logging
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

from deepfood.config import Settings
from deepfood.embed import Embedder, open_embedder
from deepfood.errors import DeepfoodError, QueryError, SettingError
from deepfood.gallery import Answer, Gallery, Hit, Photo, gallery_model, judge
from deepfood.gallery.vote import VOTERS
from deepfood.heatmap import MatchExplainer
from deepfood.photo import thumbnail

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Current:
    """A gallery, the Embedder of its Model, and what explains its hits; they go together."""

    gallery: Gallery
    embedder: Embedder
    explainer: MatchExplainer

    @classmethod
    def of(cls, gallery: Gallery, embedder: Embedder) -> Self:
        explainer = MatchExplainer(embedder.model, embedder.limits, embedder.threads)
        return cls(gallery, embedder, explainer)


class SearchService:
    """A gallery and the Embedder for its queries; every method may be called from many threads.

    A generation that was made with another Model is opened in the background, with that Model;
    until it is ready, the one before answers.
    """

    def __init__(self, gallery: Gallery, embedder: Embedder, settings: Settings) -> None:
        self.max_k = settings.max_k
        self._settings = settings
        self._current = Current.of(gallery, embedder)
        self._opening = threading.Lock()
        self._match_probability = settings.match_probability
        self._none_probability = settings.none_probability
        self._thumbnail_pixels = settings.thumbnail_pixels
        self._thumbnails = ByteCache(settings.thumbnail_cache_bytes)

    def current(self) -> Current:
        """What answers now; whoever needs two things of it must ask once."""
        now = self._current
        now.gallery.refresh()
        if now.gallery.superseded and self._opening.acquire(blocking=False):
            if now is self._current:
                threading.Thread(target=self._open_newer, name="open-gallery", daemon=True).start()
            else:  # opened since
                self._opening.release()
        return self._current

    def _open_newer(self) -> None:
        """Open what the manifest names now. What is replaced closes when its last search ends."""
        try:
            folder = self._current.gallery.folder
            self._current = Current.of(*_open(folder, None, self._settings))
        except DeepfoodError as error:  # the next request tries again
            log.warning("the new generation cannot be opened yet: %s", error)
        finally:
            self._opening.release()

    @property
    def gallery(self) -> Gallery:
        return self.current().gallery

    @property
    def embedder(self) -> Embedder:
        return self._current.embedder

    @property
    def explainer(self) -> MatchExplainer:
        return self.current().explainer

    def search_photo(self, data: bytes, k: int) -> Answer:
        """The k photos most like the photo in `data`. Raises PhotoError or QueryError."""
        self._check(k)
        now = self.current()
        hits = now.gallery.search(now.embedder.embed(data), max(k, VOTERS))
        return self._judge(now.gallery, hits, k)

    def search_like(self, photo_id: str, k: int) -> Answer:
        """The k photos most like one of the gallery, itself left out. Raises QueryError."""
        self._check(k)
        gallery = self.gallery
        return self._judge(gallery, gallery.search_like(photo_id, max(k, VOTERS)), k)

    def photo(self, photo_id: str) -> tuple[Photo, bytes]:
        """A photo of the gallery and its file. Raises PhotoNotFoundError."""
        gallery = self.gallery
        photo = gallery.photo(photo_id)
        return photo, gallery.read(photo)

    def thumbnail(self, photo_id: str) -> bytes:
        """A small JPEG of a photo of the gallery, made when first asked for."""
        gallery = self.gallery
        photo = gallery.photo(photo_id)
        return self._thumbnails.get(
            photo.id,
            lambda: thumbnail(gallery.read(photo), self._thumbnail_pixels, self.embedder.limits),
        )

    def close(self) -> None:
        self._current.gallery.close()

    def _judge(self, gallery: Gallery, hits: list[Hit], k: int) -> Answer:
        answer = judge(
            hits,
            gallery.manifest.calibration,
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
    return SearchService(*_open(settings.gallery, settings.model, settings), settings)


def _open(folder: Path, named: Path | None, settings: Settings) -> tuple[Gallery, Embedder]:
    model = gallery_model(folder, named)
    embedder = open_embedder(settings, model, latency=True)
    return Gallery.open(folder, model, settings.photos_root), embedder
