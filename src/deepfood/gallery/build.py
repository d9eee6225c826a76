"""Build a gallery: list -> embed -> assemble -> index -> commit. Interrupted builds go on.

Embedding, the long part, is written to `building/`, a Store that only grows: a build that was
stopped, or killed, finds there what it had finished. Assembling copies the vectors in the source's
order into a new generation beside the living one; the manifest's rename makes it the gallery.
"""

import contextlib
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from deepfood.data.photos import PhotoSource
from deepfood.embed import Embedder
from deepfood.errors import (
    ArtifactBusyError,
    ArtifactError,
    ArtifactMissingError,
    DatasetError,
    disk_full_named,
)
from deepfood.gallery.assemble import assemble
from deepfood.gallery.gallery import GalleryManifest, is_generation
from deepfood.gallery.known import is_known, known_files
from deepfood.gallery.read_photos import embed_photos
from deepfood.gallery.store import Skipped, Store
from deepfood.index import IndexSpec

_BUILDING = "building"
_LOCK = ".lock"


@dataclass(frozen=True)
class BuildReport:
    """What a build did. `embedded` files were read now, `reused` ones had been before."""

    manifest: GalleryManifest
    embedded: int
    reused: int
    skipped: tuple[Skipped, ...]
    seconds: float
    up_to_date: bool


def build_gallery(
    source: PhotoSource,
    out: Path,
    embedder: Embedder,
    spec: IndexSpec,
    *,
    quiet: bool = False,
) -> BuildReport:
    """Make `out` a gallery of `source`; photos that were embedded before are not embedded again.

    A file that is no usable photo is recorded with its reason and never stops the build. Raises
    DatasetError where no photo is usable or `out` holds something else, ArtifactBusyError where
    another build is writing `out`, and DiskFullError.
    """
    started = time.monotonic()
    _refuse_other_folders(out)
    with disk_full_named(out):
        out.mkdir(parents=True, exist_ok=True)
    with only_writer(out), contextlib.ExitStack() as opened:
        living = _living(out)
        stores: list[Store] = []
        if living and living.model_fingerprint == embedder.model.fingerprint:
            with contextlib.suppress(ArtifactError):  # damaged: built from the photos again
                living.check_on_open(out)
                store = Store.open(living.folder(out), embedder.dimension)
                opened.enter_context(contextlib.closing(store))
                if _is_current(living, source, store, spec):
                    _remove_leftovers(out, living)
                    skipped = tuple(store.skipped())
                    seconds = time.monotonic() - started
                    return BuildReport(living, 0, len(source.files), skipped, seconds, True)
                # Large ones are opened by their sizes alone; never carry a damaged vector on.
                if not any(living.problems(out, contents=True)):
                    stores.append(store)
        building = opened.enter_context(contextlib.closing(_open_building(out, embedder)))
        stores.insert(0, building)

        known = known_files(stores)
        todo = [file for file in source.files if not is_known(source, file, known)]
        reused = len(source.files) - len(todo)
        if todo:
            embed_photos(source, todo, embedder, building, done=reused, quiet=quiet)
        manifest, skipped = assemble(source, out, embedder.model, stores, living, spec, quiet=quiet)
        _remove_leftovers(out, manifest)
        return BuildReport(manifest, len(todo), reused, skipped, time.monotonic() - started, False)


def _refuse_other_folders(out: Path) -> None:
    """Never write into a folder that holds something else."""
    if out.exists() and not out.is_dir():
        raise DatasetError(f"{out} is a file: give a folder for the gallery")
    if out.is_dir() and not _living(out):
        strangers = sorted(
            path.name
            for path in out.iterdir()
            if path.name not in (_BUILDING, _LOCK) and not is_generation(path)
        )
        if strangers:
            raise DatasetError(
                f"{out} is not empty and no gallery (it holds {strangers[0]}): give a new folder"
            )


def _living(out: Path) -> GalleryManifest | None:
    try:
        return GalleryManifest.read(out)
    except ArtifactMissingError:
        return None


@contextlib.contextmanager
def only_writer(out: Path) -> Iterator[None]:
    """Hold the gallery's write lock; the system releases it even when the process is killed."""
    lock = FileLock(out / _LOCK)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        raise ArtifactBusyError(
            f"another build is writing {out}: wait for it, or give another folder"
        ) from None
    try:
        yield
    finally:
        lock.release()


def _open_building(out: Path, embedder: Embedder) -> Store:
    """The unfinished work of an earlier build, if it was made with the same Model."""
    folder = out / _BUILDING
    mark = folder / "model"
    if not mark.is_file() or mark.read_text() != embedder.model.fingerprint:
        shutil.rmtree(folder, ignore_errors=True)
        with disk_full_named(out):
            folder.mkdir()
            mark.write_text(embedder.model.fingerprint)
    return Store.open_for_append(folder, embedder.dimension)


def _is_current(
    living: GalleryManifest, source: PhotoSource, store: Store, spec: IndexSpec
) -> bool:
    """Whether building would give what is there already; `store` is the living gallery's."""
    if (
        living.photos_root != str(source.root)
        or living.index != spec.for_count(living.count)
        or living.count + living.skipped != len(source.files)
        or (living.calibration is None and living.uncalibrated is None)  # of an earlier deepfood
    ):
        return False
    known = known_files([store])
    return all(
        is_known(source, file, known) and known[file.stored].agrees(file) for file in source.files
    )


def _remove_leftovers(out: Path, manifest: GalleryManifest) -> None:
    """Earlier generations and unfinished work; a server that reads them keeps its open files."""
    for path in out.iterdir():
        if path.name == _BUILDING or (is_generation(path) and path != manifest.folder(out)):
            shutil.rmtree(path, ignore_errors=True)
