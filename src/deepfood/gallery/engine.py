"""What an engine does for one gallery: open it, change it, build it, renew it, look after it."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from deepfood.data.photos import PhotoSource
from deepfood.embed import Embedder
from deepfood.gallery.add import AddReport
from deepfood.gallery.attribute_table import Table
from deepfood.gallery.calibration import Calibration, Labelled
from deepfood.gallery.history import Event
from deepfood.gallery.protocol import ChangedGallery, SearchedGallery, SearchedVectors
from deepfood.gallery.reports import NOTHING_ASKED, BuildReport, Consent, RenewReport
from deepfood.gallery.values import Type
from deepfood.model import Model


@dataclass(frozen=True)
class Beside:
    """A gallery, and what `reembed` has embedded of it so far with another Model.

    Ids of photos; vectors, float32 [n, dimension]; and of each photo its row in them, int64 [ids].
    """

    gallery: SearchedGallery
    ids: list[str]
    vectors: SearchedVectors
    rows: npt.NDArray[np.int64]


@dataclass(frozen=True)
class ForAll:
    """What is set for all photos that are added at once, above what their tables say."""

    label: str | None = None
    name: str | None = None
    attributes: Mapping[str, object] | None = None


class Engine(Protocol):
    """The gallery at one place, with the settings of its user. `engine_at` gives it.

    Every method raises an ArtifactError (missing, corrupt, busy, of a newer format) where the
    gallery is not as it should be, and EngineError, StorageError or DiskFullError where what holds
    it fails. What a gallery cannot do where it is, raises SettingError.
    """

    def open(self) -> tuple[SearchedGallery, Model]:
        """To search, with the Model for its queries: its own copy, or the one in the settings."""

    def open_to_read(self) -> SearchedGallery:
        """To read only, without a Model."""

    def own_model(self) -> Model:
        """The Model that the gallery was made with, whichever the settings name."""

    def writer(
        self, model: Model | None = None, *, wait_s: float = 0, by: str = ""
    ) -> AbstractContextManager[ChangedGallery]:
        """Who changes it. `model` made the vectors of photos to be added; `by` is for the journal.

        Raises ArtifactBusyError where another is still writing after `wait_s` seconds.
        """

    def history(self, photo: str | None = None) -> Iterator[Event]:
        """Every change, or those of one photo by its id. Raises QueryError."""

    def build(
        self, source: PhotoSource, *, consent: Consent = NOTHING_ASKED, quiet: bool = False
    ) -> BuildReport[Any]:
        """Make a gallery of `source`, or bring it up to date; with the Model that it has."""

    def add(
        self,
        paths: Sequence[Path | str],
        for_all: ForAll,
        *,
        wait_s: float = 0,
        quiet: bool = False,
    ) -> AddReport:
        """Add the photos that files, folders and CSVs name. Raises DatasetError."""

    def import_attributes(
        self, table: Path, types: Mapping[str, Type], safety: frozenset[str]
    ) -> Table[int] | Table[str]:
        """Set attributes from a table, which is checked before any is written."""

    def recalibrate(self, asked: Labelled, model: Model, *, quiet: bool = False) -> Calibration:
        """Calibrate on photos that the gallery does not hold. Raises DatasetError."""

    def reembed(
        self,
        embedder: Embedder,
        *,
        drop_unreadable: bool = False,
        swap: bool = True,
        quiet: bool = False,
    ) -> RenewReport[Any]:
        """Embed all photos with another Model, and, with `swap`, make the result the gallery."""

    def beside(self, model: Model) -> AbstractContextManager[Beside]:
        """What `reembed` has embedded so far with `model`, beside the gallery."""

    def rollback(self, *, drop_unreadable: bool = False, quiet: bool = False) -> RenewReport[Any]:
        """Make the generation before the gallery again, with all that was changed by hand since."""

    def forget_before(self) -> None:
        """Delete the generation before. Raises ArtifactMissingError where there is none."""

    def compact(self, *, quiet: bool = False) -> RenewReport[Any]:
        """Free the space of removed photos."""

    def look_after(self, gallery: SearchedGallery, model: Model) -> None:
        """What a server does by itself now and then, while it searches: index, holes, journal."""

    def describe(self) -> dict[str, Any]:
        """The facts of the gallery, ready for JSON."""

    def problems(self, *, quiet: bool = False) -> Iterator[str]:
        """Every fault, a line each."""

    def repair(self, *, quiet: bool = False) -> tuple[list[str], list[str]]:
        """Mend what can be mended: what was done, and what is still wrong, a line each."""
