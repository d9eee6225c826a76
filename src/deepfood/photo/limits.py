"""Limits for photos: bytes, pixels, and the memory of all that are decoded at the same time."""

import ctypes
import os
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Self

from deepfood.config import Settings, available_memory
from deepfood.errors import PhotoTooLargeError

#: With the setting `max_decoding_bytes` 0, decoding may take this fraction of the memory: 1 / 4.
_SHARE = 4
#: How an error names the exceeded limit: see `Limits._named`.
_NAMED = re.compile(r"the limit (max_photo_bytes|max_photo_pixels|max_decoding_bytes) is ([\d,]+)")


@dataclass(frozen=True)
class Limits:
    """Limits for a photo: file size in bytes, width times height, and bytes while it is decoded.

    `max_decoding_bytes` is shared by all photos that this process decodes at the same time: a photo
    that needs more alone is refused, and others wait for memory.
    """

    max_bytes: int
    max_pixels: int
    max_decoding_bytes: int = 2**40

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """The limits in the settings."""
        decoding = settings.max_decoding_bytes or available_memory() // _SHARE
        return cls(settings.max_photo_bytes, settings.max_photo_pixels, decoding)

    def check_bytes(self, count: int) -> None:
        """Raise PhotoTooLargeError if a file of `count` bytes is over the limit."""
        if count > self.max_bytes:
            raise PhotoTooLargeError(
                f"the photo has {count:,} bytes, and {self._named('max_photo_bytes')}"
            )

    def check_pixels(self, width: int, height: int) -> None:
        """Raise PhotoTooLargeError if a photo of this size is over the limit."""
        if width * height > self.max_pixels:
            raise PhotoTooLargeError(
                f"the photo has {width} x {height} pixels, and {self._named('max_photo_pixels')}"
            )

    def still_refuses(self, reason: str) -> bool:
        """Whether a photo refused for `reason`, a PhotoError's text, would be refused again.

        A limit may have been raised since; other faults are permanent.
        """
        named = _NAMED.search(reason)
        return named is None or self._by_name[named[1]] <= int(named[2].replace(",", ""))

    @property
    def _by_name(self) -> dict[str, int]:
        """The limits by the names of their settings."""
        return {
            "max_photo_bytes": self.max_bytes,
            "max_photo_pixels": self.max_pixels,
            "max_decoding_bytes": self.max_decoding_bytes,
        }

    def _named(self, setting: str) -> str:
        return f"the limit {setting} is {self._by_name[setting]:,}"

    @contextmanager
    def decoding(self, cost: int) -> Iterator[None]:
        """Reserve `cost` bytes, waiting in order of arrival until they are available.

        Raises PhotoTooLargeError if they never can be.
        """
        if cost > self.max_decoding_bytes:
            raise PhotoTooLargeError(
                f"decoding the photo would take {cost:,} bytes, and "
                f"{self._named('max_decoding_bytes')}: make it smaller"
            )
        _budget.acquire(cost, self.max_decoding_bytes)
        try:
            yield
        finally:
            _budget.release(cost)


#: glibc's mallopt(3): M_MMAP_THRESHOLD, and the size in bytes from which memory is mapped.
_GLIBC_MAPPED_FROM = (-3, 2**20)


def _return_freed_memory() -> None:
    """Make glibc's malloc return the memory of large photos to the system at once.

    By default it learns from the first large photo to keep such memory, separately for each thread,
    so that many threads hold more than the limit allows. Other C libraries are left alone.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if os.name == "posix" else None
    if mallopt is not None:  # pragma: no branch - another C library
        mallopt(*_GLIBC_MAPPED_FROM)


_return_freed_memory()


class _MemoryBudget:
    """The bytes of this process's memory that decoding uses."""

    def __init__(self) -> None:
        self._first_in_line = threading.Lock()
        self._changed = threading.Condition()
        self._taken = 0

    def acquire(self, cost: int, most: int) -> None:
        # The first in line waits alone, so that small photos cannot overtake a large one for ever.
        with self._first_in_line, self._changed:
            self._changed.wait_for(lambda: self._taken + cost <= most)
            self._taken += cost

    def release(self, cost: int) -> None:
        with self._changed:
            self._taken -= cost
            self._changed.notify_all()


_budget = _MemoryBudget()
