"""Attributes: types, tables, and that what people's health depends on is never guessed."""

import re
import sqlite3
import threading
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deepfood.data.root import Folder
from deepfood.errors import DatasetError
from deepfood.gallery.attribute_table import Table, read_table
from deepfood.gallery.declared import MOST_ATTRIBUTES, Definition
from deepfood.gallery.filters import parse_filter
from deepfood.gallery.named_photos import NamedPhotos
from deepfood.gallery.photo import Photo
from deepfood.gallery.values import folded, number_of
from deepfood.local.attributes import Attributes
from deepfood.local.growing_store import GrowingStore
from deepfood.local.select import select
from deepfood.local.store import SCHEMA
from deepfood.local.sums import keep_sums

PHOTOS = NamedPhotos([(0, "a1", "x/1.jpg"), (1, "b2", "2")], Folder(Path("/photos")))


@pytest.fixture
def attributes() -> Attributes:
    db = sqlite3.connect(":memory:", check_same_thread=False)
    db.executescript(
        SCHEMA
        + "INSERT INTO photos SELECT value, '', iif(value, '2', 'x/1.jpg'), NULL, NULL, '', 1, 1, "
        "1, 1, 0, 0, 0, 0, 0, 0 FROM json_each('[0, 1]');"
    )
    keep_sums(db)
    return Attributes(db, threading.RLock())


def table(folder: Path, text: str, name: str = "table.csv") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def import_table(attributes: Attributes, path: Path, photos: Any, **given: Any) -> Table[int]:
    found = read_table(attributes.declared(), path, photos, **given)
    attributes.import_values(found.declared, found.values)
    return found


def test_values_come_back_as_they_were_written(attributes: Attributes) -> None:
    for name, type_ in (("price", "number"), ("url", "text"), ("vegan", "boolean")):
        attributes.declare(name, type_)  # type: ignore[arg-type]
    attributes.declare("Allergens", "list")
    values = {"price": 12, "url": " Ünï\0 ", "vegan": False, "allergens": ["Peanut", "milk"]}
    attributes.write(0, values)
    assert attributes.read(0) == {**values, "url": "Ünï\0"}
    assert attributes.read(1) == {}
    attributes.write(0, {"price": 9.5, "vegan": None})
    assert attributes.read(0) == {"price": 9.5, "url": "Ünï\0", "allergens": ["Peanut", "milk"]}
    assert attributes.known_counts() == {"price": 1, "url": 1, "vegan": 0, "allergens": 1}
    attributes.forget(0)
    assert attributes.read(0) == {}
    for text in ("price IS KNOWN", "price = 9.5", "price = 12", 'allergens HAS "milk"'):
        assert not select(parse_filter(text), attributes, 2).mask.any()


def test_definitions_are_read_once_however_many_attributes_there_are(tmp_path: Path) -> None:
    store = GrowingStore.open(tmp_path / "store", 2, "f32")
    photo = Photo("0" * 64, "a.jpg", None, None, "image/jpeg", 1, 1, 1, 1)
    store.append([photo], np.array([[1, 0]], np.float32))
    asked: list[str] = []
    store.attributes.db.set_trace_callback(asked.append)
    for count in (1, 200):
        asked.clear()
        store.declare({f"of_{count}_{number}": Definition("number") for number in range(count)})
        assert sum("FROM attributes" in sql for sql in asked) == 1
        asked.clear()
        store.update({0: photo}, {0: {f"of_{count}_{number}": number for number in range(count)}})
        assert sum("FROM attributes" in sql for sql in asked) <= 2
    store.attributes.db.set_trace_callback(None)
    assert len(store.attributes.read(0)) == 201
    store.close()


def test_a_gallery_has_only_so_many_attributes(attributes: Attributes) -> None:
    known = attributes.declared()
    for number in range(MOST_ATTRIBUTES):
        attributes.declare(f"a{number}", "number", known=known)
    assert attributes.declared() == known
    with pytest.raises(DatasetError, match="can have 1,000 attributes"):
        attributes.declare("one_more", "number")
    assert attributes.declare("a7", "number", safety=True).safety  # there is no more of them
    assert len(attributes.declared()) == MOST_ATTRIBUTES


