"""The columns of a gallery and which rows have which values, as masks of one moment."""

from collections.abc import Mapping
from dataclasses import dataclass

from deepfood.errors import FilterError
from deepfood.gallery.values import BUILT_IN, Key, Type, names_of
from deepfood.local.masks import Mask, Masks

#: What asks for built-in columns; these are all the SQL that a filter's names turn into. Labels are
#: few: each is folded once, and its photos are found in the index photos_label.
_BUILT_IN = {
    "label": "SELECT row FROM photos WHERE label IN (WITH every AS MATERIALIZED "
    "(SELECT DISTINCT label FROM photos) SELECT label FROM every WHERE folded(label) {})",
    "name": "SELECT row FROM photos WHERE folded(name) {}",
    "file": "SELECT row FROM photos WHERE folded(file) {}",
}
_BUILT_IN_KNOWN = {
    name: f"SELECT row FROM photos WHERE {name} IS NOT NULL"  # noqa: S608
    for name in BUILT_IN
}

_OPERATORS = frozenset({"=", "!=", "<", "<=", ">", ">="})


@dataclass(frozen=True)
class Attribute:
    """A declared column. Of a safety attribute, unknown values never pass a filter."""

    id: int
    name: str
    type: Type
    safety: bool


class Columns:
    """Masks, bool [rows], of one moment; every value in them goes to SQLite as a parameter."""

    def __init__(self, declared: Mapping[str, Attribute], masks: Masks) -> None:
        self.declared = declared
        self._masks = masks

    def type_of(self, name: str) -> Type:
        """The type of an attribute or built-in column. Raises FilterError where there is none."""
        if name in BUILT_IN:
            return "text"
        if name not in self.declared:
            raise FilterError(f"there is no attribute {name[:40]!r}: {names_of(self.declared)}")
        return self.declared[name].type

    def is_safety(self, name: str) -> bool:
        return name in self.declared and self.declared[name].safety

    def living(self, rows: int) -> Mask:
        """The rows that hold a photo."""
        return self._masks.rows("SELECT row FROM photos", (), rows)

    def known(self, name: str, rows: int) -> Mask:
        """The rows whose `name` is known."""
        if name in BUILT_IN:
            return self._masks.rows(_BUILT_IN_KNOWN[name], (), rows)
        number = self.declared[name].id
        return self._masks.rows(
            "SELECT row FROM attribute_values WHERE attribute = ?", (number,), rows
        )

    def compared(self, name: str, operator: str, keys: tuple[Key, ...], rows: int) -> Mask:
        """The rows where `name` is so compared with a key, or for `in` is one of them."""
        if operator == "in":
            condition = f"IN (?{', ?' * (len(keys) - 1)})"
        else:
            assert operator in _OPERATORS
            condition = f"{operator} ?"
        if name in BUILT_IN:
            return self._masks.rows(_BUILT_IN[name].format(condition), keys, rows)
        sql = f"SELECT row FROM attribute_keys WHERE attribute = ? AND key {condition}"  # noqa: S608
        return self._masks.rows(sql, (self.declared[name].id, *keys), rows)
