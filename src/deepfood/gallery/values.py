"""Attribute values: their types, how they are parsed from cells, and the keys they are compared by.

Text is compared by its *folded* form, which ignores case, surplus blanks and the encoding of
letters. Accents count: "creme" is not "crème".
"""

import json
import math
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

from deepfood.errors import DatasetError

Type = Literal["text", "number", "boolean", "list"]
Value = str | float | bool | list[str]
Key = str | float | int

#: Attributes that people's health depends on: they are never guessed, and unknown is not "no".
SAFETY = frozenset({"allergens", "diet"})
#: Columns that are always lists.
_LISTS = SAFETY | {"ingredients", "also"}
#: Words of the filter language, and columns that every photo has.
_TAKEN = frozenset({"and", "or", "not", "has", "in", "is", "known", "unknown", "true", "false"})
BUILT_IN = ("label", "name", "file")
_KEYS = frozenset({*BUILT_IN, "id", "sha256", "row", "photo", "split"})

_NAME = re.compile(r"[^\W\d]\w{0,63}")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
#: A prefix that a number would lose, as in codes and telephone numbers.
_PADDED = re.compile(r"\+|-?0\d")
_SEPARATORS = re.compile(r"[;,|]")
_BOOLEANS = {"true": True, "yes": True, "false": False, "no": False}
#: What people write for "unknown". A safety attribute must not take it for a value.
_NOT_KNOWN = frozenset(
    {"?", "-", "unknown", "not known", "n/a", "na", "null", "nan", "tbd", "tbc", "unsure", "maybe"}
)
#: float64 does not hold all integers beyond.
_MOST = 2**53
#: Significant digits that float64 keeps of any number.
_SURE_DIGITS = 15
_MOST_CHARACTERS = 10_000
_SHOWN = 40


@dataclass(frozen=True)
class WrittenNumber:
    """A number as written in JSON lines. The column decides whether it is a number or text."""

    text: str

    def __repr__(self) -> str:
        return self.text


def folded(text: str) -> str:
    """The form by which text is compared: Unicode caseless matching, blanks collapsed."""
    if text.isascii():
        return " ".join(text.lower().split())
    once = unicodedata.normalize("NFKD", unicodedata.normalize("NFD", text).casefold())
    return " ".join(unicodedata.normalize("NFKD", once.casefold()).split())


def attribute_name(text: str) -> str:
    """Normalise an attribute's name: NFC, lower case. The result may be invalid."""
    return unicodedata.normalize("NFC", text.strip().lower())


def check_name(name: str) -> None:
    """Raise DatasetError unless `name` is a valid attribute name."""
    if not _NAME.fullmatch(name):
        raise DatasetError(
            f"no attribute can be called {_short(name)}: letters, digits and _, at most 64, "
            "a letter first"
        )
    if name in _TAKEN or name in _KEYS:
        raise DatasetError(f"no attribute can be called {name!r}: the word has a meaning already")


def type_of(name: str, value: object) -> Type:
    """Infer a type from the first value of a column. Raises DatasetError."""
    if name in _LISTS or isinstance(value, list):
        return "list"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, WrittenNumber):
        return "number" if _is_kept_exactly(value.text) else "text"
    if isinstance(value, int | float):
        return "number"
    if isinstance(value, str):
        return "text"
    raise DatasetError(f"{_short(value)} is not text, a number, true, false or a list of texts")


def type_of_cell(name: str, cell: str) -> Type:
    """Infer a type from the first cell of a CSV column: `007` and the like are text."""
    if name in _LISTS or cell.startswith("["):
        return "list"
    if cell.lower() in _BOOLEANS:
        return "boolean"
    return "number" if _is_kept_exactly(cell) else "text"


def number_of(text: str) -> int | float:
    """Parse a number. Raises DatasetError where the text could not be restored from it.

    Codes are no numbers: `007` would lose its zeros, `+49` its sign, and a long id its last digits.
    """
    if not _NUMBER.fullmatch(text):
        raise DatasetError(f"{_short(text)} is not a number")
    number = float(text)
    if not math.isfinite(number):
        raise DatasetError(f"{_short(text)} is more than a number can be")
    if _PADDED.match(text):
        raise DatasetError(
            f"{_short(text)} would become {_int_if_whole(number)} as a number: a column of text "
            "keeps it"
        )
    if abs(number) > _MOST and text.lstrip("-").isdigit():
        raise _too_long(text)
    mantissa, _, exponent = text.lower().partition("e")
    digits = mantissa.lstrip("-").replace(".", "").lstrip("0")
    if digits and (exponent or len(text) > _SURE_DIGITS):
        # The text must equal the number in its shortest form, or with as many digits.
        ways = (repr(number), f"{number:.{len(digits) - 1}e}")
        if number == 0 or Decimal(text) not in map(Decimal, ways):
            raise _too_long(text)
    return _int_if_whole(number)


