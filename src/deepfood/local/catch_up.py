"""Catch up: give a Successor a vector of every photo that lives, while photos come and go."""

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from deepfood.embed import Vector
from deepfood.gallery.embedding import Lost
from deepfood.gallery.photo import Photo
from deepfood.local.gallery import Gallery
from deepfood.local.snapshot import check_vectors
from deepfood.local.successor import Successor
from deepfood.model import Model
from deepfood.progress import bar

#: What is finished is made durable at least this often.
_FLUSH_PHOTOS = 512
_FLUSH_S = 2.0

#: Of each photo its unit vector, or the reason that there is none.
Vectors = Callable[[Gallery, Sequence[Photo]], Iterator[Vector | str]]


def catch_up(
    successor: Successor,
    folder: Path,
    vectors: Vectors,
    *,
    what: str,
    passes: int,
    announce: bool = False,
    model: Model | None = None,
    photos_root: Path | str | None = None,
    quiet: bool,
) -> tuple[int, Lost]:
    """Give the Successor a vector of each photo that lives, pass by pass.

    Returns how many were made, and the photos that have none. `model` is the living gallery's, for
    vectors that are taken from there.
    """
    made, lost = 0, dict[str, tuple[Photo, str]]()
    for _ in range(passes):
        with Gallery.open(folder, model, photos_root) as living:
            lacking = successor.differences(living.store).lacking
            todo = [photo for photo in lacking if photo.id not in lost]
            there = {photo.id for photo in lacking}
            lost = {photo_id: one for photo_id, one in lost.items() if photo_id in there}
            if not todo:
                break
            done = living.count - len(lacking)
            with bar(what, " photos", living.count, done=max(done, 0), quiet=quiet) as progress:
                found = vectors(living, todo)
                failed = _append(successor, todo, found, progress.update, announce=announce)
            made += len(todo) - len(failed)
            lost |= {photo.id: (photo, reason) for photo, reason in failed}
    return made, list(lost.values())


def copy_vectors(gallery: Gallery, photos: Sequence[Photo]) -> Iterator[Vector | str]:
    """The living vectors of photos, decoded. Raises ArtifactCorruptError where one is altered."""
    store = gallery.store
    vectors = store.vectors()
    check_vectors(store, vectors)
    for photo in photos:
        found = store.find(photo.id)
        yield vectors.take(np.array([found[0]]))[0] if found else "it was removed meanwhile"


def _append(
    successor: Successor,
    photos: Sequence[Photo],
    vectors: Iterator[Vector | str],
    progress: Callable[[], object],
    *,
    announce: bool,
) -> Lost:
    """Append photos as their vectors come; whatever ends it early, what is done is kept."""
    ready: list[tuple[Photo, Vector]] = []
    failed: Lost = []

    def flush() -> None:
        if ready:
            said, found = zip(*ready, strict=True)
            successor.append(said, np.stack(found), announce=announce)
            ready.clear()

    flushed = time.monotonic()
    try:
        for photo, vector in zip(photos, vectors, strict=True):
            if isinstance(vector, str):
                failed.append((photo, vector))
            else:
                ready.append((photo, vector))
            progress()
            if len(ready) >= _FLUSH_PHOTOS or time.monotonic() - flushed > _FLUSH_S:
                flush()
                flushed = time.monotonic()
    finally:
        flush()
    return failed
