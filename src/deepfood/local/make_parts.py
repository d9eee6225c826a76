"""Find and embed the parts of photos, and index them."""

from collections.abc import Callable, Sequence
from pathlib import Path

from deepfood.data.read_ahead import reading_ahead
from deepfood.embed import Vectors
from deepfood.errors import PhotoError, PhotoNotFoundError, raising_disk_full
from deepfood.gallery.embedding import batched_in_time, embedding_threads
from deepfood.gallery.part_vectors import PartEmbedder, PhotoParts
from deepfood.gallery.photo import Photo
from deepfood.index import INDEXES, IndexSpec
from deepfood.local.embed_photos import FLUSH_PHOTOS, FLUSH_S
from deepfood.local.manifest import PartsManifest, parts_index_path
from deepfood.local.parts import StoredParts
from deepfood.progress import bar

#: Keeps the parts of contents, by SHA-256.
Keep = Callable[[Sequence[tuple[str, PhotoParts]]], object]


def make_parts(
    photos: Sequence[Photo],
    read: Callable[[Photo], bytes],
    vector: Callable[[Photo], Vectors],
    embedder: PartEmbedder,
    keep: Keep,
    *,
    reads_ahead: int = 0,
    quiet: bool,
) -> int:
    """Find the dishes of photos, and `keep` them, a batch at a time. How many could not be read.

    `read` has the bytes of a photo, and `vector` the vector that it has as a whole.
    Raises NoHeatMapError for a Model without a feature map, and what `keep` raises.
    """
    if not photos:
        return 0
    embedder.check()

    def work(photo: Photo) -> PhotoParts | None:
        try:
            return embedder.embed(read(photo), vector(photo))
        except (PhotoError, PhotoNotFoundError):
            return None

    failed = 0
    workers, waiting = embedding_threads(embedder.embedder, reads_ahead)
    with (
        bar("finding dishes", " photos", len(photos), quiet=quiet) as progress,
        reading_ahead(work, photos, workers=workers, reading=waiting) as results,
    ):
        pairs = zip(photos, results, strict=True)
        for batch in batched_in_time(pairs, FLUSH_PHOTOS, FLUSH_S, progress.update):
            found = [(photo.sha256, parts) for photo, parts in batch if parts is not None]
            failed += len(batch) - len(found)
            if found:
                keep(found)
    return failed


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
