"""A parsed filter: a small tree that selects photos.

It evaluates to true, false or unknown (Kleene's strong logic; S. C. Kleene, Introduction to
Metamathematics, 1952, section 64). Only true passes. Safety attributes are stricter: a photo with
an unknown value is left out wherever the filter compares that attribute, even beside an OR that is
true without it, and the answer counts the photos left out.
"""

import json
import operator
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

from deepfood.errors import FilterError
from deepfood.gallery.photo import Photo
from deepfood.gallery.values import BUILT_IN, Key, Type, Value, folded, keys_of
from deepfood.index import Mask


class FilterColumns(Protocol):
    """The columns of a gallery at one moment, for an engine that filters by masks."""

    def type_of(self, name: str) -> Type:
        """The type of an attribute or built-in column. Raises FilterError where there is none."""

    def known(self, name: str, rows: int) -> Mask:
        """The rows whose `name` is known."""

    def compared(self, name: str, operator: str, keys: tuple[Key, ...], rows: int) -> Mask:
        """The rows where the comparison with a key holds; for `in`, with any of the keys."""


#: Where the filter is true, and where it is possible: true or unknown.
Kleene = tuple[Mask, Mask]
Constant = str | float | bool
_COMPARE = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


class Filter(ABC):
    """A parsed filter. `str` returns it in the filter language."""

    @abstractmethod
    def evaluate(self, now: FilterColumns, rows: int) -> Kleene:
        """Where it is true, and where it is possible, of the first `rows` rows."""

    def holds(self, photo: Photo, values: Mapping[str, Value]) -> bool:
        """Whether a photo with these known values passes."""
        known: dict[str, Value] = dict(values)
        known |= {name: text for name in BUILT_IN if (text := getattr(photo, name)) is not None}
        return self.truth(known) is True

    @abstractmethod
    def truth(self, known: Mapping[str, Value]) -> bool | None:
        """The truth for one photo by its known values and texts; None means unknown."""

    @abstractmethod
    def leaves(self) -> Iterator["Leaf"]:
        """The comparisons, from left to right."""


@dataclass(frozen=True)
class And(Filter):
    parts: tuple[Filter, ...]

    def evaluate(self, now: FilterColumns, rows: int) -> Kleene:
        true, possible = self.parts[0].evaluate(now, rows)
        for part in self.parts[1:]:
            other_true, other_possible = part.evaluate(now, rows)
            true, possible = true & other_true, possible & other_possible
        return true, possible

    def truth(self, known: Mapping[str, Value]) -> bool | None:
        found = {part.truth(known) for part in self.parts}
        return False if False in found else None if None in found else True

    def leaves(self) -> Iterator["Leaf"]:
        for part in self.parts:
            yield from part.leaves()

    def __str__(self) -> str:
        return " AND ".join(_enclosed(part) for part in self.parts)


@dataclass(frozen=True)
class Or(Filter):
    parts: tuple[Filter, ...]

    def evaluate(self, now: FilterColumns, rows: int) -> Kleene:
        true, possible = self.parts[0].evaluate(now, rows)
        for part in self.parts[1:]:
            other_true, other_possible = part.evaluate(now, rows)
            true, possible = true | other_true, possible | other_possible
        return true, possible

    def truth(self, known: Mapping[str, Value]) -> bool | None:
        found = {part.truth(known) for part in self.parts}
        return True if True in found else None if None in found else False

    def leaves(self) -> Iterator["Leaf"]:
        for part in self.parts:
            yield from part.leaves()

    def __str__(self) -> str:
        return " OR ".join(
            _enclosed(part) if isinstance(part, Or) else str(part) for part in self.parts
        )


@dataclass(frozen=True)
class Not(Filter):
    part: Filter

    def evaluate(self, now: FilterColumns, rows: int) -> Kleene:
        true, possible = self.part.evaluate(now, rows)
        return ~possible, ~true

    def truth(self, known: Mapping[str, Value]) -> bool | None:
        found = self.part.truth(known)
        return None if found is None else not found

    def leaves(self) -> Iterator["Leaf"]:
        return self.part.leaves()

    def __str__(self) -> str:
        return f"NOT {_enclosed(self.part)}"


