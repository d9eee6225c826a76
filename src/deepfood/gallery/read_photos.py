"""Read and embed photos on all cores. Each worker takes one photo all the way."""

import hashlib
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from threading import BoundedSemaphore

import numpy as np
import numpy.typing as npt

from deepfood.data.photos import PhotoFile, PhotoSource
from deepfood.data.read_ahead import reading_ahead
from deepfood.embed import Embedder
from deepfood.errors import PhotoError
from deepfood.gallery.entry import Photo, Skipped
from deepfood.gallery.growing_store import GrowingStore
from deepfood.photo import read_header
from deepfood.progress import bar

Vector = npt.NDArray[np.float32]


@dataclass(frozen=True)
class EmbeddedPhoto:
    """What the catalogue will say of a photo, its unit vector float32 [dim], and its bytes.

    `attributes` are those given by hand; None as a value makes one unknown.
    """

    photo: Photo
    vector: Vector
    data: bytes
    attributes: Mapping[str, object] = field(default_factory=dict)


#: Who reads and embeds files: `read_photos`, or one that gives the same from elsewhere.
Reading = Callable[
    [PhotoSource, Iterable[PhotoFile], Embedder],
    AbstractContextManager[Iterator[EmbeddedPhoto | Skipped]],
]

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


@contextmanager
def read_photos(
    source: PhotoSource, files: Iterable[PhotoFile], embedder: Embedder
) -> Iterator[Iterator[EmbeddedPhoto | Skipped]]:
    """Each file as a photo or as skipped, in order; a few are under way at any time.

    Where reads take long, further threads wait for them, each with one photo in memory at most.
    """
    workers = embedder.threads + 1
    embedding = BoundedSemaphore(workers)

    def work(file: PhotoFile) -> EmbeddedPhoto | Skipped:
        return _read_one(source, file, embedder, embedding)

    reading = source.root.reads_ahead
    with reading_ahead(work, files, workers=workers, reading=reading) as results:
        yield results


def embed_photo(data: bytes, about: PhotoFile, embedder: Embedder) -> EmbeddedPhoto:
    """A photo of bytes that come from nowhere in particular. Raises PhotoError."""
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
