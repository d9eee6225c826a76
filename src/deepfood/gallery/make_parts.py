"""Find and embed the parts of photos, a batch at a time."""

from collections.abc import Callable, Sequence

from deepfood.data.read_ahead import reading_ahead
from deepfood.embed import Vectors
from deepfood.errors import PhotoError, PhotoNotFoundError
from deepfood.gallery.embedding import batched_in_time, embedding_threads
from deepfood.gallery.part_vectors import PartEmbedder, PhotoParts
from deepfood.gallery.photo import Photo
from deepfood.progress import bar

#: A batch is kept at this size, or when its first photo has waited this long.
_BATCH_PHOTOS, _BATCH_S = 512, 2.0

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
    Raises NoHeatMapError without OpenVINO, and what `keep` raises.
    """
    if not photos:
        return 0
    embedder.check()

    def work(photo: Photo) -> PhotoParts | None:
        try:
            whole = vector(photo)
            return embedder.embed(read(photo), whole)
        except (PhotoError, PhotoNotFoundError):
            return None

    failed = 0
    workers, waiting = embedding_threads(embedder.embedder, reads_ahead)
    with (
        bar("finding dishes", " photos", len(photos), quiet=quiet) as progress,
        reading_ahead(work, photos, workers=workers, reading=waiting) as results,
    ):
        pairs = zip(photos, results, strict=True)
        for batch in batched_in_time(pairs, _BATCH_PHOTOS, _BATCH_S, progress.update):
            found = [(photo.sha256, parts) for photo, parts in batch if parts is not None]
            failed += len(batch) - len(found)
            if found:
                keep(found)
    return failed
