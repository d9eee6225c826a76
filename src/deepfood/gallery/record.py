"""A record of the journal: one change, by whom and when, for both engines."""

import functools
import getpass
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

Kind = Literal["begin", "declare", "drop", "add", "remove", "restore", "update", "import"]

SUM_DIGITS = 32


class Head(NamedTuple):
    """Identifies a record by its number and sum. Number 0 is before the first."""

    number: int
    sum: str


BEGINNING = Head(0, "0" * SUM_DIGITS)


@dataclass(frozen=True)
class Record:
    """One change: when (UTC, ISO 8601), by whom (a key's name, or a command's user), and what."""

    number: int
    at: str
    by: str
    do: Kind
    what: Mapping[str, Any]
    sum: str = field(default="", compare=False)

    @property
    def head(self) -> Head:
        return Head(self.number, self.sum)


@functools.cache
def user() -> str:
    """The name of the system's user."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # no name for this number
        return "unknown"
