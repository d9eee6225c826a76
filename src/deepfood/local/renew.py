"""A new generation of a gallery, made beside the living one: with another Model, or without holes.

A Successor is filled in `renewing/` while the gallery is searched and changed; what is finished
there stays when it is stopped or killed. Only the end takes the lock: what changed meanwhile is
taken over, and the manifest's rename makes it the gallery. `reembed` keeps the generation before,
so that `rollback` can go back to it.
"""

import contextlib
import shutil
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import cast

from filelock import FileLock, Timeout

from deepfood.artifacts import FileRecord, sync_folder
from deepfood.embed import Embedder, Vector
from deepfood.errors import (
    ArtifactBusyError,
    ArtifactCorruptError,
    ArtifactError,
    ArtifactMissingError,
    DatasetError,
    raising_disk_full,
)
from deepfood.gallery.embedding import PASSES, Lost, embed_photos_of, refuse_lost
from deepfood.gallery.photo import Photo
from deepfood.gallery.reports import RenewReport
from deepfood.index import INDEXES, Storage
from deepfood.local.assemble import calibrate_store
from deepfood.local.catch_up import Vectors, catch_up, copy_vectors
from deepfood.local.checkpoints import checkpoint_if_long
from deepfood.local.gallery import Gallery
from deepfood.local.journal import Journal
from deepfood.local.leftovers import remove_leftovers
from deepfood.local.lock import only_writer
from deepfood.local.manifest import GalleryManifest, generation_folder, index_path, keep_model
from deepfood.local.recover import check_head
from deepfood.local.snapshot import Snapshot, open_store
from deepfood.local.store import Store
from deepfood.local.successor import Successor
from deepfood.model import Model
from deepfood.progress import bar

#: Unfinished work, which the same command goes on with.
RENEWING = "renewing"
#: Names the Model and the storage that the work in a folder is for; gone once it is committed.
_MARK = "renewing-with"
_LOCK = ".renew.lock"

#: Fewer holes are not worth the copying.
LEAST_HOLES = 1000

#: How long a commit waits for a writer; a build may take longer.
WAIT_S = 30.0


def reembed(
    folder: Path,
    embedder: Embedder,
    *,
    photos_root: Path | str | None = None,
    drop_unreadable: bool = False,
    swap: bool = True,
    quiet: bool = False,
) -> RenewReport[GalleryManifest]:
    """Embed the gallery's photos with another Model, and make the result the gallery.

    Without `swap` only the work is done. A photo that cannot be read any more refuses the swap,
    but with `drop_unreadable`. Raises DatasetError, an ArtifactError or DiskFullError; the gallery
    stays as it was, and what was embedded is kept for the next time.
    """
    started = time.monotonic()
    living = GalleryManifest.read(folder)
    model = embedder.model
    if living.model_fingerprint == model.fingerprint:
        with contextlib.closing(open_store(folder, living)) as store:
            return RenewReport(living, store.count(), 0, [], time.monotonic() - started, False)

    def vectors(gallery: Gallery, photos: Sequence[Photo]) -> Iterator[Vector | str]:
        return embed_photos_of(gallery, photos, embedder)

    work = _Renewal(folder, model, vectors, "embedding", photos_root, quiet)
    return work.run(swap=swap, same_model=False, drop_unreadable=drop_unreadable)


def wants_compact(now: Snapshot, share: float) -> bool:
    """Whether more than this share of the rows are holes; never for 0."""
    rows = len(now.alive)
    holes = rows - now.count
    return bool(share and now.count) and holes >= LEAST_HOLES and holes > share * rows


def leaves_work(folder: Path, model: Model) -> bool:
    """Whether `compact` would delete what a stopped `reembed` has embedded so far."""
    mark = folder / RENEWING / _MARK
    return mark.is_file() and mark.read_text(encoding="ascii").split()[0] != model.fingerprint


def compact(folder: Path, model: Model, *, quiet: bool = False) -> RenewReport[GalleryManifest]:
    """Drop the holes that removed photos left. `model` is the gallery's own.

    The generation before stays, if there is one. Raises what `reembed` raises.
    """
    work = _Renewal(folder, model, copy_vectors, "copying", None, quiet)
    return work.run(swap=True, same_model=True, drop_unreadable=False)


@contextlib.contextmanager
def only_renewal(folder: Path) -> Iterator[None]:
    """Whoever renews a gallery, or goes back, is the only one. Raises ArtifactBusyError."""
    try:
        with raising_disk_full(folder), FileLock(folder / _LOCK).acquire(blocking=False):
            yield
    except PermissionError as error:
        raise ArtifactError(f"{folder} cannot be written: {error.strerror}") from error
    except Timeout:
        raise ArtifactBusyError(
            f"another process is embedding {folder} again: wait for it, and run the same command "
            "again"
        ) from None


def open_work(folder: Path) -> Store:
    """What has been embedded so far, to read. Raises ArtifactMissingError where nothing has."""
    mark = folder / RENEWING / _MARK
    if not mark.is_file():
        raise ArtifactMissingError(f"{folder} is not being embedded again")
    _, dimension, storage = mark.read_text(encoding="ascii").split()
    return Store.open(folder / RENEWING, int(dimension), cast(Storage, storage))


