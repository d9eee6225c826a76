"""Repair what `verify` finds, as far as journal and photos allow.

Nothing is deleted that does not exist twice: what cannot be used is moved to `lost+found/`.
"""

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from deepfood.artifacts import MANIFEST, kind_of, sync_folder, write_atomically
from deepfood.counted import counted
from deepfood.data.locate import IN_PLACE, PhotoAccess
from deepfood.data.photos import PhotoFile
from deepfood.embed import Embedder
from deepfood.errors import (
    ArtifactCorruptError,
    ArtifactError,
    ArtifactFormatError,
    ArtifactMissingError,
    PhotoError,
    system_error_text,
)
from deepfood.gallery.embedding import embed_photo
from deepfood.gallery.make_parts import make_parts
from deepfood.gallery.part_vectors import PartEmbedder
from deepfood.gallery.photo import EmbeddedPhoto, Photo
from deepfood.gallery.record import user
from deepfood.index import INDEXES
from deepfood.local.altered_rows import as_written
from deepfood.local.assemble import index_files
from deepfood.local.checkpoints import fold_of
from deepfood.local.following_store import FollowingStore
from deepfood.local.index_parts import index_parts
from deepfood.local.journal import Journal
from deepfood.local.lock import only_writer
from deepfood.local.lost_photos import bring_back
from deepfood.local.manifest import (
    AnyLocalManifest,
    LocalManifest,
    index_path,
    keep_aside,
    keep_model,
    manifest_copies,
    remove_old_indexes,
)
from deepfood.local.mend_feedback import mend_feedback
from deepfood.local.parts import StoredParts
from deepfood.local.photo_files import PhotoPlaces
from deepfood.local.salvage import count_anew, salvage, write_again
from deepfood.local.snapshot import open_store
from deepfood.local.store import CATALOGUE, Store
from deepfood.local.upgrade import upgrade
from deepfood.local.verify import Fault, find_faults
from deepfood.model import Model
from deepfood.progress import bar

#: The repairs of one round may reveal further faults.
_ROUNDS = 4


def repair(
    folder: Path,
    models: list[Model],
    open_embedder: Callable[[Model], Embedder],
    photos: PhotoAccess = IN_PLACE,
    *,
    quiet: bool = False,
) -> tuple[list[str], list[str]]:
    """Repair the gallery. Returns what was done, a line each, and the remaining faults.

    A gallery of an earlier format is upgraded first. A missing Model is taken from `models`, if it
    is there. `open_embedder` is called only where a photo must be embedded again. Raises
    ArtifactBusyError where another process is writing.
    """
    with only_writer(folder):
        done = [*_manifest_again(folder), *upgrade(folder, photos)]
        faults: list[Fault] = []
        for _ in range(_ROUNDS):
            before, faults = faults, find_faults(folder, photos, alone=True, quiet=quiet)
            lasts = any(fault.mend == "catalogue" for fault in before)
            if not faults or (faults == before and not lasts):
                break
            manifest = LocalManifest.read(folder)
            mender = _Mender(folder, manifest, photos, models, open_embedder, quiet)
            done += mender.mend(faults, rewrite=lasts)
        if not faults:
            done += _index_words(folder)
        return done, [fault.what for fault in faults]


def _index_words(folder: Path) -> list[str]:
    """Make the index of words where an earlier deepfood wrote the catalogue last."""
    manifest = LocalManifest.read(folder)
    inside = manifest.folder(folder)
    with contextlib.closing(Store.open(inside, manifest.dimension, manifest.storage)) as store:
        if store.words.are_indexed():
            return []
    FollowingStore.open(inside, manifest.dimension, manifest.storage, lengthen=True).close()
    return ["the words are indexed"]


def _manifest_again(folder: Path) -> list[str]:
    """Restore an unreadable manifest from its copy."""
    try:
        AnyLocalManifest.read(folder)
    except (ArtifactMissingError, ArtifactCorruptError, ArtifactFormatError) as error:
        if isinstance(error, ArtifactFormatError) and kind_of(folder) == "gallery":
            raise  # of a newer deepfood
        for copy in reversed(manifest_copies(folder)):
            try:
                LocalManifest.read(copy)
            except ArtifactError:
                continue
            contents = (copy / MANIFEST).read_bytes()
            if (folder / MANIFEST).exists():  # it may be another file, in the wrong place
                keep_aside(folder, folder / MANIFEST)
            write_atomically(folder / MANIFEST, contents)
            return ["the manifest is written again, from its copy"]
        raise
    return []


