"""The current service, and the thread that keeps it up to date."""

import logging
import threading

from deepfood.config import Settings
from deepfood.engine import engine_at
from deepfood.errors import DeepfoodError
from deepfood.release.cached import CachedReleases
from deepfood.serve.released import is_released
from deepfood.serve.service import SearchService, open_service
from deepfood.serve.telemetry.metrics import FOLLOWED, set_gallery

_log = logging.getLogger(__name__)

_EVERY_S = 1.0
#: Seconds to wait after a failure, which is likely to repeat.
_AFTER_FAILURE_S = 60.0


class Current:
    """Holds the service, and replaces it when the gallery gets another Model.

    Where a release is served, each release that becomes the latest replaces it too. Searches in
    progress continue with the old service, whose files stay open.
    """

    def __init__(self, settings: Settings, service: SearchService) -> None:
        self.service = service
        self._settings = settings
        self._following = threading.Lock()
        set_gallery(service.gallery)
        if not is_released(settings):  # a release other than the latest may be open
            FOLLOWED.set_to_current_time()

    def follow(self) -> SearchService:
        """Open the newest generation or release, if there is a newer one, and give its service.

        On ArtifactError or StorageError the current service stays.
        """
        with self._following:
            if is_released(self._settings):
                self._follow_releases()
            else:
                self.service.gallery.follow()
                if self.service.gallery.superseded:
                    # The Model named on the command line is that of the generation before.
                    self.service = open_service(self._settings.model_copy(update={"model": None}))
            set_gallery(self.service.gallery)
            FOLLOWED.set_to_current_time()
            return self.service

    def _follow_releases(self) -> None:
        assert self._settings.gallery is not None
        releases = CachedReleases(self._settings.gallery, self._settings, quiet=True)
        folder = releases.resolve()
        if str(folder) != self.service.gallery.place:
            at = self._settings.model_copy(update={"gallery": str(folder)})
            self.service = open_service(at, self.service)
            releases.mark_good(folder)
            _log.info("a new release is served: %s", folder.name)

    def keep_up(self) -> None:
        """Follow the gallery; index a long tail; find the parts of photos that were added; compact.

        Work that another process is doing, or has begun, is left alone.
        """
        service = self.follow()
        if is_released(self._settings):
            return
        gallery = service.gallery
        engine_at(gallery.place, self._settings).look_after(gallery, service.parts)


class Upkeep(threading.Thread):
    """Follows the gallery each second, and maintains its index and rows.

    For releases, it checks every `follow_s` seconds which is the latest. It is a daemon thread, so
    that the process can exit while it builds an index.
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
