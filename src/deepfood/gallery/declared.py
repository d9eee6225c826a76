"""Attributes must be declared before they are set, in every kind of gallery.

An undeclared name is refused, and the error suggests a similar one: otherwise each misspelling
would become a column. A new attribute is declared by hand, or by importing a table that has it.
"""

import difflib
from collections.abc import Mapping, Sized
from dataclasses import dataclass
from typing import Protocol

from deepfood.counted import counted
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

#: The most attributes of a gallery, and the most set on a photo at once: each search reads the
#: definitions, and a writer blocks all others.
MOST_ATTRIBUTES = 1_000
MOST_AT_ONCE = 256
#: Names that an error lists.
_LISTED = 20
_LONGEST_NAME = 64


class Declared(Protocol):
    """A declared attribute, as an engine keeps it."""

    @property
    def type(self) -> Type: ...
    @property
    def safety(self) -> bool: ...


@dataclass(frozen=True)
class Definition:
    """A declared attribute. Unknown values of a safety attribute never pass a filter."""

    type: Type
    safety: bool = False


def resolved_definitions(
    declared: Mapping[str, Declared], wanted: Mapping[str, Declared]
) -> dict[str, Definition]:
    """The definitions of the attributes `wanted` once they are declared, by normalised name.

    An existing attribute keeps its type. It can become a safety attribute, and stays one;
    `allergens` and `diet` always are, and are lists. Raises DatasetError for an invalid name or a
    change of type.
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
    """The values given for one photo, cleaned, by normalised name; None means unknown.

    Raises UndeclaredError for an undeclared attribute, and DatasetError for a value of the wrong
    type.
    """
    check_attribute_count(given)
    ready: dict[str, Value | None] = {}
    for written, value in given.items():
        name = attribute_name(written)
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
    """Raise DatasetError where too many attributes are set on a photo at once."""
    if len(values) > MOST_AT_ONCE:
        raise DatasetError(
            f"{len(values):,} attributes at once: set at most {MOST_AT_ONCE} per photo"
        )


def check_room(declared: Sized, more: int = 1) -> None:
    """Raise DatasetError where a gallery would have too many attributes."""
    if len(declared) + more > MOST_ATTRIBUTES:
        raise DatasetError(
            f"a gallery can have {MOST_ATTRIBUTES:,} attributes, and this would make "
            f"{len(declared) + more:,}: make rare ones items of one that is a list"
        )


def undeclared(declared: Mapping[str, Declared], name: str, value: object) -> DatasetError:
    """The error for a value of an undeclared attribute. It explains how to declare one."""
    try:
        check_name(name)  # else it cannot be declared
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
    """The error for an undeclared name. It suggests the most similar one."""
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
    """Raise DatasetError where photos have a value, so that the attribute cannot be dropped."""
    if photos:
        raise DatasetError(
            f"the attribute {name} is known of {counted(photos, 'photo')}, and only one that no "
            "photo has can be dropped: make it unknown first, by a table with an empty cell for "
            "each"
        )
