"""Give a Successor a vector of every living photo, while photos are added and removed."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from deepfood.data.locate import IN_PLACE, PhotoAccess
from deepfood.embed import Vector
from deepfood.gallery.embedding import Lost, batched_in_time
from deepfood.gallery.photo import Photo
from deepfood.local.embed_photos import FLUSH_PHOTOS, FLUSH_S
from deepfood.local.gallery import LocalGallery
from deepfood.local.snapshot import check_vectors
from deepfood.local.successor import LocalSuccessor
from deepfood.model import Model
from deepfood.progress import bar

#: Returns of each photo its unit vector, or the reason that there is none.
VectorsOf = Callable[[LocalGallery, Sequence[Photo]], Iterator[Vector | str]]


def catch_up(
    successor: LocalSuccessor,
    folder: Path,
    vectors: VectorsOf,
    *,
    what: str,
    passes: int,
    announce: bool = False,
    model: Model | None = None,
    photos: PhotoAccess = IN_PLACE,
    quiet: bool,
) -> tuple[int, Lost]:
    """Give the Successor a vector of each living photo, in at most `passes` passes.

    Returns how many were made, and the photos without one. `model` is that of the living gallery,
    where vectors are copied from it.
    """
    made, lost = 0, dict[str, tuple[Photo, str]]()
    for _ in range(passes):
        with LocalGallery.open(folder, model, photos) as living:
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


def copy_vectors(gallery: LocalGallery, photos: Sequence[Photo]) -> Iterator[Vector | str]:
    """The living gallery's vectors of photos. Raises ArtifactCorruptError where one is altered."""
    store = gallery.store
    vectors = store.vectors()
    check_vectors(store, vectors)
    for photo in photos:
        found = store.find(photo.id)
        yield vectors.take(np.array([found[0]]))[0] if found else "it was removed meanwhile"


def _append(
    successor: LocalSuccessor,
    photos: Sequence[Photo],
    vectors: Iterator[Vector | str],
    progress: Callable[[], object],
    *,
    announce: bool,
) -> Lost:
    """Append photos as their vectors come; those without one, and why."""
    failed: Lost = []
    pairs = zip(photos, vectors, strict=True)
    for batch in batched_in_time(pairs, FLUSH_PHOTOS, FLUSH_S, progress):
        done: list[tuple[Photo, Vector]] = []
        for photo, vector in batch:
            if isinstance(vector, str):
                failed.append((photo, vector))
            else:
                done.append((photo, vector))
        if done:
            found = np.stack([vector for _, vector in done])
            successor.append([photo for photo, _ in done], found, announce=announce)
    return failed