def test_safety_is_never_taken_back(attributes: Attributes) -> None:
    assert attributes.declare("allergens", "list", safety=False).safety
    assert attributes.declare("diet", "list").safety
    assert not attributes.declare("halal", "boolean").safety
    assert attributes.declare("halal", "boolean", safety=True).safety
    assert attributes.declare("halal", "boolean").safety
    with pytest.raises(DatasetError, match="allergens is a list, and cannot be a text"):
        attributes.declare("allergens", "text")


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("price", "12", "price: '12' is not a number"),
        ("price", True, "price: True is not a number"),
        ("price", float("nan"), "price: nan is not a finite number"),
        ("price", 2**53 + 1, "has more digits than a number keeps"),
        ("vegan", 1, "vegan: 1 is not true or false"),
        ("url", "", "url: the text is empty"),
        ("url", "\ud800", "is not Unicode text"),
        ("allergens", [1], "allergens: [1] is not a list of texts"),
        ("allergens", [" "], "names nothing: use [] for none"),
        ("allergens", ["N/A"], "'N/A' is not a value: leave it empty for unknown"),
        ("allergens", ["?!"], "is not a value"),
        ("allergens", ["milk, peanut"], "'milk, peanut' is more than one"),
        ("nobody", 1, "there is no attribute 'nobody': there are price, url, vegan"),
    ],
)
def test_what_is_refused_and_then_nothing_is_written(
    attributes: Attributes, name: str, value: Any, said: str
) -> None:
    for known, type_ in (("price", "number"), ("url", "text"), ("vegan", "boolean")):
        attributes.declare(known, type_)  # type: ignore[arg-type]
    attributes.declare("allergens", "list")
    other = "vegan" if name != "vegan" else "price"
    with pytest.raises(DatasetError) as caught:
        attributes.write(0, {other: {"vegan": True, "price": 1}[other], name: value})
    assert said in str(caught.value)
    assert attributes.read(0) == {}


@pytest.mark.parametrize("name", ["", "2nd", "a b", "and", "Known", "file", "x" * 65, "a-b", "é€"])
def test_names_that_cannot_be_used(attributes: Attributes, name: str) -> None:
    with pytest.raises(DatasetError, match="no attribute can be called"):
        attributes.declare(name, "text")


def types(table: Table[int]) -> dict[str, str]:
    return {name: one.type for name, one in table.declared.items()}


def test_a_csv_with_types_from_its_first_values(attributes: Attributes, tmp_path: Path) -> None:
    path = table(
        tmp_path,
        "photo,Price,cuisine,vegan,allergens,ingredients,label,empty\n"
        'x/1.jpg,12,Thai,yes,"milk, Peanut",rice;egg,Curry,\n'
        "./2,-1.5e1,12,no,[],,,\n"
        ",3,,,,,Soup,\n",
    )
    report = import_table(attributes, path, PHOTOS)
    assert types(report) == {
        "price": "number",
        "cuisine": "text",
        "vegan": "boolean",
        "allergens": "list",
        "ingredients": "list",
    }
    assert report.photos == (0, 1)
    assert set(report.passed_over) == {"photo", "label"}
    assert report.rows_without_photo == 1
    assert attributes.read(0) == {
        "price": 12,
        "cuisine": "Thai",
        "vegan": True,
        "allergens": ["milk", "Peanut"],
        "ingredients": ["rice", "egg"],
    }
    assert attributes.read(1) == {"price": -15, "cuisine": "12", "vegan": False, "allergens": []}
    # An allergen that was known and is empty now is unknown, and not none.
    import_table(attributes, table(tmp_path, "id,allergens\nA1,\nb2,milk\n"), PHOTOS)
    assert "allergens" not in attributes.read(0)
    selection = select(parse_filter('NOT allergens HAS "peanut"'), attributes, 2)
    assert (selection.mask.tolist(), selection.unknown) == ([False, True], 1)


