"""Mend what `verify` finds wrong, as far as the photos' bytes are still there to do it from."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from deepfood.artifacts import sync_folder
from deepfood.data.locate import root_named
from deepfood.data.photos import PhotoFile
from deepfood.data.root import Root
from deepfood.embed import Embedder
from deepfood.errors import ArtifactError, PhotoError
from deepfood.gallery.assemble import index_files
from deepfood.gallery.attribute_faults import mend_attribute
from deepfood.gallery.entry import Photo
from deepfood.gallery.growing_store import GrowingStore
from deepfood.gallery.leftovers import remove_old_indexes
from deepfood.gallery.lock import only_writer
from deepfood.gallery.manifest import GalleryManifest, index_path, keep_model
from deepfood.gallery.photo_files import PhotoFiles, place_of
from deepfood.gallery.read_photos import EmbeddedPhoto, embed_photo
from deepfood.gallery.verify import Fault, find_faults
from deepfood.index import INDEXES
from deepfood.model import Model
from deepfood.progress import bar


def repair(
    folder: Path,
    models: list[Model],
    open_embedder: Callable[[Model], Embedder],
    photos_root: Path | str | None = None,
    *,
    quiet: bool = False,
) -> tuple[list[str], list[str]]:
    """Mend the gallery: what was done, a line each, and what is still wrong.

    A missing Model is taken from `models`, if it is among them; `open_embedder` is called only
    where a photo must be embedded again. Raises ArtifactBusyError where it is being written.
    """
    GalleryManifest.read(folder)
    with only_writer(folder):
        manifest = GalleryManifest.read(folder)
        faults = list(find_faults(folder, photos_root, quiet=quiet))
        done: list[str] = []
        if any(fault.mend == "model" for fault in faults):
            for model in models:
                if model.fingerprint == manifest.model_fingerprint:
                    keep_model(folder, model)
                    done.append("the copy of the Model is made again")
                    break
        try:
            store = GrowingStore.open(
                manifest.folder(folder), manifest.dimension, manifest.storage, lengthen=True
            )
        except ArtifactError:
            return done, [fault.what for fault in find_faults(folder, photos_root, quiet=quiet)]
        try:
            root = root_named(photos_root or manifest.photos_root)
            PhotoFiles(folder).finish(store)
            mender = _Mender(folder, manifest, store, root, models, open_embedder)
            done += [line for fault in faults if (line := mender.mend(fault))]
        finally:
            store.close()
        if any(fault.mend == "index" for fault in faults):
            done.append(_write_index(folder, manifest, quiet=quiet))
        return done, [fault.what for fault in find_faults(folder, photos_root, quiet=quiet)]


class _Mender:
    def __init__(
        self,
        folder: Path,
        manifest: GalleryManifest,
        store: GrowingStore,
        photos_root: Root,
        models: list[Model],
        open_embedder: Callable[[Model], Embedder],
    ) -> None:
        self._store = store
        self._files = PhotoFiles(folder)
        self._root = photos_root
        self._model = next(
            (one for one in models if one.fingerprint == manifest.model_fingerprint), None
        )
        self._open_embedder = open_embedder
        self._embedder: Embedder | None = None
        self._seen: set[int] = set()

    def mend(self, fault: Fault) -> str | None:
        """What was done about it, or None."""
        if fault.mend == "catalogue":
            self._store.rebuild_indexes()
            return "the catalogue's own indexes are built again"
        if fault.attribute is not None:
            with self._store.changing_attributes() as attributes:
                return mend_attribute(attributes, fault.attribute)
        if fault.mend == "hole":
            self._store.make_holes([fault.row])
            return f"row {fault.row} is taken out; build again to find its photo anew"
        if fault.mend == "skipped":
            self._store.forget_skipped(fault.file)
            return f"{fault.file} is forgotten; the next build looks at it again"
        if fault.mend == "drop":
            _drop(fault.path)
            return f"{fault.path.name} is deleted"
        if fault.mend in ("row", "vector") and fault.row not in self._seen:
            self._seen.add(fault.row)
            return self._look_again(fault.row)
        return None

    def _look_again(self, row: int) -> str | None:
        """Embed a row's photo again, and write its vector and what the catalogue says of it."""
        before = next(
            (photo for at, photo, _ in self._store.rows_as_they_stand() if at == row), None
        )
        if before is None:
            return None
        for added in (True, False):
            one = self._embedded(replace(before, added=added))
            if one is None:
                continue
            same = one.photo.sha256 == before.sha256
            if same or self._store.has_vector(row, one.vector):
                self._store.mend(row, one.photo, one.vector)
                said = f"label {before.label!r} and name {before.name!r} are as they stood"
                return f"row {row} ({before.file}) is embedded again; {said}"
        return None

    def _embedded(self, before: Photo) -> EmbeddedPhoto | None:
        if self._embedder is None and self._model is not None:
            self._embedder = self._open_embedder(self._model)
        if self._embedder is None:
            return None
        try:
            about = PhotoFile(before.file, before.label, before.name)
            root, file = place_of(before, self._files, self._root)
            _, modified_ns = (0, before.modified_ns) if before.added else root.stamp(file)
            data = root.read(file, self._embedder.limits.check_bytes)
            one = embed_photo(data, about, self._embedder)
        except PhotoError:
            return None
        photo = replace(
            one.photo, modified_ns=modified_ns, added=before.added, edited=before.edited
        )
        return replace(one, photo=photo)


def _drop(path: Path) -> None:
    if path.is_dir():
        for inside in sorted(path.rglob("*"), reverse=True):
            inside.rmdir() if inside.is_dir() else inside.unlink()
        path.rmdir()
    else:
        path.unlink(missing_ok=True)


def _write_index(folder: Path, manifest: GalleryManifest, *, quiet: bool) -> str:
    """Build the index of all rows from the vectors, and commit it."""
    store = GrowingStore.open(manifest.folder(folder), manifest.dimension, manifest.storage)
    vectors = store.vectors()
    store.close()
    kind = INDEXES[manifest.index.kind]
    path = index_path(manifest.folder(folder), manifest.index, len(vectors))
    if kind.suffix:
        with bar(f"indexing ({kind.kind})", " vectors", len(vectors), quiet=quiet) as progress:
            beside = path.with_name(f".{path.name}.new")
            kind.build(vectors, beside, manifest.index, progress.update)
            beside.replace(path)
            sync_folder(path.parent)
    files = index_files(folder, path) if kind.suffix else {}
    manifest = manifest.model_copy(update={"covered": len(vectors), "files": files})
    manifest.write(folder)
    remove_old_indexes(folder, manifest)
    return "the index is built again"
