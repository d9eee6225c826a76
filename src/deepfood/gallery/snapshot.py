"""A Snapshot: what a reader sees of a gallery at one moment, for as long as a search takes."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt

from deepfood.artifacts import CHECK_ON_OPEN_BYTES, MANIFEST
from deepfood.errors import ArtifactCorruptError, ArtifactError
from deepfood.gallery.entry import Photo
from deepfood.gallery.manifest import GalleryManifest
from deepfood.gallery.store import Store
from deepfood.index import INDEXES, Index, Mask, VectorFile

_CHUNK = 4096

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
                return cls.of(folder, stamp, GalleryManifest.read(folder), contents=contents)
            except ArtifactError:
                if stamp_of(folder) == stamp:  # else what it named may be gone by now
                    raise

    @classmethod
    def of(cls, folder: Path, stamp: Stamp, manifest: GalleryManifest, *, contents: bool) -> Self:
        """Open what a manifest names. Raises ArtifactError."""
        manifest.check_on_open(folder, contents=contents)
        store = open_store(folder, manifest)
        seq = store.seq()
        holes = store.removed_since(0)
        vectors = store.vectors()
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
        return cls(stamp, manifest, store, vectors, alive, count, index, seq)

    def caught_up(self) -> "Snapshot":
        """With the changes that were committed since."""
        # In this order: what is read later may be newer, and is then read once more.
        seq = self.store.seq()
        if seq == self.seq:
            return self
        holes = self.store.removed_since(self.seq)
        rows = self.store.next_row()
        vectors, index = self.vectors, self.index
        if rows > len(vectors):
            vectors = self.store.vectors()
            index = index.extended(vectors)
        alive = np.ones(len(vectors), bool)
        alive[: len(self.alive)] = self.alive
        alive[holes] = False
        count = int(np.count_nonzero(alive))
        return replace(self, vectors=vectors, index=index, alive=alive, count=count, seq=seq)

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
    altered = altered_rows(store, vectors)
    if len(altered):
        raise ArtifactCorruptError(
            f"{store.vectors_path} is damaged: {len(altered)} vectors are altered, row "
            f"{altered[0]} first: run deepfood verify --repair"
        )


def altered_rows(store: Store, vectors: VectorFile) -> list[int]:
    """The rows whose vectors are not what the catalogue says."""
    rows, wanted = store.crcs()
    known = rows < len(vectors)  # else added since
    rows, wanted = rows[known], wanted[known]
    found: list[int] = []
    for start in range(0, len(vectors), _CHUNK):
        here = (rows >= start) & (rows < start + _CHUNK)
        crcs = vectors.crc(start, min(start + _CHUNK, len(vectors)))
        found += rows[here][crcs[rows[here] - start] != wanted[here]].tolist()
    return found