def test_json_lines(attributes: Attributes, tmp_path: Path) -> None:
    path = table(
        tmp_path,
        '{"sha256": "A1", "price": 3, "allergens": "milk; egg", "tags": ["a;b"]}\n\n'
        '{"id": "b2", "vegan": true, "price": null}\n',
        "table.jsonl",
    )
    report = import_table(attributes, path, PHOTOS, safety=frozenset({"vegan"}))
    assert types(report) == {
        "price": "number",
        "allergens": "list",
        "tags": "list",
        "vegan": "boolean",
    }
    assert attributes.read(0) == {"price": 3, "allergens": ["milk", "egg"], "tags": ["a;b"]}
    assert attributes.read(1) == {"vegan": True}
    assert {one.name for one in attributes.declared().values() if one.safety} == {
        "allergens",
        "vegan",
    }


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("t.csv", "", "t.csv is empty: its first line names the columns"),
        (
            "t.csv",
            "id,price\na1,1\nb2,12o\n",
            "line 3, column price: '12o' is not a number (its first",
        ),
        ("t.csv", "id,vegan\na1,yes\nb2,7\n", "line 3, column vegan: '7' is not true or false"),
        ("t.csv", "id,price\nzz,1\n", "line 2, column id: the gallery has no photo 'zz'"),
        ("t.csv", "file,price\n../2,1\n", "line 2, column file: the gallery has no photo '../2'"),
        ("t.csv", "price\n1\n", "line 1: no column names the photos: give id, sha256, photo or"),
        ("t.csv", "id,price\n,1\n", "t.csv: none of its rows names a photo: give id, sha256"),
        ("t.csv", "file,photo,price\n2,./2,1\n", "line 2: its photo is './2', and its file '2'"),
        ("t.csv", "file,price\n/2,1\n", "column file: '/2' lies outside /photos, where this"),
        ("t.csv", "file,price\nC:\\x.jpg,1\n", "lies outside /photos"),
        ("t.csv", "id,price\na1,1\nb2,007\n", "line 3, column price: '007' would become 7 as a"),
        ("t.csv", "id,price\na1,1\nb2,+1\n", "line 3, column price: '+1' would become 1 as a"),
        ("t.csv", "id,n\na1,1\nb2,12345678901234567\n", "'12345678901234567' has more digits"),
        ("t.csv", "id,n\na1,1\nb2,1e999\n", "line 3, column n: '1e999' is more than a number"),
        (
            "t.jsonl",
            '{"id": "a1", "n": 1}\n{"id": "b2", "n": 9007199254740993}',
            "line 2, column n",
        ),
        (
            "t.jsonl",
            '{"id": "a1", "n": 1}\n{"id": "b2", "n": 0.12345678901234567891}',
            "more digits",
        ),
        ("t.jsonl", '{"id": "a1", "tags": [1]}', "column tags: [1] is not a list of texts"),
        ("t.jsonl", '{"price": 1}', "none of its rows names a photo"),
        ("t.csv", "id,price\na1,1\na1,2\n", "line 3: the photo is at"),
        ("t.csv", "id,price,PRICE\na1,1,2\n", "line 1: 'price' is there twice"),
        ("t.csv", "id,my price\na1,1\n", "line 2, column my price: no attribute can be called"),
        ("t.csv", "id,price\na1,1,2\n", "line 2: it has 3 columns, and 2 are needed"),
        ("t.csv", "id,allergens\na1,unknown\n", "column allergens: 'unknown' is not a value"),
        ("t.csv", 'id,allergens\na1,"[""milk"", 1]"\n', "'milk', 1] is not a list of texts"),
        ("t.csv", "id,allergens\na1,[milk\n", "'[milk' is not a JSON array of texts"),
        ("t.jsonl", '{"id": "a1", "price": 1}\n{"id": "b2", "price": "1"}', "line 2, column price"),
        ("t.jsonl", '{"id": "a1", "a": 1, "A": 2}', "line 1: 'a' is there twice"),
        ("t.jsonl", '{"id": "a1", "price": NaN}', "line 1, column price: nan is not a finite"),
        ("t.jsonl", '{"id": "a1", "price": {}}', "line 1, column price: {} is not text, a number"),
        ("t.jsonl", '{"id": "a1"', "line 1: it is no JSON"),
        pytest.param(
            *("t.jsonl", "[" * 100_000, "line 1: it is no JSON"),
            # Where garbage is collected so deep in the stack, what hypothesis has hooked to that
            # can fail with a RecursionError, and pytest would take it for the test's.
            marks=pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
        ),
        ("t.jsonl", "[]", "line 1: it is no JSON object"),
    ],
)
def test_tables_are_refused_whole_with_line_column_and_value(
    attributes: Attributes, tmp_path: Path, name: str, text: str, said: str
) -> None:
    with pytest.raises(DatasetError) as caught:
        import_table(attributes, table(tmp_path, text, name), PHOTOS)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    assert attributes.declared() == {}
    assert attributes.read(0) == {}


