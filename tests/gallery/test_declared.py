"""Declared and dropped attributes, through every way there is of making a generation."""

from contextlib import closing
from pathlib import Path

import pytest

from deepfood.embed import Embedder
from deepfood.errors import DatasetError, UndeclaredError
from deepfood.gallery.declared import Definition, undeclared
from deepfood.gallery.values import Type, WrittenNumber, value_of_json
from deepfood.local import LocalGallery, LocalWriter
from deepfood.local.journal import Journal
from deepfood.local.renew import compact, reembed
from deepfood.local.rollback import rollback
from deepfood.local.successor import LocalSuccessor
from deepfood.local.verify import gallery_problems
from plates import build, tiny_embedder, write_photos

FIRST = "plate-00000.jpg"
NOW = {"kept": ("boolean", True), "colour": ("number", False), "size": ("text", False)}


@pytest.fixture
def gallery(tmp_path: Path, embedder: Embedder) -> Path:
    build(write_photos(tmp_path / "photos", 5), tmp_path / "gallery", embedder)
    return tmp_path / "gallery"


def columns(gallery: Path) -> dict[str, tuple[str, bool]]:
    assert list(gallery_problems(gallery, quiet=True)) == []
    with LocalGallery.open(gallery) as opened:
        return {one.name: (one.type, one.safety) for one in opened.columns()}


def values(gallery: Path) -> dict[str, object]:
    with LocalGallery.open(gallery) as opened:
        ((row, _),) = opened.store.named(FIRST)
        return dict(opened.store.attributes.read(row))


def test_an_attribute_that_was_dropped_stays_away(
    gallery: Path, tmp_path: Path, embedder: Embedder
) -> None:
    other = tiny_embedder(tmp_path / "other", pool=16)
    with LocalWriter.open(gallery) as writer:
        writer.declare(
            {
                "colour": Definition("text", safety=True),
                "size": Definition("text", safety=True),
                "gone": Definition("list"),
                "kept": Definition("boolean", safety=True),
            }
        )
        writer.update(FIRST, attributes={"colour": "red", "size": "XL"})
    journal = Journal(gallery)
    with closing(LocalSuccessor.open(tmp_path / "next", embedder.dimension, "f32")) as following:
        following.follow_edits(journal)
        with LocalWriter.open(gallery) as writer:
            writer.update(FIRST, attributes={"colour": None, "size": None})
            for name in ("colour", "size", "gone"):
                writer.drop_attribute(name)
            writer.declare({"colour": Definition("number"), "size": Definition("text")})
            writer.update(FIRST, attributes={"colour": 5})
        following.follow_edits(journal)
        declared = following.attributes.declared()
        assert {name: (one.type, one.safety) for name, one in declared.items()} == NOW
    for step in (
        lambda: None,
        lambda: reembed(gallery, other, quiet=True),
        lambda: compact(gallery, other.model, quiet=True),
        lambda: rollback(gallery, lambda model: other, quiet=True),
        lambda: build(tmp_path / "photos", gallery, embedder),
        lambda: rollback(gallery, lambda model: other, quiet=True),
    ):
        step()
        assert columns(gallery) == NOW
        assert values(gallery) == {"colour": 5}


def test_a_value_of_a_photo_that_is_away_keeps_its_attribute(
    gallery: Path, tmp_path: Path, embedder: Embedder
) -> None:
    photo = tmp_path / "photos" / FIRST
    with LocalWriter.open(gallery) as writer:
        writer.declare({"allergens": Definition("list")})
        writer.update(FIRST, attributes={"allergens": ["milk"]})
    away = photo.rename(tmp_path / FIRST)
    build(tmp_path / "photos", gallery, embedder)
    with (
        LocalWriter.open(gallery) as writer,
        pytest.raises(DatasetError, match="known of 1 photo,"),
    ):
        writer.drop_attribute("allergens")
    away.rename(photo)
    build(tmp_path / "photos", gallery, embedder)
    assert values(gallery) == {"allergens": ["milk"]}


def test_a_name_that_is_not_declared_is_told_with_the_type_of_its_value() -> None:
    for value, type_ in ((3, "number"), (None, "TYPE"), ({"a": 1}, "TYPE")):
        error = undeclared({}, "price", value)
        assert isinstance(error, UndeclaredError)
        assert f"--declare price={type_}, or POST" in str(error)


@pytest.mark.parametrize(
    ("value", "type_", "said"),
    [
        ("x" * 10_001, "text", "'x+… has more than 10,000 characters"),
        (WrittenNumber("12"), "boolean", "12 is not true or false"),
        (10**5_000, "boolean", "a int is not true or false"),
    ],
    ids=["long text", "number", "long number"],
)
def test_a_value_that_cannot_be_is_told_in_short(value: object, type_: Type, said: str) -> None:
    with pytest.raises(DatasetError, match=f"^{said}$") as error:
        value_of_json(value, type_, safety=False)
    assert len(str(error.value)) < 200
