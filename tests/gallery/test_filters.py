"""Filters against a slow, obvious evaluation over dicts, and against hostile text."""

import sqlite3
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

from deepfood.errors import QueryError
from deepfood.gallery.filter_tree import Among, And, Compare, Filter, Has, IsKnown, Leaf, Not, Or
from deepfood.gallery.filters import MAX_COMPARISONS, MAX_DEPTH, MAX_SCANS, parse_filter
from deepfood.gallery.notes import left_out_note
from deepfood.gallery.values import folded
from deepfood.local.attributes import SCHEMA, Attributes
from deepfood.local.select import select

PHOTOS = """CREATE TABLE photos (
    row INTEGER PRIMARY KEY, sha256 TEXT NOT NULL, file TEXT NOT NULL, label TEXT, name TEXT
) STRICT;"""
TYPES = {"cuisine": "text", "price": "number", "vegan": "boolean", "allergens": "list"}


def catalogue(photos: Sequence[dict[str, Any] | None]) -> Attributes:
    """Attributes of photos by row; None is a row that holds no photo."""
    db = sqlite3.connect(":memory:", check_same_thread=False)
    db.executescript(PHOTOS + SCHEMA)
    attributes = Attributes(db, threading.RLock())
    for name, type_ in TYPES.items():
        attributes.declare(name, type_)  # type: ignore[arg-type]
    for row, photo in enumerate(photos):
        if photo is not None:
            built_in = [photo.get(name) for name in ("label", "name")]
            db.execute("INSERT INTO photos VALUES (?, ?, ?, ?, ?)", (row, "", f"{row}", *built_in))
            attributes.write(row, {name: photo.get(name) for name in TYPES})
    db.commit()
    return attributes


def rows_of(text: str, photos: Sequence[dict[str, Any] | None]) -> list[int]:
    mask = select(parse_filter(text), catalogue(photos), len(photos)).mask
    return np.flatnonzero(mask).tolist()


# The slow, obvious evaluation

Truth = bool | None


def truth(one: Filter, photo: dict[str, Any]) -> Truth:
    """True, false or unknown (None), by Kleene's tables."""
    if isinstance(one, Not):
        inner = truth(one.part, photo)
        return None if inner is None else not inner
    if isinstance(one, And | Or):
        parts = [truth(part, photo) for part in one.parts]
        decisive = isinstance(one, Or)
        if decisive in parts:
            return decisive
        return None if None in parts else not decisive
    assert isinstance(one, Leaf)
    value = photo.get(one.name)
    if isinstance(one, IsKnown):
        return (value is not None) == one.known
    if value is None:
        return None
    if isinstance(one, Has):
        return folded(one.value) in [folded(item) for item in value]
    if isinstance(one, Among):
        return any(truth(Compare(one.name, "=", each), photo) for each in one.values)
    assert isinstance(one, Compare)
    wanted: Any = one.value
    if isinstance(wanted, str):
        value, wanted = folded(value), folded(wanted)
    return bool(
        {
            "=": value == wanted,
            "!=": value != wanted,
            "<": value < wanted,
            "<=": value <= wanted,
            ">": value > wanted,
            ">=": value >= wanted,
        }[one.operator]
    )


def compares(one: Filter, name: str) -> bool:
    if isinstance(one, And | Or):
        return any(compares(part, name) for part in one.parts)
    if isinstance(one, Not):
        return compares(one.part, name)
    assert isinstance(one, Leaf)
    return one.name == name and not isinstance(one, IsKnown)


# Random filters and photos

words = st.sampled_from(["thai", "Thai", "lao", "Straße", "STRASSE", "crème", "creme", "", 'a"b\\'])
values = st.sampled_from(["thai", "THAI", "lao", "strasse", "Crème", 'a"B\\', "x"])
numbers = st.sampled_from([-1.5, 0.0, 3.0, 12.0, 12.5, 1e300])
operators = st.sampled_from(["=", "!=", "<", "<=", ">", ">="])
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
names = st.sampled_from([*TYPES, "label", "name"])

leaves = st.one_of(
    st.builds(Compare, st.sampled_from(["cuisine", "label", "name"]), operators, words | texts),
    st.builds(Compare, st.just("price"), operators, numbers),
    st.builds(Compare, st.just("vegan"), st.sampled_from(["=", "!="]), st.booleans()),
    st.builds(Among, st.just("cuisine"), st.lists(words, min_size=1, max_size=3).map(tuple)),
    st.builds(Among, st.just("price"), st.lists(numbers, min_size=1, max_size=3).map(tuple)),
    st.builds(Has, st.just("allergens"), words),
    st.builds(IsKnown, names, st.booleans()),
)
filters = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.builds(Not, inner),
        st.builds(And, st.lists(inner, min_size=2, max_size=3).map(tuple)),
        st.builds(Or, st.lists(inner, min_size=2, max_size=3).map(tuple)),
    ),
    max_leaves=8,
)
photos = st.none() | st.fixed_dictionaries(
    {},
    optional={
        "cuisine": values,
        "price": numbers,
        "vegan": st.booleans(),
        "allergens": st.lists(values, max_size=2),
        "label": values,
        "name": values,
    },
)


