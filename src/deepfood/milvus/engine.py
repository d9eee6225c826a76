"""The engine of galleries on Milvus. All modules but this and `address` need pymilvus."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from deepfood.config import Settings
from deepfood.counted import counted
from deepfood.data.photos import PhotoSource
from deepfood.embed import Embedder, open_embedder
from deepfood.errors import ArtifactError, ArtifactMissingError, SettingError
from deepfood.gallery.add import AddReport, add_batches
from deepfood.gallery.attribute_table import Table
from deepfood.gallery.calibration import Calibration, Labelled
from deepfood.gallery.engine import Beside, ForAll
from deepfood.gallery.history import Event, history
from deepfood.gallery.part_vectors import PartEmbedder
from deepfood.gallery.protocol import ChangedGallery, SearchedGallery
from deepfood.gallery.reports import NOTHING_ASKED, BuildReport, Consent, RenewReport
from deepfood.gallery.tuned import TuneVerdict
from deepfood.gallery.values import Type
from deepfood.milvus.address import MilvusAddress
from deepfood.milvus.build import build_on_milvus
from deepfood.milvus.calibrate import keep_on_milvus, recalibrate_on_milvus, tune_on_milvus
from deepfood.milvus.find_parts import complete_parts
from deepfood.milvus.gallery import MilvusGallery
from deepfood.milvus.gone import GonePhotos
from deepfood.milvus.import_attributes import import_on_milvus
from deepfood.milvus.lease import Lease
from deepfood.milvus.metadata import MilvusManifest
from deepfood.milvus.model_copy import fetch_model
from deepfood.milvus.renew import (
    discard_on_milvus,
    forget_on_milvus,
    reembed_on_milvus,
    rollback_on_milvus,
)
from deepfood.milvus.rollback_data import remove_damaged_rollback_data
from deepfood.milvus.upgrade import upgrade_on_milvus
from deepfood.milvus.verify import problems_on_milvus
from deepfood.milvus.writer import MilvusWriter
from deepfood.model import Model, open_model
from deepfood.on_ray import reading_for
from deepfood.storage import S3Options


class MilvusEngine:
    """The gallery in a collection of Milvus; `Engine` documents the methods."""

    def __init__(self, address: MilvusAddress, settings: Settings) -> None:
        self._address = address
        self._settings = settings

    def open(self) -> tuple[SearchedGallery, Model]:
        gallery = self.open_to_read()
        return gallery, self._model_of(gallery, self._settings.model)

    def open_to_read(self) -> MilvusGallery:
        return MilvusGallery.open(self._address, self._settings)

    def _open_strong(self) -> MilvusGallery:
        return MilvusGallery.open(self._address, self._settings, strong=True)

    def own_model(self) -> Model:
        with self._open_strong() as gallery:
            return self._model_of(gallery, None)

    def writer(
        self, model: Model | None = None, *, wait_s: float = 0, by: str = ""
    ) -> AbstractContextManager[ChangedGallery]:
        """Concurrent writers are allowed, so there is no waiting."""
        return MilvusWriter.open(self._address, self._settings, model, by=by)

    def history(self, photo: str | None = None) -> Iterator[Event]:
        with self._open_strong() as gallery:
            yield from history(gallery.journal, photo)

    def build(
        self,
        source: PhotoSource,
        *,
        parts: bool | None = None,
        consent: Consent = NOTHING_ASKED,
        quiet: bool = False,
    ) -> BuildReport[MilvusManifest]:
        return build_on_milvus(
            source,
            self._address,
            open_embedder(self._settings, self._living_model()),
            self._settings,
            parts=parts,
            consent=consent,
            reading=reading_for(self._settings),
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
        with self._open_strong() as gallery:
            model = self._model_of(gallery, self._settings.model)
            embedder = open_embedder(self._settings, model)
            report = add_batches(
                lambda: self.writer(model),
                paths,
                embedder,
                s3=S3Options.of(self._settings),
                quiet=quiet,
                **vars(for_all),
            )
            complete_parts(gallery, lambda: PartEmbedder(embedder), quiet=quiet)
            return report

    def import_attributes(
        self, table: Path, types: Mapping[str, Type], safety: frozenset[str]
    ) -> Table[str]:
        return import_on_milvus(self._address, table, types, safety, self._settings)

    def recalibrate(self, asked: Labelled, model: Model, *, quiet: bool = False) -> Calibration:
        return recalibrate_on_milvus(self._address, asked, model, self._settings, quiet=quiet)

    def tune(
        self, verdict: TuneVerdict | None, model: Model, generation: int, *, quiet: bool = False
    ) -> MilvusManifest:
        return tune_on_milvus(
            self._address, verdict, model, generation, self._settings, quiet=quiet
        )

    def keep_calibration(self, calibration: Calibration, generation: int) -> bool:
        return keep_on_milvus(
            self._address, calibration, generation, self.own_model(), self._settings
        )

    def reembed(
        self,
        embedder: Embedder,
        *,
        drop_unreadable: bool = False,
        swap: bool = True,
        quiet: bool = False,
    ) -> RenewReport[MilvusManifest]:
        return reembed_on_milvus(
            self._address,
            embedder,
            self._settings,
            drop_unreadable=drop_unreadable,
            swap=swap,
            quiet=quiet,
        )

    def discard_beside(self) -> bool:
        return discard_on_milvus(self._address, self._settings)

    @contextmanager
    def beside(self, model: Model) -> Iterator[Beside]:
        with self._open_strong() as living:
            photos, vectors, rows = living.generation_with(model).photos()
            yield Beside(living, [photo.id for photo in photos], vectors, rows)

    def rollback(
        self, *, drop_unreadable: bool = False, quiet: bool = False
    ) -> RenewReport[MilvusManifest]:
        return rollback_on_milvus(
            self._address,
            lambda model: open_embedder(self._settings, model),
            self._settings,
            drop_unreadable=drop_unreadable,
            quiet=quiet,
        )

    def forget_before(self) -> None:
        forget_on_milvus(self._address, self._settings)

    def compact(self, *, quiet: bool = False) -> RenewReport[MilvusManifest]:
        raise SettingError(f"{self._address}: Milvus drops removed photos by itself")

    def look_after(self, gallery: SearchedGallery, embedder: PartEmbedder) -> None:
        """Find the parts of photos that were added; Milvus maintains its collections itself.

        What a build or a change of Model is at is left to it.
        """
        assert isinstance(gallery, MilvusGallery)
        if gallery.manifest.parts is None or gallery.superseded:
            return
        if gallery.parts().has_unseen and not Lease.read(gallery.metadata).runs:
            complete_parts(gallery, lambda: embedder, quiet=True)

    def describe(self) -> dict[str, Any]:
        with self._open_strong() as gallery:
            inner = {"revision", "before_images"}
            about = gallery.manifest.model_dump(
                mode="json", exclude={"index", "model_name", *inner}
            )
            try:
                before = gallery.before()
            except ArtifactError:
                before = None
            return {
                **about,
                "before": before and before.model_dump(mode="json", exclude=inner),
                "model": gallery.manifest.model_name,
                "photos": gallery.count,
                "index": gallery.manifest.index.kind,
                "parts": _parts(gallery),
                "left_out": [asdict(one) for one in gallery.left_out()],
                "gone": GonePhotos(gallery).files() if before else [],
            }

    def problems(self, *, quiet: bool = False) -> Iterator[str]:
        return problems_on_milvus(self._address, self._settings, quiet=quiet)

    def repair(self, *, quiet: bool = False) -> tuple[list[str], list[str]]:
        """Upgrade an earlier format; remove damaged rollback data; find parts again."""
        done = upgrade_on_milvus(self._address, self._settings, quiet=quiet)
        done += remove_damaged_rollback_data(self._address, self._settings)
        done += self._mend_parts(quiet=quiet)
        if not done:
            raise SettingError(
                f"{self._address}: a gallery on Milvus is repaired by building it again"
            )
        return done, list(self.problems(quiet=quiet))

    def _mend_parts(self, *, quiet: bool) -> list[str]:
        """Look again at photos whose parts have faults, and at those that nobody has looked at."""
        with self._open_strong() as gallery:
            if gallery.manifest.parts is None:
                return []
            gallery.parts().note_faulty()
            model = self._model_of(gallery, self._settings.model)
            made = complete_parts(
                gallery, lambda: PartEmbedder(open_embedder(self._settings, model)), quiet=quiet
            )
            return [f"the parts of {counted(made, 'photo')} are found again"] if made else []

    def _living_model(self) -> Model | None:
        """The Model of an existing gallery, unless the settings name one."""
        if self._settings.model is not None:
            return None
        try:
            return self.own_model()
        except ArtifactMissingError:
            return None

    def _model_of(self, gallery: MilvusGallery, named: Path | None) -> Model:
        if named is not None:
            model = open_model(named)
        else:
            fingerprint = gallery.manifest.model_fingerprint
            model = fetch_model(gallery.metadata, fingerprint, self._settings)
        gallery.check_model(model)
        return model


def _parts(gallery: MilvusGallery) -> dict[str, Any] | None:
    """Of the parts of photos: of how many photos, how many, and the bytes of their vectors."""
    kept = gallery.parts_report()
    if kept is None:
        return None
    return {
        "storage": kept.storage,
        "index": kept.index,
        "photos": gallery.parts().owners_count(),
        "count": kept.vectors,
        "bytes": kept.vectors * gallery.manifest.dimension * 4,
    }
