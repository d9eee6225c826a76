"""Index the parts of photos."""

from pathlib import Path

from deepfood.errors import raising_disk_full
from deepfood.index import INDEXES, IndexSpec
from deepfood.local.manifest import PartsManifest, parts_index_path
from deepfood.local.parts import StoredParts
from deepfood.progress import bar


def index_parts(
    parts: StoredParts, spec: IndexSpec, *, by_size: bool, quiet: bool
) -> tuple[PartsManifest, Path | None]:
    """Index all parts beside their file. What the manifest says of them, and the index's file.

    `spec` is that of the photos; with `by_size`, the number of parts chooses the kind.
    """
    vectors = parts.vectors()
    if by_size:
        spec = spec.model_copy(update={"kind": "auto"})
    spec = spec.for_count(len(vectors))
    kind = INDEXES[spec.kind]
    about = PartsManifest(storage=parts.storage, index=spec, covered=len(vectors))
    if kind.suffix is None:
        return about, None
    path = parts_index_path(parts.store.folder, spec, len(vectors))
    with (
        raising_disk_full(path.parent),
        bar(f"indexing parts ({spec.kind})", " vectors", len(vectors), quiet=quiet) as progress,
    ):
        kind.build(vectors, path, spec, progress.update)
    return about, path
