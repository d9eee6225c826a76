"""Altered attributes are found, never believed, and written again from the journal."""

import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import pytest

from deepfood.embed import Embedder
from deepfood.errors import ArtifactCorruptError
from deepfood.gallery.browse import Selected, Sort
from deepfood.gallery.declared import Definition
from deepfood.gallery.filters import parse_filter
from deepfood.gallery.values import type_of
from deepfood.gallery.written import parse_words
from deepfood.index import IndexSpec
from deepfood.local import LocalGallery, LocalManifest, LocalWriter
from deepfood.local.attribute_faults import attribute_faults
from deepfood.local.attributes import SCHEMA, Attributes
from deepfood.local.renew import compact
from deepfood.local.repair import repair
from deepfood.local.verify import gallery_problems
from plates import build, jpeg, sha256, write_photos

#: What is said of the photos 0 and 1; of photo 2 nothing is.
SAID = (
    {"price": 12, "cuisine": "Thai", "vegan": False, "allergens": ["peanut"]},
    {"price": 9.5, "cuisine": "thai", "vegan": True, "allergens": []},
)


@pytest.fixture
def gallery(tmp_path: Path, embedder: Embedder) -> Path:
    out = tmp_path / "gallery"
    build(write_photos(tmp_path / "photos", 3), out, embedder, IndexSpec(kind="exact"))
    with LocalWriter.open(out) as writer:
        writer.declare({name: Definition(type_of(name, value)) for name, value in SAID[0].items()})
        for number, values in enumerate(SAID):
            writer.update(f"plate-{number:05d}.jpg", attributes=values)
    assert list(gallery_problems(out, quiet=True)) == []
    return out


def alter(gallery: Path, statement: str) -> None:
    """Change the catalogue behind its back; {price} and such stand for attributes' numbers."""
    with closing(
        sqlite3.connect(LocalManifest.read(gallery).folder(gallery) / "catalogue.sqlite")
    ) as db:
        numbers = dict(db.execute("SELECT name, id FROM attributes"))
        with db:
            assert db.execute(statement.format(**numbers)).rowcount > 0


def said(gallery: Path, number: int) -> dict[str, object]:
    with LocalGallery.open(gallery) as opened:
        return dict(opened.facts(sha256(jpeg(number))[:20])[1])


def passing(gallery: Path, embedder: Embedder, where: str) -> set[str]:
    with LocalGallery.open(gallery) as opened:
        hits = opened.find(embedder.embed(jpeg(0)), 3, where=parse_filter(where)).hits
    return {hit.photo.file for hit in hits}


def mended(gallery: Path, embedder: Embedder) -> list[str]:
    done, left = repair(gallery, [embedder.model], lambda model: embedder, quiet=True)
    assert left == []
    assert list(gallery_problems(gallery, quiet=True)) == []
    return done


VALUE = "UPDATE attribute_values SET value = '{value}' WHERE row = 0 AND attribute = {{{name}}}"


AGAIN = ["the journal is applied to the catalogue"]
#: Of a text: the altered one has other words than those that are indexed.
TEXT_AGAIN = [*AGAIN, "the words are indexed again"]


@pytest.mark.parametrize(
    ("name", "value"),
    [("price", "13"), ("vegan", "true"), ("allergens", "[]"), ("price", "no JSON")],
)
def test_an_altered_value_is_written_again_from_the_journal(
    name: str, value: str, gallery: Path, embedder: Embedder
) -> None:
    alter(gallery, VALUE.format(value=value, name=name))
    with pytest.raises(ArtifactCorruptError, match=r"attributes of row 0 .*--repair"):
        said(gallery, 0)
    assert f"the attribute {name} of row 0 is altered" in gallery_problems(gallery, quiet=True)
    assert mended(gallery, embedder) == (TEXT_AGAIN if name == "allergens" else AGAIN)
    assert said(gallery, 0) == SAID[0]
    assert said(gallery, 1) == SAID[1]


