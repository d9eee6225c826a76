"""Build a gallery: list -> embed -> assemble -> index -> commit. Interrupted builds go on.

Embedding, the long part, is written to `building/`, a Store that only grows: a build that was
stopped, or killed, finds there what it had finished. Assembling copies the vectors in the source's
order into a new generation beside the living one; the manifest's rename makes it the gallery.

A gallery follows its source, but for what was done to it by hand: photos that were added stay,
labels and names that were set stay, and a file whose photo was removed stays out until it changes.
"""

import contextlib
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from deepfood.data.passed_over import PassedOver
from deepfood.data.photos import PhotoFile, PhotoSource
from deepfood.embed import Embedder
from deepfood.errors import ArtifactError, ArtifactMissingError, DatasetError, disk_full_named
from deepfood.gallery.assemble import assemble
from deepfood.gallery.by_hand import ByHand
from deepfood.gallery.choose import by_content, choose_photos, known_or_removed
from deepfood.gallery.entry import Skipped
from deepfood.gallery.growing_store import GrowingStore
from deepfood.gallery.known import is_known, known_files
from deepfood.gallery.leftovers import BUILDING, remove_leftovers
from deepfood.gallery.lock import LOCK, only_writer
from deepfood.gallery.manifest import MODELS, GalleryManifest, is_generation, model_problems
from deepfood.gallery.photo_files import PHOTOS, PhotoFiles
from deepfood.gallery.read_photos import Reading, embed_photos, read_photos
from deepfood.gallery.snapshot import check_vectors
from deepfood.gallery.store import Store
from deepfood.index import IndexSpec, Storage

#: A gallery's, wherever it is.
Manifest = TypeVar("Manifest")


@dataclass(frozen=True)
class BuildReport(Generic[Manifest]):
    """What a build did. `embedded` files were read now, `reused` ones had been before.

    `passed_over` is what of the source was no photo to begin with.
    """

    manifest: Manifest
    count: int
    labels: int
    embedded: int
    reused: int
    skipped: tuple[Skipped, ...]
    seconds: float
    up_to_date: bool
    passed_over: tuple[PassedOver, ...] = ()


def build_gallery(
    source: PhotoSource,
    out: Path,
    embedder: Embedder,
    spec: IndexSpec,
    storage: Storage = "f32",
    *,
    reading: Reading = read_photos,
    quiet: bool = False,
) -> BuildReport[GalleryManifest]:
    """Make `out` a gallery of `source`; photos that were embedded before are not embedded again.

    `reading` says who embeds them. A file that is no usable photo is recorded with its reason and
    never stops the build. Raises DatasetError where no photo is usable or `out` holds something
    else, ArtifactBusyError where another process is writing `out`, DiskFullError, and what
    `reading` does.
    """
    started = time.monotonic()
    _refuse_other_folders(out)
    with disk_full_named(out):
        out.mkdir(parents=True, exist_ok=True)
    with only_writer(out), contextlib.ExitStack() as opened:
        living, files = _living(out), PhotoFiles(out)
        old = _open_living(out, living, files)
        stores: list[Store] = []
        if living and old:
            opened.enter_context(contextlib.closing(old))
            if _is_reusable(living, old, embedder, storage):
                if _is_current(out, living, old, source, spec, storage):
                    remove_leftovers(out, living)
                    shutil.rmtree(out / BUILDING, ignore_errors=True)
                    skipped = tuple(old.skipped())
                    seconds = time.monotonic() - started
                    every = len(source.files)
                    return BuildReport(
                        living, old.count(), old.labels(), 0, every, skipped, seconds, True
                    )
                stores.append(old)
        by_hand = ByHand.of(old, files)
        building = opened.enter_context(contextlib.closing(_open_building(out, embedder)))
        stores.insert(0, building)

        known = known_or_removed(stores, by_hand)
        todo = [file for file in source.files if not is_known(source, file, known)]
        reused = len(source.files) - len(todo)
        if todo:
            embed_photos(
                source, todo, embedder, building, done=reused, quiet=quiet, reading=reading
            )
        added = by_hand.source(files)
        lacking = set(by_hand.added) - by_content(stores).keys()
        if lacking:
            again = [PhotoFile(files.file(sha256)) for sha256 in sorted(lacking)]
            embed_photos(added, again, embedder, building, done=0, quiet=quiet)
        chosen, skipped_now = choose_photos(
            source, known_or_removed(stores, by_hand), by_hand, by_content(stores)
        )
        manifest = assemble(
            out,
            living.next_generation if living else 1,
            source.root,
            embedder.model,
            chosen,
            skipped_now,
            spec,
            storage,
            quiet=quiet,
        )
        remove_leftovers(out, manifest)
        shutil.rmtree(out / BUILDING, ignore_errors=True)
        return BuildReport(
            manifest,
            len(chosen),
            len({photo.label for photo, _ in chosen if photo.label}),
            len(todo) + len(lacking),
            reused,
            tuple(skipped_now),
            time.monotonic() - started,
            False,
        )


def _refuse_other_folders(out: Path) -> None:
    """Never write into a folder that holds something else."""
    if out.exists() and not out.is_dir():
        raise DatasetError(f"{out} is a file: give a folder for the gallery")
    if out.is_dir() and not _living(out):
        strangers = sorted(
            path.name
            for path in out.iterdir()
            if path.name not in (BUILDING, LOCK, MODELS, PHOTOS) and not is_generation(path)
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


def _open_living(out: Path, living: GalleryManifest | None, files: PhotoFiles) -> Store | None:
    """The living gallery's Store, or None where it cannot be read."""
    if living is None:
        return None
    try:
        store = Store.open(living.folder(out), living.dimension, living.storage)
    except ArtifactError:
        return None
    with contextlib.suppress(ArtifactError):
        files.finish(store)
    return store


def _is_reusable(
    living: GalleryManifest, store: Store, embedder: Embedder, storage: Storage
) -> bool:
    """Whether the living gallery's vectors are what would be embedded now, to the last bit."""
    if living.model_fingerprint != embedder.model.fingerprint:
        return False
    if living.storage not in (storage, "f32"):
        return False
    with contextlib.suppress(ArtifactError):  # damaged: built from the photos again
        check_vectors(store, store.vectors())
        return all(store.rows())
    return False


def _open_building(out: Path, embedder: Embedder) -> GrowingStore:
    """The unfinished work of an earlier build, if it was made with the same Model."""
    folder = out / BUILDING
    mark = folder / "model"
    if not mark.is_file() or mark.read_text() != embedder.model.fingerprint:
        shutil.rmtree(folder, ignore_errors=True)
        with disk_full_named(out):
            folder.mkdir()
            mark.write_text(embedder.model.fingerprint)
    return GrowingStore.open(folder, embedder.dimension, "f32")


def _is_current(
    out: Path,
    living: GalleryManifest,
    store: Store,
    source: PhotoSource,
    spec: IndexSpec,
    storage: Storage,
) -> bool:
    """Whether building would give what is there already; `store` is the living gallery's."""
    known = known_files([store])
    if (
        living.photos_root != str(source.root)
        or living.storage != storage
        or living.index_by_size != (spec.kind == "auto")
        or living.index != spec.for_count(store.count())
        or any(living.problems(out, contents=True))
        or model_problems(living.model_folder(out), living.model_fingerprint)
        or len(known) != len(source.files)
        or (living.calibration is None and living.uncalibrated is None)  # of an earlier deepfood
    ):
        return False
    return all(
        is_known(source, file, known) and known[file.stored].agrees(file) for file in source.files
    )
