"""What every gallery must do, wherever it is: on this machine, on Milvus Lite, on a cluster.

A test module that imports these tests gives the fixture `engine`.
"""

import io
import json
import os
import secrets
import shutil
import sys
import unicodedata
from collections.abc import Callable
from contextlib import AbstractContextManager, closing, redirect_stdout, suppress
from dataclasses import dataclass, replace
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import samples
from deepfood.config import Settings
from deepfood.data.photo_file import PhotoFile
from deepfood.data.photos import list_photos
from deepfood.embed import Embedder
from deepfood.engine import engine_at
from deepfood.errors import (
    ArtifactBusyError,
    ArtifactMissingError,
    DatasetError,
    PhotoNotFoundError,
    QueryError,
    UndeclaredError,
)
from deepfood.gallery.answer import nearest_labelled
from deepfood.gallery.averaging import Averaging
from deepfood.gallery.declared import Definition
from deepfood.gallery.embedding import embed_photo
from deepfood.gallery.engine import Engine, ForAll
from deepfood.gallery.filter_tree import Among
from deepfood.gallery.filters import parse_filter
from deepfood.gallery.nearest_others import nearest_others
from deepfood.gallery.photo import REMOVED, EmbeddedPhoto, Photo
from deepfood.gallery.protocol import ChangedGallery, ColumnFacts, SearchedGallery
from deepfood.gallery.queries import combine
from deepfood.gallery.reports import Consent
from deepfood.gallery.tuned import TuneVerdict
from deepfood.gallery.vote import VOTERS
from deepfood.photo_box import Box
from deepfood.place import Place
from deepfood.serve.question import SearchQuestion
from deepfood.serve.service import SearchService
from live import run_here
from plates import Counting, tiny_embedder, write_clouds, write_dishes


@dataclass(frozen=True)
class GalleryUnderTest:
    """How a gallery of some kind is made, opened and changed."""

    build: Callable[[], Any]
    open: Callable[[], SearchedGallery]
    writing: Callable[[], AbstractContextManager[ChangedGallery]]
    photos: Path
    embedder: Embedder
    place: Path | str
    settings: Settings

    @property
    def at(self) -> Engine:
        return engine_at(self.place, self.settings)

    def problems(self) -> list[str]:
        return list(self.at.problems(quiet=True))


def new_photo(
    engine: "GalleryUnderTest | Own", number: int, embedder: Embedder | None = None, **said: object
) -> EmbeddedPhoto:
    data = samples.photo(90, 80, number)
    one = embed_photo(data, PhotoFile(f"new-{number}.jpg"), embedder or engine.embedder)
    return replace(one, attributes=said)


def test_a_search_finds_the_exact_nearest(engine: GalleryUnderTest) -> None:
    gallery = engine.open()
    photos, vectors, rows = gallery.photos()
    assert len(photos) == gallery.count == 24
    every = vectors.take(rows)
    for place in (0, 7, 23):
        query = gallery.vector(photos[place].id)
        np.testing.assert_allclose(query, every[place], atol=1e-6)
        hits = gallery.search(query, 9)
        order = np.argsort(-(every @ query), kind="stable")[:9]
        assert [hit.photo.id for hit in hits] == [photos[row].id for row in order]
        np.testing.assert_allclose(
            [hit.score for hit in hits], np.minimum(every[order] @ query, 1), atol=1e-5
        )


def test_where_no_parts_are_kept_photos_are_found_as_a_whole(engine: GalleryUnderTest) -> None:
    gallery = engine.open()
    photo = gallery.sample(1, 0)[0].id
    assert not gallery.is_found_by_part(photo, gallery.vector(photo))


def test_k_may_be_more_than_there_are_and_not_less_than_one(engine: GalleryUnderTest) -> None:
    gallery = engine.open()
    query = gallery.vector(gallery.sample(1, 0)[0].id)
    assert len(gallery.search(query, 1000)) == 24
    with pytest.raises(QueryError, match="k = 0"):
        gallery.search(query, 0)
    with pytest.raises(QueryError, match="k = 0"):
        gallery.find(query, 0)


def test_what_is_not_there_is_said(engine: GalleryUnderTest) -> None:
    for name in ("0" * 20, "x", "' or 1 == 1", '" or id != "', "ä" * 20):
        with pytest.raises(PhotoNotFoundError):
            engine.open().photo(name)


def test_photos_are_handed_out_as_they_were_embedded(engine: GalleryUnderTest) -> None:
    gallery = engine.open()
    for photo in gallery.sample(3, 1):
        assert gallery.read(photo) == (engine.photos / photo.file).read_bytes()
    changed = replace(gallery.sample(1, 1)[0], file="../outside.jpg")
    with pytest.raises(PhotoNotFoundError):
        gallery.read(changed)


def test_a_sample_is_the_same_for_the_same_seed(engine: GalleryUnderTest) -> None:
    gallery = engine.open()
    assert gallery.sample(5, 3) == gallery.sample(5, 3)
    assert len({photo.id for photo in gallery.sample(100, 3)}) == 24
    assert gallery.sample(5, 3) != gallery.sample(5, 4)


def test_a_sample_is_of_photos_that_pass_a_filter(engine: GalleryUnderTest) -> None:
    gallery = engine.open()
    one, other, *_ = gallery.photos()[0]
    where = Among("file", (one.file.upper(), other.file))
    assert {photo.id for photo in gallery.sample(100, 3, where)} == {one.id, other.id}
    assert {photo.id for photo in gallery.sample(1, 3, where)} < {one.id, other.id}
    assert gallery.sample(5, 3, Among("file", ("no such file",))) == []


def test_what_was_added_is_found_at_once_and_what_was_removed_is_not(
    engine: GalleryUnderTest,
) -> None:
    gallery = engine.open()
    one = new_photo(engine, 501)
    with engine.writing() as writer:
        assert writer.add([one]) == ["added"]
        assert writer.add([one]) == ["unchanged"]
    assert gallery.search(one.vector, 1)[0].photo.id == one.photo.id
    assert gallery.read(gallery.photo(one.photo.id)) == one.data
    assert gallery.count == 25
    with engine.writing() as writer:
        (gone,) = writer.remove([one.photo.id])
    assert gone.id == one.photo.id
    assert gallery.count == 24
    assert one.photo.id not in {hit.photo.id for hit in gallery.search(one.vector, 24)}
    with pytest.raises(PhotoNotFoundError), engine.writing() as writer:
        writer.remove([one.photo.id])


def test_labels_and_names_can_be_changed(engine: GalleryUnderTest) -> None:
    photo = engine.open().sample(1, 5)[0]
    with engine.writing() as writer:
        writer.update(photo.id, label="ramen", photo_name="Tonkotsu")
    after = engine.open().photo(photo.id)
    assert (after.label, after.name) == ("ramen", "Tonkotsu")
    assert after.label_edited
    assert after.name_edited
    with engine.writing() as writer:
        writer.update(photo.file, label=photo.label or "", photo_name=photo.name or "")
    assert engine.open().photo(photo.id).label == photo.label


