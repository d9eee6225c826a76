"""The service as it is now, and the thread that keeps it so."""

import logging
import threading

from deepfood.config import Settings
from deepfood.engine import engine_at
from deepfood.errors import DeepfoodError
from deepfood.release.cached import CachedReleases
from deepfood.serve.measure import FOLLOWED, gallery_seen
from deepfood.serve.released import is_released
from deepfood.serve.service import SearchService, open_service

_log = logging.getLogger(__name__)

_EVERY_S = 1.0
#: After a failure, which the next second would only repeat.
_AFTER_FAILURE_S = 60.0


class Current:
    """Holds the service. When the gallery gets another Model, a new one takes its place.

    Where a release is served, a new one takes its place for each release that becomes the latest.

    Whoever still uses the old one goes on with the old generation, whose files are open.
    """

    def __init__(self, settings: Settings, service: SearchService) -> None:
        self.service = service
        self._settings = settings
        self._following = threading.Lock()
        gallery_seen(service.gallery)
        if not is_released(settings):  # of those another than the latest may be open
            FOLLOWED.set_to_current_time()

    def follow(self) -> SearchService:
        """The service of the generation or release that lives now.

        Raises ArtifactError, StorageError; the service is then as it was.
        """
        with self._following:
            if is_released(self._settings):
                self._follow_releases()
            else:
                self.service.gallery.follow()
                if self.service.gallery.superseded:
                    # The Model that was named on the command line made the generation before.
                    self.service = open_service(self._settings.model_copy(update={"model": None}))
            gallery_seen(self.service.gallery)
            FOLLOWED.set_to_current_time()
            return self.service

    def _follow_releases(self) -> None:
        assert self._settings.gallery is not None
        releases = CachedReleases(self._settings.gallery, self._settings, quiet=True)
        folder = releases.wanted()
        if str(folder) != self.service.gallery.place:
            at = self._settings.model_copy(update={"gallery": str(folder)})
            self.service = open_service(at, self.service)
            releases.good(folder)
            _log.info("a new release is served: %s", folder.name)

    def keep_up(self) -> None:
        """Follow the gallery, take a long tail into its index, drop its holes where they are many.

        What somebody else is at, or has begun and not ended, is left to them.
        """
        service = self.follow()
        if is_released(self._settings):
            return
        gallery, model = service.gallery, service.embedder.model
        engine_at(gallery.place, self._settings).look_after(gallery, model)


class Upkeep(threading.Thread):
    """Follows the gallery each second, and keeps its index and its rows in good order.

    A release never changes: only which of them is the latest does, and that is asked less often.

    A daemon, for an index in the making need not be waited for when the process ends.
    """

    def __init__(self, current: Current, settings: Settings) -> None:
        super().__init__(name="upkeep", daemon=True)
        self._current = current
        self._every_s = settings.follow_s if is_released(settings) else _EVERY_S
        self._ended = threading.Event()

    def end(self) -> None:
        self._ended.set()

    def run(self) -> None:
        wait_s = 0.0
        while not self._ended.wait(wait_s):
            wait_s = self._every_s
            try:
                self._current.keep_up()
            except (DeepfoodError, OSError) as error:
                wait_s = _AFTER_FAILURE_S
                if not self._ended.is_set():
                    _log.warning("%s", error)
