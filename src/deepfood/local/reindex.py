"""Index the tail, in the background, beside a writer and readers.

Rows that were added after the index was written form its tail, which each search scans. When there
are many, a new index that covers them is written and committed.
"""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from deepfood.artifacts import sync_folder
from deepfood.beside import name_beside
from deepfood.errors import ArtifactBusyError, ArtifactError, DiskFullError, raising_disk_full
from deepfood.index import INDEXES, IndexSpec, VectorFile
from deepfood.local.assemble import index_files
from deepfood.local.lock import only_writer
from deepfood.local.manifest import (
    LocalManifest,
    index_path,
    is_of_parts,
    old_indexes,
    parts_index_path,
    remove_old_indexes,
)
from deepfood.local.snapshot import Snapshot, check_vectors
from deepfood.locks import held
from deepfood.progress import bar

#: A tail of this many rows is scanned in about a millisecond; in large galleries, a 200th of all.
TAIL_ROWS, TAIL_SHARE = 1000, 1 / 200

_LOCK = ".reindex.lock"
#: How long a commit waits for a writer. A build may take longer, and makes a new index anyway.
_WAIT_S = 30.0


@dataclass(frozen=True)
class _Covers:
    """An index that should be: of all vectors of photos, or of all parts (`of_parts`).

    `kind` and `covered` are those of the one that is there.
    """

    vectors: VectorFile
    spec: IndexSpec
    kind: str
    covered: int
    of_parts: bool = False

    @property
    def is_late(self) -> bool:
        """Whether the tail is long enough to slow searches down."""
        if self.spec.kind != self.kind:
            return True
        tail = len(self.vectors) - self.covered
        has_file = INDEXES[self.kind].suffix is not None
        return has_file and tail > max(TAIL_ROWS, TAIL_SHARE * self.covered)

    @property
    def is_whole(self) -> bool:
        return (self.spec.kind, len(self.vectors)) == (self.kind, self.covered)

    def path(self, folder: Path) -> Path:
        """The path in a generation's folder."""
        naming = parts_index_path if self.of_parts else index_path
        return naming(folder, self.spec, len(self.vectors))


def _wanted(now: Snapshot) -> list[_Covers]:
    """The indexes that a gallery should have."""
    about = now.manifest
    wanted = [_Covers(now.vectors, _spec(now, now.count), about.index.kind, about.covered)]
    if about.parts and now.parts:
        count = int(np.count_nonzero(now.parts.alive))
        spec, kept = _spec(now, count), about.parts
        wanted.append(_Covers(now.parts.vectors, spec, kept.index.kind, kept.covered, True))
    return wanted


def wants_reindex(now: Snapshot) -> bool:
    """Whether a tail is long enough to slow searches down."""
    return any(one.is_late for one in _wanted(now))


def reindex(folder: Path, *, quiet: bool = False) -> bool:
    """Write an index of all rows, and commit it. False where another process does so.

    Only the commit takes the write lock. Vectors, and an index that is extended, are compared with
    their checksums whatever their size, as the result gets a new checksum. Raises ArtifactError,
    DiskFullError.
    """
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(only_reindex(folder))
        except ArtifactBusyError:
            return False
        return _reindex(folder, quiet)


@contextlib.contextmanager
def only_reindex(folder: Path) -> Iterator[None]:
    """Raises ArtifactBusyError where another process writes an index, and ArtifactError."""
    busy = ArtifactBusyError(f"another process is indexing {folder}")
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(held(folder / _LOCK, busy))
        except PermissionError as error:
            raise ArtifactError(f"{folder} cannot be written: {error.strerror}") from error
        yield


@contextlib.contextmanager
def while_nobody_writes(folder: Path, *, alone: bool) -> Iterator[bool]:
    """Keep writers and indexers off the gallery; whether none is at work.

    `alone` is for the holder of the write lock. A gallery that cannot be written has no writer.
    """
    with contextlib.ExitStack() as stack:
        idle = True
        try:
            if not alone:
                stack.enter_context(only_writer(folder))
            stack.enter_context(only_reindex(folder))
        except ArtifactBusyError:
            idle = False
        except (ArtifactError, DiskFullError):
            pass
        yield idle


def _reindex(folder: Path, quiet: bool) -> bool:
    now = Snapshot.open(folder, contents=False)
    manifest = now.manifest
    inside = manifest.folder(folder)
    # Of one that is whole, the file would have the name of the one that is in use, and perhaps
    # another content: killed before the commit, the manifest would not match.
    wanted = [one for one in _wanted(now) if not one.is_whole]
    for one in wanted:
        _write(folder, now, one, quiet)
    now.store.close()
    if not wanted:
        return True
    with only_writer(folder, _WAIT_S):
        latest = LocalManifest.read(folder)
        if latest.generation != manifest.generation:
            for one in wanted:  # a build has come in between, with its own indexes
                one.path(inside).unlink(missing_ok=True)
            return False
        for one in wanted:
            latest = _naming(latest, folder, one)
        latest.write(folder)
        remove_old_indexes(folder, latest)
    return True


def _write(folder: Path, now: Snapshot, one: _Covers, quiet: bool) -> None:
    """Write an index beside the one that is there."""
    kind, manifest = INDEXES[one.spec.kind], now.manifest
    if kind.suffix is None:
        return
    path, count = one.path(manifest.folder(folder)), len(one.vectors)
    beside = name_beside(path)
    if one.of_parts:
        assert now.parts
        now.parts.stored.check()
    else:
        check_vectors(now.store, now.vectors)
    grows = one.spec.kind == one.kind and one.covered < count
    if grows:
        manifest.check_every_byte(folder)
    with (
        raising_disk_full(folder),
        bar(f"indexing ({one.spec.kind})", " vectors", count, quiet=quiet) as progress,
    ):
        if grows:
            old = manifest.parts_index_path(folder) if one.of_parts else manifest.index_path(folder)
            kind.grow(old, one.vectors, beside, one.spec, progress.update)
        else:
            kind.build(one.vectors, beside, one.spec, progress.update)
        beside.replace(path)
        sync_folder(path.parent)


def _naming(manifest: LocalManifest, folder: Path, one: _Covers) -> LocalManifest:
    """The manifest with this index in place of the one that is there."""
    path, covered = one.path(manifest.folder(folder)), len(one.vectors)
    kept = {
        name: record for name, record in manifest.files.items() if is_of_parts(name) != one.of_parts
    }
    files = kept | (index_files(folder, path) if INDEXES[one.spec.kind].suffix else {})
    changed: dict[str, object] = {"index": one.spec, "covered": covered}
    if one.of_parts:
        assert manifest.parts
        changed = {"parts": manifest.parts.model_copy(update=changed)}
    return manifest.model_copy(update={**changed, "files": files})


def drop_unfinished(folder: Path, manifest: LocalManifest) -> None:
    """Delete index files of a process that was killed before its commit.

    For the holder of the write lock; `manifest` is the living one.
    """
    if not old_indexes(folder, manifest):
        return
    with contextlib.suppress(ArtifactBusyError), only_reindex(folder):
        remove_old_indexes(folder, manifest)


def _spec(now: Snapshot, count: int) -> IndexSpec:
    """The index that fits so many vectors."""
    spec = now.manifest.index
    if now.manifest.index_by_size:
        spec = spec.model_copy(update={"kind": "auto"})
    return spec.for_count(count)
