"""Read many photos in threads, in order, and record those that cannot be read."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from threading import BoundedSemaphore
from typing import TypeVar

from deepfood.config import available_cores
from deepfood.data.photo_file import PhotoFile
from deepfood.data.read_ahead import reading_ahead
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
    """`work(bytes)` for each photo, (root, file), in order; Unreadable where reading it fails.

    A photo is also Unreadable where `work` raises PhotoError.
    """

    def one(photo: tuple[Root, PhotoFile]) -> Result | Unreadable:
        root, file = photo
        try:
            data = root.read(file.file, limits.check_bytes)
            with working:
                return work(data)
        except PhotoError as error:
            return Unreadable(file, str(error))

    threads = available_cores() + 1
    working = BoundedSemaphore(threads)
    reading = max((root.reads_ahead for root in {root for root, _ in photos}), default=0)
    with (
        bar(what, " photos", len(photos), quiet=quiet) as progress,
        reading_ahead(one, photos, workers=threads, reading=reading) as results,
    ):
        for result in results:
            yield result
            progress.update()