PRICES = [None, 3.5, 12, 12.5, -1, 1e6]
ALLERGENS = [None, [], ["peanut"], ["Peanut", "soy"], ["soy"], ["milk"]]
CUISINES = ["thai", "Thaï", "lao", None, 'a"b\\', "日本"]


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("price < 12", [1, 4]),
        ("price >= 12", [2, 3, 5]),
        ("price != 12", [1, 3, 4, 5]),
        ("NOT price < 12", [2, 3, 5]),
        ("price IN (12, 3.5)", [1, 2]),
        ("price IS KNOWN", [1, 2, 3, 4, 5]),
        ('allergens HAS "PEANUT"', [2, 3]),
        ('NOT allergens HAS "peanut"', [1, 4, 5]),
        ('price < 12 OR NOT allergens HAS "soy"', [1, 2, 4, 5]),
        ('cuisine = "THAI"', [0]),
        ('cuisine = "thaï"', [1]),
        ('cuisine = "a\\"b\\\\"', [4]),
        ('cuisine > "lao"', [0, 1, 5]),
        ('cuisine = "日本"', [5]),
        ('NOT (cuisine = "lao" OR price > 100)', [1, 4]),
        ('name = "dish 3"', [3]),
        ("fresh = true", [0, 2, 4]),
        ('cuisine = "x\\" or 1 == 1 or \\""', []),
    ],
)
def test_filters_give_exactly_what_passes(
    engine: GalleryUnderTest, text: str, wanted: list[int]
) -> None:
    given_ids = given(engine)
    gallery = engine.open()
    query = gallery.vector(given_ids[0])
    where = parse_filter(f"({text}) AND mine = 1")
    found = gallery.find(query, 20, where=where)
    assert {hit.photo.id for hit in found.hits} == {given_ids[i] for i in wanted}
    assert found.total == len(wanted)
    if "allergens" in text:
        assert any("allergens not known" in note.message for note in found.notes)
    if wanted:
        one = gallery.find(query, 1, where=where)
        assert (len(one.hits), one.total) == (1, len(wanted))
        known = found.attributes[given_ids[wanted[0]]]
        assert known["mine"] == 1


#: Declared in each engine's gallery when it is made.
COLUMNS = {
    "price": Definition("number"),
    "allergens": Definition("list"),
    "cuisine": Definition("text"),
    "fresh": Definition("boolean"),
    "mine": Definition("number"),
}
_GIVEN: dict[int, list[str]] = {}


def given(engine: GalleryUnderTest) -> list[str]:
    """Six photos with attributes, added once to each gallery."""
    if id(engine) not in _GIVEN:
        new = []
        for i in range(6):
            said = {
                "price": PRICES[i],
                "allergens": ALLERGENS[i],
                "cuisine": CUISINES[i],
                "fresh": i % 2 == 0,
                "mine": 1,
            }
            known: dict[str, Any] = {n: value for n, value in said.items() if value is not None}
            one = new_photo(engine, 600 + i, **known)
            new.append(replace(one, photo=replace(one.photo, name=f"Dish {i}")))
        with engine.writing() as writer:
            writer.add(new)
        _GIVEN[id(engine)] = [one.photo.id for one in new]
    return _GIVEN[id(engine)]


def test_an_attribute_that_is_not_there_or_of_another_type_is_said(
    engine: GalleryUnderTest,
) -> None:
    given(engine)
    gallery = engine.open()
    query = gallery.vector(gallery.sample(1, 0)[0].id)
    for text, told in (
        ("weight < 3", "no attribute 'weight'"),
        ('price = "x"', "price is a number"),
        ('cuisine HAS "x"', "no list"),
    ):
        with pytest.raises(QueryError, match=told):
            gallery.find(query, 3, where=parse_filter(text))
    with pytest.raises(DatasetError), engine.writing() as writer:
        writer.update(given(engine)[0], attributes={"price": "cheap"})


def test_an_attribute_is_declared_before_it_is_said(engine: GalleryUnderTest) -> None:
    photo, before = engine.open().sample(1, 6)[0], gallery_columns(engine)
    now = said(engine)
    for attributes, told in (
        ({"price": 3, "cuisin": "thai"}, "no attribute 'cuisin': is 'cuisine' meant"),
        ({"alergens": ["milk"]}, "no attribute 'alergens': is 'allergens' meant"),
        ({"colour": "red"}, "there are .*--declare colour=text"),
        ({"colour": None}, "--declare colour=TYPE"),
        ({"price": 3, "Price": 4}, "price is given twice"),
    ):
        with engine.writing() as writer, pytest.raises(DatasetError, match=told):
            writer.update(photo.id, label="other", attributes=attributes)
        with engine.writing() as writer, pytest.raises(DatasetError, match=told):
            writer.add([new_photo(engine, 610), new_photo(engine, 611, **attributes)])
    assert said(engine) == now
    assert gallery_columns(engine) == before

    with engine.writing() as writer:
        columns = {"Colour": Definition("text"), "halal": Definition("boolean", safety=True)}
        assert writer.declare(columns) == ["colour", "halal"]
        assert writer.declare({"colour": Definition("text", safety=True)}) == []
        with pytest.raises(DatasetError, match="colour is a text, and cannot become a list"):
            writer.declare({"never": Definition("text"), "colour": Definition("list")})
        assert writer.declared().keys() == {*before, "colour", "halal"}
    after = gallery_columns(engine)
    assert (after["colour"].type, after["colour"].safety) == ("text", True)
    assert (after["halal"].type, after["halal"].safety) == ("boolean", True)
    with engine.writing() as writer:
        writer.update(photo.id, attributes={"colour": "red"})
        with pytest.raises(DatasetError, match="colour is known of 1 photo,"):
            writer.drop_attribute("colour")
        with pytest.raises(UndeclaredError, match="no attribute 'color': is 'colour' meant"):
            writer.drop_attribute("color")
    assert engine.open().facts(photo.id)[1]["colour"] == "red"
    with engine.writing() as writer:
        writer.update(photo.id, attributes={"colour": None})
        writer.drop_attribute("Colour")
        writer.drop_attribute("halal")
    assert gallery_columns(engine) == before
    # What comes in its place is an attribute of its own.
    with engine.writing() as writer:
        writer.declare({"colour": Definition("number")})
        writer.update(photo.id, attributes={"colour": 5})
    gallery = engine.open()
    found = gallery.find(gallery.vector(photo.id), 3, where=parse_filter("colour > 4")).hits
    assert [hit.photo.id for hit in found] == [photo.id]
    assert not gallery_columns(engine)["colour"].safety
    with engine.writing() as writer:
        writer.update(photo.id, attributes={"colour": None})
        writer.drop_attribute("colour")
    assert engine.open().facts(photo.id)[1] == now[photo.id][1]
    assert engine.problems() == []


def test_names_find_each_other_however_their_letters_are_encoded(
    engine: GalleryUnderTest, tmp_path: Path
) -> None:
    """A name found by its other spelling, unless there is one of just that."""
    nfc, nfd = (unicodedata.normalize(form, "Crème 9.jpg") for form in ("NFC", "NFD"))
    both = [new_photo(engine, 620), new_photo(engine, 621)]
    first, second = (
        replace(one, photo=replace(one.photo, file=file))
        for one, file in zip(both, (nfd, nfc), strict=True)
    )
    table = tmp_path / "table.csv"

    def price(name: str, value: int) -> None:
        table.write_text(f"file,price\n{name},{value}\n", encoding="utf-8")
        engine.at.import_attributes(table, {}, frozenset())

    def prices(*photos: EmbeddedPhoto) -> list[object]:
        return [engine.open().facts(one.photo.id)[1].get("price") for one in photos]

    with engine.writing() as writer:
        writer.add([first])
        writer.update(nfc, label="by the other spelling")
    assert engine.open().photo(first.photo.id).label == "by the other spelling"
    price(nfc, 1)
    assert prices(first) == [1]
    with engine.writing() as writer:
        writer.add([second])
        writer.update(nfc, photo_name="NFC")
        writer.update(nfd, photo_name="NFD")
    price(nfc, 2)
    price(nfd, 3)
    assert prices(first, second) == [3, 2]
    assert [engine.open().photo(one.photo.id).name for one in (first, second)] == ["NFD", "NFC"]
    with engine.writing() as writer:
        writer.remove([nfd])
        writer.remove([nfd])
    for one in (first, second):
        with pytest.raises(PhotoNotFoundError):
            engine.open().photo(one.photo.id)


