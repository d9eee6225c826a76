"""The dishes on one photo: found by themselves, each with its own answer, and bad photos."""

import asyncio
import json
import shutil
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import deepfood
from deepfood.artifacts import MANIFEST
from deepfood.config import load_settings
from deepfood.engine import engine_at
from deepfood.errors import QueryError
from deepfood.gallery.logistic import Logistic
from deepfood.gallery.plate_calibration import PlateCalibration
from deepfood.photo_box import Box
from deepfood.plate import MOST_PARTS, PlateFinder
from deepfood.plate.collage import SMALLEST, Collage, collage
from deepfood.serve.fit_plates import BARE, SINGLE, TABLES, calibrate_plates
from deepfood.serve.plates import search_plate
from deepfood.serve.question import SearchQuestion
from deepfood_client import AsyncClient, Client
from live import fails, run_deepfood
from plates import (
    edit_manifest,
    plate,
    write_conv_model,
    write_dishes,
    write_photos,
    write_tiny_model,
)
from samples import LIMITS, encode, turned
from served import serving_here

pytestmark = pytest.mark.slow

LABELS = ("noodles", "cake", "stew")


def drawn(label: int) -> Image.Image:
    return plate(1000 + label, (150, 150))


def dish(label: int, seed: int) -> Image.Image:
    """A photo of one dish, 200 x 200 pixels: turned, with more or less of some ground around it."""
    made = collage([drawn(label)], seed, (480, 480))
    box, more = made.dishes[0].box, np.random.default_rng(seed).uniform(0, 0.15)
    sides = (box.x - more * box.width, box.y - more * box.height)
    ends = (box.x + (1 + more) * box.width, box.y + (1 + more) * box.height)
    part = [min(max(side, 0), 1) * 480 for side in (*sides, *ends)]
    return made.image.resize((200, 200), box=(part[0], part[1], part[2], part[3]))


def encoded(image: Image.Image) -> bytes:
    return encode(image, "JPEG", quality=92)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A gallery of sixty drawn dishes, with the Model that ships."""
    root = tmp_path_factory.mktemp("plate")
    for label, name in enumerate(LABELS):
        (root / "photos" / name).mkdir(parents=True)
        for seed in range(20):
            dish(label, 100 * label + seed).save(root / "photos" / name / f"{seed:02}.jpg")
    deepfood.build_gallery(root / "photos", root / "gallery", load_settings())
    (root / "table.jpg").write_bytes(encoded(table().image))
    return root


@pytest.fixture(scope="module")
def gallery(root: Path) -> Iterator[deepfood.Gallery]:
    with deepfood.open_gallery(root / "gallery", load_settings()) as opened:
        yield opened


def table(seed: int = 3, size: tuple[int, int] = (640, 480)) -> Collage:
    """One dish of each label."""
    return collage([drawn(label) for label in range(len(LABELS))], seed, size)


def overlap(one: Box, other: Box) -> float:
    """Intersection over union."""
    across = min(one.x + one.width, other.x + other.width) - max(one.x, other.x)
    down = min(one.y + one.height, other.y + other.height) - max(one.y, other.y)
    common = max(0.0, across) * max(0.0, down)
    return common / (one.width * one.height + other.width * other.height - common)


def test_many_dishes_are_smaller_so_that_they_fit() -> None:
    made = collage([drawn(label % 3) for label in range(9)], 0, (320, 240))
    boxes = [one.box for one in made.dishes]
    assert len(boxes) == 9
    for place, box in enumerate(boxes):
        assert all(overlap(box, other) < 0.12 for other in boxes[:place])
        assert box.height > SMALLEST / 2


def test_dishes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="14 dishes do not fit on 320 x 240 pixels: ask for fewer"):
        collage([drawn(0)] * 14, 0, (320, 240))


def test_each_dish_of_a_table_has_its_own_answer(gallery: deepfood.Gallery) -> None:
    made = [table(seed) for seed in range(6)]
    found = right = 0
    for one in made:
        parts = gallery.search(encoded(one.image), plate=True, k=3).parts
        assert parts is not None
        assert len(parts) <= MOST_PARTS
        for there in one.dishes:
            there_too = [part for part in parts if overlap(part.box, there.box) >= 0.5]
            found += bool(there_too)
            labels = {part.label.label for part in there_too if part.label}
            right += LABELS[there.piece] in labels
        for part in parts:
            assert 0 <= (part.in_gallery or 0) <= 1
            assert len(part.hits) == 3
    assert found >= 14  # of 18
    assert right >= 12


def test_a_part_has_the_answer_of_a_box_by_hand(gallery: deepfood.Gallery, root: Path) -> None:
    """Of one a little narrower; photos that are larger than what parts are cut from nearly so."""
    image = table().image
    large = encoded(image.resize((2560, 1920), Image.Resampling.BICUBIC))
    for photo, within in ((encoded(image), 1e-6), (large, 0.02)):
        parts = gallery.search(photo, plate=True, k=3).parts
        assert parts
        for part in parts:
            x, y, width, height = (
                getattr(part.box, side) for side in ("x", "y", "width", "height")
            )
            inner = (x + 0.08 * width, y + 0.08 * height, 0.84 * width, 0.84 * height)
            by_hand = gallery.search(photo, box=inner, k=3)
            assert by_hand.hits[0].score == pytest.approx(part.hits[0].score, abs=within)


def test_boxes_are_those_of_the_upright_photo(gallery: deepfood.Gallery) -> None:
    image = table(2).image
    upright = gallery.search(encode(image, "PNG"), plate=True, k=1).parts
    stored = gallery.search(turned(image, 6, "PNG"), plate=True, k=1).parts
    assert upright
    assert stored
    for one, other in zip(upright, stored, strict=True):
        assert overlap(one.box, other.box) > 0.9


def test_dishes_have_boxes_on_photos_of_any_shape() -> None:
    """Also where the network's frame is wider or higher than the photo."""
    finder = PlateFinder(LIMITS, 2, "f32")
    for size in ((480, 640), (600, 600), (1000, 400), (400, 1000)):
        found = 0
        for seed in (2, 3):
            made = table(seed, size)
            parts = finder.parts(finder.read(encoded(made.image)))
            best = [max(overlap(part.box, one.box) for part in parts) for one in made.dishes]
            found += sum(each > 0.3 for each in best)
        assert found >= 4, size  # of 6