def test_types_can_be_given_and_do_not_change(attributes: Attributes, tmp_path: Path) -> None:
    path = table(tmp_path, "id,code\na1,12\nb2,12b\n")
    report = import_table(attributes, path, PHOTOS, types={"Code": "text"})
    assert types(report) == {"code": "text"}
    assert attributes.read(0) == {"code": "12"}
    import_table(attributes, table(tmp_path, "id,code\na1,7\n"), PHOTOS)
    assert attributes.read(0) == {"code": "7"}
    with pytest.raises(DatasetError, match="code is a text, and cannot become a number"):
        import_table(
            attributes, table(tmp_path, "id,code\na1,7\n"), PHOTOS, types={"code": "number"}
        )
    with pytest.raises(DatasetError, match="has no column 'cod'"):
        import_table(attributes, path, PHOTOS, types={"cod": "text"})
    with pytest.raises(DatasetError, match="has no column 'halal'"):
        import_table(attributes, path, PHOTOS, safety=frozenset({"halal"}))


@pytest.mark.parametrize(
    "first",
    [
        "007",
        "-01",
        "+4915112345678",
        "12345678901234567",
        "9007199254740993",
        "0.1234567890123456789",
        "12345678901234567.5",
        "1e-400",
    ],
)
def test_a_code_makes_a_column_of_text_and_is_never_altered(
    attributes: Attributes, tmp_path: Path, first: str
) -> None:
    report = import_table(attributes, table(tmp_path, f"id,code\na1,{first}\nb2,42\n"), PHOTOS)
    assert types(report) == {"code": "text"}
    assert [attributes.read(row) for row in (0, 1)] == [{"code": first}, {"code": "42"}]
    with pytest.raises(DatasetError, match="line 2, column price"):
        import_table(
            attributes, table(tmp_path, f"id,price\na1,{first}"), PHOTOS, types={"price": "number"}
        )


def test_a_long_number_of_json_lines_is_kept_as_text(
    attributes: Attributes, tmp_path: Path
) -> None:
    lines = '{"id": "a1", "post": 17841405793187219, "x": 1.50}\n{"id": "b2", "post": 42, "x": 2}'
    report = import_table(attributes, table(tmp_path, lines, "t.jsonl"), PHOTOS)
    assert types(report) == {"post": "text", "x": "number"}
    assert attributes.read(0) == {"post": "17841405793187219", "x": 1.5}
    assert attributes.read(1) == {"post": "42", "x": 2}


NUMBERS = (
    st.integers(-(2**53), 2**53).map(str)
    | st.floats(allow_nan=False, allow_infinity=False).map(repr)
    | st.floats(allow_nan=False, allow_infinity=False, min_value=-1e9, max_value=1e9).map(
        "{:.17g}".format
    )
    | st.decimals(
        allow_nan=False, allow_infinity=False, places=2, min_value=-(10**9), max_value=10**9
    ).map(str)
)


@settings(max_examples=500, deadline=None)
@given(NUMBERS)
def test_every_number_that_a_float_can_be_is_taken(text: str) -> None:
    assert Decimal(number_of(text)) == Decimal(float(text))


@pytest.mark.slow
@settings(max_examples=500, deadline=None)
@given(st.from_regex(r"[+-]?[0-9]{0,30}\.?[0-9]{0,30}(e[+-]?[0-9]{1,4})?", fullmatch=True))
def test_a_number_is_taken_as_it_stands_or_refused(text: str) -> None:
    try:
        number = number_of(text)
    except DatasetError:
        return
    said = Decimal(text)
    digits = max(len(said.as_tuple().digits), 1)
    assert said in (Decimal(f"{number:.{digits - 1}e}"), Decimal(repr(number)))
    assert not re.match(r"\+|-?0[0-9]", text)


def test_the_same_row_twice_is_one(attributes: Attributes, tmp_path: Path) -> None:
    text = "photo,label,price\nx/1.jpg,a,1\n./x/1.jpg,b,1\n"
    assert import_table(attributes, table(tmp_path, text), PHOTOS).photos == (0,)
    assert attributes.read(0) == {"price": 1}


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=12))
def test_folding_is_stable_and_ignores_case(text: str) -> None:
    once = folded(text)
    assert folded(once) == once
    assert folded(f"  {text}\t") == once
    assert folded(text.casefold()) == once


def test_a_name_in_a_spelling_of_its_own_may_mean_several_photos() -> None:
    one, other = "\u00e9-e\u0301.jpg", "e\u0301-\u00e9.jpg"
    photos = NamedPhotos([(1, "a" * 64, one), (2, "b" * 64, other)], Folder(Path("/photos")))
    assert photos.find("file", one) == 1
    with pytest.raises(DatasetError, match=f"2 photos are called .*: {'a' * 20}, {'b' * 20}"):
        photos.find("file", "\u00e9-\u00e9.jpg")
