"""Make a new generation beside the living one: with another Model, or without holes.

A Successor is filled in `renewing/` while the gallery is searched and changed. Finished work stays
there if the process stops. Only the end takes the write lock: it takes over the last changes, and
the rename of the manifest makes the Successor the gallery. `reembed` keeps the generation before,
so that `rollback` can return to it.
"""

import contextlib
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import cast

import numpy as np

from deepfood.artifacts import FileRecord, sync_folder, write_atomically
from deepfood.data.locate import IN_PLACE, PhotoAccess
from deepfood.embed import Embedder, Vector, Vectors
from deepfood.errors import (
    ArtifactBusyError,
    ArtifactCorruptError,
    ArtifactError,
    ArtifactMissingError,
    DatasetError,
    raising_disk_full,
)
from deepfood.gallery.embedding import PASSES, Lost, embed_photos_of, refuse_lost
from deepfood.gallery.make_parts import make_parts
from deepfood.gallery.part_vectors import PartEmbedder
from deepfood.gallery.photo import Photo
from deepfood.gallery.reports import RenewReport
from deepfood.gallery.tuned import is_untuned
from deepfood.index import INDEXES, Storage
from deepfood.local.assemble import calibrate_store
from deepfood.local.catch_up import VectorsOf, catch_up, copy_vectors
from deepfood.local.checkpoints import checkpoint_if_long
from deepfood.local.gallery import LocalGallery
from deepfood.local.index_parts import index_parts
from deepfood.local.journal import Journal
from deepfood.local.lock import only_writer
from deepfood.local.manifest import (
    LocalManifest,
    generation_folder,
    index_path,
    keep_model,
    remove_leftovers,
)
from deepfood.local.parts import StoredParts
from deepfood.local.recover import check_head
from deepfood.local.snapshot import Snapshot, open_store
from deepfood.local.store import Store
from deepfood.local.successor import LocalSuccessor
from deepfood.locks import held
from deepfood.model import Model
from deepfood.progress import bar

#: Holds unfinished work, which the same command continues.
RENEWING = "renewing"
#: Names the Model and storage of the work in its folder; deleted after the commit.
_MARK = "renewing-with"
_LOCK = ".renew.lock"

#: `compact` pays off from so many holes.
LEAST_HOLES = 1000

#: How long a commit waits for a writer; a build may take longer.
WAIT_S = 30.0


def reembed(
    folder: Path,
    embedder: Embedder,
    *,
    photos: PhotoAccess = IN_PLACE,
    drop_unreadable: bool = False,
    swap: bool = True,
    quiet: bool = False,
) -> RenewReport[LocalManifest]:
    """Embed the gallery's photos with another Model, and make the result the gallery.

    Without `swap` the vectors are only made and kept. An unreadable photo prevents the swap unless
    `drop_unreadable` is set. Raises DatasetError, an ArtifactError or DiskFullError; the gallery
    then stays as it was, and what was embedded is kept for the next run.
    """
    started = time.monotonic()
    living = LocalManifest.read(folder)
    model = embedder.model
    if living.model_fingerprint == model.fingerprint:
        with contextlib.closing(open_store(folder, living)) as store:
            return RenewReport(living, store.count(), 0, [], time.monotonic() - started, False)

    def vectors(gallery: LocalGallery, photos: Sequence[Photo]) -> Iterator[Vector | str]:
        return embed_photos_of(gallery, photos, embedder)

    @cache  # opened once, to check and to find
    def parts() -> PartEmbedder:
        return PartEmbedder(embedder)

    if living.parts is not None:
        parts().check()
    work = _Renewal(folder, model, vectors, "embedding", parts=parts, photos=photos, quiet=quiet)
    return work.run(swap=swap, drop_unreadable=drop_unreadable)


def remap(
    folder: Path,
    base: Model,
    model: Model,
    mapped: Callable[[Vectors], Vectors],
    *,
    quiet: bool = False,
) -> RenewReport[LocalManifest]:
    """As `reembed`, without reading a photo: the vectors of `model` follow from those of `base`.

    `mapped` makes the former from the latter, float32 [n, dimension]; they are as exact as the
    gallery's storage. `base` is the gallery's Model; raises ModelMismatchError where it is not.
    """

    def vectors(gallery: LocalGallery, photos: Sequence[Photo]) -> Iterator[Vector | str]:
        gallery.manifest.check_model(folder, base)
        for one in copy_vectors(gallery, photos):
            yield one if isinstance(one, str) else mapped(one[np.newaxis])[0]

    work = _Renewal(folder, model, vectors, "mapping", mapped=mapped, quiet=quiet)
    return work.run(swap=True, drop_unreadable=False)


