"""`deepfood search`, `attributes` and `dedupe` as a user meets them."""

import json
import re
from pathlib import Path

import pytest
from PIL import Image

from live import fails, run_deepfood
from plates import jpeg, plate, write_tiny_model

pytestmark = pytest.mark.slow

MODEL = "--model"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A gallery of 12 plates and a smaller copy of one, with attributes."""
    root = tmp_path_factory.mktemp("search")
    (root / "photos").mkdir()
    for seed in range(12):
        (root / "photos" / f"{seed:02}.jpg").write_bytes(jpeg(seed))
    plate(3).resize((80, 60)).save(root / "photos" / "03-small.jpg", quality=80)
    write_tiny_model(root / "model")
    run_deepfood("build", root / "photos", "--out", root / "gallery", MODEL, root / "model")
    lines = ["file,price,allergens"]
    lines += [f"{seed:02}.jpg,{seed},{'' if seed == 5 else '[]'}" for seed in range(11)]
    (root / "dishes.csv").write_text("\n".join([*lines, "11.jpg,11,peanut"]))
    out = run_deepfood("attributes", root / "gallery", root / "dishes.csv")
    assert "2 attributes of 12 photos" in out
    return root


def files(out: str) -> list[str]:
    return [Path(hit["file"]).name for hit in json.loads(out)["hits"]]


def ask(root: Path, *more: object) -> str:
    query = root / "photos" / "03.jpg"
    return run_deepfood("search", root / "gallery", query, MODEL, root / "model", "--json", *more)


def test_a_filter_leaves_out_what_is_unknown_and_says_so(root: Path) -> None:
    out = ask(root, "-k", 20, "--where", 'NOT allergens HAS "peanut"')
    assert sorted(files(out)) == [f"{seed:02}.jpg" for seed in range(11) if seed != 5]
    (note,) = json.loads(out)["notes"]
    assert note["message"] == "2 photos are left out: allergens not known"
    assert (note["code"], note["photos"]) == ("unknown_left_out", 2)
    assert note["attributes"] == ["allergens"]
    listed = json.loads(run_deepfood("attributes", root / "gallery", "--json"))["attributes"]
    assert listed == [
        {"name": "price", "type": "number", "safety": False, "known": 12},
        {"name": "allergens", "type": "list", "safety": True, "known": 11},
    ]
    assert run_deepfood("verify", root / "gallery").endswith("whole\n")
    query = root / "photos" / "03.jpg"
    shown = run_deepfood(
        "search", root / "gallery", query, MODEL, root / "model", "--where", "price<2"
    )
    assert re.findall(r"\d\d\.jpg", shown) in (["00.jpg", "01.jpg"], ["01.jpg", "00.jpg"])
    assert shown.endswith("2 of 2 photos that pass the filter\n")
    asked = ("search", root / "gallery", query, MODEL, root / "model")
    wrong = fails(*asked, "--where", "price << 2")
    assert "price <⟨here⟩< 2" in wrong
    # A filter that a script left empty must not let everything pass.
    assert "wrong at character 1" in fails(*asked, "--where", "")


def test_pages_are_one_list(root: Path) -> None:
    whole = files(ask(root, "-k", 13))
    pages, after = list[str](), list[str]()
    while True:
        page = ask(root, "-k", 5, *after)
        pages += files(page)
        following = json.loads(page)["next"]
        if following is None:
            break
        after = ["--cursor", following]
    assert pages == whole
    assert len(set(pages)) == 13


def test_groups_and_variety(root: Path) -> None:
    out = json.loads(ask(root, "--group-duplicates", "-k", 3))["hits"]
    assert [one["file"] for one in out[0]["alike"]] == ["03-small.jpg"]
    assert "03-small.jpg" not in [hit["file"] for hit in out]
    varied = files(ask(root, "--diversity", "0.9", "-k", 3))
    assert varied[0] == "03.jpg"
    assert "03-small.jpg" not in varied
    assert files(ask(root, "-k", 2)) == ["03.jpg", "03-small.jpg"]


def test_like_this_and_not_like_that(root: Path) -> None:
    photos = root / "photos"
    both = files(ask(root, photos / "07.jpg", "-k", 3))
    assert {"03.jpg", "07.jpg"} < set(both)
    without = files(ask(root, photos / "07.jpg", "--not-photo", photos / "03-small.jpg", "-k", 1))
    assert without == ["07.jpg"]


def test_like_a_photo_of_the_gallery_and_attributes_given_with_it(root: Path) -> None:
    photos, gallery, model = root / "photos", root / "gallery", (MODEL, root / "model")
    found = json.loads(ask(root, "-k", 1))["hits"][0]["id"]
    like = json.loads(run_deepfood("search", gallery, "--id", found, *model, "-k", 1, "--json"))
    assert [hit["file"] for hit in like["hits"]] == ["03-small.jpg"]  # itself is left out
    assert "give a PHOTO, --id ID or --words TEXT" in fails("search", gallery)
    priced = ("add", gallery, photos / "11.jpg", *model, "--attributes")
    assert "1 updated" in run_deepfood(*priced, '{"price": 77}')
    assert files(ask(root, "--where", "price > 70")) == ["11.jpg"]
    assert "price: " in fails(*priced, '{"price": "cheap"}', "--json")


def test_a_box_searches_with_a_part(root: Path) -> None:
    two = Image.new("RGB", (192, 72))
    two.paste(plate(8), (0, 0))
    two.paste(plate(2), (96, 0))
    two.save(root / "two.png")
    for box, wanted in (("0,0,0.5,1", "08.jpg"), ("0.5,0,0.5,1", "02.jpg")):
        found = run_deepfood(
            *("search", root / "gallery", root / "two.png", MODEL, root / "model", "-k", 1),
            *("--json", "--box", box),
        )
        assert files(found) == [wanted]
    assert "give x,y,width,height" in fails("search", root / "gallery", "x", "--box", "1,2")


def test_dedupe_lists_copies_and_draws_them(root: Path) -> None:
    out = root / "copies.png"
    found = json.loads(run_deepfood("dedupe", root / "gallery", MODEL, root / "model", "--json"))
    assert [[one["file"] for one in group] for group in found["groups"]] == [
        ["03.jpg", "03-small.jpg"]
    ]
    shown = run_deepfood("dedupe", root / "gallery", MODEL, root / "model", "--out", out)
    assert shown.endswith("1 group of near-duplicates\n")
    with Image.open(out) as picture:
        assert picture.format == "PNG"
    none = run_deepfood(
        *("dedupe", root / "gallery", MODEL, root / "model", "--threshold", 0.99999)
    )
    assert none.endswith("0 groups of near-duplicates\n")


def test_a_bad_table_changes_nothing(root: Path) -> None:
    bad = root / "bad.csv"
    bad.write_text("file,price\n00.jpg,12\n01.jpg,cheap\n")
    before = run_deepfood("attributes", root / "gallery", "--json")
    assert "bad.csv, line 3, column price: 'cheap' is not a number" in fails(
        "attributes", root / "gallery", bad
    )
    assert run_deepfood("attributes", root / "gallery", "--json") == before
    assert "--type price: write NAME=" in fails(
        "attributes", root / "gallery", bad, "--type", "price"
    )


def test_attributes_are_declared_and_dropped(root: Path) -> None:
    gallery = root / "gallery"
    before = run_deepfood("attributes", gallery, "--json")
    options = ("--declare", "Vegan=boolean", "--declare", "origin=text", "--safety", "vegan")
    listed = json.loads(run_deepfood("attributes", gallery, *options, "--json"))["attributes"]
    assert listed[-2:] == [
        {"name": "vegan", "type": "boolean", "safety": True, "known": 0},
        {"name": "origin", "type": "text", "safety": False, "known": 0},
    ]
    told = fails("update", gallery, "00.jpg", "--attributes", '{"orgin": "Laos"}')
    assert "no attribute 'orgin': is 'origin' meant?" in told
    assert "price is known of 12 photos" in fails("attributes", gallery, "--drop", "price")
    assert "is 'origin' meant?" in fails("attributes", gallery, "--drop", "orgin")
    assert "write NAME=text, number" in fails("attributes", gallery, "--declare", "a:text")
    assert "cannot become a text" in fails("attributes", gallery, "--declare", "vegan=text")
    assert "--declare it as well" in fails("attributes", gallery, *options, "--safety", "halal")
    table = root / "dishes.csv"
    assert "one at a time" in fails("attributes", gallery, table, "--declare", "a=text")
    assert "--safety needs a TABLE" in fails("attributes", gallery, "--safety", "price")
    run_deepfood("attributes", gallery, "--drop", "vegan", "--drop", "origin")
    assert run_deepfood("attributes", gallery, "--json") == before