def test_a_table_names_photos_that_are_there_once(engine: GalleryUnderTest, tmp_path: Path) -> None:
    """By a name that two have, by an absolute path, and by none."""
    twins = [new_photo(engine, number, price=1) for number in (630, 631)]
    twins = [replace(one, photo=replace(one.photo, file="twin.jpg")) for one in twins]
    with engine.writing() as writer:
        writer.add(twins)
    one, other, *_ = (photo for photo in engine.open().photos()[0] if not photo.added)
    table = tmp_path / "table.csv"

    def refused(text: str) -> str:
        now = said(engine)
        table.write_text(text, encoding="utf-8")
        with pytest.raises(DatasetError) as caught:
            engine.at.import_attributes(table, {}, frozenset())
        assert said(engine) == now
        return str(caught.value)

    told = refused("photo,price\ntwin.jpg,9\n")
    assert "line 2, column file: 2 photos are called 'twin.jpg': name one by its id: " in told
    assert all(photo.photo.id in told for photo in twins)
    assert "lies outside" in refused("photo,price\n/elsewhere/twin.jpg,9\n")
    assert "none of its rows names a photo" in refused("photo,price\n,9\n")
    assert "no column names the photos" in refused("foto,price\ntwin.jpg,9\n")
    table.write_text(
        f"photo,price\n{engine.photos.resolve() / one.file},7\n,8\n{other.file},9\n,9\n",
        encoding="utf-8",
    )
    told = deepfood(engine, "attributes", engine.place, table)
    assert (told["photos"], told["rows_without_photo"]) == (2, 2)
    assert [engine.open().facts(photo.id)[1]["price"] for photo in (one, other)] == [7, 9]
    with engine.writing() as writer:
        writer.remove([photo.photo.id for photo in twins])
        for photo in (one, other):
            writer.update(photo.id, attributes={"price": None})


def test_one_table_names_photos_and_says_what_is_known_of_them(
    engine: GalleryUnderTest, tmp_path: Path
) -> None:
    before, now = gallery_columns(engine), said(engine)
    for number in (640, 641, 642):
        (tmp_path / f"{number}.jpg").write_bytes(samples.photo(90, 80, number))
    table = tmp_path / "dishes.csv"
    heading = "file,label,name,price,allergens,code,My note,source,empty\n"
    rows = (
        "640.jpg,Curry,Korma,4.50,milk,007,x,a,\n,,,9,,,,,\n"
        f"{tmp_path.resolve()}/641.jpg,Soup,,12,[],42,,,\n642.jpg,,,,,,,,\n"
    )
    table.write_text(heading + rows + "643.jpg,,,cheap,,,,,\n", encoding="utf-8")
    with pytest.raises(DatasetError, match="line 6, column price: 'cheap' is not a number"):
        engine.at.add([table], ForAll(), quiet=True)
    assert gallery_columns(engine) == before
    assert said(engine) == now

    table.write_text(heading + rows, encoding="utf-8")
    told = deepfood(engine, "add", engine.place, table, "--attributes", '{"mine": 2}')
    assert told["attributes"] == ["price", "allergens", "code"]
    assert (told["rows_without_photo"], told["left_out"]) == (1, [])
    ids = [photo["id"] for photo in told["photos"]]
    facts = [engine.open().facts(one) for one in ids]
    assert [(photo.file, photo.label, photo.name) for photo, _ in facts] == [
        ("640.jpg", "Curry", "Korma"),
        ("641.jpg", "Soup", None),
        ("642.jpg", None, None),
    ]
    assert [values for _, values in facts] == [
        {"price": 4.5, "allergens": ["milk"], "code": "007", "mine": 2},
        {"price": 12, "allergens": [], "code": "42", "mine": 2},
        {"mine": 2},
    ]
    assert gallery_columns(engine).keys() == {*before, "code"}
    # An empty cell takes nothing away.
    table.write_text("photo,price,code\n640.jpg,,008\n", encoding="utf-8")
    deepfood(engine, "add", engine.place, table)
    assert engine.open().facts(ids[0])[1] == {**facts[0][1], "code": "008"}
    with engine.writing() as writer:
        writer.remove(ids)
        writer.drop_attribute("code")
    assert said(engine) == now