def _is_kept_exactly(text: str) -> bool:
    try:
        number_of(text)
    except DatasetError:
        return False
    return True


def _int_if_whole(number: float) -> int | float:
    return int(number) if number.is_integer() and abs(number) <= _MOST else number


def value_of_cell(cell: str, wanted: Type, *, safety: bool) -> Value:
    """Parse a non-empty cell. Raises DatasetError where it is not of that type.

    A list has `;`, `,` or `|` between its items, or is a JSON array; `[]` is the empty list, which
    means "none".
    """
    if wanted == "number":
        return number_of(cell)
    if wanted == "boolean":
        if cell.lower() not in _BOOLEANS:
            raise DatasetError(f"{_short(cell)} is not true or false")
        return checked(_BOOLEANS[cell.lower()], wanted, safety=safety)
    if wanted == "text":
        return checked(cell, wanted, safety=safety)
    if not cell.startswith("["):
        return checked(_SEPARATORS.split(cell), wanted, safety=safety)
    try:
        return checked(json.loads(cell), wanted, safety=safety)
    except (ValueError, RecursionError):
        raise DatasetError(f"{_short(cell)} is not a JSON array of texts") from None


def value_of_json(value: object, wanted: Type, *, safety: bool) -> Value:
    """Convert a value of JSON lines, as `checked`; a number becomes text by its digits."""
    if isinstance(value, WrittenNumber):
        if wanted == "number":
            return number_of(value.text)
        if wanted == "text":
            value = value.text
    return checked(value, wanted, safety=safety)


def checked(value: object, wanted: Type, *, safety: bool) -> Value:
    """Clean a value of the type `wanted`. Raises DatasetError where it is of another.

    Text for a list is split as a cell is. A safety attribute refuses "n/a" and the like, and items
    that still contain a separator, which would hide what they name.
    """
    if wanted == "number" and isinstance(value, int | float) and not isinstance(value, bool):
        if isinstance(value, int) and abs(value) > _MOST:
            raise _too_long(value)
        if not math.isfinite(value):
            raise DatasetError(f"{_short(value)} is not a finite number")
        return value
    if wanted == "boolean" and isinstance(value, bool):
        return value
    if wanted == "text" and isinstance(value, str):
        return _text(value, safety=safety)
    if wanted == "list" and isinstance(value, str):
        value = _SEPARATORS.split(value)
    if wanted == "list" and isinstance(value, list) and all(isinstance(one, str) for one in value):
        items = [_text(one, safety=safety) for one in value if one.strip()]
        if value and not items:
            raise DatasetError(f"{_short(value)} names nothing: use [] for none")
        for item in items:
            if safety and _SEPARATORS.search(item):
                raise DatasetError(f"{_short(item)} is more than one: give each an item of its own")
        return items
    raise DatasetError(f"{_short(value)} is not {_IN_WORDS[wanted]}")


_IN_WORDS = {
    "text": "text",
    "number": "a number",
    "boolean": "true or false",
    "list": "a list of texts",
}


def _text(text: str, *, safety: bool) -> str:
    text = unicodedata.normalize("NFC", text.strip())
    if len(text) > _MOST_CHARACTERS:
        raise DatasetError(f"{_short(text)} has more than {_MOST_CHARACTERS:,} characters")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise DatasetError(f"{_short(text)} is not Unicode text") from None
    if not text:
        raise DatasetError("the text is empty: give none where it is unknown")
    if safety and (folded(text) in _NOT_KNOWN or not any(map(str.isalnum, text))):
        raise DatasetError(
            f"{_short(text)} is not a value: leave it empty for unknown, or give [] for none"
        )
    return text


def keys_of(value: Value) -> Sequence[Key]:
    """The keys a value is compared by: its folded text or texts, the number, 0 or 1."""
    if isinstance(value, list):
        return sorted({folded(one) for one in value})
    if isinstance(value, str):
        return [folded(value)]
    return [int(value) if isinstance(value, bool) else float(value)]


def _too_long(number: object) -> DatasetError:
    return DatasetError(
        f"{_short(number)} has more digits than a number keeps: a column of text keeps them"
    )


def _short(value: object) -> str:
    try:
        shown = ascii(value) if isinstance(value, str) and not value.isprintable() else repr(value)
    except (RecursionError, ValueError):  # an int of thousands of digits, a list in a list in ...
        shown = f"a {type(value).__name__}"
    return shown if len(shown) <= _SHOWN else f"{shown[:_SHOWN]}…"


def names_of(declared: Mapping[str, object]) -> str:
    """The existing columns, as the end of an error message."""
    own = ", ".join(list(declared)[:20])
    return f"there are {', '.join(BUILT_IN)}{', ' + own if own else ''}"
