"""A consistent view of a Model, or of a gallery that is being changed."""

import contextlib
import io
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from deepfood.artifacts import MANIFEST, Manifest, kind_of, open_file
from deepfood.data.locate import IN_PLACE, PhotoAccess
from deepfood.errors import ArtifactError, ArtifactMissingError
from deepfood.gallery import Photo
from deepfood.index import VectorFile
from deepfood.local import LocalGallery, LocalManifest
from deepfood.local.journal import Journal
from deepfood.local.parts import StoredParts
from deepfood.local.snapshot import manifest_stamp
from deepfood.local.store import CATALOGUE, Store
from deepfood.model import ModelManifest, open_model
from deepfood.release.checked import CheckedVectors, Readable, check_catalogue, check_journal


@dataclass(frozen=True)
class Part:
    """A file of the artifact: the first `bytes` of an open file; `sha256` if known."""

    name: str
    file: Readable
    bytes: int
    sha256: str | None = None


@dataclass(frozen=True)
class Frozen:
    """Files are held open, so that they cannot disappear; photos are read on demand."""

    kind: Literal["gallery", "model"]
    model_name: str
    model_fingerprint: str
    parts: list[Part]
    photos: list[Photo] = field(default_factory=list)
    #: The bytes of a photo. Raises PhotoNotFoundError.
    read: Callable[[Photo], bytes] | None = None


@contextlib.contextmanager
def frozen(folder: Path, photos: PhotoAccess = IN_PLACE) -> Iterator[Frozen]:
    """Open all files of an artifact. Raises ArtifactError."""
    with contextlib.ExitStack() as stack:
        if kind_of(folder) == "model":
            yield _model(folder, stack)
            return
        gallery = stack.enter_context(LocalGallery.open(folder, photos=photos))
        while True:
            stamp = manifest_stamp(folder)
            opened = stack.enter_context(contextlib.ExitStack())
            try:
                found = _gallery(gallery, opened)
            except (ArtifactError, FileNotFoundError):
                if manifest_stamp(folder) == stamp:
                    raise
            else:
                if manifest_stamp(folder) == stamp:
                    break
            opened.close()  # the manifest was replaced meanwhile: try again
        yield found


def _model(folder: Path, stack: contextlib.ExitStack) -> Frozen:
    manifest = open_model(folder).manifest
    parts = [_manifest_part(manifest), *_listed(folder, "", manifest, stack)]
    return Frozen("model", manifest.name, manifest.fingerprint, parts)


def _gallery(gallery: LocalGallery, stack: contextlib.ExitStack) -> Frozen:
    folder = gallery.folder
    manifest = LocalManifest.read(folder).alone
    parts = [_manifest_part(manifest), *_listed(folder, "", manifest, stack)]
    model_folder = manifest.model_folder(folder)
    model = ModelManifest.read(model_folder)
    inside = f"{model_folder.relative_to(folder).as_posix()}/"
    parts += [_manifest_part(model, inside), *_listed(model_folder, inside, model, stack)]
    # The catalogue comes after the index, which may not cover rows that the catalogue lacks.
    generation = manifest.folder(folder)
    within = generation.relative_to(folder).as_posix()
    copied = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="deepfood-push-")))
    living = Store.open(generation, manifest.dimension, manifest.storage)
    kept = manifest.parts and StoredParts(living, manifest.parts.storage)
    with contextlib.closing(living):
        living.copy_to(copied)
        if kept:
            kept.check()
            size = kept.rows() * kept.row_bytes  # it only grows, too
            parts += [_part(f"{within}/{kept.path.name}", kept.path, stack, size)] if size else []
    store = Store.open(copied, manifest.dimension, manifest.storage)
    with contextlib.closing(store):
        check_catalogue(store, folder)
        photos = list(store.photos())
        path = living.vectors_path
        row_bytes = VectorFile.open(path, manifest.dimension, manifest.storage, 0).row_bytes
        # Rows are only appended, after the last one that counts.
        vectors = _part(f"{within}/{path.name}", path, stack, store.next_row() * row_bytes)
        head = store.state().head
        checked = CheckedVectors(vectors.file, row_bytes, store, folder)
    parts.append(_part(f"{within}/{CATALOGUE}", copied / CATALOGUE, stack))
    parts.append(replace(vectors, file=checked))
    journal = Journal(folder)
    check_journal(journal, head, folder)
    for path, size in journal.files_until(head):
        parts.append(_part(path.relative_to(folder).as_posix(), path, stack, size))
    about = manifest.model_name, manifest.model_fingerprint
    return Frozen("gallery", *about, parts, photos, gallery.read)


def _manifest_part(manifest: Manifest, inside: str = "") -> Part:
    return Part(inside + MANIFEST, io.BytesIO(manifest.text), len(manifest.text))


def _listed(
    folder: Path, inside: str, manifest: Manifest, stack: contextlib.ExitStack
) -> Iterator[Part]:
    for name, record in manifest.files.items():
        yield _part(inside + name, folder / name, stack, record.bytes, record.sha256)


def _part(
    name: str,
    path: Path,
    stack: contextlib.ExitStack,
    size: int | None = None,
    sha256: str | None = None,
) -> Part:
    try:
        file = stack.enter_context(open_file(path))
    except OSError as error:
        raise ArtifactMissingError(f"{path} cannot be read: {error.strerror}") from error
    return Part(name, file, path.stat().st_size if size is None else size, sha256)
