"""Assemble embedded photos to a new generation: in the source's order, indexed and committed."""

import contextlib
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from deepfood.artifacts import FileRecord, sync_folder
from deepfood.data.root import Root
from deepfood.errors import DatasetError, raising_disk_full
from deepfood.gallery.calibration import Calibration, Labelled, calibrate
from deepfood.gallery.choose import Choice
from deepfood.gallery.fold import Fold
from deepfood.gallery.photo import Photo
from deepfood.index import INDEXES, IndexSpec, Storage
from deepfood.local.following_store import FollowingStore
from deepfood.local.index_parts import index_parts
from deepfood.local.known import EmbeddedFile
from deepfood.local.manifest import (
    LocalManifest,
    PartsStorage,
    generation_folder,
    index_path,
    keep_model,
)
from deepfood.local.parts import StoredParts
from deepfood.local.store import Store
from deepfood.model import Model
from deepfood.progress import bar
from deepfood.words import word_embedder

_CHUNK = 4096


@dataclass(frozen=True)
class KeptParts:
    """How a generation stores the parts of its photos, and what has them, of the same Model."""

    storage: PartsStorage
    sources: Sequence[StoredParts]


def assemble(
    out: Path,
    generation: int,
    photos_root: Root,
    model: Model,
    choice: Choice[EmbeddedFile],
    fold: Fold,
    spec: IndexSpec,
    storage: Storage,
    *,
    parts: KeptParts | None = None,
    before: LocalManifest | None,
    quiet: bool,
) -> LocalManifest:
    """Write a generation of the chosen photos, at least one, and commit it.

    `fold` holds the manual edits. `parts` are those to keep of the photos, None for none. `before`
    is the generation to which `rollback` returns.
    """
    chosen = choice.photos
    folder = generation_folder(out, generation)
    shutil.rmtree(folder, ignore_errors=True)  # left by a build that was killed before its commit
    dimension = model.manifest.dimension
    by_size = spec.kind == "auto"
    spec = spec.for_count(len(chosen))
    path = index_path(folder, spec, len(chosen))
    keep_model(out, model)
    with raising_disk_full(out):
        with contextlib.closing(
            FollowingStore.open(folder, dimension, storage, words=False)
        ) as store:
            store.one_photo_for_each_content()
            for photos, vectors in _in_chunks(chosen):
                store.append(photos, vectors)
            store.append([], np.empty((0, dimension), np.float32), choice.skipped)
            store.apply_fold(fold)
            store.index_words()  # once for all, which is faster
            kind = INDEXES[spec.kind]
            nothing = quiet or kind.suffix is None
            with bar(f"indexing ({spec.kind})", " vectors", len(chosen), quiet=nothing) as progress:
                kind.build(store.vectors(), path, spec, progress.update)
            files = index_files(out, path) if kind.suffix else {}
            about_parts = None
            if parts is not None:
                kept = StoredParts(store, parts.storage)
                for source in parts.sources:
                    kept.copy_from(source, [photo.sha256 for photo in kept.lacking()])
                about_parts, parts_path = index_parts(kept, spec, by_size=by_size, quiet=quiet)
                files |= index_files(out, parts_path) if parts_path else {}
            calibration, why_not = calibrate_store(store, model, quiet=quiet)
        manifest = LocalManifest(
            generation=generation,
            photos_root=str(photos_root),
            dimension=dimension,
            storage=storage,
            model_name=model.manifest.name,
            model_fingerprint=model.fingerprint,
            index=spec,
            covered=len(chosen),
            index_by_size=by_size,
            calibration=calibration,
            uncalibrated=why_not,
            files=files,
            parts=about_parts,
            before=before,
        )
        sync_folder(folder)
        manifest.write(out)
    return manifest


def index_files(gallery: Path, path: Path) -> dict[str, FileRecord]:
    """The files that the manifest lists: the index."""
    return {path.relative_to(gallery).as_posix(): FileRecord.of(path)}


def calibrate_store(
    store: Store, model: Model, *, quiet: bool
) -> tuple[Calibration | None, str | None]:
    """Calibrate on the photos in a Store; None and the reason where they are too few."""
    vectors, photos = store.vectors(), dict(store.rows())
    at = [photos.get(row) for row in range(len(vectors))]  # a hole has no label, and is ignored
    labelled = Labelled(
        vectors,
        [photo.label if photo else None for photo in at],
        [photo.id if photo else "" for photo in at],
    )
    try:
        return calibrate(
            labelled, model.trained_on, embed_words=word_embedder(model), quiet=quiet
        ), None
    except DatasetError as error:
        return None, str(error)


def _in_chunks(
    chosen: Sequence[tuple[Photo, EmbeddedFile]],
) -> Iterator[tuple[list[Photo], npt.NDArray[np.float32]]]:
    """The photos in chunks, with their vectors from the Stores that hold them."""
    last: dict[Store, int] = {}
    for _, one in chosen:
        last[one.store] = max(one.row, last.get(one.store, -1))
    mapped = {store: store.vectors(row + 1) for store, row in last.items()}
    for start in range(0, len(chosen), _CHUNK):
        chunk = chosen[start : start + _CHUNK]
        vectors = [mapped[one.store].take(np.array([one.row]))[0] for _, one in chunk]
        yield [photo for photo, _ in chunk], np.stack(vectors)
