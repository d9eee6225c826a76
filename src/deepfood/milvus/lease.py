"""The lease of the process that makes a gallery's next generation or revision. Milvus has no locks.

The lease is an alias of NAME_about, which is read in milliseconds; a strongly consistent read of a
row takes a third of a second. Its phase says whether a next generation is being filled or is taking
over, or a build is changing the living one. Writers take no lease. They are optimistic: a writer
reads the lease, makes its change, and reads the lease again. The change counts if holder and phase
are the same; otherwise the writer repeats it, in the generation that is living then. While a next
generation is being filled, writers note their changes; while it takes over, they wait.

The holder renews the lease every few seconds. A holder that was killed loses it after 30 s, and one
that was cut off gives it up long before. Clocks may differ by 15 s.
"""

import contextlib
import re
import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal, Self, cast

from deepfood.errors import ArtifactBusyError, EngineError
from deepfood.milvus.metadata import GalleryMetadata

Phase = Literal["filling", "building", "swapping", "over"]

_ALIAS = re.compile(r"(.+)_turn_(filling|building|swapping|over)_([0-9a-f]{16})_([0-9]+)")
_LEASE_S, _AGAIN_S, _TRUSTED_S = 30.0, 5.0, 15.0


@dataclass(frozen=True)
class Lease:
    """A lease as encoded in the alias.

    `until` is wall-clock time, in milliseconds since 1970; a later lease has a greater value.
    """

    holder: str = ""
    phase: Phase = "over"
    until: int = 0

    @classmethod
    def read(cls, metadata: GalleryMetadata) -> Self:
        found = map(_ALIAS.fullmatch, metadata.aliases())
        leases = [
            cls(one[3], cast(Phase, one[2]), int(one[4]))
            for one in found
            if one and one[1] == metadata.name
        ]
        return max(leases, key=lambda one: one.until, default=cls())

    def write(self, metadata: GalleryMetadata) -> None:
        """Write it, and drop the earlier ones."""
        own = f"{metadata.name}_turn_{self.phase}_{self.holder}_{self.until}"
        metadata.add_alias(own)
        for alias in metadata.aliases():
            one = _ALIAS.fullmatch(alias)
            if one and one[1] == metadata.name and int(one[4]) < self.until:
                metadata.drop_alias(alias)

    @property
    def runs(self) -> bool:
        return self.phase != "over" and time.time() * 1000 < self.until

    def is_now(self, phase: Phase) -> bool:
        return self.runs and self.phase == phase

    def same_as(self, other: "Lease") -> bool:
        """Whether nobody took over between the two."""
        return (self.holder, self.phase) == (other.holder, other.phase)


class HeldLease:
    """The lease while this process holds it."""

    def __init__(self, metadata: GalleryMetadata) -> None:
        self._metadata = metadata
        self._holder = secrets.token_hex(8)
        self._phase: Phase = "filling"
        self._until = 0
        self._lock = threading.Lock()
        self._lost = False
        self._renewed_at = time.monotonic()
        self._ended = threading.Event()

    @classmethod
    @contextmanager
    def take(cls, metadata: GalleryMetadata) -> Iterator[Self]:
        """Hold the lease. Raises ArtifactBusyError if another process holds it.

        Waits for a lease that is no longer renewed to expire.
        """
        before = _wait_until_expired(metadata)
        held = cls(metadata)
        held._until = before.until
        held._renew("filling")
        renewing = threading.Thread(target=held._keep_renewing, name="lease", daemon=True)
        renewing.start()
        try:
            yield held
        finally:
            held._ended.set()
            renewing.join()
            with contextlib.suppress(EngineError):  # then it expires by itself
                if Lease.read(metadata).holder == held._holder:
                    held._renew("over")

    def build_in_place(self) -> None:
        """Enter the phase in which the living generation is changed, and writers note nothing.

        Raises ArtifactBusyError if the lease is lost.
        """
        self.check()
        self._renew("building")

    def note_changes(self) -> None:
        """Enter the phase again in which writers note their changes.

        A change that was begun before is made once more. Raises ArtifactBusyError if the lease is
        lost.
        """
        self.check()
        self._renew("filling")

    @contextmanager
    def swapping(self) -> Iterator[None]:
        """Writers wait inside this context. Raises ArtifactBusyError if the lease is lost."""
        self.check()
        self._renew("swapping")
        yield

    def check(self) -> None:
        """Raise ArtifactBusyError unless this process has held the lease without interruption."""
        with self._lock:
            late = time.monotonic() - self._renewed_at > _TRUSTED_S
            if not self._lost and not late and Lease.read(self._metadata).holder == self._holder:
                return
            self._lost = True
        raise ArtifactBusyError(
            "another process has begun to make a next generation, or the engine was unavailable "
            "for too long: run the same command again, it resumes"
        )

    def _renew(self, phase: Phase | None = None) -> None:
        with self._lock:
            phase = phase or self._phase
            begun = time.monotonic()
            if begun - self._renewed_at > _TRUSTED_S:
                self._lost = True  # others may have considered it expired
            self._until = max(self._until + 1, int((time.time() + _LEASE_S) * 1000))
            Lease(self._holder, phase, self._until).write(self._metadata)
            self._phase, self._renewed_at = phase, begun

    def _keep_renewing(self) -> None:
        while not self._ended.wait(_AGAIN_S):
            try:
                if Lease.read(self._metadata).holder != self._holder:
                    self._lost = True
                    return
                self._renew()
            except EngineError:
                continue  # retried next time; otherwise `check` fails


def _wait_until_expired(metadata: GalleryMetadata) -> Lease:
    seen = Lease.read(metadata)
    while seen.runs:
        time.sleep(1)
        now = Lease.read(metadata)
        if now.runs and now != seen:
            raise ArtifactBusyError(
                "another process is building this gallery or changing its Model: wait for it, and "
                "run the same command again"
            )
        seen = now
    return seen
