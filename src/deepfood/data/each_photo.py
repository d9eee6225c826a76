"""Read many photos in threads, in order, and record those that cannot be read."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from threading import BoundedSemaphore
from typing import TypeVar

from deepfood.config import available_cores
from deepfood.data.photo_file import PhotoFile
from deepfood.data.root import Root
from deepfood.errors import PhotoError
from deepfood.photo import Limits
from deepfood.progress import bar

Result = TypeVar("Result")


@dataclass(frozen=True)
class Unreadable:
    """A photo that cannot be used, and why."""

    file: PhotoFile
    reason: str


def each_photo(
    what: str,
    photos: Sequence[tuple[Root, PhotoFile]],
    limits: Limits,
    work: Callable[[bytes], Result],
    *,
    quiet: bool,
) -> Iterator[Result | Unreadable]:
    """`work(bytes)` of each photo, (root, file), in order; Unreadable where it has none.

    A PhotoError of `work` makes a photo unreadable too.
    """

    def one(root: Root, file: PhotoFile) -> Result | Unreadable:
        try:
            data = root.read(file.file, limits.check_bytes)
            with working:
                return work(data)
        except PhotoError as error:
            return Unreadable(file, str(error))

    threads = available_cores() + 1
    working = BoundedSemaphore(threads)
    reading = max((root.reads_ahead for root in {root for root, _ in photos}), default=0)
    pool = ThreadPoolExecutor(threads + reading, thread_name_prefix="photo")
    waiting: deque[Future[Result | Unreadable]] = deque()
    try:
        with bar(what, " photos", len(photos), quiet=quiet) as progress:
            for root, file in photos:
                waiting.append(pool.submit(one, root, file))
                if len(waiting) >= 8 * threads + reading:  # so many under way, at most
                    yield waiting.popleft().result()
                    progress.update()
            while waiting:
                yield waiting.popleft().result()
                progress.update()
    finally:
        pool.shutdown(cancel_futures=True)