@pytest.mark.slow
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(filters, st.lists(photos, max_size=12))
def test_a_filter_selects_what_an_obvious_evaluation_selects(
    one: Filter, many: list[dict[str, Any] | None]
) -> None:
    attributes = catalogue(many)
    wanted, unknown = [], 0
    for photo in many:
        found = truth(one, photo) if photo is not None else False
        unsafe = compares(one, "allergens") and photo is not None and "allergens" not in photo
        wanted.append(found is True and not unsafe)
        unknown += found is not False and unsafe
    for rows in (len(many), len(many) + 3, max(0, len(many) - 2)):  # cold, then from memory
        selection = select(one, attributes, rows)
        assert selection.mask.dtype == np.bool_
        assert selection.mask.tolist() == (wanted + [False] * 3)[:rows]
        if rows >= len(many):
            assert selection.unknown == unknown
            assert any(note.code == "unknown_left_out" for note in selection.notes) == (unknown > 0)


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(filters)
def test_what_is_printed_parses_to_the_same(one: Filter) -> None:
    assume(sum(leaf.name == "name" for leaf in one.leaves()) <= MAX_SCANS)
    assert parse_filter(str(one)) == one


WORDS = "( ) = < > != , \" ' \\ AND or Not IN HAS IS KNOWN true 12 1e999 -.5 'x' price allergens é"
ODD = ["\0", "\n", "\ud800", "\u017f", '"thai"', "nobody"]
tokens = st.sampled_from([*WORDS.split(), *ODD])


@settings(max_examples=400, deadline=None)
@given(st.lists(tokens, max_size=20).map(" ".join) | st.text(max_size=60))
@example("(" * 4096)
@example("NOT " * 1000 + "price = 1")
@example(" OR ".join(["price = 1"] * 300))
@example('"' + "\\" * 4000)
@example("price = " + "9" * 4000)
@example("x" * 10**6)
def test_no_text_does_worse_than_a_query_error(text: str) -> None:
    try:
        select(parse_filter(text), catalogue([{"price": 1.0}]), 1)
    except QueryError as error:
        said = str(error)
    else:
        return
    assert said.isprintable()
    assert len(said) < 400


# What people write

DISHES: list[dict[str, Any] | None] = [
    {"label": "Pad Thai", "cuisine": "Thai", "price": 9, "allergens": ["Peanut", "fish"]},
    {"label": "Larb", "cuisine": "lao", "price": 11.5, "allergens": []},
    {"label": "Curry", "cuisine": "THAI", "price": 14, "allergens": ["milk"]},
    {"label": "Soup", "cuisine": "thai", "price": 5},
    {"label": "Crème brûlée", "allergens": ["milk", "egg"]},
]


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ('cuisine = "thai" AND price < 12 AND NOT allergens HAS "peanut"', []),
        ('cuisine = "thai" AND NOT allergens HAS "peanut"', [2]),
        ("not allergens has ' PEANUT '", [1, 2, 4]),
        ('cuisine != "thai"', [1]),
        ('cuisine IN ("thai", "lao") AND price <= 11.5', [0, 1, 3]),
        ("allergens IS UNKNOWN", [3]),
        ("NOT price IS KNOWN", [4]),
        ('label = "CRÈME BRU\u0302LE\u0301E"', [4]),
        ('label = "creme brulee"', []),
        ('Price = +9.0 OR (PRICE > .1e2 AND NOT (cuisine = "lao"))', [0, 2]),
        ('file = "3"', [3]),
        # Safety: the soup is cheap, and nobody knows what is in it.
        ('price < 6 OR NOT allergens HAS "peanut"', [1, 2, 4]),
        ('NOT (price > 6 AND allergens HAS "peanut")', [1, 2, 4]),
        ('allergens IS UNKNOWN OR allergens HAS "milk"', [2, 4]),
    ],
)
def test_filters_as_people_write_them(text: str, rows: list[int]) -> None:
    assert rows_of(text, DISHES) == rows


