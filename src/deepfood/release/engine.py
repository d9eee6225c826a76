"""The engine of galleries in releases: read from the copy in the cache, and immutable."""

from collections.abc import Iterator
from contextlib import AbstractContextManager
from functools import cached_property
from typing import Any, NoReturn

from deepfood.config import Settings
from deepfood.gallery.engine import Beside
from deepfood.gallery.history import Event
from deepfood.gallery.part_vectors import PartEmbedder
from deepfood.gallery.protocol import SearchedGallery
from deepfood.local.engine import LocalEngine
from deepfood.model import Model
from deepfood.release.cached import cached
from deepfood.release.shelf import never_changes
from deepfood.release.verify import release_problems


class ReleaseEngine:
    """The gallery of a release; `Engine` documents the methods. Changes are refused."""

    def __init__(self, address: str, settings: Settings) -> None:
        self._address = address
        self._settings = settings

    @cached_property
    def _copy(self) -> LocalEngine:
        """The copy in the cache, pulled when it is first needed."""
        return LocalEngine(cached(self._address, self._settings), self._settings)

    def open(self) -> tuple[SearchedGallery, Model]:
        return self._copy.open()

    def open_to_read(self) -> SearchedGallery:
        return self._copy.open_to_read()

    def own_model(self) -> Model:
        return self._copy.own_model()

    def history(self, photo: str | None = None) -> Iterator[Event]:
        return self._copy.history(photo)

    def beside(self, model: Model) -> AbstractContextManager[Beside]:
        return self._copy.beside(model)

    def describe(self) -> dict[str, Any]:
        return self._copy.describe()

    def problems(self, *, quiet: bool = False) -> Iterator[str]:
        """Faults of the stored release with its photos, not of the cached copy."""
        return iter(release_problems(self._address, self._settings, quiet=quiet))

    def look_after(self, gallery: SearchedGallery, embedder: PartEmbedder) -> None:
        """A release needs no maintenance."""

    def _refuse(self, *_: Any, **__: Any) -> NoReturn:
        raise never_changes(self._address)

    writer = build = add = import_attributes = recalibrate = tune = _refuse
    keep_calibration = reembed = discard_beside = rollback = _refuse
    forget_before = compact = repair = _refuse