def wants_compact(now: Snapshot, share: float) -> bool:
    """Whether more than this share of the rows are holes; 0 means never."""
    rows = len(now.alive)
    holes = rows - now.count
    return bool(share and now.count) and holes >= LEAST_HOLES and holes > share * rows


def leaves_work(folder: Path, model: Model) -> bool:
    """Whether `compact` would delete the work of a stopped `reembed`."""
    mark = folder / RENEWING / _MARK
    return mark.is_file() and mark.read_text(encoding="ascii").split()[0] != model.fingerprint


def compact(folder: Path, model: Model, *, quiet: bool = False) -> RenewReport[LocalManifest]:
    """Drop the holes of removed photos. `model` is the gallery's own.

    The generation before stays. Raises what `reembed` raises.
    """
    work = _Renewal(folder, model, copy_vectors, "copying", quiet=quiet)
    return work.run(swap=True, drop_unreadable=False)


def discard_work(folder: Path) -> bool:
    """Delete the vectors that `reembed` has kept for its next run; whether there were any.

    Raises ArtifactBusyError and ArtifactError.
    """
    with only_renewal(folder):
        there = (folder / RENEWING).exists()
        shutil.rmtree(folder / RENEWING, ignore_errors=True)
    return there


@contextlib.contextmanager
def only_renewal(folder: Path) -> Iterator[None]:
    """Whoever renews a gallery, or goes back, is the only one. Raises ArtifactBusyError."""
    busy = ArtifactBusyError(
        f"another process is embedding {folder} again: wait for it, and run the same command again"
    )
    with contextlib.ExitStack() as stack:
        try:
            with raising_disk_full(folder):
                stack.enter_context(held(folder / _LOCK, busy))
        except PermissionError as error:
            raise ArtifactError(f"{folder} cannot be written: {error.strerror}") from error
        yield


def open_work(folder: Path) -> Store:
    """Open unfinished work to read. Raises ArtifactMissingError where there is none."""
    mark = folder / RENEWING / _MARK
    if not mark.is_file():
        raise ArtifactMissingError(f"{folder} is not being embedded again")
    _, dimension, storage = mark.read_text(encoding="ascii").split()
    return Store.open(folder / RENEWING, int(dimension), cast(Storage, storage))


