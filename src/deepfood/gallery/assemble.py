"""From embedded photos to a gallery: a new generation in the source's order, indexed, committed."""

import contextlib
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from deepfood.artifacts import FileRecord, sync_folder
from deepfood.data.photos import PhotoSource
from deepfood.errors import DatasetError, disk_full_named
from deepfood.gallery.calibration import Calibration, Labelled, calibrate
from deepfood.gallery.gallery import GalleryManifest, generation_folder
from deepfood.gallery.known import Known, known_files
from deepfood.gallery.store import CATALOGUE, VECTORS, Photo, Skipped, Store
from deepfood.index import INDEXES, IndexSpec
from deepfood.model import Model
from deepfood.progress import bar

_CHUNK = 4096


def assemble(
    source: PhotoSource,
    out: Path,
    model: Model,
    stores: list[Store],
    living: GalleryManifest | None,
    spec: IndexSpec,
    *,
    quiet: bool,
) -> tuple[GalleryManifest, tuple[Skipped, ...]]:
    """Write the generation after `living` and make it the gallery. Every file must be known."""
    chosen, skipped = _choose_photos(source, known_files(stores))
    if not chosen:
        raise DatasetError(
            f"none of the {len(skipped)} files in {source.root} is a usable photo; the first, "
            f"{skipped[0].file}: {skipped[0].reason}"
        )
    generation = living.generation + 1 if living else 1
    folder = generation_folder(out, generation)
    shutil.rmtree(folder, ignore_errors=True)  # of a build that was killed before its commit
    dimension = model.manifest.dimension
    spec = spec.for_count(len(chosen))
    kind = INDEXES[spec.kind]
    with disk_full_named(out):
        with contextlib.closing(Store.open_for_append(folder, dimension)) as store:
            for photos, vectors in _in_chunks(chosen):
                store.append(photos, vectors, [])
            store.append([], np.empty((0, dimension), np.float32), skipped)
            labels = store.labels()
            nothing = quiet or kind.suffix is None
            path = folder / f"index.{kind.suffix}"
            with bar(f"indexing ({spec.kind})", " vectors", len(chosen), quiet=nothing) as progress:
                kind.build(store.vector_file(), path, spec, progress.update)
            photos = [photo for photo, _ in chosen]
            calibration, why_not = _calibrate(photos, store.vectors(), model, quiet=quiet)
        names = [CATALOGUE, VECTORS, *([path.name] if kind.suffix else [])]
        manifest = GalleryManifest(
            generation=generation,
            photos_root=str(source.root),
            count=len(chosen),
            skipped=len(skipped),
            labels=labels,
            dimension=dimension,
            model_name=model.manifest.name,
            model_fingerprint=model.fingerprint,
            index=spec,
            calibration=calibration,
            uncalibrated=why_not,
            files={f"{folder.name}/{name}": FileRecord.of(folder / name) for name in names},
        )
        sync_folder(folder)
        manifest.write(out)
    return manifest, tuple(skipped)


def _choose_photos(
    source: PhotoSource, known: dict[str, Known]
) -> tuple[list[tuple[Photo, Known]], list[Skipped]]:
    """Each content once, under the first file that has it; the other files are skipped."""
    chosen: list[tuple[Photo, Known]] = []
    skipped: list[Skipped] = []
    first: dict[str, str] = {}
    for file in source.files:
        one = known[file.stored]
        if isinstance(one.entry, Skipped):
            skipped.append(one.entry)
            continue
        photo = replace(one.entry, file=file.file, label=file.label, name=file.name)
        original = first.setdefault(photo.id, photo.file)
        if original is photo.file:
            chosen.append((photo, one))
        else:
            skipped.append(
                Skipped(
                    photo.file,
                    f"the same photo as {original}",
                    photo.bytes,
                    photo.modified_ns,
                    same_as=photo.sha256,
                )
            )
    return chosen, skipped


def _calibrate(
    photos: list[Photo], vectors: npt.NDArray[np.float32], model: Model, *, quiet: bool
) -> tuple[Calibration | None, str | None]:
    """The calibration, or why there is none."""
    gallery = Labelled(vectors, [photo.label for photo in photos], [photo.id for photo in photos])
    try:
        return calibrate(gallery, model.trained_on, quiet=quiet), None
    except DatasetError as error:
        return None, str(error)


def _in_chunks(
    chosen: list[tuple[Photo, Known]],
) -> Iterator[tuple[list[Photo], npt.NDArray[np.float32]]]:
    """Photos with their vectors, gathered from wherever they were embedded."""
    mapped = {one.store: one.store.vectors() for _, one in chosen}
    for start in range(0, len(chosen), _CHUNK):
        chunk = chosen[start : start + _CHUNK]
        yield (
            [photo for photo, _ in chunk],
            np.stack([mapped[one.store][one.row] for _, one in chunk]),
        )
