"""The engine of galleries in folders of this machine."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from deepfood.artifacts import kind_of
from deepfood.config import Settings
from deepfood.data.locate import PhotoAccess
from deepfood.data.photos import PhotoSource
from deepfood.embed import Embedder, open_embedder
from deepfood.errors import ArtifactBusyError, ArtifactError, ArtifactFormatError
from deepfood.gallery.add import AddReport
from deepfood.gallery.attribute_table import Table
from deepfood.gallery.calibration import Calibration, Labelled
from deepfood.gallery.engine import Beside, ForAll
from deepfood.gallery.history import Event, history
from deepfood.gallery.part_vectors import PartEmbedder
from deepfood.gallery.protocol import ChangedGallery, SearchedGallery
from deepfood.gallery.reports import NOTHING_ASKED, BuildReport, Consent, RenewReport
from deepfood.gallery.tuned import TuneVerdict
from deepfood.gallery.values import Type
from deepfood.index import IndexSpec
from deepfood.local.add import add_photos
from deepfood.local.build import build_gallery
from deepfood.local.checkpoints import fold_of, is_long, write_checkpoint
from deepfood.local.complete_parts import complete_parts
from deepfood.local.describe import describe
from deepfood.local.gallery import LocalGallery
from deepfood.local.import_attributes import import_attributes
from deepfood.local.journal import Journal
from deepfood.local.manifest import (
    MODELS,
    AnyLocalManifest,
    LocalManifest,
    gallery_model,
    is_gallery,
    manifest_copies,
)
from deepfood.local.recalibrate import keep_calibration, recalibrate, tune
from deepfood.local.reindex import reindex, wants_reindex
from deepfood.local.renew import (
    compact,
    discard_work,
    leaves_work,
    open_work,
    reembed,
    wants_compact,
)
from deepfood.local.repair import repair
from deepfood.local.rollback import forget, rollback
from deepfood.local.verify import gallery_problems
from deepfood.local.writer import LocalWriter
from deepfood.model import Model, open_model
from deepfood.model.artifact import DEFAULT_MODEL
from deepfood.on_ray import reading_for


class LocalEngine:
    """The gallery in a folder; `Engine` documents the methods."""

    def __init__(self, folder: Path, settings: Settings) -> None:
        self.folder = folder
        self._settings = settings
        self._photos = PhotoAccess.of(settings)

    def open(self) -> tuple[SearchedGallery, Model]:
        model = gallery_model(self.folder, self._settings.model)
        return LocalGallery.open(self.folder, model, self._photos), model

    def open_to_read(self) -> SearchedGallery:
        return LocalGallery.open(self.folder, photos=self._photos)

    def own_model(self) -> Model:
        return gallery_model(self.folder)

    def writer(
        self, model: Model | None = None, *, wait_s: float = 0, by: str = ""
    ) -> AbstractContextManager[ChangedGallery]:
        return LocalWriter.open(self.folder, model, wait_s=wait_s, by=by)

    def history(self, photo: str | None = None) -> Iterator[Event]:
        LocalManifest.read(self.folder)
        return history(Journal(self.folder), photo)

    def build(
        self,
        source: PhotoSource,
        *,
        parts: bool | None = None,
        consent: Consent = NOTHING_ASKED,
        quiet: bool = False,
    ) -> BuildReport[LocalManifest]:
        settings = self._settings
        keep = settings.model is None and not consent.discard and is_gallery(self.folder)
        return build_gallery(
            source,
            self.folder,
            open_embedder(settings, gallery_model(self.folder) if keep else None),
            IndexSpec.of(settings),
            settings.storage,
            parts=parts,
            parts_storage=settings.parts_storage,
            photos=self._photos,
            consent=consent,
            reading=reading_for(settings),
            quiet=quiet,
        )

    def add(
        self,
        paths: Sequence[Path | str],
        for_all: ForAll,
        *,
        wait_s: float = 0,
        quiet: bool = False,
    ) -> AddReport:
        model = gallery_model(self.folder, self._settings.model)
        embedder = open_embedder(self._settings, model)
        report = add_photos(
            self.folder,
            paths,
            embedder,
            s3=self._photos.s3,
            wait_s=wait_s,
            quiet=quiet,
            **vars(for_all),
        )
        with LocalGallery.open(self.folder, photos=self._photos) as gallery:
            complete_parts(gallery, lambda: PartEmbedder(embedder), quiet=quiet)
        return report

    def import_attributes(
        self, table: Path, types: Mapping[str, Type], safety: frozenset[str]
    ) -> Table[int]:
        return import_attributes(self.folder, table, types, safety, self._photos.s3)

    def recalibrate(self, asked: Labelled, model: Model, *, quiet: bool = False) -> Calibration:
        return recalibrate(self.folder, asked, model, quiet=quiet)

    def tune(
        self, verdict: TuneVerdict | None, model: Model, generation: int, *, quiet: bool = False
    ) -> LocalManifest:
        return tune(self.folder, verdict, model, generation, quiet=quiet)

    def keep_calibration(self, calibration: Calibration, generation: int) -> bool:
        return keep_calibration(self.folder, calibration, generation)

    def reembed(
        self,
        embedder: Embedder,
        *,
        drop_unreadable: bool = False,
        swap: bool = True,
        quiet: bool = False,
    ) -> RenewReport[LocalManifest]:
        return reembed(
            self.folder,
            embedder,
            photos=self._photos,
            drop_unreadable=drop_unreadable,
            swap=swap,
            quiet=quiet,
        )

    def discard_beside(self) -> bool:
        LocalManifest.read(self.folder)
        return discard_work(self.folder)

    @contextmanager
    def beside(self, model: Model) -> Iterator[Beside]:
        with (
            LocalGallery.open(self.folder, photos=self._photos) as gallery,
            closing(open_work(self.folder)) as work,
        ):
            found = [(photo.id, row) for row, photo in work.rows()]
            rows = np.array([row for _, row in found], np.int64)
            yield Beside(gallery, [photo for photo, _ in found], work.vectors(), rows)

    def rollback(
        self, *, drop_unreadable: bool = False, quiet: bool = False
    ) -> RenewReport[LocalManifest]:
        def embedder(model: Model) -> Embedder:
            return open_embedder(self._settings, model)

        report = rollback(
            self.folder,
            embedder,
            photos=self._photos,
            drop_unreadable=drop_unreadable,
            quiet=quiet,
        )
        with LocalGallery.open(self.folder, photos=self._photos) as gallery:
            complete_parts(
                gallery,
                lambda: PartEmbedder(embedder(gallery_model(self.folder))),
                quiet=quiet,
            )
        return report

    def forget_before(self) -> None:
        forget(self.folder)

    def compact(self, *, quiet: bool = False) -> RenewReport[LocalManifest]:
        return compact(self.folder, gallery_model(self.folder), quiet=quiet)

    def look_after(self, gallery: SearchedGallery, embedder: PartEmbedder) -> None:
        """Drop holes where they are many, find parts, index a long tail, shorten the journal.

        What somebody else is at, or has begun and not ended, is left to them.
        """
        assert isinstance(gallery, LocalGallery)
        model = embedder.embedder.model
        now = gallery.refresh()
        if now.parts and gallery.complete_at != (now.manifest.generation, now.seq):
            generation, seq = gallery.complete_at
            since = seq if generation == now.manifest.generation else 0
            with contextlib.suppress(ArtifactBusyError):
                if complete_parts(gallery, lambda: embedder, since=since, quiet=True):
                    gallery.complete_at = (now.manifest.generation, now.seq)
        if wants_compact(now, self._settings.compact_share):
            if not leaves_work(self.folder, model):
                with contextlib.suppress(ArtifactBusyError):
                    compact(self.folder, model, quiet=True)
        elif wants_reindex(now):
            reindex(self.folder, quiet=True)
        journal = Journal(self.folder)
        if is_long(journal, now.store.state().head):
            write_checkpoint(fold_of(journal), journal)

    def describe(self) -> dict[str, Any]:
        return describe(self.folder)

    def problems(self, *, quiet: bool = False) -> Iterator[str]:
        return gallery_problems(self.folder, self._photos, quiet=quiet)

    def repair(self, *, quiet: bool = False) -> tuple[list[str], list[str]]:
        if not manifest_copies(self.folder):  # the manifest itself may be what is damaged
            if kind_of(self.folder) == "model":
                raise ArtifactFormatError(
                    f"{self.folder} is a model, and only galleries are mended: make it anew"
                )
            AnyLocalManifest.read(self.folder)
        models = []
        own = sorted((self.folder / MODELS).glob("*"))
        for where in (self._settings.model, *own, DEFAULT_MODEL):
            with contextlib.suppress(ArtifactError):
                models.append(open_model(where))
        return repair(
            self.folder,
            models,
            lambda model: open_embedder(self._settings, model),
            self._photos,
            quiet=quiet,
        )