class _Renewal:
    """One run of `reembed`, of `remap`, or of `compact`, which has the same Model.

    With another Model `parts` opens what finds the parts of photos, or else the vectors that are
    there are `mapped`.
    """

    def __init__(
        self,
        folder: Path,
        model: Model,
        vectors: VectorsOf,
        what: str,
        *,
        parts: Callable[[], PartEmbedder] | None = None,
        mapped: Callable[[Vectors], Vectors] | None = None,
        photos: PhotoAccess = IN_PLACE,
        quiet: bool,
    ) -> None:
        self.folder = folder
        self.model = model
        self.work = folder / RENEWING
        self.journal = Journal(folder)
        self.quiet = quiet
        self._vectors, self._what, self._photos = vectors, what, photos
        self._parts, self._mapped = parts, mapped
        self._same_model = parts is None and mapped is None

    def run(self, *, swap: bool, drop_unreadable: bool) -> RenewReport[LocalManifest]:
        started = time.monotonic()
        folder = self.folder
        with only_renewal(folder):
            living = LocalManifest.read(folder)
            with contextlib.closing(self._open(living)) as successor:
                made, lost = self._fill(successor, PASSES)
                if not swap:
                    seconds = time.monotonic() - started
                    return RenewReport(living, successor.count(), made, lost, seconds, False)
                refuse_lost(folder, lost, drop_unreadable=drop_unreadable)
                if not successor.count():
                    raise DatasetError(f"{folder} has no photos: build it, or add some")
                successor.follow_edits(self.journal)
                manifest = self._calibrated(self._index(successor, living), successor)
                made += self._fill(successor, 1)[0]  # what was added while that took its time
                successor.follow_edits(self.journal)
                with only_writer(folder, WAIT_S):
                    more, lost = self._fill(successor, 2)
                    refuse_lost(folder, lost, drop_unreadable=drop_unreadable)
                    living = self._follow_to_the_end(successor, lost)
                    count, took_over = successor.count(), (living.generation, successor.seq())
                    successor.close()
                    manifest = manifest.model_copy(update={"took_over": took_over})
                    manifest = self._commit(manifest, living)
        seconds = time.monotonic() - started
        untuned = is_untuned(manifest.before, manifest)
        return RenewReport(manifest, count, made + more, lost, seconds, True, untuned)

    def _fill(self, successor: LocalSuccessor, passes: int) -> tuple[int, Lost]:
        """Make the vectors that the Successor lacks: how many, and the photos without one."""
        return catch_up(
            successor,
            self.folder,
            self._vectors,
            what=self._what,
            passes=passes,
            model=self.model if self._same_model else None,
            photos=self._photos,
            quiet=self.quiet,
        )

    def _follow_to_the_end(self, successor: LocalSuccessor, lost: Lost) -> LocalManifest:
        """Take over all that the living gallery has, under the lock; its manifest."""
        living = LocalManifest.read(self.folder)
        with contextlib.closing(open_store(self.folder, living)) as store:
            check_head(store, self.journal)
            successor.follow(store, self.journal, [photo for photo, _ in lost])
        checkpoint_if_long(self.journal, successor.follow_edits(self.journal))
        return living

    def _calibrated(self, manifest: LocalManifest, successor: LocalSuccessor) -> LocalManifest:
        """The manifest with a calibration for the new Model."""
        if self._same_model:
            return manifest
        calibration, why_not = calibrate_store(successor, self.model, quiet=self.quiet)
        changed = {"calibration": calibration, "uncalibrated": why_not, "tuned": None}
        return manifest.model_copy(update=changed)

    def _open(self, living: LocalManifest) -> LocalSuccessor:
        """Open the work of an earlier run with the same Model and storage, else begin anew.

        Rows that were altered meanwhile become holes, and are made again.
        """
        folder, dimension = self.folder, self.model.manifest.dimension
        wanted = f"{self.model.fingerprint} {dimension} {living.storage}"
        killed = generation_folder(folder, living.next_generation)
        if not self.work.exists() and (killed / _MARK).is_file():
            with only_writer(folder, WAIT_S):  # the earlier run was killed just before its commit
                killed.rename(self.work)
        mark = self.work / _MARK
        if mark.is_file() and mark.read_text(encoding="ascii") == wanted:
            with contextlib.suppress(ArtifactCorruptError, ArtifactMissingError):
                return _with_sound_rows(LocalSuccessor.open(self.work, dimension, living.storage))
        shutil.rmtree(self.work, ignore_errors=True)
        successor = LocalSuccessor.open(self.work, dimension, living.storage)
        with raising_disk_full(folder):
            successor.one_photo_for_each_content()
            write_atomically(mark, wanted.encode("ascii"))
        return successor

    def _index(self, successor: LocalSuccessor, living: LocalManifest) -> LocalManifest:
        """Index the rows that there are. Returns a manifest that names the index."""
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
        about_parts, parts_path = None, None
        if living.parts is not None:
            stored = StoredParts(successor, living.parts.storage)
            self._make_parts(stored)
            about_parts, parts_path = index_parts(
                stored, spec, by_size=living.index_by_size, quiet=self.quiet
            )
        if parts_path is not None:
            files[parts_path.name] = FileRecord.of(parts_path)
        changed = {
            "parts": about_parts,
            "dimension": successor.dimension,
            "storage": successor.storage,
            "model_name": self.model.manifest.name,
            "model_fingerprint": self.model.fingerprint,
            "index": spec,
            "covered": covered,
            "files": files,
        }
        return living.model_copy(update=changed)

    def _make_parts(self, stored: StoredParts) -> None:
        """Look at the photos of the Successor that lack it, or copy what the gallery knows."""
        stored.only_of_this_storage()
        with LocalGallery.open(self.folder, photos=self._photos) as living:
            lacking = stored.lacking()
            if self._parts is not None:
                make_parts(
                    lacking,
                    living.read,
                    stored.whole_of,
                    self._parts(),
                    stored.append,
                    reads_ahead=living.reads_ahead,
                    quiet=self.quiet,
                )
            else:
                known = StoredParts(living.store, stored.storage)
                stored.copy_from(known, [photo.sha256 for photo in lacking], self._mapped)

    def _commit(self, manifest: LocalManifest, living: LocalManifest) -> LocalManifest:
        """Make the Successor the gallery, its manifest last."""
        folder = self.folder
        keep_model(folder, self.model)
        changed = {
            "generation": living.next_generation,
            "photos_root": living.photos_root,
            "before": living.before if self._same_model else living.alone,
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


def _with_sound_rows(successor: LocalSuccessor) -> LocalSuccessor:
    """Make holes of altered vectors. Raises ArtifactCorruptError for an altered row."""
    try:
        successor.check_rows()
        successor.make_holes(successor.altered_vectors(successor.vectors()))
    except BaseException:
        successor.close()
        raise
    return successor
