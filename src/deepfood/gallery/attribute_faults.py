"""Attributes that are not what was written: found by their checksums, and mended fail-closed.

A value that is altered is written again if its keys still tell it, and else it becomes unknown. An
attribute whose definition is altered becomes one of safety, for it may have been one.
"""

import json
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import get_args

from deepfood.errors import DatasetError
from deepfood.gallery.attributes import Attributes, crc_of, written
from deepfood.gallery.columns import Attribute
from deepfood.gallery.values import SAFETY, Key, Type, Value, check_name, keys_of, type_of


@dataclass(frozen=True)
class AttributeFault:
    """What is wrong, in a line; `row` is -1 where it is the definition."""

    what: str
    attribute: int
    row: int = -1


def attribute_faults(attributes: Attributes) -> Iterator[AttributeFault]:
    """Every definition, value and key that is not what was written."""
    with attributes.lock:
        names: dict[int, str] = {}
        for number, name, type_, safety, check in attributes.db.execute("SELECT * FROM attributes"):
            names[number] = name
            if crc_of(number, name, type_, safety) != check:
                yield AttributeFault(f"the attribute {name} is altered", number)
        for number in sorted(_numbers(attributes)):
            name = names.get(number, f"number {number}")
            for row in _altered_rows(attributes, number):
                what = f"the attribute {name} of row {row} is altered"
                yield AttributeFault(what, number, row)


def mend_attribute(attributes: Attributes, fault: AttributeFault) -> str:
    """In a transaction; what was done about it."""
    if fault.row < 0:
        return _mend_definition(attributes, fault.attribute)
    row, number = fault.row, fault.attribute
    names = {one.id: name for name, one in attributes.declared().items()}
    about = f"the attribute {names.get(number, number)} of row {row}"
    value = _whole_value(attributes, row, number) if number in names else None
    where = (row, number)
    attributes.db.execute("DELETE FROM attribute_keys WHERE row = ? AND attribute = ?", where)
    attributes.db.execute("DELETE FROM attribute_values WHERE row = ? AND attribute = ?", where)
    if value is None:
        return f"{about} is taken out, and unknown now: give it again"
    attributes.put(row, attributes.declared()[names[number]], value)
    return f"{about} is written again"


def _numbers(attributes: Attributes) -> set[int]:
    found = attributes.db.execute(
        "SELECT id FROM attributes UNION SELECT attribute FROM attribute_values "
        "UNION SELECT attribute FROM attribute_keys"
    )
    return {number for (number,) in found}


def _altered_rows(attributes: Attributes, number: int) -> list[int]:
    """The rows whose value of an attribute, or the keys of it, are not what was written."""
    db = attributes.db
    keys: dict[int, set[Key]] = defaultdict(set)
    for row, key in db.execute(
        "SELECT row, key FROM attribute_keys WHERE attribute = ?", (number,)
    ):
        keys[row].add(key)
    altered = set()
    photos = {row for (row,) in db.execute("SELECT row FROM photos")}
    defined = db.execute("SELECT 1 FROM attributes WHERE id = ?", (number,)).fetchone()
    for row, text, check in db.execute(
        "SELECT row, value, checksum FROM attribute_values WHERE attribute = ?", (number,)
    ):
        found = keys.pop(row, set())
        if (
            not defined
            or row not in photos
            or crc_of(row, number, text) != check
            or found != set(keys_of(json.loads(text)))
        ):
            altered.add(row)
    return sorted(altered | keys.keys())  # keys that are left over have no value


def _whole_value(attributes: Attributes, row: int, number: int) -> Value | None:
    """The value that was written, from itself or from its keys; None where neither tells it."""
    where = (row, number)
    found = attributes.db.execute(
        "SELECT value, checksum FROM attribute_values WHERE row = ? AND attribute = ?", where
    ).fetchone()
    if (
        found is None
        or not attributes.db.execute("SELECT 1 FROM photos WHERE row = ?", (row,)).fetchone()
    ):
        return None
    text, check = found
    keys = attributes.db.execute(
        "SELECT key FROM attribute_keys WHERE row = ? AND attribute = ? ORDER BY key", where
    ).fetchall()
    told = [key for (key,) in keys]
    guesses: list[Value] = [told, *told]
    guesses += [bool(key) for key in told]
    guesses += [int(key) for key in told if isinstance(key, float) and key.is_integer()]
    for guess in (text, *map(written, guesses)):
        if crc_of(row, number, guess) == check:
            value: Value = json.loads(guess)
            return value
    return None


def _mend_definition(attributes: Attributes, number: int) -> str:
    name, type_ = attributes.db.execute(
        "SELECT name, type FROM attributes WHERE id = ?", (number,)
    ).fetchone()
    found = attributes.db.execute(
        "SELECT value FROM attribute_values WHERE attribute = ? LIMIT 1", (number,)
    ).fetchone()
    try:
        check_name(name)
        if found:
            type_ = type_of(name, json.loads(found[0]))
        known = type_ in get_args(Type) and (name not in SAFETY or type_ == "list")
    except (DatasetError, ValueError):
        known = False
    if known:
        attributes.define(Attribute(number, name, type_, safety=True))
        return f"the attribute {name} is kept as it stands, as one of safety"
    for table, column in (
        ("attributes", "id"),
        ("attribute_values", "attribute"),
        ("attribute_keys", "attribute"),
    ):
        attributes.db.execute(f"DELETE FROM {table} WHERE {column} = ?", (number,))  # noqa: S608
    return f"the attribute {name} is taken out: nobody can tell what it was"
