"""Examples of the values of an attribute."""

import json
from collections import Counter

from deepfood.gallery.photo import crc_of
from deepfood.gallery.values import Value
from deepfood.local.attributes import Attributes
from deepfood.local.columns import AttributeColumn

#: The number of photos that examples are taken from.
_LOOKED_AT = 500


def examples_of(attributes: Attributes, one: AttributeColumn) -> list[Value]:
    """The least and greatest number, else up to 3 frequent values.

    Raises ArtifactCorruptError where SQLite cannot read the catalogue.
    """
    with attributes.asking():
        if one.type == "number":
            sql = "SELECT {}(key) FROM attribute_keys WHERE attribute = ?"
            ends = [
                attributes.db.execute(sql.format(end), (one.id,)).fetchone()[0]
                for end in ("MIN", "MAX")
            ]
            return sorted({end for end in ends if end is not None})
        first = attributes.db.execute(
            "SELECT row, value, checksum FROM attribute_values WHERE attribute = ? LIMIT ?",
            (one.id, _LOOKED_AT),
        ).fetchall()
    values = [
        json.loads(value) for row, value, check in first if crc_of(row, one.id, value) == check
    ]
    flat = [item for value in values for item in (value if one.type == "list" else [value])]
    return [value for value, _ in Counter(flat).most_common(3)]
