"""The turn: who makes a gallery's next generation, and how those who write notice. No locks here.

A text in NAME_about says whether a next generation is being filled, or is taking over. Whoever
changes the gallery reads it, makes the change, and reads it again: the change counts where both say
the same, and else it is made again, in the generation that lives then. While a next generation is
filled, writers note what they change; while it takes over, they wait.

Who holds the turn says so again each few seconds. One that was killed loses it after 30 s, and one
that was cut off takes it for lost long before that; clocks may differ by 15 s.
"""

import contextlib
import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict

from deepfood.errors import ArtifactBusyError, EngineError
from deepfood.milvus.about import About

Phase = Literal["filling", "swapping", "over"]

_KEY = "turn"
_LEASE_S, _AGAIN_S, _TRUSTED_S = 30.0, 5.0, 15.0


class Turn(BaseModel):
    """`until` is by the clock, in seconds since 1970."""

    model_config = ConfigDict(frozen=True)

    holder: str = ""
    phase: Phase = "over"
    until: float = 0.0

    @classmethod
    def read(cls, about: About) -> Self:
        text = about.read(_KEY)
        return cls() if text is None else cls.model_validate_json(text)

    def is_now(self, phase: Phase) -> bool:
        return self.phase == phase and time.time() < self.until

    def same_as(self, other: "Turn") -> bool:
        """Whether nobody took over between the two."""
        return (self.holder, self.phase) == (other.holder, other.phase)


class HeldTurn:
    """The turn while this process has it."""

    def __init__(self, about: About) -> None:
        self._about = about
        self._holder = secrets.token_hex(8)
        self._phase: Phase = "filling"
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
        _wait_for_silent(about)
        held = cls(about)
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
            turn = Turn(holder=self._holder, phase=phase, until=time.time() + _LEASE_S)
            self._about.write(_KEY, turn.model_dump_json())
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


def _wait_for_silent(about: About) -> None:
    seen = Turn.read(about)
    while seen.phase != "over" and time.time() < seen.until:
        time.sleep(1)
        now = Turn.read(about)
        if now.phase != "over" and now != seen:
            raise ArtifactBusyError(
                "another process makes a next generation of this gallery: wait for it, and run "
                "the same command again"
            )
        seen = now
