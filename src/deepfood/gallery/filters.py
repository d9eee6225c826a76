"""Filters: `cuisine = "thai" AND price < 12 AND NOT allergens HAS "peanut"`.

The grammar is filter.lark; docs/filters.md explains the language. No part of a filter becomes part
of an SQL statement: values are passed as parameters.
"""

import math
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deepfood.errors import FilterError
from deepfood.gallery.filter_tree import (
    Among,
    And,
    Compare,
    Constant,
    Filter,
    Has,
    IsKnown,
    Not,
    Or,
)
from deepfood.gallery.values import attribute_name

if TYPE_CHECKING:
    from lark import Lark

__all__ = ["Filter", "parse_filter"]

#: Limits for strangers: each new comparison over a million photos takes a while.
MAX_CHARACTERS = 4096
MAX_DEPTH = 32
MAX_COMPARISONS = 32
#: Comparisons of `name` and `file` read every photo: half a second each for a million.
MAX_SCANS = 4

#: Characters of a filter that are shown on either side of an error.
_AROUND = 30


def parse_filter(text: str) -> Filter:
    """Parse a filter. Raises FilterError, whose one line shows the position."""
    from lark.exceptions import UnexpectedInput, UnexpectedToken

    if len(text) > MAX_CHARACTERS:
        raise FilterError(f"the filter has {len(text):,} characters, and may have {MAX_CHARACTERS}")
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise FilterError("the filter is not Unicode text")
    try:
        parsed = _parser().parse(text)
    except UnexpectedInput as error:
        at = error.pos_in_stream
        if at is None or (isinstance(error, UnexpectedToken) and error.token.type == "$END"):
            at = len(text)
        # Parse again up to there: what the error expects depends on the token that came instead.
        before = _parser().parse_interactive(text[:at])
        before.exhaust_lexer()
        expected = before.accepts()  # type: ignore[no-untyped-call]
        raise FilterError(_place(text, at, expected), at + 1) from None
    assert isinstance(parsed, Filter)
    _check_size(parsed)
    return parsed


@cache
def _parser() -> "Lark":
    """An LALR(1) parser, which builds the tree in linear time and without recursion."""
    from lark import Lark, Transformer, v_args

    @v_args(inline=True)
    class Build(Transformer[Any, Filter]):
        def any(self, *parts: Filter) -> Filter:
            return Or(parts)

        def every(self, *parts: Filter) -> Filter:
            return And(parts)

        negated = Not
        compared = Compare
        has = Has

        def among(self, name: str, *values: Constant) -> Filter:
            return Among(name, values)

        def known(self, name: str) -> Filter:
            return IsKnown(name, True)

        def unknown(self, name: str) -> Filter:
            return IsKnown(name, False)

        def NAME(self, token: str) -> str:  # noqa: N802  (named as in the grammar)
            return attribute_name(token)

        def OPERATOR(self, token: str) -> str:  # noqa: N802
            return str(token)

        def TRUTH(self, token: str) -> bool:  # noqa: N802
            return token.lower() == "true"

        def NUMBER(self, token: str) -> float:  # noqa: N802
            number = float(token)
            if not math.isfinite(number):
                raise FilterError(f"the filter's number {token[:40]} is too large")
            return number

        def STRING(self, token: str) -> str:  # noqa: N802
            characters = iter(token[1:-1])
            return "".join(next(characters) if c == "\\" else c for c in characters)

    grammar = Path(__file__).with_name("filter.lark").read_text(encoding="utf-8")
    return Lark(grammar, parser="lalr", transformer=Build())


#: What the grammar's terminals are called in errors, in this order.
_EXPECTED = {
    "NAME": "an attribute",
    "_NOT": "NOT",
    "_OPEN": "(",
    "STRING": '"text"',
    "NUMBER": "a number",
    "TRUTH": "true or false",
    "OPERATOR": "= != < <= > >=",
    "_IN": "IN",
    "_HAS": "HAS",
    "_IS": "IS",
    "_KNOWN": "KNOWN",
    "_UNKNOWN": "UNKNOWN",
    "_COMMA": "a comma",
    "_CLOSE": ")",
    "_AND": "AND",
    "_OR": "OR",
    "$END": "its end",
}


def _place(text: str, at: int, wanted: set[str]) -> str:
    before, after = text[max(0, at - _AROUND) : at], text[at : at + _AROUND]
    shown = "".join(
        c if c.isprintable() else " "
        for c in f"{'…' if at > _AROUND else ''}{before}⟨here⟩{after}"
        f"{'…' if at + _AROUND < len(text) else ''}"
    )
    expected = ", ".join(word for name, word in _EXPECTED.items() if name in wanted)
    return f"the filter is wrong at character {at + 1}: {shown} (expected: {expected})"


def _check_size(root: Filter) -> None:
    """Raise FilterError for a filter that is nested too deep or is too expensive."""
    comparisons = scans = 0
    todo = [(root, 1)]
    while todo:
        one, depth = todo.pop()
        if depth > MAX_DEPTH:
            raise FilterError(f"the filter is nested more than {MAX_DEPTH} deep")
        if isinstance(one, And | Or):
            todo += [(part, depth + 1) for part in one.parts]
        elif isinstance(one, Not):
            todo.append((one.part, depth + 1))
        else:
            comparisons += 1
            scans += isinstance(one, Compare | Among) and one.name in ("name", "file")
    if comparisons > MAX_COMPARISONS:
        raise FilterError(
            f"the filter has {comparisons} comparisons, and may have {MAX_COMPARISONS}: "
            "IN (…) asks for many values at once"
        )
    if scans > MAX_SCANS:
        raise FilterError(
            f"the filter compares name and file {scans} times, and may {MAX_SCANS} times: "
            "IN (…) asks for many values at once"
        )