class Leaf(Filter):
    """A comparison of one attribute."""

    name: str

    def leaves(self) -> Iterator["Leaf"]:
        yield self

    def check(self, now: FilterColumns) -> None:
        """Raise FilterError for a missing attribute, or one of the wrong type."""
        self.check_type(now.type_of(self.name))

    def check_type(self, type_: Type) -> None:
        """Raise FilterError where this comparison does not fit the type."""

    def _kleene(self, true: Mask, now: FilterColumns) -> Kleene:
        return true, true | ~now.known(self.name, len(true))


class LeafOfKeys(Leaf):
    """A comparison that holds for some keys of a value."""

    def truth(self, known: Mapping[str, Value]) -> bool | None:
        if self.name not in known:
            return None
        return any(map(self.compares, keys_of(known[self.name])))

    @abstractmethod
    def compares(self, key: Key) -> bool:
        """Whether the comparison holds for a value with this key."""


@dataclass(frozen=True)
class Compare(LeafOfKeys):
    """`price < 12`. Text is compared by its folded form, in code point order."""

    name: str
    operator: str
    value: Constant

    def check_type(self, type_: Type) -> None:
        _check_value(self.name, type_, self.value)
        if type_ == "boolean" and self.operator not in ("=", "!="):
            raise FilterError(f"{self.name} is true or false: compare it with = or !=")

    def evaluate(self, now: FilterColumns, rows: int) -> Kleene:
        keys = (_key(self.value),)
        return self._kleene(now.compared(self.name, self.operator, keys, rows), now)

    def compares(self, key: Key) -> bool:
        return bool(_COMPARE[self.operator](key, _key(self.value)))

    def __str__(self) -> str:
        return f"{self.name} {self.operator} {_written(self.value)}"


@dataclass(frozen=True)
class Among(LeafOfKeys):
    """`cuisine IN ("thai", "lao")`"""

    name: str
    values: tuple[Constant, ...]

    def check_type(self, type_: Type) -> None:
        for value in self.values:
            _check_value(self.name, type_, value)

    def evaluate(self, now: FilterColumns, rows: int) -> Kleene:
        keys = tuple(map(_key, self.values))
        return self._kleene(now.compared(self.name, "in", keys, rows), now)

    def compares(self, key: Key) -> bool:
        return key in map(_key, self.values)

    def __str__(self) -> str:
        return f"{self.name} IN ({', '.join(map(_written, self.values))})"


@dataclass(frozen=True)
class Has(LeafOfKeys):
    """`allergens HAS "peanut"`: a list with exactly that item."""

    name: str
    value: str

    def check_type(self, type_: Type) -> None:
        if type_ != "list":
            raise FilterError(f"{self.name} is a {type_} and no list: compare it with =")

    def evaluate(self, now: FilterColumns, rows: int) -> Kleene:
        return self._kleene(now.compared(self.name, "=", (_key(self.value),), rows), now)

    def compares(self, key: Key) -> bool:
        return key == _key(self.value)

    def __str__(self) -> str:
        return f"{self.name} HAS {_written(self.value)}"


@dataclass(frozen=True)
class IsKnown(Leaf):
    """`price IS KNOWN`, which is true or false and never unknown."""

    name: str
    known: bool

    def evaluate(self, now: FilterColumns, rows: int) -> Kleene:
        mask = now.known(self.name, rows)
        mask = mask if self.known else ~mask
        return mask, mask

    def truth(self, known: Mapping[str, Value]) -> bool | None:
        return (self.name in known) == self.known

    def __str__(self) -> str:
        return f"{self.name} IS {'KNOWN' if self.known else 'UNKNOWN'}"


def _check_value(name: str, type_: Type, value: Constant) -> None:
    if type_ == "list":
        raise FilterError(f'{name} is a list: ask with {name} HAS "…"')
    given = {str: "text", bool: "boolean"}.get(type(value), "number")
    if given != type_:
        example = {"text": '"…" in quotes', "number": "a number", "boolean": "true or false"}
        raise FilterError(f"{name} is a {type_}: compare it with {example[type_]}")


def _key(value: Constant) -> Key:
    if isinstance(value, str):
        return folded(value)
    return int(value) if isinstance(value, bool) else float(value)


def _enclosed(part: Filter) -> str:
    return f"({part})" if isinstance(part, And | Or) else str(part)


def _written(value: Constant) -> str:
    if isinstance(value, str):
        escaped = value.replace("\\", "\\\\").replace('"', '\\"')
        return f'"{escaped}"'
    return json.dumps(value)
