"""A Snapshot: a consistent view of a gallery at one moment."""

import contextlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt

from deepfood.artifacts import CHECK_ON_OPEN_BYTES, MANIFEST
from deepfood.counted import counted
from deepfood.errors import ArtifactCorruptError, ArtifactError
from deepfood.gallery.photo import Photo, sample_bound
from deepfood.index import INDEXES, Index, Mask, VectorFile
from deepfood.local.manifest import LocalManifest
from deepfood.local.recover import catch_up_with_journal
from deepfood.local.searched_parts import SearchedParts
from deepfood.local.store import Store

ManifestStamp = tuple[int, int, int]


@dataclass(frozen=True)
class Snapshot:
    """One generation up to change number `seq`. `alive` bool [rows] is False for holes."""

    stamp: ManifestStamp
    manifest: LocalManifest
    store: Store
    vectors: VectorFile
    alive: Mask
    count: int
    index: Index
    seq: int
    #: None where the gallery keeps no parts of photos.
    parts: SearchedParts | None = None

    @classmethod
    def open(cls, folder: Path, *, contents: bool = True) -> Self:
        """Open the generation that the manifest names, also while it is being replaced.

        `contents` checks every byte of a small gallery. Raises ArtifactError.
        """
        while True:
            stamp = manifest_stamp(folder)
            try:
                manifest = LocalManifest.read(folder)
                store = open_store(folder, manifest)
                with contextlib.ExitStack() as opened:
                    opened.callback(store.close)
                    catch_up_with_journal(folder, manifest, store)
                    snapshot = cls.of(folder, stamp, manifest, store, contents=contents)
                    opened.pop_all()
                    return snapshot
            except ArtifactError:
                if manifest_stamp(folder) == stamp:  # else the named generation may be gone
                    raise

    @classmethod
    def of(
        cls,
        folder: Path,
        stamp: ManifestStamp,
        manifest: LocalManifest,
        store: Store,
        *,
        contents: bool,
    ) -> Self:
        """Open the vectors and index of a manifest, whose Store is open. Raises ArtifactError."""
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
                f"{path} covers {counted(covered, 'vector')}, and the catalogue has {len(vectors)}"
            )
        index = kind.open(vectors, path, manifest.index, covered)
        count = int(np.count_nonzero(alive))
        parts = None
        if manifest.parts is not None:
            parts = SearchedParts.open(folder, manifest, store, alive)
            if contents and len(parts.vectors) * parts.vectors.row_bytes <= CHECK_ON_OPEN_BYTES:
                parts.stored.check()
        return cls(stamp, manifest, store, vectors, alive, count, index, state.seq, parts)

    def with_new_changes(self) -> "Snapshot":
        """This snapshot with the changes committed since."""
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
        parts = self.parts and self.parts.with_new_changes(self.seq, alive)
        return replace(
            self,
            vectors=vectors,
            index=index,
            alive=alive,
            count=count,
            seq=state.seq,
            parts=parts,
        )

    def expect_changed(self) -> None:
        """Call this where rows and catalogue disagree, before trying again.

        Raises ArtifactCorruptError where the gallery has not changed since: it is damaged.
        """
        if self.store.seq() == self.seq:
            raise ArtifactCorruptError(
                f"{self.store.folder} is damaged: a row of its catalogue, or an attribute, is not "
                "what was written: run deepfood verify --repair"
            )

    def photos(
        self, most: int | None = None
    ) -> tuple[list[Photo], VectorFile, npt.NDArray[np.int64]]:
        """All photos, the vectors, and the row of each photo in them, int64 [count].

        If there are more than `most`, about so many of them, by their hashes.
        """
        below = None if most is None or self.count <= most else sample_bound(self.count, most)
        known = {row: photo for row, photo in self.store.rows(below) if row < len(self.vectors)}
        return list(known.values()), self.vectors, np.fromiter(known, np.int64, len(known))

    @property
    def allowed(self) -> Mask | None:
        """The rows to search; None for every row."""
        return None if self.count == len(self.alive) else self.alive


def open_store(folder: Path, manifest: LocalManifest) -> Store:
    """Open the Store that a manifest names, to read. Raises ArtifactError."""
    return Store.open(manifest.folder(folder), manifest.dimension, manifest.storage)


def manifest_stamp(folder: Path) -> ManifestStamp:
    """Identifies a version of the manifest, by one system call."""
    try:
        stat = (folder / MANIFEST).stat()
    except OSError:
        return (0, 0, 0)
    return stat.st_ino, stat.st_mtime_ns, stat.st_size


def check_vectors(store: Store, vectors: VectorFile) -> None:
    """Raise ArtifactCorruptError where a vector does not match its CRC-32."""
    altered = store.altered_vectors(vectors)
    if len(altered):
        raise ArtifactCorruptError(
            f"{store.vectors_path} is damaged: {counted(altered, 'vector is', 'vectors are')} "
            f"altered, row {altered[0]} first: run deepfood verify --repair"
        )