class _Renewal:
    def __init__(
        self,
        folder: Path,
        model: Model,
        vectors: Vectors,
        what: str,
        photos_root: Path | str | None,
        quiet: bool,
    ) -> None:
        self.folder = folder
        self.model = model
        self.work = folder / RENEWING
        self.quiet = quiet
        self._vectors, self._what, self._photos_root = vectors, what, photos_root

    def run(
        self, *, swap: bool, same_model: bool, drop_unreadable: bool
    ) -> RenewReport[GalleryManifest]:
        started = time.monotonic()
        folder, model, journal = self.folder, self.model, Journal(self.folder)

        def fill(passes: int) -> tuple[int, Lost]:
            return catch_up(
                successor,
                folder,
                self._vectors,
                what=self._what,
                passes=passes,
                model=model if same_model else None,
                photos_root=self._photos_root,
                quiet=self.quiet,
            )

        with only_renewal(folder):
            living = GalleryManifest.read(folder)
            with contextlib.closing(self._open(living)) as successor:
                made, lost = fill(PASSES)
                if not swap:
                    seconds = time.monotonic() - started
                    return RenewReport(living, successor.count(), made, lost, seconds, False)
                refuse_lost(folder, lost, drop_unreadable=drop_unreadable)
                if not successor.count():
                    raise DatasetError(f"{folder} has no photos: build it, or add some")
                successor.follow_edits(journal)
                manifest = self._index(successor, living)
                if not same_model:
                    calibration, why_not = calibrate_store(successor, model, quiet=self.quiet)
                    made_again = {"calibration": calibration, "uncalibrated": why_not}
                    manifest = manifest.model_copy(update=made_again)
                made += fill(1)[0]  # what was added while that took its time
                successor.follow_edits(journal)
                with only_writer(folder, WAIT_S):
                    more, lost = fill(2)
                    refuse_lost(folder, lost, drop_unreadable=drop_unreadable)
                    living = GalleryManifest.read(folder)
                    with contextlib.closing(open_store(folder, living)) as store:
                        check_head(store, journal)
                        successor.follow(store, journal, [photo for photo, _ in lost])
                    checkpoint_if_long(journal, successor.follow_edits(journal))
                    count, took_over = successor.count(), (living.generation, successor.seq())
                    successor.close()
                    before = living.before if same_model else living.alone
                    manifest = manifest.model_copy(update={"took_over": took_over})
                    manifest = self._commit(manifest, living, before)
        seconds = time.monotonic() - started
        return RenewReport(manifest, count, made + more, lost, seconds, True)

    def _open(self, living: GalleryManifest) -> Successor:
        """The unfinished work of an earlier run, if it was with the same Model and storage.

        It may have lain here for days: what was altered meanwhile is made again.
        """
        folder, dimension = self.folder, self.model.manifest.dimension
        wanted = f"{self.model.fingerprint} {dimension} {living.storage}"
        killed = generation_folder(folder, living.next_generation)
        if not self.work.exists() and (killed / _MARK).is_file():
            with only_writer(folder, WAIT_S):  # an earlier run was killed just before its commit
                killed.rename(self.work)
        mark = self.work / _MARK
        if mark.is_file() and mark.read_text(encoding="ascii") == wanted:
            with contextlib.suppress(ArtifactCorruptError, ArtifactMissingError):
                return _known_whole(Successor.open(self.work, dimension, living.storage))
        shutil.rmtree(self.work, ignore_errors=True)
        successor = Successor.open(self.work, dimension, living.storage)
        with raising_disk_full(folder):
            successor.one_photo_for_each_content()
            mark.write_text(wanted, encoding="ascii")
        return successor

    def _index(self, successor: Successor, living: GalleryManifest) -> GalleryManifest:
        """Write an index of the rows that there are; the manifest that names it."""
        spec = living.index
        if living.index_by_size:
            spec = spec.model_copy(update={"kind": "auto"})
        spec = spec.for_count(successor.count())
        vectors = successor.vectors()
        for old in self.work.glob("index-*"):
            old.unlink()
        kind, covered = INDEXES[spec.kind], len(vectors)
        path = index_path(self.work, spec, covered)
        files = {}
        if kind.suffix:
            with (
                raising_disk_full(self.folder),
                bar(f"indexing ({spec.kind})", " vectors", covered, quiet=self.quiet) as progress,
            ):
                kind.build(vectors, path, spec, progress.update)
            files = {path.name: FileRecord.of(path)}
        changed = {
            "dimension": successor.dimension,
            "storage": successor.storage,
            "model_name": self.model.manifest.name,
            "model_fingerprint": self.model.fingerprint,
            "index": spec,
            "covered": covered,
            "files": files,
        }
        return living.model_copy(update=changed)

    def _commit(
        self, manifest: GalleryManifest, living: GalleryManifest, before: GalleryManifest | None
    ) -> GalleryManifest:
        folder = self.folder
        keep_model(folder, self.model)
        changed = {
            "generation": living.next_generation,
            "photos_root": living.photos_root,
            "before": before,
        }
        manifest = manifest.model_copy(update=changed)
        home = manifest.folder(folder)
        files = {f"{home.name}/{name}": record for name, record in manifest.files.items()}
        manifest = manifest.model_copy(update={"files": files})
        with raising_disk_full(folder):
            sync_folder(self.work)
            shutil.rmtree(home, ignore_errors=True)  # of a build that was killed
            self.work.rename(home)
            sync_folder(folder)
        manifest.write(folder)
        (home / _MARK).unlink()
        remove_leftovers(folder, manifest)
        return manifest


def _known_whole(successor: Successor) -> Successor:
    """With holes where vectors are altered. Raises ArtifactCorruptError for an altered row."""
    try:
        successor.check_rows()
        successor.make_holes(successor.altered_vectors(successor.vectors()))
    except BaseException:
        successor.close()
        raise
    return successor
