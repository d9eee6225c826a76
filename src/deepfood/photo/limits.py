"""What photos may cost: bytes, pixels, and the memory of all that are decoded at the same time."""

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

#: The share of memory that decoding may take where the setting `max_decoding_bytes` is 0.
_SHARE = 4
#: How a refusal names the limit that it is for: see `Limits._named`.
_NAMED = re.compile(r"the limit (max_photo_bytes|max_photo_pixels|max_decoding_bytes) is ([\d,]+)")


@dataclass(frozen=True)
class Limits:
    """What a photo may cost: file size in bytes, width times height, and bytes while it is decoded.

    `max_decoding_bytes` is for all photos that this process decodes at the same time, together: one
    that would take more alone is refused, and others wait until there is room.
    """

    max_bytes: int
    max_pixels: int
    max_decoding_bytes: int = 2**40

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """What the settings say."""
        decoding = settings.max_decoding_bytes or available_memory() // _SHARE
        return cls(settings.max_photo_bytes, settings.max_photo_pixels, decoding)

    def check_bytes(self, count: int) -> None:
        """Raise PhotoTooLargeError for a file of `count` bytes if that is more than allowed."""
        if count > self.max_bytes:
            raise PhotoTooLargeError(
                f"the photo has {count:,} bytes, and {self._named('max_photo_bytes')}"
            )

    def check_pixels(self, width: int, height: int) -> None:
        """Raise PhotoTooLargeError for a photo of this size if it has more pixels than allowed."""
        if width * height > self.max_pixels:
            raise PhotoTooLargeError(
                f"the photo has {width} x {height} pixels, and {self._named('max_photo_pixels')}"
            )

    def still_refuses(self, reason: str) -> bool:
        """Whether a photo that was refused for `reason`, a PhotoError's text, would be again.

        A limit may have been raised since; what is wrong with a photo itself stays so.
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
        """Hold room for `cost` bytes, once there is some; first come, first served.

        Raises PhotoTooLargeError where there will never be enough.
        """
        if cost > self.max_decoding_bytes:
            raise PhotoTooLargeError(
                f"the photo would take {cost:,} bytes in decoding, and "
                f"{self._named('max_decoding_bytes')}: make it smaller"
            )
        _room.take(cost, self.max_decoding_bytes)
        try:
            yield
        finally:
            _room.give_back(cost)


#: glibc's mallopt(3): M_MMAP_THRESHOLD, and the bytes from which memory is mapped.
_GLIBC_MAPPED_FROM = (-3, 2**20)


def _give_back_freed_memory() -> None:
    """Tell glibc's malloc to give back at once what a large photo took.

    It would learn from the first one to keep such memory, for each thread its own, and many threads
    would hold more of it than they may use at the same time. Other C libraries are left alone.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if os.name == "posix" else None
    if mallopt is not None:
        mallopt(*_GLIBC_MAPPED_FROM)


_give_back_freed_memory()


class _Room:
    """How many bytes of this process's memory are in use for decoding."""

    def __init__(self) -> None:
        self._turn = threading.Lock()
        self._changed = threading.Condition()
        self._taken = 0

    def take(self, cost: int, most: int) -> None:
        # Whoever waits for room holds the turn: a large photo is not passed by small ones for ever.
        with self._turn, self._changed:
            self._changed.wait_for(lambda: self._taken + cost <= most)
            self._taken += cost

    def give_back(self, cost: int) -> None:
        with self._changed:
            self._taken -= cost
            self._changed.notify_all()


_room = _Room()