def test_of_attributes_that_are_refused_nothing_is_left(
    engine: GalleryUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    photo = given(engine)[0]
    gallery = engine.open()
    columns, facts, count = gallery.columns(), gallery.facts(photo), gallery.count

    def refuse(said: str, attributes: dict[str, Any]) -> None:
        new = new_photo(engine, 520, **attributes)
        with pytest.raises(DatasetError, match=said), engine.writing() as writer:
            writer.update(photo, label="Another", attributes=attributes)
        with pytest.raises(DatasetError, match=said), engine.writing() as writer:
            writer.add([new_photo(engine, 519, price=1), new])
        assert gallery.columns() == columns
        assert gallery.facts(photo) == facts
        assert gallery.count == count

    refuse("257 attributes at once", {f"a{number}": number for number in range(257)})
    refuse("can be called", {"price": 1, "no name": 2})
    refuse("price", {"cuisine": "thai", "price": "cheap"})
    refuse("is not a value", {"price": 1, "allergens": ["?"]})
    monkeypatch.setattr("deepfood.gallery.declared.MOST_ATTRIBUTES", len(columns) + 1)
    two = {"novel": Definition("text"), "newer": Definition("text")}
    told = f"can have {len(columns) + 1} attributes"
    with pytest.raises(DatasetError, match=told), engine.writing() as writer:
        writer.declare(two)
    assert engine.open().columns() == columns
    with engine.writing() as writer:  # what is there already is no more
        writer.update(photo, attributes={"price": 7})
    assert gallery.facts(photo)[1]["price"] == 7
    with engine.writing() as writer:
        writer.update(photo, attributes={"price": facts[1].get("price")})


def test_pages_follow_each_other_whatever_is_added_meanwhile(engine: GalleryUnderTest) -> None:
    gallery = engine.open()
    query = gallery.vector(gallery.sample(1, 2)[0].id)
    whole = [hit.photo.id for hit in gallery.search(query, gallery.count)]
    first = gallery.find(query, 7)
    one = new_photo(engine, 700)
    with engine.writing() as writer:
        writer.add([one])
    seen, cursor = [hit.photo.id for hit in first.hits], first.next
    while cursor:
        found = gallery.find(query, 7, cursor=cursor)
        seen += [hit.photo.id for hit in found.hits]
        cursor = found.next
    with engine.writing() as writer:
        writer.remove([one.photo.id])
    assert seen == whole
    with pytest.raises(QueryError, match="another search"):
        gallery.find(gallery.vector(whole[3]), 7, cursor=first.next)


def test_variety_groups_and_photos_to_leave_out(
    engine: GalleryUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    gallery = engine.open()
    photo = gallery.sample(1, 2)[0]
    query = gallery.vector(photo.id)
    found = gallery.find(query, 5, without=[photo.id])
    assert photo.id not in {hit.photo.id for hit in found.hits}
    assert len(found.hits) == 5
    assert found.total == gallery.count - 1
    varied = gallery.find(query, 5, diversity=0.9)
    scores = [hit.score for hit in varied.hits]
    assert scores == sorted(scores, reverse=True)
    assert varied.total == gallery.count
    assert varied.hits[0].photo.id == photo.id
    assert {h.photo.id for h in varied.hits} != {h.photo.id for h in gallery.find(query, 5).hits}
    grouped = gallery.find(query, 3, group_duplicates=True)
    assert len(grouped.hits) == 3
    assert len(grouped.alike) == 3
    assert grouped.total == gallery.count
    whole = gallery.find(query, gallery.count, group_duplicates=True)
    assert whole.next is None
    groups, cursor = [hit.photo.id for hit in grouped.hits], grouped.next
    while cursor:
        page = gallery.find(query, 3, group_duplicates=True, cursor=cursor)
        groups += [hit.photo.id for hit in page.hits]
        cursor = page.next
        assert page.notes == ()
    assert groups == [hit.photo.id for hit in whole.hits]
    with pytest.raises(QueryError, match="another search"):
        gallery.find(query, 3, cursor=grouped.next)
    # Near-duplicates are looked for among so many photos, and the last page says so.
    monkeypatch.setattr("deepfood.gallery.queries._LARGEST_POOL", 7)
    page = gallery.find(query, 2, group_duplicates=True)
    assert page.notes == ()
    while page.next:
        page = gallery.find(query, 2, group_duplicates=True, cursor=page.next)
    assert [(note.code, note.photos) for note in page.notes] == [("pages_end", 7)]
    assert gallery.find(query, 2, diversity=0.5, group_duplicates=True).notes == ()
    with pytest.raises(QueryError, match="no further pages"):
        gallery.find(query, 3, diversity=0.5, group_duplicates=True, cursor=grouped.next)


def test_of_several_queries_the_least_similar_counts(engine: GalleryUnderTest) -> None:
    gallery = engine.open()
    photos, vectors, rows = gallery.photos()
    every = vectors.take(rows)
    wanted, *unwanted = ((gallery.vector(photos[place].id), 1.0) for place in (3, 7, 11, 15))
    query = combine([wanted], [unwanted])
    assert query.shape == (3, len(wanted[0]))
    least = (every @ query.T).min(axis=1)
    order = [photos[place].id for place in np.argsort(-least)]
    found = gallery.find(query, 9)
    assert [hit.photo.id for hit in found.hits] == order[:9]
    np.testing.assert_allclose([hit.score for hit in found.hits], -np.sort(-least)[:9], atol=1e-5)
    pages, cursor = [hit.photo.id for hit in found.hits], found.next
    while cursor:
        page = gallery.find(query, 9, cursor=cursor)
        pages += [hit.photo.id for hit in page.hits]
        cursor = page.next
    assert pages == order
    with pytest.raises(QueryError, match="another search"):
        gallery.find(query[:2], 9, cursor=found.next)
    labels = sorted({photo.label or "" for photo in photos})
    passing = {photo.id for photo in photos if photo.label == labels[-1]}
    some = gallery.find(query, 9, where=parse_filter(f'label = "{labels[-1]}"'), without=order[:1])
    expected = [one for one in order[1:] if one in passing]
    assert [hit.photo.id for hit in some.hits] == expected[:9]
    varied = gallery.find(query, 5, diversity=0.9)
    assert varied.hits[0].photo.id == order[0]
    assert [hit.photo.id for hit in varied.hits] != order[:5]


def test_each_part_of_a_plate_is_a_search_of_its_own(
    engine: GalleryUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without OpenVINO: quarters and halves are parts."""
    gallery = engine.open()
    service = SearchService(gallery, engine.embedder, engine.settings)
    monkeypatch.setitem(sys.modules, "openvino", None)
    photo = gallery.read(gallery.sample(1, 5)[0])
    found = service.search(SearchQuestion(photos=(photo,), k=3, plate=True))
    (itself,) = found.parts or [None]
    assert itself is not None
    assert (itself.box, itself.hits) == (Box(0, 0, 1, 1), found.hits)  # nothing is as like it
    four = Image.new("RGB", (400, 400))
    for place, one in enumerate(gallery.sample(4, 6)):
        piece = Image.open(io.BytesIO(gallery.read(one))).resize((200, 200))
        four.paste(piece, (place % 2 * 200, place // 2 * 200))
    out = io.BytesIO()
    four.save(out, "PNG")
    found = service.search(SearchQuestion(photos=(out.getvalue(),), k=3, plate=True))
    assert [note.code for note in found.notes] == ["no_feature_map"]
    assert len(found.parts or ()) == 4
    for part in found.parts or ():
        alone = service.search(SearchQuestion(photos=(out.getvalue(),), k=3, box=part.box))
        assert part.hits == alone.hits


def test_those_that_have_a_label_vote(engine: GalleryUnderTest) -> None:
    gallery = engine.open()
    query = gallery.vector(gallery.sample(1, 2)[0].id)
    with engine.writing() as writer:
        for photo in gallery.sample(12, 5):
            writer.update(photo.id, label=f"dish {photo.id[0]}")
    every = [hit for hit in gallery.search(query, gallery.count) if hit.photo.label]
    assert len(every) >= 12
    for without in ([], [every[0].photo.id]):
        voters = nearest_labelled(gallery, query, without)
        expected = [hit for hit in every if hit.photo.id not in without][:VOTERS]
        assert [hit.photo for hit in voters] == [hit.photo for hit in expected]


def test_a_rebuild_follows_the_source_and_keeps_what_was_done_by_hand(
    engine: GalleryUnderTest,
) -> None:
    gallery = engine.open()
    before = {photo.id: photo for photo in gallery.photos()[0]}
    photo = next(one for one in before.values() if not one.added)
    with engine.writing() as writer:
        writer.update(photo.id, label="by hand")
    path = engine.photos / photo.file
    extra = engine.photos / "zz-extra.jpg"
    extra.write_bytes(samples.photo(70, 70, 900))
    bad = engine.photos / "zz-bad.jpg"
    bad.write_bytes(b"\xff\xd8 no photo")
    copy = engine.photos / "zz-copy.jpg"
    copy.write_bytes(path.read_bytes())
    try:
        report = engine.build()
        assert report.embedded == 3
        assert report.count == len(before) + 1
        assert {one.file for one in report.skipped} == {"zz-bad.jpg", "zz-copy.jpg"}
        again = engine.build()
        assert again.up_to_date
        assert again.embedded == 0
    finally:
        for one in (extra, bad, copy):
            one.unlink()
    report = engine.build()
    assert report.count == len(before)
    assert engine.open().photo(photo.id).label == "by hand"


@dataclass(frozen=True)
class Own:
    """A gallery of the engine's kind, of twelve labelled photos, for one test alone."""

    place: Path | str
    photos: Path
    settings: Settings
    embedder: Embedder

    @property
    def at(self) -> Engine:
        return engine_at(self.place, self.settings)

    def build(self, **asked: bool) -> Any:
        consent = Consent(**asked)
        source = list_photos(self.photos, empty=consent.empty)
        return self.at.build(source, consent=consent, quiet=True)

    def writing(self) -> AbstractContextManager[ChangedGallery]:
        return self.at.writer()

    def open(self) -> SearchedGallery:
        return self.at.open()[0]

    def problems(self) -> list[str]:
        return list(self.at.problems(quiet=True))


@pytest.fixture
def own(engine: GalleryUnderTest, tmp_path: Path) -> Own:
    on_milvus = Place.parse(engine.place).kind == "milvus"
    beside = f"{engine.place}_{secrets.token_hex(4)}"
    place: Path | str = beside if on_milvus else tmp_path / "gallery"
    changed = {"model": engine.embedder.model.folder, "photos_store": str(tmp_path / "store")}
    settings = engine.settings.model_copy(update=changed)
    made = Own(place, write_dishes(tmp_path / "photos", 3), settings, engine.embedder)
    made.build()
    return made


def path_of(own: Own, photo: Photo) -> Path:
    return own.photos / photo.file


def touch_all(own: Own) -> None:
    for path in own.photos.rglob("*.jpg"):
        os.utime(path, ns=(1, path.stat().st_mtime_ns + 10**9))


def without_file(found: dict[str, Any]) -> dict[str, Any]:
    return {
        one: (replace(photo, file="", modified_ns=0), values)
        for one, (photo, values) in found.items()
    }


def test_what_was_said_stays_with_the_content(own: Own, tmp_path: Path) -> None:
    photos = sorted(said(own).values(), key=lambda one: one[0].file)
    first, second, third = (photo for photo, _ in photos[:3])
    with own.writing() as writer:
        writer.declare({"price": Definition("number"), "allergens": Definition("list")})
        writer.update(first.id, label="by hand", attributes={"price": 9, "allergens": ["nuts"]})
        writer.update(second.id, photo_name="Named", attributes={"price": 2})
        writer.update(third.id, attributes={"allergens": []})
    now = without_file(said(own))
    assert now[first.id][1] == {"price": 9, "allergens": ["nuts"]}

    def check(report: Any, gone: int = 0, left: int = 12) -> None:
        assert (len(report.gone), report.count) == (gone, left)
        assert sorted(own.at.describe()["gone"]) == sorted(report.gone)
        after = without_file(said(own))
        assert after == {one: now[one] for one in after}
        assert gallery_columns(own)["allergens"].safety
        assert not list(own.at.problems(quiet=True))

    touch_all(own)  # all are embedded again
    report = own.build()
    assert (report.up_to_date, report.embedded) == (False, 12)
    check(report)
    moved = path_of(own, first).with_name("renamed.jpg")
    path_of(own, first).rename(moved)
    check(own.build())
    assert said(own)[first.id][0].file.endswith("renamed.jpg")
    # A folder is away for one build.
    folder, away = moved.parent, tmp_path / "away"
    folder.rename(away)
    report = own.build()
    assert moved.relative_to(own.photos).as_posix() in report.gone
    check(report, gone=3, left=9)
    away.rename(folder)
    check(own.build())
    assert own.build().up_to_date
    # One that is away is added by hand: what was said of it counts again.
    data = moved.read_bytes()
    moved.unlink()
    check(own.build(), gone=1, left=11)
    with own.writing() as writer:
        assert writer.add([embed_photo(data, PhotoFile("added.jpg"), own.embedder)]) == ["added"]
    assert said(own)[first.id][0].label == "by hand"
    assert said(own)[first.id][1] == {"price": 9, "allergens": ["nuts"]}
    assert own.at.describe()["gone"] == []
    assert own.build().gone == ()
    assert said(own)[first.id][1] == {"price": 9, "allergens": ["nuts"]}


def test_removed_content_stays_out_under_any_name(own: Own) -> None:
    photo = min((photo for photo, _ in said(own).values()), key=lambda one: one.file)
    path = path_of(own, photo)
    with own.writing() as writer:
        writer.declare({"price": Definition("number")})
        writer.update(photo.id, attributes={"price": 1})
        writer.remove([photo.id])
    copy = path.with_name("another name.jpg")
    copy.write_bytes(path.read_bytes())
    changes: list[Callable[[], None]] = [lambda: None, lambda: touch_all(own), path.unlink]
    for change in changes:
        change()
        report = own.build()
        assert (report.count, report.gone) == (11, ())
        assert photo.id not in said(own)
    with own.writing() as writer:
        new = embed_photo(copy.read_bytes(), PhotoFile("back.jpg"), own.embedder)
        assert writer.add([new]) == ["added"]
    assert own.build().count == 12
    assert said(own)[photo.id][1] == {}  # it was removed with all that was said of it


def test_who_edits_the_name_alone_leaves_the_label_to_the_source(own: Own) -> None:
    photo = next(photo for photo, _ in said(own).values() if photo.label == "tomato soup")
    other = next(one for one, _ in said(own).values() if one.label == "spinach_curry")
    with own.writing() as writer:
        writer.update(photo.id, photo_name="Mine")
    path_of(own, photo).rename(path_of(own, other).with_name("moved.jpg"))
    own.build()
    after = said(own)[photo.id][0]
    assert (after.label, after.name) == ("spinach_curry", "Mine")
    assert (after.label_edited, after.name_edited) == (False, True)
    with own.writing() as writer:
        writer.update(photo.id, label="chosen")
    touch_all(own)
    own.build()
    assert said(own)[photo.id][0].label == "chosen"


def test_the_history_tells_who_changed_what_and_takes_it_back(own: Own) -> None:
    photo, other = sorted((photo for photo, _ in said(own).values()), key=lambda one: one.id)[:2]
    now = said(own)
    with own.at.writer(by="ann") as writer:
        writer.declare({"price": Definition("number")})
        writer.update(photo.id, label="wrong", attributes={"price": 1})
        writer.remove([other.id])
    *_, declared, update, removal = own.at.history()
    told = [(one.do, one.by, one.photos) for one in (declared, update, removal)]
    assert told == [
        ("declare", "ann", ()),
        ("update", "ann", (photo.id,)),
        ("remove", "ann", (other.id,)),
    ]
    (only,) = own.at.history(photo.id)
    assert only.about["changes"][0]["label"] == "wrong"
    with own.writing() as writer:
        for one in (update, removal):
            writer.undo(one.number)
        with pytest.raises(QueryError, match="was edited again after change"):
            writer.undo(update.number)
    assert said(own)[photo.id] == now[photo.id]
    own.build()
    assert said(own) == now
    assert [one.undoes for one in own.at.history()][-2:] == [
        update.number,
        removal.number,
    ]


def test_the_table_of_a_build_says_what_is_news_in_it(own: Own) -> None:
    photos = sorted((photo for photo, _ in said(own).values()), key=lambda one: one.file)
    rows = [f"{photo.file},{photo.label},{number}" for number, photo in enumerate(photos)]

    def built(rows: list[str]) -> Any:
        table = own.photos / "table.csv"
        table.write_text("\n".join(["file,label,price", *rows]) + "\n", encoding="utf-8")
        source = list_photos(table)
        return own.at.build(source, consent=Consent(replace=True), quiet=True)

    assert built(rows).attributes == ("price",)
    assert [said(own)[photo.id][1]["price"] for photo in photos] == list(range(12))
    with own.writing() as writer:
        writer.update(photos[0].id, attributes={"price": 99})
    assert built(rows).attributes == ()
    assert said(own)[photos[0].id][1]["price"] == 99
    rows[1] = f"{photos[1].file},{photos[1].label},50"
    assert built(rows).attributes == ("price",)
    assert [said(own)[photo.id][1]["price"] for photo in photos[:3]] == [99, 50, 2]


def test_a_build_that_would_lose_photos_is_refused(own: Own, tmp_path: Path) -> None:
    now, away = said(own), tmp_path / "away"
    away.mkdir()
    folders = sorted(own.photos.iterdir())[:3]
    for folder in folders:
        folder.rename(away / folder.name)
    with pytest.raises(DatasetError, match=r"9 of the 12 photos .* --allow-loss"):
        own.build()
    assert said(own) == now
    # Under other names they are not lost.
    for folder in folders:
        (away / folder.name).rename(own.photos / f"{folder.name} 2")
    report = own.build()
    assert (report.count, report.gone) == (12, ())
    for folder in folders:
        (own.photos / f"{folder.name} 2").rename(away / folder.name)
    report = own.build(allow_loss=True)
    assert (report.count, len(report.gone)) == (3, 9)

    elsewhere = replace(own, photos=write_dishes(tmp_path / "elsewhere", 3, start=50))
    now = said(own)
    with pytest.raises(DatasetError, match="another place: name a new gallery, or give --replace"):
        elsewhere.build()
    assert said(own) == now
    assert elsewhere.build(replace=True).count == 12
    assert said(own).keys().isdisjoint(now)


def test_a_gallery_without_photos_gets_some_later(own: Own, tmp_path: Path) -> None:
    new = replace(own, place=f"{own.place}_new", photos=tmp_path / "nothing")
    new.photos.mkdir()
    with pytest.raises(DatasetError, match="no photos in"):
        new.build()
    assert new.build(empty=True).count == 0
    assert new.problems() == []
    photo = next(own.photos.rglob("*.jpg"))
    query = own.embedder.embed(photo.read_bytes())
    with closing(new.open()) as gallery:
        assert gallery.find(query, 9).hits == []
    new.at.add([photo], ForAll(label="first"), quiet=True)
    with closing(new.open()) as gallery:
        (hit,) = gallery.find(query, 9).hits
        assert hit.photo.label == "first"
    assert new.build(empty=True).count == 1
    assert new.problems() == []


def deepfood(engine: GalleryUnderTest, *arguments: object) -> Any:
    """What a command says of it as JSON; it gets the settings that the gallery was made with."""
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(StringIO()) as out:
        for name in ("photos_store", "cache", "milvus_timeout_s"):
            if value := getattr(engine.settings, name):
                patch.setenv(f"DEEPFOOD_{name.upper()}", str(value))
        assert run_here(*arguments, "--json") == 0
    return json.loads(out.getvalue())


def test_a_table_of_attributes_is_brought_in_as_a_whole(
    engine: GalleryUnderTest, tmp_path: Path
) -> None:
    one, other, third = engine.open().sample(3, 4)
    table = tmp_path / "table.csv"
    table.write_text(
        f"id,sha256,file,spice,tags,diet\n{one.id},,,3,a;b,vegan\n,{other.sha256},,5,,\n"
        f",,{third.file},4,,[]\n",
        encoding="utf-8",
    )
    told = deepfood(engine, "attributes", engine.place, table, "--type", "tags=list")
    assert told["photos"] == 3
    listed = {column["name"]: column for column in told["attributes"]}
    assert (listed["spice"]["type"], listed["spice"]["known"]) == ("number", 3)
    assert (listed["tags"]["type"], listed["tags"]["known"]) == ("list", 1)
    assert (listed["diet"]["safety"], listed["diet"]["known"]) == (True, 2)
    assert deepfood(engine, "attributes", engine.place)["attributes"] == told["attributes"]
    gallery = engine.open()
    assert gallery.facts(one.id)[1]["tags"] == ["a", "b"]
    where = parse_filter("spice > 3")
    found = gallery.find(gallery.vector(one.id), 9, where=where).hits
    assert {hit.photo.id for hit in found} == {other.id, third.id}
    assert any(
        "diet not known" in note.message
        for note in gallery.find(
            gallery.vector(one.id), 9, where=parse_filter('diet HAS "vegan"')
        ).notes
    )

    # Refused as a whole, at its last line.
    now = said(engine)
    table.write_text(f"id,spice\n{one.id},9\n{other.id},hot\n", encoding="utf-8")
    with pytest.raises(DatasetError, match="line 3, column spice"):
        engine.at.import_attributes(table, {}, frozenset())
    assert said(engine) == now
    # An empty cell makes it unknown.
    table.write_text(f"id,spice,diet\n{one.id},,\n", encoding="utf-8")
    deepfood(engine, "attributes", engine.place, table, "--safety", "spice")
    assert gallery_columns(engine)["spice"].safety
    assert engine.open().facts(one.id)[1].keys() & {"spice", "diet", "tags"} == {"tags"}


def gallery_columns(engine: "GalleryUnderTest | Own") -> dict[str, ColumnFacts]:
    with closing(engine.at.open()[0]) as gallery:
        return {column.name: column for column in gallery.columns()}


@pytest.mark.parametrize("exact_up_to", [10**6, 0])
def test_near_duplicates_are_found(
    engine: GalleryUnderTest, exact_up_to: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos, vectors, rows = engine.open().photos()
    stored = vectors.take(rows)
    alike = np.triu(stored @ stored.T, 1)
    limit = float(np.sort(alike.ravel())[-3:].mean())  # between the second and the third
    pairs = {frozenset((photos[i].id, photos[j].id)) for i, j in np.argwhere(alike >= limit)}
    monkeypatch.setattr("deepfood.gallery.near_duplicates.EXACT_UP_TO", exact_up_to)
    told = deepfood(engine, "dedupe", engine.place, "--threshold", limit)
    found = [{photo["id"] for photo in group} for group in told["groups"]]
    assert found
    assert all(any(pair <= group for group in found) for pair in pairs)
    assert set().union(*found) == set().union(*pairs)
    sizes = [[-photo["width"] * photo["height"] for photo in group] for group in told["groups"]]
    assert sizes == [sorted(group) for group in sizes]


@pytest.mark.parametrize("exact_up_to", [10**6, 0])
def test_labels_are_judged_by_the_neighbours(
    engine: GalleryUnderTest, exact_up_to: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same by all pairs and by the engine's search, and as from the vectors themselves."""
    monkeypatch.setattr("deepfood.gallery.nearest_others.EXACT_UP_TO", exact_up_to)
    gallery = engine.open()
    every, index = gallery.compared()
    photos, vectors, rows = every
    third = np.arange(len(photos)) % 3 == 0
    near, of_third = nearest_others(index, rows, 5, third, lambda _: None)
    stored = vectors.take(rows)
    alike = stored @ stored.T
    np.fill_diagonal(alike, -9)
    np.testing.assert_allclose(near.scores, -np.sort(-alike, axis=1)[:, :5], atol=1e-5)
    alike[:, ~third] = -9
    np.testing.assert_allclose(of_third.scores, -np.sort(-alike, axis=1)[:, :5], atol=1e-5)
    assert third[of_third.places].all()
    told = deepfood(engine, "labels", engine.place)
    assert told["photos"] == gallery.count
    assert told["labels"] == len({photo.label for photo in photos if photo.label})
    part, _ = gallery.compared(12)
    assert {photo.id for photo in part[0]} < {photo.id for photo in photos}


def test_a_version_is_another_after_each_change(engine: GalleryUnderTest) -> None:
    gallery = engine.open()
    before = gallery.version()
    assert gallery.version() == before
    one = new_photo(engine, 940)
    with engine.writing() as writer:
        writer.add([one])
    added = gallery.version()
    with engine.writing() as writer:
        writer.update(one.photo.id, label="Pies")
    updated = gallery.version()
    with engine.writing() as writer:
        writer.remove([one.photo.id])
    assert len({before, added, updated, gallery.version()}) == 4


def test_the_photos_with_most_of_a_feature_are_shown(
    engine: GalleryUnderTest, tmp_path: Path
) -> None:
    gallery = engine.open()
    _, vectors, rows = gallery.photos()
    values = vectors.take(rows)[:, 7]
    grid, page = tmp_path / "grid.png", tmp_path / "page.html"
    told = deepfood(engine, "features", engine.place, "--feature", 7, "-k", 5, "--out", grid)
    np.testing.assert_allclose(
        [photo["value"] for photo in told["photos"]], np.sort(values)[::-1][:5], atol=1e-6
    )
    assert told["mean"] == pytest.approx(float(values.mean()), abs=1e-6)
    assert grid.read_bytes().startswith(b"\x89PNG")
    told = deepfood(engine, "features", engine.place, "--all", "-k", 2, "--out", page)
    assert len(told["features"]) == gallery.manifest.dimension
    assert Path(gallery.place).name in page.read_text(encoding="utf-8")


@pytest.fixture
def other(tmp_path: Path) -> Embedder:
    """Of another Model, with vectors of another size."""
    return tiny_embedder(tmp_path / "other", pool=16)


def said(engine: "GalleryUnderTest | Own") -> dict[str, Any]:
    """All that is said of each photo."""
    with closing(engine.at.open()[0]) as gallery:
        found = gallery.find(gallery.vector(gallery.sample(1, 0)[0].id), 1000)
        assert len(found.hits) == gallery.count
        return {
            hit.photo.id: (hit.photo, found.attributes.get(hit.photo.id, {})) for hit in found.hits
        }


def check_made_with(engine: "GalleryUnderTest | Own", embedder: Embedder) -> None:
    """It is whole, and each photo has this Model's vector, by which one is found."""
    assert engine.problems() == []
    gallery, model = engine.at.open()
    with closing(gallery):
        assert model.fingerprint == embedder.model.fingerprint
        photos, vectors, rows = gallery.photos()
        assert len(photos) == gallery.count > 5
        for photo, stored in zip(photos, vectors.take(rows), strict=True):
            vector = embedder.embed(gallery.read(photo))
            np.testing.assert_allclose(stored, vector, atol=1e-6)
        assert gallery.search(vector, 1)[0].score > 1 - 1e-5


def test_another_model_takes_over_with_all_that_changes_meanwhile(
    engine: GalleryUnderTest, other: Embedder
) -> None:
    photos = sorted(engine.open().photos()[0], key=lambda photo: photo.file)
    built = [photo for photo in photos if not photo.added]
    added = [new_photo(engine, 800), new_photo(engine, 801, price=7)]

    class Busy(Counting):
        def on(self, number: int) -> None:
            if number == 10:
                with engine.writing() as writer:
                    writer.add(added)
                    writer.remove([built[0].id, built[-1].id])
                    writer.update(built[1].id, label="stew", attributes={"cuisine": "lao"})
                    writer.update(built[-2].id, label="soup", attributes={"cuisine": "thai"})
            if number == len(photos) + 1:  # while that is caught up with
                with engine.writing() as writer:
                    writer.update(built[4].id, label="late", attributes={"cuisine": "thai"})

    done = engine.at.reembed(Busy(other), quiet=True)  # type: ignore[arg-type]
    assert (done.count, done.lost, done.swapped) == (len(photos), [], True)
    check_made_with(engine, other)
    now = said(engine)
    assert now.keys() == {photo.id for photo in photos} - {built[0].id, built[-1].id} | {
        one.photo.id for one in added
    }
    for photo, label, cuisine in (
        (built[1], "stew", "lao"),
        (built[-2], "soup", "thai"),
        (built[4], "late", "thai"),
    ):
        assert now[photo.id][0].label == label
        assert now[photo.id][1]["cuisine"] == cuisine
    assert now[added[1].photo.id][1]["price"] == 7
    again = engine.at.reembed(other, quiet=True)
    assert (again.made, again.swapped) == (0, False)

    # Back: what was changed since goes along, and only what was added is embedded.
    new = new_photo(engine, 802, other, fresh=True)
    with engine.writing() as writer:
        writer.add([new])
        writer.remove([built[2].id])
        writer.update(built[3].id, label="casserole", attributes={"cuisine": "thai"})
    now = said(engine)
    assert engine.at.rollback(quiet=True).made == 1
    assert said(engine) == now
    check_made_with(engine, engine.embedder)

    # And forth, and back, with nothing to do but what was removed.
    with engine.writing() as writer:
        writer.remove([new.photo.id, *(one.photo.id for one in added)])
    now = said(engine)
    for embedder in (other, engine.embedder):
        assert engine.at.rollback(quiet=True).made == 0
        assert said(engine) == now
        check_made_with(engine, embedder)
    assert engine.build().embedded == 0  # they stay out, whatever becomes of their files
    assert said(engine) == now
    removed = (built[0], built[-1], built[2])
    for photo in removed:
        (engine.photos / photo.file).touch()
    engine.build()
    assert said(engine) == now
    with engine.writing() as writer:  # until somebody adds them again
        for photo in removed:
            data = (engine.photos / photo.file).read_bytes()
            writer.add([embed_photo(data, PhotoFile(photo.file), engine.embedder)])
    engine.build()
    assert said(engine).keys() == {photo.id for photo in photos}


def test_a_stopped_change_of_model_goes_on(engine: GalleryUnderTest, tmp_path: Path) -> None:
    other = tiny_embedder(tmp_path / "other", pool=32)
    before = said(engine)
    stopped = Counting(other, stop_at=15)
    with pytest.raises(KeyboardInterrupt):
        engine.at.reembed(stopped, quiet=True)  # type: ignore[arg-type]
    check_made_with(engine, engine.embedder)
    going_on = Counting(other)
    tried = engine.at.reembed(going_on, swap=False, quiet=True)  # type: ignore[arg-type]
    assert tried.made == going_on.asked <= len(before) - 15 + 2 * other.threads + 1
    assert not tried.swapped
    check_made_with(engine, engine.embedder)
    done = engine.at.reembed(other, quiet=True)
    assert (done.made, done.swapped) == (0, True)
    assert said(engine) == before
    check_made_with(engine, other)
    engine.at.rollback(quiet=True)
    check_made_with(engine, engine.embedder)


def test_a_change_of_model_that_is_not_taken_is_discarded(
    engine: GalleryUnderTest, other: Embedder
) -> None:
    before = said(engine)
    assert engine.at.discard_beside() is False
    assert engine.at.reembed(other, swap=False, quiet=True).made == len(before)
    assert engine.at.discard_beside() is True
    assert engine.at.discard_beside() is False
    with pytest.raises(ArtifactMissingError), engine.at.beside(other.model):
        pass
    assert said(engine) == before
    check_made_with(engine, engine.embedder)
    assert engine.at.reembed(other, swap=False, quiet=True).made == len(before)
    engine.at.discard_beside()


def test_photos_that_cannot_be_read_refuse_the_change(
    engine: GalleryUnderTest, other: Embedder
) -> None:
    with suppress(ArtifactMissingError):
        engine.at.forget_before()
    photo = next(one for one in engine.open().photos()[0] if not one.added)
    path = engine.photos / photo.file
    data, before = path.read_bytes(), said(engine)
    path.unlink()
    try:
        with pytest.raises(DatasetError, match=f"1 photo of .* the first, {photo.file}"):
            engine.at.reembed(other, quiet=True)
        assert said(engine) == before
        done = engine.at.reembed(other, drop_unreadable=True, quiet=True)
        assert [(one.id, done.made) for one, _ in done.lost] == [(photo.id, 0)]
        assert said(engine).keys() == before.keys() - {photo.id}
    finally:
        path.write_bytes(data)
    # Nobody removed it: where its vector still is, it comes back.
    engine.at.rollback(quiet=True)
    assert said(engine) == before
    check_made_with(engine, engine.embedder)


def test_going_back_can_be_forgotten(engine: GalleryUnderTest) -> None:
    with suppress(ArtifactMissingError):  # where this test runs alone
        engine.at.forget_before()
    for refused in (engine.at.rollback, engine.at.forget_before):
        with pytest.raises(ArtifactMissingError, match="no generation before"):
            refused()
    check_made_with(engine, engine.embedder)


def test_a_build_is_undone_and_done_again_with_all_that_is_said_since(
    own: Own, tmp_path: Path
) -> None:
    """Files are gone, new, renamed, of another label and touched; hands change some of each."""
    photos = sorted((photo for photo, _ in said(own).values()), key=lambda one: one.file)
    gone, renamed, moved, touched, edited, removed, *_ = photos[1:]
    with own.writing() as writer:
        writer.declare({"price": Definition("number")})
        writer.update(edited.id, label="by hand", attributes={"price": 1})
        writer.update(gone.id, attributes={"price": 2})
    before, root = said(own), tmp_path / "as before"
    shutil.copytree(own.photos, root)
    path_of(own, gone).unlink()
    path_of(own, renamed).rename(path_of(own, renamed).with_name("renamed.jpg"))
    other = next(one for one in photos if one.label != moved.label)
    path_of(own, moved).rename(path_of(own, other).with_name("moved.jpg"))
    os.utime(path_of(own, touched), ns=(1, 10**18))
    (own.photos / "new.jpg").write_bytes(samples.photo(70, 70, 940))
    (own.photos / "broken.jpg").write_bytes(b"no photo")
    assert len(own.build().gone) == 1
    after = said(own)
    assert (len(after), gone.id in after) == (12, False)
    (new,) = after.keys() - before.keys()
    assert after[moved.id][0].label == other.label

    added = new_photo(own, 941, price=7)
    with own.writing() as writer:
        writer.update(moved.id, attributes={"price": 3})
        writer.update(edited.id, label="since")
        writer.update(new, label="new by hand")
        writer.remove([removed.id])
        writer.add([added])
    after = said(own)
    assert own.at.describe()["gone"] == [gone.file]
    back = own.at.rollback(quiet=True)
    assert (back.count, back.swapped) == (12, True)
    assert own.at.describe()["gone"] == ["new.jpg"]
    now = said(own)
    assert now.pop(added.photo.id) == after[added.photo.id]
    assert now.keys() == before.keys() - {removed.id}
    assert now[gone.id] == before[gone.id]
    assert now[moved.id] == (before[moved.id][0], {"price": 3})
    assert now[edited.id] == after[edited.id]
    for one in now.keys() - {gone.id, moved.id, edited.id}:
        assert now[one] == before[one]
    assert [one["file"] for one in left_out(own)] == []

    with own.writing() as writer:
        writer.update(gone.id, label="of one that is gone")
    own.at.rollback(quiet=True)
    assert said(own) == after
    assert [one["file"] for one in left_out(own)] == ["broken.jpg"]
    assert not list(own.at.problems(quiet=True))
    # Back for good: the files are as they were, and nothing is to be done.
    own.at.rollback(quiet=True)
    assert said(own)[gone.id][0].label == "of one that is gone"
    shutil.rmtree(own.photos)
    shutil.copytree(root, own.photos)
    assert not list(own.at.problems(quiet=True))
    assert own.build().embedded == 0
    own.at.forget_before()
    for refused in (own.at.rollback, own.at.forget_before):
        with pytest.raises(ArtifactMissingError, match="no generation before"):
            refused()


def left_out(own: Own) -> list[dict[str, Any]]:
    """Files that the gallery could not use, but for photos that were removed."""
    found = own.at.describe()["left_out"]
    return [one for one in found if one["reason"] != REMOVED]


def test_what_is_said_of_a_photo_that_a_rollback_takes_out_counts_when_it_is_back(
    own: Own,
) -> None:
    data = samples.photo(70, 70, 942)
    (own.photos / "new.jpg").write_bytes(data)
    own.build()
    one = embed_photo(data, PhotoFile("again.jpg"), own.embedder)
    with own.writing() as writer:
        writer.update(one.photo.id, label="by hand")
    own.at.rollback(quiet=True)
    assert one.photo.id not in said(own)
    with own.writing() as writer:
        assert writer.add([one]) == ["added"]
    assert said(own)[one.photo.id][0].label == "by hand"


def test_a_rollback_undoes_the_newest_of_a_change_of_model_and_a_build(
    own: Own, other: Embedder
) -> None:
    own = replace(own, settings=own.settings.model_copy(update={"model": None}))
    first = said(own)
    own.at.reembed(other, quiet=True)
    (own.photos / "new.jpg").write_bytes(samples.photo(70, 70, 943))
    settings = own.settings.model_copy(update={"model": other.model.folder})
    engine_at(own.place, settings).build(list_photos(own.photos), quiet=True)
    second = said(own)
    assert len(second) == len(first) + 1
    for wanted in (first, second, first):
        own.at.rollback(quiet=True)
        assert said(own) == wanted
        check_made_with(own, other)
        assert own.at.describe()["before"]["model_fingerprint"] == other.model.fingerprint
    own.at.reembed(own.embedder, quiet=True)
    check_made_with(own, own.embedder)
    for embedder in (other, own.embedder):
        own.at.rollback(quiet=True)
        assert said(own) == first
        check_made_with(own, embedder)


def test_a_gallery_of_other_photos_is_undone(own: Own, tmp_path: Path) -> None:
    now, instead = said(own), write_dishes(tmp_path / "instead", 2, start=300)
    other = Own(own.place, instead, own.settings, own.embedder)
    report = other.build(replace=True)
    assert (report.count, len(report.gone)) == (8, 12)
    own.at.rollback(quiet=True)
    assert said(own) == now
    check_made_with(own, own.embedder)
    assert own.build().up_to_date


def test_a_reader_of_the_generation_before_goes_on(
    engine: GalleryUnderTest, other: Embedder
) -> None:
    reader, _ = engine.at.open()
    with closing(reader):
        query = reader.vector(reader.sample(1, 0)[0].id)
        hits = reader.search(query, 9)
        engine.at.reembed(other, quiet=True)
        reader.follow()
        assert reader.superseded
        assert reader.search(query, 9) == hits
        engine.at.rollback(quiet=True)


def test_a_tuned_gallery_is_searched_by_averages_until_that_is_undone(
    own: Own, tmp_path: Path
) -> None:
    photos = write_clouds(tmp_path / "clouds", 20, noise=3)
    made = replace(own, place=f"{own.place}_clouds", photos=photos)
    made.build()
    model, how = made.at.own_model(), Averaging(neighbours=4, power=6, candidates=25)
    with closing(made.open()) as gallery:
        before = gallery.manifest
    verdict = TuneVerdict(averaging=how, queries=60, before={"mAP": 0.5}, after={"mAP": 0.6})
    with pytest.raises(ArtifactBusyError, match="tune it again"):
        made.at.tune(verdict, model, before.generation + 1)
    for _ in range(2):  # a second tune takes the place of the first
        made.at.tune(verdict, model, before.generation, quiet=True)
    with closing(made.open()) as gallery:
        now = gallery.manifest
        assert now.tuned
        assert now.tuned.averaging == how
        assert now.tuned.calibration == before.calibration != now.calibration
        known, vectors, rows = gallery.photos()
        ids = np.array([photo.id for photo in known])
        every = vectors.take(rows)
        query = (every[5] + every[40]) / np.linalg.norm(every[5] + every[40])
        asked = how.rescored(every @ query, every)
        order = np.argsort(-asked, kind="stable")
        pages, cursor = list[tuple[str, float]](), None
        while cursor or not pages:
            found = gallery.find(query, 7, cursor=cursor)
            pages += [(hit.photo.id, hit.score) for hit in found.hits]
            cursor = found.next
        assert [one for one, _ in pages] == ids[order].tolist()
        np.testing.assert_allclose([score for _, score in pages], asked[order], atol=1e-5)
        plain = [hit.photo.id for hit in gallery.search(query, 60)]
        assert plain != [one for one, _ in pages]
        untuned = gallery.find(query, 60, untuned=True).hits
        assert [hit.photo.id for hit in untuned] == plain
        # Only photos that pass a filter are averaged.
        passes = np.array([photo.label == "dish 1" for photo in known])
        some = how.rescored(every[passes] @ query, every[passes])
        where = parse_filter('label = "dish 1"')
        hits = gallery.find(query, 20, where=where).hits
        assert [hit.photo.id for hit in hits] == ids[passes][np.argsort(-some)].tolist()
        # Several queries at once are compared as they are.
        both = np.stack([every[5], every[40]])
        assert gallery.find(both, 9).hits == gallery.find(both, 9, untuned=True).hits
    made.at.tune(None, model, before.generation)
    with closing(made.open()) as gallery:
        assert gallery.manifest == before
    # What makes a new generation ends a tune, and says so once.
    made.at.tune(verdict, model, before.generation, quiet=True)
    assert not made.build().untuned, "nothing has changed"
    next(photos.rglob("*.png")).unlink()
    assert made.build().untuned
    assert not made.build().untuned
    with closing(made.open()) as gallery:
        assert gallery.manifest.tuned is None
        made.at.tune(verdict, model, gallery.manifest.generation, quiet=True)
    other = tiny_embedder(tmp_path / "other", pool=16)
    assert made.at.reembed(other, quiet=True).untuned
    assert not made.at.reembed(other, quiet=True).untuned