def test_a_photo_of_one_dish_is_one_part_with_the_same_answer(gallery: deepfood.Gallery) -> None:
    for label in range(len(LABELS)):
        photo = encoded(dish(label, 950 + label))
        alone, found = gallery.search(photo), gallery.search(photo, plate=True)
        assert alone.parts is None
        assert found.hits == alone.hits
        assert found.parts is not None
        (part,) = found.parts
        assert part.box == Box(0, 0, 1, 1)
        assert (part.hits, part.label) == (alone.hits, alone.label)


def odd_photos() -> dict[str, bytes]:
    same = dish(0, 960).resize((90, 90))
    many = Image.new("RGB", (500, 400), (120, 90, 60))
    for number in range(20):
        many.paste(same, (number % 5 * 100 + 5, number // 5 * 100 + 5))
    return {
        "grey": encoded(Image.new("RGB", (640, 480), (128, 128, 128))),
        "tiny": encoded(dish(1, 970).resize((30, 30))),
        "strip": encoded(Image.effect_noise((10_000, 40), 60).convert("RGB")),
        "one pixel": encoded(Image.new("RGB", (1, 1), "red")),
        "filled": encoded(dish(2, 980).resize((640, 640))),
        "twenty": encoded(many),
    }


def test_a_build_calibrates_plates_the_same_each_time(root: Path, tmp_path: Path) -> None:
    settings = load_settings()
    kept = engine_at(root / "gallery", settings).describe()["calibration"]
    fitted = PlateCalibration.model_validate(kept["plates"])
    assert (fitted.tables, fitted.photos, fitted.bare) == (TABLES, SINGLE, BARE)
    assert f"plates on {TABLES} made tables and {BARE} without a dish" in run_deepfood(
        "info", root / "gallery"
    )
    assert fitted.parts > TABLES
    before = tmp_path / "gallery"
    shutil.copytree(root / "gallery", before)
    edit_manifest(before, calibration={**kept, "plates": None})
    table = root / "table.jpg"
    with deepfood.open_gallery(before, settings) as opened:
        ruled = opened.search(table, plate=True, k=1)
        assert [note.code for note in ruled.notes] == ["plates_not_calibrated"]
        assert ruled.several is None
        assert {part.probability for part in ruled.parts or ()} == {None}
    again = deepfood.build_gallery(root / "photos", before, settings)
    assert again.manifest.calibration.plates == fitted
    with deepfood.open_gallery(before, settings) as opened:
        found = opened.search(table, plate=True, k=1)
        assert not found.notes
        assert found.several is not None
        assert found.several > 0.5
        assert all((part.probability or 0) > 0 for part in found.parts or ())
        one = opened.search(root / "photos" / LABELS[0] / "00.jpg", plate=True, k=1)
        assert one.several is not None
        assert one.several < 0.5
        assert opened.search(table).several is None


def test_galleries_without_curves_of_plates_keep_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is not tried again with each build."""
    monkeypatch.setattr("deepfood.serve.fit_plates.TABLES", 6)  # how good the curves are is
    monkeypatch.setattr("deepfood.serve.fit_plates.SINGLE", 4)  # not asked here
    monkeypatch.setattr("deepfood.serve.fit_plates.BARE", 2)
    photos, place = write_dishes(tmp_path / "photos", 14), tmp_path / "gallery"
    fitted = deepfood.build_gallery(photos, place).manifest.calibration
    assert fitted is not None
    assert fitted.plates is None
    why = "56 photos with 4 labels to make tables of, and 60 with 2 are needed"
    assert why in (fitted.no_plates or "")
    assert f"by fixed rules ({fitted.no_plates})" in run_deepfood("info", place)
    committed = (place / MANIFEST).read_bytes()
    assert deepfood.build_gallery(photos, place).manifest.calibration == fitted
    assert (place / MANIFEST).read_bytes() == committed
    with_more = deepfood.build_gallery(write_dishes(tmp_path / "photos", 16), place)
    assert with_more.manifest.calibration.plates is not None


def test_without_openvino_plates_are_calibrated_another_time(
    root: Path, gallery: deepfood.Gallery, monkeypatch: pytest.MonkeyPatch
) -> None:
    fitted = gallery._service.gallery.manifest.calibration
    assert fitted is not None
    uncalibrated = fitted.model_copy(update={"plates": None})
    monkeypatch.setitem(sys.modules, "openvino", None)  # as if it were not installed
    engine = engine_at(root / "gallery", load_settings())
    assert calibrate_plates(engine, uncalibrated, load_settings()) is uncalibrated
    assert engine.describe()["calibration"]["plates"] is not None, "nothing is written"


def test_where_no_part_is_likely_right_the_photo_is_answered_as_one(
    gallery: deepfood.Gallery, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deepfood.serve.plates._LEAST_IN_GALLERY", 0)  # the whole may be shown
    service, photo = gallery._service, encoded(table().image)
    calibration = service.gallery.manifest.calibration
    assert calibration is not None
    curves = calibration.plates
    assert curves is not None
    several = Logistic(slopes=(0.0,) * len(curves.several.slopes), offset=9)
    unlikely = curves.model_copy(
        update={"right": Logistic(slopes=(0.0, 0.0), offset=-9), "several": several}
    )
    question = SearchQuestion(photos=(photo,), k=1, plate=True)
    found = search_plate(question, photo, service, unlikely)
    assert found.several == pytest.approx(1, abs=1e-3)
    assert [part.box for part in found.parts or ()] == [Box(0, 0, 1, 1)]
    assert found.parts[0].hits == found.hits
    assert len(search_plate(question, photo, service, curves).parts or ()) >= 3


def test_a_photo_without_a_dish_has_no_part(gallery: deepfood.Gallery) -> None:
    """As its curve says, of a question without a filter, whose nearest photos may be far away."""
    for seed in range(4):
        bare = gallery.search(encoded(collage([], seed).image), plate=True, k=1)
        assert (bare.parts, bare.several) == ((), 0)
    service = gallery._service
    calibration = service.gallery.manifest.calibration
    assert calibration is not None
    curves = calibration.plates
    assert curves is not None
    none = curves.model_copy(update={"dish": Logistic(slopes=(0.0,), offset=-9)})
    before = curves.model_copy(update={"dish": None})
    photo = encoded(table().image)
    question = SearchQuestion(photos=(photo,), k=1, plate=True)
    shown = search_plate(question, photo, service, curves).parts
    assert len(shown or ()) >= 3
    assert search_plate(question, photo, service, before).parts == shown
    assert search_plate(question, photo, service, none).parts == ()
    filtered = replace(question, where='label = "noodles"')
    assert search_plate(filtered, photo, service, none).parts


def test_no_parts_are_looked_for_where_it_is_surely_one_dish(gallery: deepfood.Gallery) -> None:
    service = gallery._service
    fitted = service.gallery.manifest.calibration
    assert fitted is not None
    curves = fitted.plates
    assert curves is not None
    photo = encoded(table().image)
    question = SearchQuestion(photos=(photo,), k=1, plate=True)
    in_gallery = service.search(question).in_gallery
    assert in_gallery is not None
    for sure, parts in ((in_gallery, 3), (in_gallery - 1e-6, 1)):
        found = search_plate(question, photo, service, curves.model_copy(update={"sure": sure}))
        assert len(found.parts or ()) >= parts
    assert found.several == 0
    assert [(part.box, part.hits) for part in found.parts or ()] == [(Box(0, 0, 1, 1), found.hits)]


def test_another_model_has_curves_of_its_own(root: Path, tmp_path: Path) -> None:
    shutil.copytree(root / "gallery", tmp_path / "gallery")
    before = engine_at(tmp_path / "gallery", load_settings()).describe()["calibration"]["plates"]
    conv = write_conv_model(tmp_path / "conv")
    run_deepfood("reembed", tmp_path / "gallery", "--model", conv, "--even-if-worse")
    after = engine_at(tmp_path / "gallery", load_settings()).describe()["calibration"]
    assert after["plates"] or after["no_plates"]
    assert after["plates"] != before


def test_odd_photos_have_an_answer(gallery: deepfood.Gallery) -> None:
    counts = {}
    for name, photo in odd_photos().items():
        found = gallery.search(photo, plate=True, k=1)
        assert found.parts is not None
        counts[name] = len(found.parts)
        assert len(found.parts) <= MOST_PARTS
    assert counts["grey"] == 0
    assert counts["filled"] == 1
    assert {counts[name] for name in ("tiny", "strip", "one pixel")} <= {0, 1}
    assert counts["twenty"] >= 2


def test_what_does_not_go_with_a_plate_is_refused(gallery: deepfood.Gallery, root: Path) -> None:
    photo = (root / "table.jpg").read_bytes()
    alone = "a plate is one photo: ask with it alone"
    for asked, why in (
        ({"photo": photo, "box": (0, 0, 0.5, 0.5)}, "give plate, for all of the photo, or a box"),
        ({"photo": [photo, photo]}, alone),
        ({"words": "stew"}, alone),
        ({"photo": photo, "words": "stew"}, alone),
        ({"photo": photo, "not_photo": photo}, alone),
        ({"photo": photo, "cursor": "x"}, "no further pages"),
    ):
        with pytest.raises(QueryError, match=why):
            gallery.search(**asked, plate=True)  # type: ignore[arg-type]


def test_without_openvino_a_grid_is_tried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    settings = load_settings(model=write_tiny_model(tmp_path / "model"))
    for count in (1, 6):
        photos = write_photos(tmp_path / f"photos{count}", count)
        deepfood.build_gallery(photos, tmp_path / f"gallery{count}", settings)
        with deepfood.open_gallery(tmp_path / f"gallery{count}", settings) as gallery:
            found = gallery.search(encoded(table().image), plate=True)
            assert found.parts
            assert [note.code for note in found.notes] == ["no_feature_map"]
            assert all(part.label is None for part in found.parts)
            assert all(part.hits for part in found.parts)


def test_a_gallery_of_one_photo_and_no_labels_answers(root: Path, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    dish(0, 0).save(tmp_path / "photos" / "only.jpg")
    deepfood.build_gallery(tmp_path / "photos", tmp_path / "gallery", load_settings())
    with deepfood.open_gallery(tmp_path / "gallery", load_settings()) as gallery:
        found = gallery.search(root / "table.jpg", plate=True)
        assert found.parts
        assert {hit.photo.file for part in found.parts for hit in part.hits} == {"only.jpg"}
        assert {part.label for part in found.parts} == {None}
        (itself,) = gallery.search(id=found.hits[0].photo.id, plate=True).parts or [None]
        assert itself is None  # it is left out of its own answer, and nothing else is there


def test_the_command_draws_it(root: Path, tmp_path: Path) -> None:
    asked = ("search", root / "gallery", root / "table.jpg", "-k", 2)
    said = run_deepfood(*asked, "--plate", "--out", tmp_path / "found.png")
    first = said.splitlines()[0]
    shown = json.loads(run_deepfood(*asked, "--plate", "--json"))
    assert first == f"{len(shown['parts'])} dishes"
    assert all(len(part["box"]) == 4 for part in shown["parts"])
    assert all(len(part["hits"]) == 2 for part in shown["parts"])
    with Image.open(tmp_path / "found.png") as picture:
        there = np.asarray(picture.convert("RGB")).reshape(-1, 3)
        assert picture.width > 800
    assert (there == (230, 159, 0)).all(axis=1).any()  # the first part's colour
    assert json.loads(run_deepfood(*asked, "--json"))["parts"] is None
    assert "add --plate" in fails(*asked, "--out", tmp_path / "found.png")


def test_the_api_and_its_client_say_the_same(root: Path, gallery: deepfood.Gallery) -> None:
    photo = root / "table.jpg"
    here = gallery.search(photo, plate=True, k=2).parts
    assert here is not None
    with serving_here(root / "gallery") as url, Client(url, timeout_s=120) as food:
        there = food.search(photo, plate=True, k=2)

        async def ask() -> Any:
            async with AsyncClient(url, timeout_s=120) as other:
                return await other.search(photo, plate=True, k=2)

        assert asyncio.run(ask()) == there
        assert there.parts is not None
        assert there.next is None
        for one, other in zip(here, there.parts, strict=True):
            assert Box(*other.box) == one.box
            assert [hit.id for hit in other.hits] == [hit.photo.id for hit in one.hits]
        assert food.search(photo).parts is None
        with pytest.raises(QueryError, match="not both"):
            food.search(photo, plate=True, box=(0, 0, 1, 1))
