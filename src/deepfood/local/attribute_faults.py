"""Find altered attributes by their checksums and keys."""

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator

from deepfood.gallery.photo import crc_of
from deepfood.gallery.values import Key, keys_of
from deepfood.local.attributes import Attributes


def attribute_faults(attributes: Attributes) -> Iterator[str]:
    """A line about each altered definition, value and key."""
    with attributes.asking():
        names: dict[int, str] = {}
        definitions = attributes.db.execute(
            "SELECT id, name, type, safety, checksum FROM attributes"
        )
        for number, name, type_, safety, check in definitions:
            names[number] = name
            if crc_of(number, name, type_, safety) != check:
                yield f"the attribute {name} is altered"
        for number in sorted_numbers(_numbers(attributes)):
            name = names.get(number, f"number {number}")
            for row in _altered_rows(attributes, number):
                yield f"the attribute {name} of row {row} is altered"


def _numbers(attributes: Attributes) -> set[int]:
    found = attributes.db.execute(
        "SELECT id FROM attributes UNION SELECT attribute FROM attribute_values "
        "UNION SELECT attribute FROM attribute_keys"
    )
    return {number for (number,) in found}


def _altered_rows(attributes: Attributes, number: int) -> list[int]:
    """The rows where the value of an attribute, or its keys, are altered."""
    db = attributes.db
    keys: dict[int, set[Key]] = defaultdict(set)
    for row, key in db.execute(
        "SELECT row, key FROM attribute_keys WHERE attribute IS ?", (number,)
    ):
        keys[row].add(key)
    altered = set()
    photos = {row for (row,) in db.execute("SELECT row FROM photos")}
    defined = db.execute("SELECT 1 FROM attributes WHERE id = ?", (number,)).fetchone()
    for row, text, check in db.execute(
        "SELECT row, value, checksum FROM attribute_values WHERE attribute IS ?", (number,)
    ):
        found = keys.pop(row, set())
        if (
            not defined
            or row not in photos
            or crc_of(row, number, text) != check
            or found != set(keys_of(json.loads(text)))
        ):
            altered.add(row)
    return sorted_numbers(altered | keys.keys())  # keys that are left over have no value


def sorted_numbers(numbers: Iterable[int]) -> list[int]:
    """Sorted numbers; values that damage turned into something else come last."""
    return sorted(numbers, key=lambda one: (0, one) if isinstance(one, int) else (1, 0))
