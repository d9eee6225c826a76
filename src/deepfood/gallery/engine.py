"""The protocol of an engine: open, change, build, renew and maintain one gallery."""

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
from deepfood.gallery.part_vectors import PartEmbedder
from deepfood.gallery.protocol import (
    ChangedGallery,
    SearchedGallery,
    SearchedManifest,
    SearchedVectors,
)
from deepfood.gallery.reports import NOTHING_ASKED, BuildReport, Consent, RenewReport
from deepfood.gallery.tuned import TuneVerdict
from deepfood.gallery.values import Type
from deepfood.model import Model


@dataclass(frozen=True)
class Beside:
    """A gallery, and what `reembed` has embedded of it so far with another Model.

    `ids` of photos, `vectors` float32 [n, dimension], and the row of each photo in them, int64
    [ids].
    """

    gallery: SearchedGallery
    ids: list[str]
    vectors: SearchedVectors
    rows: npt.NDArray[np.int64]


@dataclass(frozen=True)
class ForAll:
    """Texts and attributes for all photos of one `add`. They take precedence over tables."""

    label: str | None = None
    name: str | None = None
    attributes: Mapping[str, object] | None = None


class Engine(Protocol):
    """The gallery at one place, with the settings of its user: see `engine_at`.

    Every method raises an ArtifactError where the gallery is missing, corrupt, busy or of a newer
    format, and EngineError, StorageError or DiskFullError where its storage fails. A method that
    the place does not support raises SettingError.
    """

    def open(self) -> tuple[SearchedGallery, Model]:
        """Open to search, with the Model for queries: its own copy, or the one in the settings."""

    def open_to_read(self) -> SearchedGallery:
        """Open to read, without a Model."""

    def own_model(self) -> Model:
        """The Model that the gallery was made with, whatever the settings name."""

    def writer(
        self, model: Model | None = None, *, wait_s: float = 0, by: str = ""
    ) -> AbstractContextManager[ChangedGallery]:
        """Open to change. `model` made the vectors of photos to add; `by` is for the journal.

        Raises ArtifactBusyError where another writer is still active after `wait_s` seconds.
        """

    def history(self, photo: str | None = None) -> Iterator[Event]:
        """All changes, or those of one photo by its id. Raises QueryError."""

    def build(
        self,
        source: PhotoSource,
        *,
        parts: bool | None = None,
        consent: Consent = NOTHING_ASKED,
        quiet: bool = False,
    ) -> BuildReport[Any]:
        """Make a gallery of `source`, or update it with the Model that it has.

        `parts`: whether dishes of photos of several are found by themselves; None: as it is.
        """

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
        """Set attributes from a table, which is checked before any value is written."""

    def recalibrate(self, asked: Labelled, model: Model, *, quiet: bool = False) -> Calibration:
        """Calibrate on photos that the gallery does not hold. Raises DatasetError."""

    def tune(
        self, verdict: TuneVerdict | None, model: Model, generation: int, *, quiet: bool = False
    ) -> SearchedManifest:
        """Tune the gallery so, and calibrate it for that; None takes a tune back.

        Raises DatasetError where its own photos are too few to calibrate it, and
        ArtifactBusyError where another generation than this one lives by now.
        """

    def keep_calibration(self, calibration: Calibration, generation: int) -> bool:
        """Commit a calibration of this generation; another one that lives by now stays as it is.

        Whether it was committed.
        """

    def reembed(
        self,
        embedder: Embedder,
        *,
        drop_unreadable: bool = False,
        swap: bool = True,
        quiet: bool = False,
    ) -> RenewReport[Any]:
        """Embed all photos with another Model. `swap` then makes the result the gallery."""

    def beside(self, model: Model) -> AbstractContextManager[Beside]:
        """What `reembed` has embedded so far with `model`, and the gallery."""

    def discard_beside(self) -> bool:
        """Delete what `reembed` has embedded and not made the gallery; whether there was any."""

    def rollback(self, *, drop_unreadable: bool = False, quiet: bool = False) -> RenewReport[Any]:
        """Return to the generation before, with all manual edits made since."""

    def forget_before(self) -> None:
        """Delete the generation before. Raises ArtifactMissingError where there is none."""

    def compact(self, *, quiet: bool = False) -> RenewReport[Any]:
        """Free the space of removed photos."""

    def look_after(self, gallery: SearchedGallery, embedder: PartEmbedder) -> None:
        """Maintenance by a running server: index the tail, drop holes, write a checkpoint.

        `embedder`, of the gallery's Model, finds the parts of photos that were added.
        """

    def describe(self) -> dict[str, Any]:
        """The facts about the gallery, ready for JSON."""

    def problems(self, *, quiet: bool = False) -> Iterator[str]:
        """Every fault, a line each."""

    def repair(self, *, quiet: bool = False) -> tuple[list[str], list[str]]:
        """Repair. Returns what was done and the remaining faults, a line each."""
