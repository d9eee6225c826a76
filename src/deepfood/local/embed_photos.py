"""Embed the files of a source into a store, which keeps what is finished."""

import time

import numpy as np

from deepfood.data.photos import PhotoFile, PhotoSource
from deepfood.embed import Embedder, Vector
from deepfood.gallery.embedding import Reading, read_photos
from deepfood.gallery.photo import Photo, Skipped
from deepfood.local.growing_store import GrowingStore
from deepfood.progress import bar

#: Finished photos are made durable at least this often.
_FLUSH_PHOTOS = 512

_FLUSH_S = 2.0


def embed_photos(
    source: PhotoSource,
    todo: list[PhotoFile],
    embedder: Embedder,
    store: GrowingStore,
    *,
    done: int,
    quiet: bool,
    reading: Reading | None = None,
) -> None:
    """Append every file of `todo` to `store`, as a photo or as skipped; `done` is for the bar.

    `reading` stands in for `read_photos`; its results may come in any order. Whatever ends it
    early, what was embedded by then is stored first.
    """
    photos: list[Photo] = []
    vectors: list[Vector] = []
    skipped: list[Skipped] = []

    def flush() -> None:
        store.append(photos, np.array(vectors, np.float32), skipped)
        for batch in (photos, vectors, skipped):
            batch.clear()

    flushed = time.monotonic()
    total = len(todo) + done
    with bar("embedding", " photos", total, done=done, quiet=quiet) as progress:
        try:
            with (reading or read_photos)(source, todo, embedder) as results:
                for result in results:
                    if isinstance(result, Skipped):
                        skipped.append(result)
                    else:
                        photos.append(result.photo)
                        vectors.append(result.vector)
                    progress.update()
                    if len(photos) >= _FLUSH_PHOTOS or time.monotonic() - flushed > _FLUSH_S:
                        flush()
                        flushed = time.monotonic()
        finally:
            flush()
