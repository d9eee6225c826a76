"""Read and embed photos on all cores, into a Store. Each worker takes one photo all the way."""

import hashlib
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from deepfood.data.photos import PhotoFile, PhotoSource, path_inside
from deepfood.embed import Embedder
from deepfood.errors import PhotoError
from deepfood.gallery.known import stamp
from deepfood.gallery.store import Photo, Skipped, Store
from deepfood.photo import read_header
from deepfood.progress import bar

Vector = npt.NDArray[np.float32]
Item = TypeVar("Item")
Result = TypeVar("Result")

#: Finished photos are made durable at least this often.
_FLUSH_PHOTOS = 512
_FLUSH_S = 2.0


def embed_photos(
    source: PhotoSource,
    todo: list[PhotoFile],
    embedder: Embedder,
    store: Store,
    *,
    done: int,
    quiet: bool,
) -> None:
    """Append every file of `todo` to `store`, as a photo or as skipped; `done` is for the bar.

    Whatever ends it early, what was embedded by then is stored first.
    """
    photos: list[Photo] = []
    vectors: list[Vector] = []
    skipped: list[Skipped] = []

    def flush() -> None:
        store.append(photos, np.array(vectors, np.float32), skipped)
        for batch in (photos, vectors, skipped):
            batch.clear()

    def work(file: PhotoFile) -> tuple[Photo, Vector] | Skipped:
        return _embed_one(source, file, embedder)

    flushed = time.monotonic()
    pool = ThreadPoolExecutor(embedder.threads + 1, thread_name_prefix="embed")
    total = len(todo) + done
    try:
        with bar("embedding", " photos", total, done=done, quiet=quiet) as progress:
            for result in in_order(pool, work, todo, ahead=8 * embedder.threads):
                if isinstance(result, Skipped):
                    skipped.append(result)
                else:
                    photos.append(result[0])
                    vectors.append(result[1])
                progress.update()
                if len(photos) >= _FLUSH_PHOTOS or time.monotonic() - flushed > _FLUSH_S:
                    flush()
                    flushed = time.monotonic()
    finally:
        pool.shutdown(cancel_futures=True)
        flush()


def in_order(
    pool: ThreadPoolExecutor,
    function: Callable[[Item], Result],
    items: Iterable[Item],
    ahead: int,
) -> Iterator[Result]:
    """Like `pool.map`, but with at most `ahead` items under way, however many there are."""
    waiting: deque[Future[Result]] = deque()
    for item in items:
        waiting.append(pool.submit(function, item))
        if len(waiting) >= ahead:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def _embed_one(
    source: PhotoSource, file: PhotoFile, embedder: Embedder
) -> tuple[Photo, Vector] | Skipped:
    size, modified_ns = stamp(source, file)

    def skip(reason: str) -> Skipped:
        return Skipped(file.stored, reason, size, modified_ns)

    if file.stored != file.file:
        return skip("the file's name is not valid Unicode")
    path = path_inside(source.root, file.file)
    if path is None:
        return skip(f"the file lies outside {source.root}")
    if not path.exists():
        return skip("there is no such file")
    if not path.is_file():  # a named pipe would keep us waiting for ever
        return skip("it is no regular file")
    try:
        embedder.limits.check_bytes(size)  # before it is read
        data = path.read_bytes()
        header = read_header(data, embedder.limits)
        vector = embedder.embed(data)
    except PhotoError as error:
        return skip(str(error))
    except OSError as error:
        return skip(f"the file cannot be read: {error.strerror}")
    photo = Photo(
        sha256=hashlib.sha256(data).hexdigest(),
        file=file.file,
        label=file.label,
        name=file.name,
        media_type=header.media_type,
        width=header.width,
        height=header.height,
        bytes=len(data),
        modified_ns=modified_ns,
    )
    return photo, vector
