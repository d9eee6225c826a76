"""The turn: who makes a gallery's next generation, and how those who write notice. No locks here.

An alias of NAME_about says whether a next generation is being filled, or is taking over: it is read
in milliseconds, where a row that must be the newest takes a third of a second. Whoever changes the
gallery reads it, makes the change, and reads it again: the change counts where both say the same,
and else it is made again, in the generation that lives then. While a next generation is filled,
writers note what they change; while it takes over, they wait.

Who holds the turn says so again each few seconds. One that was killed loses it after 30 s, and one
that was cut off takes it for lost long before that; clocks may differ by 15 s.
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
from deepfood.milvus.about import About

Phase = Literal["filling", "building", "swapping", "over"]

_ALIAS = re.compile(r"(.+)_turn_(filling|building|swapping|over)_([0-9a-f]{16})_([0-9]+)")
_LEASE_S, _AGAIN_S, _TRUSTED_S = 30.0, 5.0, 15.0


@dataclass(frozen=True)
class Turn:
    """`until` is by the clock, in milliseconds since 1970; a later turn has a greater one."""

    holder: str = ""
    phase: Phase = "over"
    until: int = 0

    @classmethod
    def read(cls, about: About) -> Self:
        found = map(_ALIAS.fullmatch, about.aliases())
        turns = [
            cls(one[3], cast(Phase, one[2]), int(one[4]))
            for one in found
            if one and one[1] == about.name
        ]
        return max(turns, key=lambda one: one.until, default=cls())

    def write(self, about: About) -> None:
        """Say it, and take back what was said before."""
        own = f"{about.name}_turn_{self.phase}_{self.holder}_{self.until}"
        about.add_alias(own)
        for alias in about.aliases():
            one = _ALIAS.fullmatch(alias)
            if one and one[1] == about.name and int(one[4]) < self.until:
                about.drop_alias(alias)

    @property
    def runs(self) -> bool:
        return self.phase != "over" and time.time() * 1000 < self.until

    def is_now(self, phase: Phase) -> bool:
        return self.runs and self.phase == phase

    def same_as(self, other: "Turn") -> bool:
        """Whether nobody took over between the two."""
        return (self.holder, self.phase) == (other.holder, other.phase)


class HeldTurn:
    """The turn while this process has it."""

    def __init__(self, about: About) -> None:
        self._about = about
        self._holder = secrets.token_hex(8)
        self._phase: Phase = "filling"
        self._until = 0
        self._lock = threading.Lock()
        self._lost = False
        self._said = time.monotonic()
        self._ended = threading.Event()

    @classmethod
    @contextmanager
    def take(cls, about: About) -> Iterator[Self]:
        """Take the turn, and give it back. Raises ArtifactBusyError where another process has it.

        Waits for one that is not heard of any more.
        """
        before = _wait_for_silent(about)
        held = cls(about)
        held._until = before.until
        held._say("filling")
        saying = threading.Thread(target=held._say_again, name="turn", daemon=True)
        saying.start()
        try:
            yield held
        finally:
            held._ended.set()
            saying.join()
            with contextlib.suppress(EngineError):  # then it ends by itself
                if Turn.read(about).holder == held._holder:
                    held._say("over")

    def build_in_place(self) -> None:
        """Say that the living generation itself is changed: writers need note nothing.

        Raises ArtifactBusyError where the turn is lost.
        """
        self.check()
        self._say("building")

    @contextmanager
    def swapping(self) -> Iterator[None]:
        """Writers wait inside of it. Raises ArtifactBusyError where the turn is lost."""
        self.check()
        self._say("swapping")
        yield

    def check(self) -> None:
        """Raise ArtifactBusyError unless the turn is still ours, and has been all the time."""
        with self._lock:
            late = time.monotonic() - self._said > _TRUSTED_S
            if not self._lost and not late and Turn.read(self._about).holder == self._holder:
                return
            self._lost = True
        raise ArtifactBusyError(
            "another process has begun to make a next generation, or the engine was away for too "
            "long: run the same command again, it goes on"
        )

    def _say(self, phase: Phase | None = None) -> None:
        with self._lock:
            phase = phase or self._phase
            begun = time.monotonic()
            if begun - self._said > _TRUSTED_S:
                self._lost = True  # others may have taken it for over in between
            self._until = max(self._until + 1, int((time.time() + _LEASE_S) * 1000))
            Turn(self._holder, phase, self._until).write(self._about)
            self._phase, self._said = phase, begun

    def _say_again(self) -> None:
        while not self._ended.wait(_AGAIN_S):
            try:
                if Turn.read(self._about).holder != self._holder:
                    self._lost = True
                    return
                self._say()
            except EngineError:
                continue  # the next time, or `check` finds it


def _wait_for_silent(about: About) -> Turn:
    seen = Turn.read(about)
    while seen.runs:
        time.sleep(1)
        now = Turn.read(about)
        if now.runs and now != seen:
            raise ArtifactBusyError(
                "another process makes a next generation of this gallery: wait for it, and run "
                "the same command again"
            )
        seen = now
    return seen