class _Mender:
    def __init__(
        self,
        folder: Path,
        manifest: LocalManifest,
        photos: PhotoAccess,
        models: list[Model],
        open_embedder: Callable[[Model], Embedder],
        quiet: bool,
    ) -> None:
        self._folder, self._manifest, self._quiet = folder, manifest, quiet
        self._photos = PhotoPlaces(folder, manifest.photos_root, photos)
        self._model = next(
            (one for one in models if one.fingerprint == manifest.model_fingerprint), None
        )
        self._open_embedder = open_embedder
        self._embedder: Embedder | None = None
        self._journal = Journal(folder)

    def mend(self, faults: Sequence[Fault], *, rewrite: bool = False) -> list[str]:
        """Repair faults. Returns what was done, a line each.

        `rewrite` is for damaged pages of the catalogue that outlast its rebuilt indexes.
        """
        wanted = {fault.mend for fault in faults}
        # First: what is written next may lie over a photo that is in the wrong place.
        done = bring_back(self._folder, [fault.photo for fault in faults if fault.photo])
        if "model" in wanted and self._model is not None:
            keep_model(self._folder, self._model)
            done.append("the copy of the Model is made again")
        if "feedback" in wanted:
            done.append(mend_feedback(self._folder))
        try:
            catalogue = self._manifest.folder(self._folder) / CATALOGUE
            if rewrite and "catalogue" in wanted and catalogue.exists():
                done.append(write_again(catalogue))
            if "state" in wanted:
                done.append(count_anew(catalogue))
            if "journal" in wanted:
                done += self._salvage()
            try:
                done += self._mend_store(faults)
            except ArtifactCorruptError:  # pages that SQLite can neither rebuild nor drop
                done.append(write_again(catalogue))
                done += self._mend_store(faults)
        except ArtifactError as error:
            done.append(f"the catalogue is left as it is: {error}")
        except OSError as error:
            done.append(f"the catalogue is left as it is: {system_error_text(error)}")
        if "parts" in wanted:
            done += self._mend_parts(faults)
        if "index" in wanted and not any(fault.mend == "vector" for fault in faults):
            done.append(self._write_index())  # else the next round, once the vectors are repaired
        return done

    def _salvage(self) -> list[str]:
        manifest = self._manifest
        try:
            store = Store.open(manifest.folder(self._folder), manifest.dimension, manifest.storage)
        except (ArtifactCorruptError, ArtifactMissingError):
            return salvage(self._folder, None, user())
        with contextlib.closing(store):
            return salvage(self._folder, store, user())

    def _mend_store(self, faults: Sequence[Fault]) -> list[str]:
        manifest, done = self._manifest, list[str]()
        inside = manifest.folder(self._folder)
        if not (inside / CATALOGUE).exists():
            done.append("the lost catalogue is made anew; build again to find its photos")
        store = FollowingStore.open(
            inside, manifest.dimension, manifest.storage, lengthen=True, words=False
        )
        try:
            seen: set[int] = set()
            for fault in faults:
                if line := self._mend_one(store, fault, seen):
                    done.append(line)
            if {"edits", "aside", "journal", "state", "row", "sums"} & {
                fault.mend for fault in faults
            }:
                store.follow_journal(fold_of(self._journal), self._embed_added)
                done.append("the journal is applied to the catalogue")
            done += [
                self._keep_aside(fault.path)
                for fault in faults
                if fault.mend == "aside" and fault.path.exists() and not store.has(fault.path.name)
            ]
            with contextlib.suppress(ArtifactCorruptError):
                self._photos.files.clean_up(store)
            store.index_words(anew=True)
            if any(fault.mend == "words" for fault in faults):
                done.append("the words are indexed again")
            return done
        finally:
            store.close()

    def _mend_one(self, store: FollowingStore, fault: Fault, seen: set[int]) -> str | None:
        if fault.mend == "catalogue":
            store.rebuild_indexes()
            return "the catalogue's own indexes are built again"
        if fault.mend == "hole":
            store.make_holes([fault.row])
            return f"row {fault.row} is taken out; build again to find its photo anew"
        if fault.mend == "skipped":
            store.forget_skipped(fault.file)
            return f"{fault.file} is forgotten; the next build looks at it again"
        if fault.mend == "sums":
            store.sum_again()
            return "the catalogue's sums are made again; the next build looks at all files again"
        if fault.mend == "drop":
            _drop(fault.path)
            return f"{fault.path.name} is deleted"
        if fault.mend in ("row", "vector") and fault.row not in seen:
            seen.add(fault.row)
            return self._look_again(store, fault.row)
        return None

    def _look_again(self, store: FollowingStore, row: int) -> str | None:
        """Embed the photo of a row again, and write its vector and row."""
        entry = store.row_entry(row)
        if entry is None:
            return None
        for added in (True, False):
            one = self._embedded(replace(entry.photo, added=added))
            if one is None:
                continue
            if one.photo.sha256 == entry.photo.sha256 or store.has_vector(row, one.vector):
                photo = as_written(entry, one, store)
                if photo is None and one.photo.added:  # the journal has its label and name
                    photo = one.photo
                if photo is None:
                    store.make_holes([row])
                    return f"row {row} ({one.photo.file}) is taken out; build again to find it anew"
                store.mend(row, photo, one.vector)
                return f"row {row} ({photo.file}) is embedded again"
        return None

    def _embed_added(self, photos: Sequence[Photo]) -> list[npt.NDArray[np.float32] | None]:
        """The vectors of added photos; None where a photo's bytes, or the Model, are gone."""
        bring_back(self._folder, photos)
        found = [(photo, self._embedded(photo)) for photo in photos]
        return [
            one.vector if one is not None and one.photo.sha256 == photo.sha256 else None
            for photo, one in found
        ]

    def _open(self) -> Embedder | None:
        """The Embedder of the gallery's Model; None where that is not there."""
        if self._embedder is None and self._model is not None:
            self._embedder = self._open_embedder(self._model)
        return self._embedder

    def _embedded(self, before: Photo) -> EmbeddedPhoto | None:
        embedder = self._open()
        if embedder is None:
            return None
        try:
            about = PhotoFile(before.file, before.label, before.name)
            root, file = self._photos.place_of(before)
            _, modified_ns = (0, before.modified_ns) if before.added else root.stamp(file)
            data = root.read(file, embedder.limits.check_bytes)
            one = embed_photo(data, about, embedder)
        except PhotoError:
            return None
        photo = replace(
            one.photo,
            modified_ns=modified_ns,
            added=before.added,
            label_edited=before.label_edited,
            name_edited=before.name_edited,
        )
        return replace(one, photo=photo)

    def _keep_aside(self, path: Path) -> str:
        return f"{path.name} is kept in {keep_aside(self._folder, path)}: it is of no use"

    def _mend_parts(self, faults: Sequence[Fault]) -> list[str]:
        """Look at photos again whose parts are altered or missing, and index all parts."""
        folder, manifest, embedder = self._folder, self._manifest, self._open()
        assert manifest.parts is not None
        if embedder is None:
            return []
        inside = manifest.folder(folder)
        opened = FollowingStore.open(inside, manifest.dimension, manifest.storage, lengthen=True)
        with contextlib.closing(opened) as store:
            parts = StoredParts(store, manifest.parts.storage)
            altered = [fault.file for fault in faults if fault.mend == "parts" and fault.file]
            if altered:
                parts.forget(altered)
            lacking = parts.lacking()
            failed = make_parts(
                lacking,
                self._photos.read,
                parts.whole_of,
                PartEmbedder(embedder),
                lambda found: parts.append(found, announce=True),
                reads_ahead=self._photos.reads_ahead,
                quiet=self._quiet,
            )
        self._write_index()
        made = len(lacking) - failed
        return [f"the parts of {counted(made, 'photo')} are found again"] if made else []

    def _write_index(self) -> str:
        """Build the index of all rows, and that of parts, and commit them."""
        folder, manifest = self._folder, self._manifest
        store = Store.open(manifest.folder(folder), manifest.dimension, manifest.storage)
        vectors = store.vectors()
        store.close()
        kind = INDEXES[manifest.index.kind]
        path = index_path(manifest.folder(folder), manifest.index, len(vectors))
        if kind.suffix:
            with bar(
                f"indexing ({kind.kind})", " vectors", len(vectors), quiet=self._quiet
            ) as progress:
                beside = path.with_name(f".{path.name}.new")
                kind.build(vectors, beside, manifest.index, progress.update)
                beside.replace(path)
                sync_folder(path.parent)
        files = index_files(folder, path) if kind.suffix else {}
        about = manifest.parts
        if about is not None:
            with contextlib.closing(open_store(folder, manifest)) as store:
                parts = StoredParts(store, about.storage)
                about, of_parts = index_parts(parts, about.index, by_size=False, quiet=self._quiet)
            files |= index_files(folder, of_parts) if of_parts else {}
        changed = {"covered": len(vectors), "files": files, "parts": about}
        self._manifest = manifest = manifest.model_copy(update=changed)
        manifest.write(folder)
        remove_old_indexes(folder, manifest)
        return "the index is built again"


def _drop(path: Path) -> None:
    if path.is_dir():
        for inside in sorted(path.rglob("*"), reverse=True):
            inside.rmdir() if inside.is_dir() else inside.unlink()
        path.rmdir()
    else:
        path.unlink(missing_ok=True)
