"""Translates a parsed filter into Milvus' expressions.

Filters have three truth values (filter_tree.py), Milvus has two, so that each part becomes two
expressions: where it is true, and where it may be true. Names and texts appear as hex digits, and
numbers are formatted by Python: nothing that a user sends is ever parsed as an expression.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from deepfood.errors import FilterError
from deepfood.gallery.filter_tree import Among, And, Compare, Filter, Has, IsKnown, Leaf, Not, Or
from deepfood.gallery.values import BUILT_IN, Key, Type, folded, names_of
from deepfood.milvus.metadata import Column
from deepfood.milvus.schema import KEYS, key_name, key_of


@dataclass(frozen=True)
class Expression:
    """`passes` is for searching; `unknown` finds photos that only lack a safety attribute.

    `spelled` are comparisons of safety attributes, each with its expression, that some photo should
    satisfy.
    """

    passes: str
    unknown: str | None
    safety: tuple[str, ...]
    spelled: tuple[tuple[str, Leaf], ...]


def expression_of(where: Filter, columns: Mapping[str, Column]) -> Expression:
    """Raises FilterError for an unknown attribute, or a comparison that does not suit its type."""
    leaves = list(where.leaves())
    for leaf in leaves:
        leaf.check_type(_type_of(leaf.name, columns))
    true, possible = _kleene(where)
    compared = [one for one in leaves if not isinstance(one, IsKnown)]
    safety = sorted({one.name for one in compared if _is_safety(one.name, columns)})
    if not safety:
        return Expression(true, None, (), ())
    safe = " and ".join(known(name) for name in safety)
    spelled = tuple((_kleene(one)[0], one) for one in compared if one.name in safety)
    return Expression(
        f"({true}) and ({safe})",
        f"({possible}) and (not ({safe}))",
        tuple(safety),
        tuple(dict.fromkeys(spelled)),
    )


def _kleene(where: Filter) -> tuple[str, str]:
    """Two expressions: where it is true, and where it is true or unknown."""
    if isinstance(where, And | Or):
        word = " and " if isinstance(where, And) else " or "
        true, possible = zip(*map(_kleene, where.parts), strict=True)
        return _joined(word, true), _joined(word, possible)
    if isinstance(where, Not):
        true_inside, possible_inside = _kleene(where.part)
        return f"not ({possible_inside})", f"not ({true_inside})"
    assert isinstance(where, Leaf)
    there = known(where.name)
    if isinstance(where, IsKnown):
        exists = there if where.known else f"not ({there})"
        return exists, exists
    # Some comparisons with a missing value are true: both parts must hold.
    true_here = f"({there}) and ({_comparison(where)})"
    return true_here, f"({true_here}) or (not ({there}))"


def _comparison(leaf: Leaf) -> str:
    where = f'{KEYS}["{key_name(leaf.name)}"]'
    if isinstance(leaf, Has):
        return f"json_contains({where}, {_literal(folded(leaf.value))})"
    if isinstance(leaf, Among):
        return _joined(" or ", [f"{where} == {_literal(_key(value))}" for value in leaf.values])
    assert isinstance(leaf, Compare)
    operator = "==" if leaf.operator == "=" else leaf.operator
    return f"{where} {operator} {_literal(_key(leaf.value))}"


def known(name: str) -> str:
    """Where an attribute, or label, name or file, is known."""
    return f'exists {KEYS}["{key_name(name)}"]'


def _key(value: str | float | bool) -> Key:
    return folded(value) if isinstance(value, str) else float(value)


def _literal(key: Key) -> str:
    found = key_of(key)
    return f'"{found}"' if isinstance(found, str) else repr(found)


def _joined(word: str, parts: "tuple[str, ...] | list[str]") -> str:
    return word.join(f"({part})" for part in parts)


def _type_of(name: str, columns: Mapping[str, Column]) -> Type:
    if name in BUILT_IN:
        return "text"
    if name not in columns:
        raise FilterError(f"there is no attribute {name[:40]!r}: {names_of(columns)}")
    return columns[name].type


def _is_safety(name: str, columns: Mapping[str, Column]) -> bool:
    return name in columns and columns[name].safety
