"""What the table of a build says of its photos besides their labels and names."""

from pathlib import Path
from typing import Any

import pytest

from deepfood.data.photos import list_photos
from deepfood.errors import DatasetError
from deepfood.gallery.attribute_table import attributes_of
from deepfood.gallery.declared import Definition


def of_table(folder: Path, text: str, **declared: Definition) -> dict[str, dict[str, Any]]:
    (folder / "photos.csv").write_text(text, encoding="utf-8")
    return dict(attributes_of(list_photos(folder), declared).by_photo())


def test_attributes_are_told_by_the_files_that_the_build_knows(tmp_path: Path) -> None:
    text = (
        "photo,label,split,price,allergens,code,source,original,id,sha256\n"
        f"./a.jpg,x,,4,milk;egg,007,s,o,17,\n,,,5,,,,,,\n{tmp_path}/in//b.jpg,,train,,[],42,,,,1\n"
    )
    assert of_table(tmp_path, text) == {
        "a.jpg": {"price": 4, "allergens": ["milk", "egg"], "code": "007"},
        "in/b.jpg": {"price": None, "allergens": [], "code": "42"},
    }
    source = list_photos(tmp_path)
    table = attributes_of(source, {}, types={"code": "text"}, safety=frozenset({"price"}))
    assert {photo.file for photo in source.files} == set(table.photos)
    assert table.declared == {
        "price": Definition("number", safety=True),
        "allergens": Definition("list", safety=True),
        "code": Definition("text"),
    }
    assert table.rows_without_photo == source.rows_without_photo == 1
    assert set(table.passed_over) == {
        "photo",
        "label",
        "split",
        "source",
        "original",
        "id",
        "sha256",
    }


def test_a_column_that_can_be_no_attribute_is_passed_over(tmp_path: Path) -> None:
    text = "file,my note,,row,price\na.jpg,x,y,z,1\n"
    assert of_table(tmp_path, text) == {"a.jpg": {"price": 1}}


def test_what_is_declared_decides_the_type(tmp_path: Path) -> None:
    text = "file,code\na.jpg,12\n"
    assert of_table(tmp_path, text, code=Definition("text")) == {"a.jpg": {"code": "12"}}
    with pytest.raises(DatasetError, match=r"photos.csv, line 2, column code: '12' is not true"):
        of_table(tmp_path, text, code=Definition("boolean"))
    with pytest.raises(DatasetError, match="'n/a' is not a value"):
        of_table(tmp_path, "file,halal\na.jpg,n/a\n", halal=Definition("text", safety=True))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("file,price\na.jpg,1\nb.jpg,x\n", "line 3, column price: 'x' is not a number"),
        ("file,price\na.jpg,1\nb.jpg,007\n", "line 3, column price: '007' would become 7"),
        ("file,price\na.jpg,1\n./a.jpg,2\n", "line 3: the photo is at .*line 2 already"),
        ("file,allergens\na.jpg,unknown\n", "line 2, column allergens: 'unknown' is not a value"),
        ("file,price,Price\na.jpg,1,2\n", "line 1: 'price' is there twice"),
    ],
)
def test_a_table_is_refused_whole(text: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=said):
        of_table(tmp_path, text)


def test_a_folder_says_nothing(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").touch()
    assert attributes_of(list_photos(tmp_path), {}).by_photo() == {}