def test_a_value_whose_keys_are_lost_too_is_written_again(
    gallery: Path, embedder: Embedder
) -> None:
    alter(
        gallery,
        "UPDATE attribute_values SET value = '[]' WHERE row = 0 AND attribute = {allergens}",
    )
    alter(gallery, "DELETE FROM attribute_keys WHERE row = 0 AND attribute = {allergens}")
    assert mended(gallery, embedder) == TEXT_AGAIN
    assert said(gallery, 0) == SAID[0]
    assert passing(gallery, embedder, 'NOT allergens HAS "peanut"') == {"plate-00001.jpg"}


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM attribute_keys WHERE row = 0 AND attribute = {allergens}",
        "UPDATE attribute_keys SET key = 'peanuts' WHERE row = 0 AND attribute = {allergens}",
        "INSERT INTO attribute_keys VALUES ({allergens}, 'milk', 0)",
        "INSERT INTO attribute_keys VALUES ({allergens}, 'milk', 2)",
        "UPDATE attribute_values SET checksum = 1 WHERE row = 0 AND attribute = {allergens}",
    ],
    ids=["missing key", "altered key", "further key", "key without value", "checksum"],
)
def test_altered_keys_are_found_and_follow_the_value(
    statement: str, gallery: Path, embedder: Embedder
) -> None:
    alter(gallery, statement)
    assert any("allergens of row" in line for line in gallery_problems(gallery, quiet=True))
    assert mended(gallery, embedder) == AGAIN
    left_out = passing(gallery, embedder, 'NOT allergens HAS "peanut"')
    assert left_out == {"plate-00001.jpg"}
    assert passing(gallery, embedder, 'allergens HAS "milk"') == set()
    assert passing(gallery, embedder, 'allergens HAS "peanut"') == {"plate-00000.jpg"}


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM attribute_keys WHERE row = 0 AND attribute = {allergens}",
        "UPDATE attribute_keys SET key = 'peanuts' WHERE row = 0 AND attribute = {allergens}",
    ],
    ids=["missing key", "altered key"],
)
def test_a_hit_whose_own_values_do_not_pass_is_never_shown(
    statement: str, gallery: Path, embedder: Embedder
) -> None:
    alter(gallery, statement)
    with pytest.raises(ArtifactCorruptError, match="verify --repair"):
        passing(gallery, embedder, 'NOT allergens HAS "peanut"')


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE attributes SET safety = 0 WHERE name = 'allergens'",
        "UPDATE attributes SET safety = 1 WHERE name = 'price'",
        "UPDATE attributes SET type = 'list' WHERE name = 'price'",
        "UPDATE attributes SET name = 'file' WHERE name = 'price'",
    ],
    ids=["not safety", "safety", "type", "name"],
)
def test_an_altered_definition_is_refused_and_written_again(
    statement: str, gallery: Path, embedder: Embedder
) -> None:
    alter(gallery, statement)
    assert any("is altered" in line for line in gallery_problems(gallery, quiet=True))
    with pytest.raises(ArtifactCorruptError, match="verify --repair"):
        passing(gallery, embedder, "price < 10")
    assert mended(gallery, embedder) == AGAIN
    assert said(gallery, 0) == SAID[0]
    assert passing(gallery, embedder, "price < 10") == {"plate-00001.jpg"}
    with LocalGallery.open(gallery) as opened:
        declared = opened.store.attributes.declared()
        assert {name: one.safety for name, one in declared.items()} == {
            "price": False,
            "cuisine": False,
            "vegan": False,
            "allergens": True,
        }


def test_the_next_generation_has_what_was_said_and_not_what_was_altered(
    gallery: Path, tmp_path: Path, embedder: Embedder
) -> None:
    alter(gallery, VALUE.format(value="[]", name="allergens"))
    compact(gallery, embedder.model, quiet=True)
    assert list(gallery_problems(gallery, quiet=True)) == []
    assert said(gallery, 0) == SAID[0]

    alter(gallery, VALUE.format(value="13", name="price"))
    alter(gallery, "UPDATE attributes SET safety = 0 WHERE name = 'allergens'")
    write_photos(tmp_path / "photos", 1, start=9)
    build(tmp_path / "photos", gallery, embedder, IndexSpec(kind="exact"))
    assert list(gallery_problems(gallery, quiet=True)) == []
    assert said(gallery, 0) == SAID[0]
    assert said(gallery, 1) == SAID[1]


@pytest.mark.parametrize("number", [None, b"x", "one"])
def test_what_damage_has_made_no_number_of_is_a_fault_and_no_crash(number: object) -> None:
    loose = SCHEMA
    for rule in (" NOT NULL", " STRICT, WITHOUT ROWID", " STRICT"):
        loose = loose.replace(rule, "")
    with closing(sqlite3.connect(":memory:", check_same_thread=False)) as db:
        db.executescript("CREATE TABLE photos (row, sha256, file, label, name);" + loose)
        db.execute("INSERT INTO attribute_values VALUES (0, ?, '3', 1)", (number,))
        db.execute("INSERT INTO attribute_values VALUES (?, 1, ?, 1)", (number, number))
        faults = list(attribute_faults(Attributes(db, threading.RLock())))
    assert len(faults) == 2


@pytest.mark.parametrize(
    ("name", "altered"), [("allergens", "[]"), ("cuisine", "no JSON")], ids=["keys", "no JSON"]
)
def test_who_edits_or_removes_a_photo_with_altered_values_leaves_none_behind(
    name: str, altered: str, gallery: Path, embedder: Embedder
) -> None:
    alter(gallery, VALUE.format(value=altered, name=name))
    with LocalWriter.open(gallery) as writer:
        writer.update("plate-00000.jpg", label="broth")
    with (
        LocalGallery.open(gallery) as opened,
        pytest.raises(ArtifactCorruptError, match=r"attributes of row 0 .*--repair"),
    ):
        opened.find_written(parse_words("broth"), 9)
    assert f"the attribute {name} of row 0 is altered" in gallery_problems(gallery, quiet=True)
    with LocalWriter.open(gallery) as writer:
        writer.remove(["plate-00000.jpg"])
    assert list(gallery_problems(gallery, quiet=True)) == []
    assert passing(gallery, embedder, 'NOT allergens HAS "peanut"') == {"plate-00001.jpg"}


def test_a_lost_table_is_told_by_who_asks_for_its_values(gallery: Path, embedder: Embedder) -> None:
    with closing(
        sqlite3.connect(LocalManifest.read(gallery).folder(gallery) / "catalogue.sqlite")
    ) as db:
        db.execute("DROP TABLE attribute_keys")
    with pytest.raises(ArtifactCorruptError, match=r"no such table: attribute_keys.*--repair"):
        passing(gallery, embedder, "price < 10")


def test_masks_and_orders_that_are_too_large_to_keep_are_made_each_time(
    gallery: Path, embedder: Embedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def seen() -> list[object]:
        with LocalGallery.open(gallery) as opened:
            return [
                opened.facets(Selected(), 9),
                *(opened.browse(Selected(), Sort.parse(by), 9) for by in ("name", "price")),
                *(passing(gallery, embedder, where) for where in ("price < 10", "vegan = true")),
            ]

    kept = seen()
    for module in ("columns", "groups"):
        monkeypatch.setattr(f"deepfood.local.{module}._CACHE_BYTES", 0)
    assert seen() == kept
