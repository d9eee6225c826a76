"""Read and embed photos on all cores, one photo a worker; batches of finished work."""

import hashlib
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from threading import BoundedSemaphore
from typing import TypeVar

from deepfood.counted import counted
from deepfood.data.photos import PhotoFile, PhotoSource
from deepfood.data.read_ahead import reading_ahead
from deepfood.embed import Embedder, Vector
from deepfood.errors import DatasetError, PhotoError, PhotoNotFoundError
from deepfood.gallery.photo import EmbeddedPhoto, Photo, Skipped
from deepfood.gallery.protocol import SearchedGallery
from deepfood.photo import read_header

#: Reads and embeds files: `read_photos`, or a function that returns the same from elsewhere.
Reading = Callable[
    [PhotoSource, Iterable[PhotoFile], Embedder],
    AbstractContextManager[Iterator[EmbeddedPhoto | Skipped]],
]


@contextmanager
def read_photos(
    source: PhotoSource, files: Iterable[PhotoFile], embedder: Embedder
) -> Iterator[Iterator[EmbeddedPhoto | Skipped]]:
    """Yield each file as an embedded photo or as skipped, in order.

    Where reads are slow, further threads wait for them, each with at most one photo in memory; and
    so do others for an accelerator.
    """
    embedding = BoundedSemaphore(embedder.at_once)

    def work(file: PhotoFile) -> EmbeddedPhoto | Skipped:
        return _read_one(source, file, embedder, embedding)

    workers, waiting = embedding_threads(embedder, source.root.reads_ahead)
    with reading_ahead(work, files, workers=workers, reading=waiting) as results:
        yield results


def embedding_threads(embedder: Embedder, reads_ahead: int) -> tuple[int, int]:
    """How many threads compute, and how many more wait for slow reads or for an accelerator."""
    workers = embedder.threads + 1
    return workers, embedder.at_once - workers + reads_ahead


def embed_photo(data: bytes, about: PhotoFile, embedder: Embedder) -> EmbeddedPhoto:
    """Embed the bytes of a photo; `about` names it. Raises PhotoError."""
    embedder.limits.check_bytes(len(data))
    header = read_header(data, embedder.limits)
    photo = Photo(
        sha256=hashlib.sha256(data).hexdigest(),
        file=about.file,
        label=about.label,
        name=about.name,
        media_type=header.media_type,
        width=header.width,
        height=header.height,
        bytes=len(data),
        modified_ns=time.time_ns(),
    )
    return EmbeddedPhoto(photo, embedder.embed(data), data)


T = TypeVar("T")


def batched_in_time(
    items: Iterable[T], count: int, seconds: float, progress: Callable[[], object]
) -> Iterator[list[T]]:
    """Group items into batches of at most `count`, as they come; calls `progress` for each item.

    A batch also ends once its first item has waited `seconds`. Where `items` raises, the unfinished
    batch comes before the error, so that what is finished is kept.
    """
    each = iter(items)
    batch: list[T] = []
    first = 0.0
    while True:
        try:
            item = next(each)
            first = first if batch else time.monotonic()
            batch.append(item)
            progress()
        except StopIteration:
            break
        except BaseException:
            if batch:
                yield batch
            raise
        if len(batch) >= count or time.monotonic() - first > seconds:
            yield batch
            batch = []
    if batch:
        yield batch


def _read_one(
    source: PhotoSource, file: PhotoFile, embedder: Embedder, embedding: BoundedSemaphore
) -> EmbeddedPhoto | Skipped:
    size, modified_ns = source.root.stamp(file.file)
    if file.stored != file.file:
        return Skipped(file.stored, "the file's name is not valid Unicode", size, modified_ns)
    try:
        data = source.root.read(file.file, embedder.limits.check_bytes)
        with embedding:
            one = embed_photo(data, file, embedder)
    except PhotoError as error:
        return Skipped(file.stored, str(error), size, modified_ns)
    return replace(one, photo=replace(one.photo, modified_ns=modified_ns))


#: How often photos that were added meanwhile are embedded in a further pass.
PASSES = 5

#: Photos without a vector, and the reason.
Lost = list[tuple[Photo, str]]


def refuse_lost(place: object, lost: Lost, *, drop_unreadable: bool) -> None:
    """Raise DatasetError where photos are lost, unless they may be dropped."""
    if lost and not drop_unreadable:
        photo, reason = lost[0]
        raise DatasetError(
            f"{counted(lost, 'photo')} of {place} cannot be read any more; the first, "
            f"{photo.file}: {reason}: restore what is lost (or set --photos-root if it has moved), "
            "or drop it with --drop-unreadable"
        )


def embed_photos_of(
    gallery: SearchedGallery, photos: Sequence[Photo], embedder: Embedder
) -> Iterator[Vector | str]:
    """Read and embed photos of a gallery, in order: a vector, or the reason for having none."""
    embedding = BoundedSemaphore(embedder.at_once)

    def work(photo: Photo) -> Vector | str:
        try:
            data = gallery.read(photo)
            with embedding:
                return embedder.embed(data)
        except PhotoNotFoundError:
            return "its file is gone or has changed"
        except PhotoError as error:
            return str(error)

    workers, waiting = embedding_threads(embedder, gallery.reads_ahead)
    with reading_ahead(work, photos, workers=workers, reading=waiting) as vectors:
        yield from vectors
