"""Read many photos in threads, in order, and record those that cannot be read."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from deepfood.config import available_cores
from deepfood.data.photo_file import PhotoFile, path_inside
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
    photos: Sequence[tuple[Path, PhotoFile]],
    limits: Limits,
    work: Callable[[bytes, Path], Result],
    *,
    quiet: bool,
) -> Iterator[Result | Unreadable]:
    """`work(bytes, path)` of each photo, (root, file), in order; Unreadable where it has none.

    A PhotoError of `work` makes a photo unreadable too.
    """

    def one(root: Path, file: PhotoFile) -> Result | Unreadable:
        try:
            path = _usable(root, file)
            limits.check_bytes(path.stat().st_size)
            return work(path.read_bytes(), path)
        except PhotoError as error:
            return Unreadable(file, str(error))
        except OSError as error:
            return Unreadable(file, f"the file cannot be read: {error.strerror or error}")

    threads = available_cores() + 1
    pool = ThreadPoolExecutor(threads, thread_name_prefix="photo")
    waiting: deque[Future[Result | Unreadable]] = deque()
    try:
        with bar(what, " photos", len(photos), quiet=quiet) as progress:
            for root, file in photos:
                waiting.append(pool.submit(one, root, file))
                if len(waiting) >= 8 * threads:  # so many under way, however many there are
                    yield waiting.popleft().result()
                    progress.update()
            while waiting:
                yield waiting.popleft().result()
                progress.update()
    finally:
        pool.shutdown(cancel_futures=True)


def _usable(root: Path, file: PhotoFile) -> Path:
    path = path_inside(root, file.file)
    if path is None:
        raise PhotoError(f"the file lies outside {root}")
    if not path.exists():
        raise PhotoError("there is no such file")
    if not path.is_file():  # a named pipe would keep us waiting for ever
        raise PhotoError("it is no regular file")
    return path
