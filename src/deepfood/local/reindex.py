"""Index the tail, in the background, beside a writer and readers.

Rows that were added after the index was written form its tail, which each search scans. When there
are many, a new index that covers them is written and committed.
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from deepfood.artifacts import sync_folder
from deepfood.beside import name_beside
from deepfood.errors import ArtifactBusyError, ArtifactError, raising_disk_full
from deepfood.index import INDEXES, IndexSpec
from deepfood.local.assemble import index_files
from deepfood.local.lock import only_writer
from deepfood.local.manifest import (
    LocalManifest,
    index_path,
    old_indexes,
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


def wants_reindex(now: Snapshot) -> bool:
    """Whether the tail is long enough to slow searches down."""
    spec = _spec(now)
    if spec.kind != now.manifest.index.kind:
        return True
    tail = len(now.vectors) - now.manifest.covered
    return INDEXES[spec.kind].suffix is not None and tail > max(
        TAIL_ROWS, TAIL_SHARE * now.manifest.covered
    )


def reindex(folder: Path, *, quiet: bool = False) -> bool:
    """Write an index of all rows, and commit it. False where another process does so.

    Only the commit takes the write lock. Vectors, and an index that is extended, are compared with
    their checksums whatever their size, as the result gets a new checksum. Raises ArtifactError,
    DiskFullError.
    """
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(_only_reindex(folder))
        except ArtifactBusyError:
            return False
        return _reindex(folder, quiet)


@contextlib.contextmanager
def _only_reindex(folder: Path) -> Iterator[None]:
    """Raises ArtifactBusyError where another process writes an index, and ArtifactError."""
    busy = ArtifactBusyError(f"another process is indexing {folder}")
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(held(folder / _LOCK, busy))
        except PermissionError as error:
            raise ArtifactError(f"{folder} cannot be written: {error.strerror}") from error
        yield


def _reindex(folder: Path, quiet: bool) -> bool:
    now = Snapshot.open(folder, contents=False)
    manifest, spec = now.manifest, _spec(now)
    kind = INDEXES[spec.kind]
    covered = len(now.vectors)
    if (spec.kind, covered) == (manifest.index.kind, manifest.covered):
        # The file would have the name of the one that is in use, and perhaps another content:
        # killed before the commit, the manifest would not match.
        now.store.close()
        return True
    path = index_path(manifest.folder(folder), spec, covered)
    beside = name_beside(path)
    grows = spec.kind == manifest.index.kind and manifest.covered < covered
    if kind.suffix:
        check_vectors(now.store, now.vectors)
        if grows:
            manifest.check_every_byte(folder)
        with (
            raising_disk_full(folder),
            bar(f"indexing ({spec.kind})", " vectors", covered, quiet=quiet) as progress,
        ):
            if grows:
                old = manifest.index_path(folder)
                kind.grow(old, now.vectors, beside, spec, progress.update)
            else:
                kind.build(now.vectors, beside, spec, progress.update)
            beside.replace(path)
            sync_folder(path.parent)
    now.store.close()
    with only_writer(folder, _WAIT_S):
        latest = LocalManifest.read(folder)
        if latest.generation != manifest.generation:
            path.unlink(missing_ok=True)  # a build has come in between, with its own index
            return False
        files = index_files(folder, path) if kind.suffix else {}
        changed = {"index": spec, "covered": covered, "files": files}
        latest.model_copy(update=changed).write(folder)
        remove_old_indexes(folder, latest.model_copy(update=changed))
    return True


def drop_unfinished(folder: Path, manifest: LocalManifest) -> None:
    """Delete index files of a process that was killed before its commit.

    For the holder of the write lock; `manifest` is the living one.
    """
    if not old_indexes(folder, manifest):
        return
    with contextlib.suppress(ArtifactBusyError), _only_reindex(folder):
        remove_old_indexes(folder, manifest)


def _spec(now: Snapshot) -> IndexSpec:
    """The index that fits the number of photos."""
    spec = now.manifest.index
    if now.manifest.index_by_size:
        spec = spec.model_copy(update={"kind": "auto"})
    return spec.for_count(now.count)
