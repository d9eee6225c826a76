"""Embed the files of a source into a Store, which keeps what is finished."""

from collections.abc import Iterable, Iterator
from dataclasses import replace

import numpy as np

from deepfood.data.photos import PhotoFile, PhotoSource
from deepfood.embed import Embedder
from deepfood.gallery.embedding import Reading, batched_in_time, read_photos
from deepfood.gallery.photo import EmbeddedPhoto, Skipped
from deepfood.local.growing_store import GrowingStore
from deepfood.progress import bar

#: Finished photos are flushed to disk at least this often; `catch_up` does the same.
FLUSH_PHOTOS, FLUSH_S = 512, 2.0


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

    `reading` replaces `read_photos`; its results may come in any order. Where it raises, what was
    embedded by then is stored first.
    """
    total = len(todo) + done
    with (
        bar("embedding", " photos", total, done=done, quiet=quiet) as progress,
        (reading or read_photos)(source, todo, embedder) as results,
    ):
        light = _without_bytes(results)
        for batch in batched_in_time(light, FLUSH_PHOTOS, FLUSH_S, progress.update):
            photos = [one for one in batch if isinstance(one, EmbeddedPhoto)]
            store.append(
                [one.photo for one in photos],
                np.array([one.vector for one in photos], np.float32),
                [one for one in batch if isinstance(one, Skipped)],
            )


def _without_bytes(
    results: Iterable[EmbeddedPhoto | Skipped],
) -> Iterator[EmbeddedPhoto | Skipped]:
    """The results without the photos' bytes, which would fill the memory."""
    for one in results:
        yield one if isinstance(one, Skipped) else replace(one, data=b"")