def test_the_answer_says_what_was_left_out_and_what_may_be_misspelled() -> None:
    attributes = catalogue(DISHES)
    asked = parse_filter('cuisine = "thai" AND NOT allergens HAS "peanut"')
    selection = select(asked, attributes, len(DISHES))
    assert selection.unknown == 1
    assert selection.notes == (left_out_note(1, ["allergens"]),)
    assert selection.notes[0].message == "1 photo is left out: allergens not known"
    misspelled = select(parse_filter('NOT allergens HAS "peenut"'), attributes, len(DISHES))
    assert 'no photo has allergens HAS "peenut": is it spelled' in misspelled.notes[1].message
    assert select(parse_filter("price IS UNKNOWN"), attributes, len(DISHES)).notes == ()


def test_a_change_is_seen_at_once_also_one_of_another_connection(tmp_path: Any) -> None:
    path = tmp_path / "catalogue.sqlite"
    writer = sqlite3.connect(path)
    writer.execute("PRAGMA journal_mode=WAL")
    writer.executescript(PHOTOS + SCHEMA)
    writes = Attributes(writer, threading.RLock())
    writes.declare("allergens", "list")
    writer.execute("INSERT INTO photos (row, sha256, file) VALUES (0, '', 'a')")
    writes.write(0, {"allergens": []})
    writer.commit()
    reader = sqlite3.connect(path)
    reads = Attributes(reader, threading.RLock())
    asked = parse_filter('NOT allergens HAS "peanut"')
    for attributes in (reads, writes):
        assert select(asked, attributes, 1).mask.tolist() == [True]
    writes.write(0, {"allergens": ["peanut"]})
    assert select(asked, writes, 1).mask.tolist() == [False]  # its own, not yet committed
    assert select(asked, reads, 1).mask.tolist() == [True]
    writer.commit()
    assert select(asked, reads, 1).mask.tolist() == [False]
    writer.close()
    reader.close()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "at character 1: ⟨here⟩ (expected: an attribute, NOT, ()"),
        ("cuisine = thai", 'at character 11: cuisine = ⟨here⟩thai (expected: "text"'),
        ("price << 12", 'at character 8: price <⟨here⟩< 12 (expected: "text", a number'),
        ("price < 12 AND", "at character 15: price < 12 AND⟨here⟩ (expected: an attribute"),
        ("(price < 12", "at character 12: (price < 12⟨here⟩ (expected: ), AND, OR)"),
        ("price\n? 12", "at character 7: price ⟨here⟩? 12 (expected: = != < <= > >=, IN, HAS, IS)"),
        ("pricy < 12", "no attribute 'pricy': there are label, name, file, cuisine, price,"),
        ('price = "12"', "price is a number: compare it with a number"),
        ("cuisine = 12", 'cuisine is a text: compare it with "…" in quotes'),
        ("vegan > true", "vegan is true or false: compare it with = or !="),
        ('allergens = "milk"', 'allergens is a list: ask with allergens HAS "…"'),
        ('cuisine HAS "thai"', "cuisine is a text and no list: compare it with ="),
        ("price < 1e999", "number 1e999 is too large"),
        ("NOT " * MAX_DEPTH + "price < 1", f"nested more than {MAX_DEPTH} deep"),
        (" AND ".join(["price < 1"] * (MAX_COMPARISONS + 1)), "has 33 comparisons, and may have"),
        (" OR ".join(['name = "x"'] * 5), "compares name and file 5 times, and may 4 times"),
    ],
)
def test_errors_show_the_place_and_the_way_out(text: str, said: str) -> None:
    with pytest.raises(QueryError) as caught:
        select(parse_filter(text), catalogue(DISHES), len(DISHES))
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_nothing_of_a_filter_becomes_sql() -> None:
    attributes = catalogue(DISHES)
    for text in ("'; DROP TABLE photos; --", "x' OR '1'='1", '") OR 1=1 --'):
        asked = Compare("cuisine", "=", text)
        assert not select(parse_filter(str(asked)), attributes, len(DISHES)).mask.any()
    assert rows_of("price IS KNOWN", DISHES) == [0, 1, 2, 3]


def test_a_filter_that_takes_too_long_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    attributes = catalogue([])
    rows = range(4000)
    attributes.db.executemany(
        "INSERT INTO photos VALUES (?, '', '', NULL, NULL)", [(row,) for row in rows]
    )
    attributes.write_many("price", [(row, float(row)) for row in rows])
    attributes.db.commit()
    where = parse_filter("price < 3000 AND price != 5")
    with monkeypatch.context() as patched:
        patched.setattr("deepfood.local.columns.FILTER_CPU_S", 0.0)
        with pytest.raises(QueryError, match=r"more than 0 s of work .* use fewer comparisons"):
            select(where, attributes, len(rows))
        assert not attributes.db.in_transaction  # so that the next one sees what is new
        # Nothing else on the connection is stopped.
        assert attributes.db.execute("SELECT SUM(row) FROM photos").fetchone() == (sum(rows),)
    assert np.count_nonzero(select(where, attributes, len(rows)).mask) == 2999
