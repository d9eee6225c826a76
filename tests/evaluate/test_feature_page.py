"""The page of all features: its size is bounded, and it works in a browser, from a file."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from browser import axe, needs_browser, no_sideways_scroll, open_browser, small_targets
from deepfood.evaluate.feature_page import feature_page
from deepfood.evaluate.features import Feature, rank_features
from deepfood.evaluate.thumbs import Thumbs
from deepfood.local import LocalGallery
from deepfood.model import open_model
from live import SmallGallery
from plates import LIMITS

TOP = 4


@pytest.fixture(scope="module")
def gallery(small_gallery: SmallGallery) -> Iterator[LocalGallery]:
    with LocalGallery.open(small_gallery.folder, open_model()) as gallery:
        yield gallery


@pytest.fixture(scope="module")
def thumbs(gallery: LocalGallery) -> Thumbs:
    return Thumbs(gallery, LIMITS, 64)


@pytest.fixture(scope="module")
def ranked(gallery: LocalGallery) -> list[Feature]:
    return rank_features(gallery, range(gallery.manifest.dimension), TOP)


def held(page: str) -> dict[str, list[dict[str, object]]]:
    (text,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', page)
    data: dict[str, list[dict[str, object]]] = json.loads(text)
    return data


def test_pictures_stay_within_their_bytes(
    gallery: LocalGallery, thumbs: Thumbs, ranked: list[Feature]
) -> None:
    whole, none = feature_page(gallery, ranked, thumbs)
    assert none == 0
    pictures = held(whole)["photos"]
    room = sum(len(one[0]) for one in pictures) // 2  # type: ignore[index]
    half, left_out = feature_page(gallery, ranked, thumbs, max_picture_bytes=room)
    kept = held(half)["photos"]
    assert left_out == len(pictures) - len(kept) > 0
    assert sum(len(one[0]) for one in kept) <= room  # type: ignore[index]
    assert f"{left_out} photos are left out" in str(held(half)["left_out"])
    for feature in held(half)["features"]:
        assert all(place < len(kept) for place, _ in feature["photos"])  # type: ignore[attr-defined]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with open_browser() as browser:
        yield browser


@pytest.fixture
def page(
    browser: Browser, gallery: LocalGallery, thumbs: Thumbs, ranked: list[Feature], tmp_path: Path
) -> Iterator[Page]:
    path = tmp_path / "features.html"
    path.write_text(feature_page(gallery, ranked, thumbs)[0], encoding="utf-8")
    faults: list[str] = []
    with browser.new_context(viewport={"width": 1280, "height": 800}) as context:
        page = context.new_page()
        page.on("console", lambda one: faults.append(one.text))
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on(
            "request",
            lambda one: one.url.startswith(("file:", "data:")) or faults.append(one.url),
        )
        page.goto(path.as_uri())
        expect(page.locator("#count")).to_have_text("1,280 of 1,280 features")
        yield page
    assert faults == []


@needs_browser
def test_features_are_found_sorted_and_drawn_as_one_goes(page: Page, ranked: list[Feature]) -> None:
    articles = page.locator("article")
    assert articles.count() < 200  # the rest is drawn when it is scrolled to
    before = articles.count()
    page.locator("#more").scroll_into_view_if_needed()
    expect(articles.nth(before)).to_be_attached()

    page.get_by_label("Feature number or label").fill("10")
    expect(articles).to_have_count(1)
    expect(articles.locator("h2")).to_have_text("Feature 10")
    expect(articles.locator("img")).to_have_count(TOP)
    values = [float(text) for text in articles.locator("li b").all_inner_texts()]
    assert values == [round(one.value, 3) for one in ranked[10].photos]
    assert articles.locator("img").first.evaluate("e => e.decode().then(() => e.naturalWidth)")

    page.get_by_label("Feature number or label").fill("5000")
    expect(page.locator("#count")).to_have_text("There is no feature 5000: they go from 0 to 1279.")
    page.get_by_label("Feature number or label").fill("curr")
    page.get_by_label("Sorted by").select_option("purity")
    expect(articles.first.locator("p")).to_contain_text(f"{TOP} of {TOP}: Curries.")
    page.goto(page.url + "#77")
    expect(articles.locator("h2")).to_have_text("Feature 77")
    page.get_by_label("Feature number or label").fill("")
    page.locator("h1").click()
    page.keyboard.press("/")
    expect(page.get_by_label("Feature number or label")).to_be_focused()


@needs_browser
def test_names_are_text(page: Page, ranked: list[Feature]) -> None:
    odd = "<b>Fish & chips</b>"
    number = next(one.number for one in ranked if any(hit.photo.name == odd for hit in one.photos))
    page.get_by_label("Feature number or label").fill(str(number))
    expect(page.get_by_alt_text(f"{odd}, Fried")).to_be_visible()
    assert page.locator("article b", has_text="Fish").count() == 0


@needs_browser
@pytest.mark.parametrize(("width", "scheme"), [(360, "dark"), (1280, "light")])
def test_it_is_for_everybody(page: Page, width: int, scheme: str) -> None:
    page.set_viewport_size({"width": width, "height": 740})
    page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
    assert no_sideways_scroll(page)
    assert small_targets(page) == []
    assert axe(page) == ""
