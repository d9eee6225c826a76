"""A Snapshot: what a reader sees of a gallery at one moment, for as long as a search takes."""

import contextlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt

from deepfood.artifacts import CHECK_ON_OPEN_BYTES, MANIFEST
from deepfood.errors import ArtifactCorruptError, ArtifactError
from deepfood.gallery.photo import Photo
from deepfood.index import INDEXES, Index, Mask, VectorFile
from deepfood.local.manifest import GalleryManifest
from deepfood.local.recover import catch_up_with_journal
from deepfood.local.store import Store

Stamp = tuple[int, int, int]


@dataclass(frozen=True)
class Snapshot:
    """One generation up to change number `seq`; `alive` bool [rows] is False for holes."""

    stamp: Stamp
    manifest: GalleryManifest
    store: Store
    vectors: VectorFile
    alive: Mask
    count: int
    index: Index
    seq: int

    @classmethod
    def open(cls, folder: Path, *, contents: bool = True) -> Self:
        """Open what the manifest names now, whoever replaces it meanwhile.

        `contents` reads every byte of a small gallery and compares. Raises ArtifactError.
        """
        while True:
            stamp = stamp_of(folder)
            try:
                manifest = GalleryManifest.read(folder)
                store = open_store(folder, manifest)
                with contextlib.ExitStack() as opened:
                    opened.callback(store.close)
                    catch_up_with_journal(folder, manifest, store)
                    snapshot = cls.of(folder, stamp, manifest, store, contents=contents)
                    opened.pop_all()
                    return snapshot
            except ArtifactError:
                if stamp_of(folder) == stamp:  # else what it named may be gone by now
                    raise

    @classmethod
    def of(
        cls, folder: Path, stamp: Stamp, manifest: GalleryManifest, store: Store, *, contents: bool
    ) -> Self:
        """Open what a manifest names, beside its Store. Raises ArtifactError."""
        manifest.check_on_open(folder, contents=contents)
        state, holes = store.holes()
        vectors = store.vectors(state.next_row)
        if contents and len(vectors) * vectors.row_bytes <= CHECK_ON_OPEN_BYTES:
            check_vectors(store, vectors)
        alive = np.ones(len(vectors), bool)
        alive[holes] = False
        kind = INDEXES[manifest.index.kind]
        path, covered = manifest.index_path(folder), manifest.covered
        if covered > len(vectors):
            raise ArtifactCorruptError(
                f"{path} covers {covered} vectors, and the catalogue has {len(vectors)}"
            )
        index = kind.open(vectors, path, manifest.index, covered)
        count = int(np.count_nonzero(alive))
        return cls(stamp, manifest, store, vectors, alive, count, index, state.seq)

    def with_new_changes(self) -> "Snapshot":
        """With the changes that were committed since."""
        state, holes = self.store.changed_since(self.seq)
        if state.seq == self.seq:
            return self
        vectors, index = self.vectors, self.index
        if state.next_row > len(vectors):
            vectors = self.store.vectors(state.next_row)
            index = index.extended(vectors)
        alive = np.ones(len(vectors), bool)
        alive[: len(self.alive)] = self.alive
        alive[holes] = False
        count = int(np.count_nonzero(alive))
        return replace(self, vectors=vectors, index=index, alive=alive, count=count, seq=state.seq)

    def expect_changed(self) -> None:
        """For who finds that rows and catalogue do not agree, and would look again.

        Raises ArtifactCorruptError where nobody has changed the gallery since: it is damaged.
        """
        if self.store.seq() == self.seq:
            raise ArtifactCorruptError(
                f"{self.store.folder} is damaged: a row of its catalogue, or an attribute, is not "
                "what was written: run deepfood verify --repair"
            )

    def photos(self) -> tuple[list[Photo], VectorFile, npt.NDArray[np.int64]]:
        """All photos, the vectors, and of each photo its row in them, int64 [count]."""
        known = {row: photo for row, photo in self.store.rows() if row < len(self.vectors)}
        return list(known.values()), self.vectors, np.fromiter(known, np.int64, len(known))

    @property
    def allowed(self) -> Mask | None:
        """What to search: None for every row."""
        return None if self.count == len(self.alive) else self.alive


def open_store(folder: Path, manifest: GalleryManifest) -> Store:
    """The vectors and the catalogue that a manifest names, to read. Raises ArtifactError."""
    return Store.open(manifest.folder(folder), manifest.dimension, manifest.storage)


def stamp_of(folder: Path) -> Stamp:
    """What tells one manifest from the next, for the price of one system call."""
    try:
        stat = (folder / MANIFEST).stat()
    except OSError:
        return (0, 0, 0)
    return stat.st_ino, stat.st_mtime_ns, stat.st_size


def check_vectors(store: Store, vectors: VectorFile) -> None:
    """Raise ArtifactCorruptError where a photo's vector is not what the catalogue says."""
    altered = store.altered_vectors(vectors)
    if len(altered):
        raise ArtifactCorruptError(
            f"{store.vectors_path} is damaged: {len(altered)} vectors are altered, row "
            f"{altered[0]} first: run deepfood verify --repair"
        )
