"""Attributes are declared before anything is said of them: one rule for every kind of gallery.

A name that is not declared is refused, with the one that is likely meant: else each misspelling
would become a column. Whoever wants a new one declares it, or brings in a table that has it.
"""

import difflib
from collections.abc import Mapping, Sized
from dataclasses import dataclass
from typing import Protocol

from deepfood.errors import DatasetError, UndeclaredError
from deepfood.gallery.values import (
    SAFETY,
    Type,
    Value,
    attribute_name,
    check_name,
    checked,
    type_of,
)

#: Attributes that a gallery can have, and that can be said of a photo at a time: each search reads
#: the definitions, and a writer keeps all others waiting.
MOST_ATTRIBUTES = 1_000
MOST_AT_ONCE = 256
#: Names that an error lists.
_LISTED = 20
_LONGEST_NAME = 64


class Declared(Protocol):
    """What is known of an attribute that is there."""

    @property
    def type(self) -> Type: ...
    @property
    def safety(self) -> bool: ...


@dataclass(frozen=True)
class Definition:
    """A declared attribute. Of a safety attribute, unknown values never pass a filter."""

    type: Type
    safety: bool = False


def settled(
    declared: Mapping[str, Declared], wanted: Mapping[str, Declared]
) -> dict[str, Definition]:
    """What the attributes `wanted` are once they are declared, by the names that are kept.

    An attribute that is there stays as it is, but can become one of safety, which is never taken
    back; `allergens` and `diet` always are, and are lists. Raises DatasetError for a name that
    cannot be used, and for a change of type.
    """
    found: dict[str, Definition] = {}
    for given, one in wanted.items():
        name = attribute_name(given)
        check_name(name)
        known = declared.get(name)
        if name in SAFETY and one.type != "list":
            raise DatasetError(f"{name} is a list, and cannot be a {one.type}: write [] for none")
        if known is not None and known.type != one.type:
            raise DatasetError(
                f"the attribute {name} is a {known.type}, and cannot become a {one.type}"
            )
        safety = one.safety or name in SAFETY or (known is not None and known.safety)
        found[name] = Definition(one.type, safety)
    new = found.keys() - declared.keys()
    if new:
        check_room(declared, len(new))
    return found


def clean_values(
    declared: Mapping[str, Declared], given: Mapping[str, object]
) -> dict[str, Value | None]:
    """The values given of one photo, cleaned, by the names that are kept; None is unknown.

    Raises UndeclaredError for an attribute that is not declared, and DatasetError for a value of
    another type than its own.
    """
    check_attribute_count(given)
    ready: dict[str, Value | None] = {}
    for said, value in given.items():
        name = attribute_name(said)
        if name in ready:
            raise DatasetError(f"{name} is given twice")
        one = declared.get(name)
        if one is None:
            raise undeclared(declared, name, value)
        try:
            ready[name] = None if value is None else checked(value, one.type, safety=one.safety)
        except DatasetError as error:
            raise DatasetError(f"{name}: {error}") from None
    return ready


def check_attribute_count(values: Sized) -> None:
    """Raise DatasetError where too many attributes are said of a photo at once."""
    if len(values) > MOST_AT_ONCE:
        raise DatasetError(
            f"{len(values):,} attributes at once: say at most {MOST_AT_ONCE} of a photo at a time"
        )


def check_room(declared: Sized, more: int = 1) -> None:
    """Raise DatasetError where a gallery cannot have more attributes."""
    if len(declared) + more > MOST_ATTRIBUTES:
        raise DatasetError(
            f"a gallery can have {MOST_ATTRIBUTES:,} attributes, and this would make "
            f"{len(declared) + more:,}: make rare ones items of one that is a list"
        )


def undeclared(declared: Mapping[str, Declared], name: str, value: object) -> DatasetError:
    """The error of a value for an attribute that is not declared; it says how one is."""
    try:
        check_name(name)  # else nobody can declare it
    except DatasetError as error:
        return error
    try:
        type_ = "TYPE" if value is None else type_of(name, value)
    except DatasetError:
        type_ = "TYPE"
    return UndeclaredError(
        f"{no_attribute(declared, name)} A new one is declared first: deepfood attributes GALLERY "
        f"--declare {name}={type_}, or POST /api/v1/attributes"
    )


def no_attribute(declared: Mapping[str, Declared], name: str) -> UndeclaredError:
    """The error of a name that is not declared; it says which is likely meant."""
    shown = name[:_LONGEST_NAME]
    near = difflib.get_close_matches(shown, [*declared, *sorted(SAFETY - {shown})], n=1)
    if near:
        meant = f"is {near[0]!r} meant?"
    elif declared:
        meant = f"there are {', '.join(list(declared)[:_LISTED])}."
    else:
        meant = "none is declared yet."
    return UndeclaredError(f"there is no attribute {shown!r}: {meant}")


def check_unused(name: str, photos: int) -> None:
    """Raise DatasetError where an attribute is known of photos: it cannot be dropped then."""
    if photos:
        raise DatasetError(
            f"the attribute {name} is known of {photos:,} photos, and only one that no photo has "
            "can be dropped: make it unknown first, by a table with an empty cell for each"
        )
