"""The web page's filter, order and pages, of a gallery with attributes, in a real browser."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect

import pages
from browser import (
    WAIT_MS,
    Watch,
    axe,
    choose,
    expect_hits,
    needs_browser,
    no_sideways_scroll,
    small_targets,
)
from live import run_deepfood
from plates import plate, write_photos, write_tiny_model
from served import serving_here

pytestmark = needs_browser

browser = pages.browser  # the fixture


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """60 plates, and two smaller copies of the first."""
    photos = write_photos(tmp_path_factory.mktemp("refine") / "photos", 60)
    for size in (60, 70):
        plate(0).resize((size, size * 3 // 4)).save(photos / f"small-{size}.jpg", quality=90)
    return photos


@pytest.fixture(scope="module")
def url(photos: Path) -> Iterator[str]:
    root = photos.parent
    write_tiny_model(root / "model")
    run_deepfood("build", photos, "--out", root / "gallery", "--model", root / "model")
    lines = [
        {
            "file": path.name,
            "price": number,
            "cuisine": ("Thai", 'Grandma\'s "best"')[number % 2],
            "takeaway": number % 3 == 0,
            "allergens": [[], ["peanut", "egg"], None][number % 3],
            "url": "https://example.org/" + "long/" * 20,
        }
        for number, path in enumerate(sorted(photos.glob("plate*")))
    ]
    (root / "about.jsonl").write_text("\n".join(map(json.dumps, lines)))
    run_deepfood("attributes", root / "gallery", root / "about.jsonl")
    with serving_here(root / "gallery") as url:
        yield url


@pytest.fixture
def page(browser: Browser, url: str, photos: Path) -> Iterator[Page]:
    """What is found with the first plate."""
    context = browser.new_context(base_url=url, viewport={"width": 1280, "height": 800})
    context.set_default_timeout(WAIT_MS)
    watch = Watch(context, url)
    watch.expect("status of 422")
    page = context.new_page()
    page.goto("/")
    choose(page, photos / "plate-00000.jpg")
    expect_hits(page, "Photos like yours")
    yield page
    context.close()
    assert watch.faults == []


def apply(page: Page, where: str) -> None:
    if not page.locator("#where").is_visible():
        page.locator("#refine summary").click()
    page.locator("#where").fill(where)
    page.keyboard.press("Enter")


def test_a_filter_is_completed_while_it_is_typed(page: Page) -> None:
    page.locator("#refine summary").click()
    field, options = page.locator("#where"), page.locator("#where-suggestions [role=option]")
    field.press("ArrowDown")
    expect(options.first).to_have_text("labeltext")
    field.press_sequentially("cui")
    for offered in ("cuisinetext", "=", '"Thai"30 photos', "AND"):
        chosen = options.filter(has_text=offered).first
        expect(chosen).to_have_text(offered)
        chosen.click()
    field.press_sequentially("allerg")
    expect(options).to_have_text(["allergenslist; not known is left out"])
    for _ in range(6):
        field.press("Backspace")
    field.press_sequentially("price <= 3")
    expect(options).to_have_count(0)
    field.press("0")
    expect(field).to_have_value('cuisine = "Thai" AND price <= 30')
    expect(field).to_have_attribute("aria-expanded", "false")
    expect(field).to_be_focused()
    page.get_by_role("button", name="Apply").click()
    expect(page.locator("#summary")).to_have_text(
        "9 of 16 photos that pass the filter, the most alike first"
    )
    facts = page.locator("#hits .facts:not(.safety)").all_inner_texts()
    assert len(facts) == 9
    for text in facts:
        price = re.match(r"price: (\d+) · Thai", text)
        assert price, text
        assert int(price[1]) <= 30
        assert "example.org" not in text


def test_text_with_quotes_is_offered_as_it_must_be_written(page: Page) -> None:
    apply(page, 'cuisine = "Grandma\'s \\"best\\"" AND price = 1')
    expect_hits(page, "Photos like yours", count=1)
    expect(page.locator("#hits .safety")).to_have_text("allergens: peanut, egg")


def test_what_is_left_out_for_safety_is_told(page: Page) -> None:
    apply(page, 'NOT allergens HAS "peanut"')
    left_out = "22 photos are left out: allergens not known."
    expect(page.locator("#notes")).to_have_text(left_out)
    expect(page.get_by_role("status")).to_have_text(
        f"9 of 20 photos that pass the filter, those most like your photo. {left_out}"
    )
    assert set(page.locator("#hits .safety").all_inner_texts()) == {"allergens: none"}
    page.get_by_role("button", name="Clear").click()
    expect(page.locator("#notes")).to_be_hidden()
    expect(page.locator("#hits .safety", has_text="not known")).not_to_have_count(0)


def test_a_wrong_filter_is_said_below_the_field_and_changes_nothing(page: Page) -> None:
    before = page.locator("#hits .like").evaluate_all("all => all.map((e) => e.dataset.id)")
    address = page.url
    apply(page, "price << 3")
    field = page.locator("#where")
    expect(page.get_by_role("alert")).to_contain_text("The filter is wrong at character 8")
    expect(field).to_be_focused()
    expect(field).to_have_accessible_description(re.compile("The filter is wrong at character 8"))
    assert field.evaluate("e => e.value.slice(e.selectionStart)") == "< 3"
    expect(page.locator("#hits")).not_to_have_attribute("aria-busy", "true")
    after = page.locator("#hits .like").evaluate_all("all => all.map((e) => e.dataset.id)")
    assert (after, page.url) == (before, address)
    assert axe(page) == ""
    apply(page, "price < 3")
    expect_hits(page, "Photos like yours", count=3)
    expect(page.get_by_role("alert")).to_be_hidden()
    expect(field).not_to_have_attribute("aria-invalid", re.compile(""))


def test_a_wrong_filter_in_the_address_and_none_that_pass(page: Page) -> None:
    like = page.locator("#hits .like").first.get_attribute("data-id")
    page.goto(f"/?id={like}&where=calories+%3C+3")
    expect(page.get_by_role("alert")).to_contain_text("There is no attribute 'calories'")
    page.goto(f"/?id={like}&where=price+%3C+0")
    expect(page.locator("#summary")).to_have_text("No photo passes the filter")
    expect(page.locator("#where")).to_have_value("price < 0")


def test_pages_go_on_with_focus_and_say_so(page: Page) -> None:
    ids = "all => all.map((e) => e.dataset.id)"
    like = page.locator("#hits .like").first
    name = like.locator(".name").inner_text()
    like.click()
    expect_hits(page, f"Photos like {name}")
    first = page.locator("#hits .like").evaluate_all(ids)
    for count, added in ((27, 18), (45, 18), (60, 15)):
        with page.expect_request("**/api/v1/search") as asked:
            page.get_by_role("button", name="Show more").click()
        assert set(asked.value.post_data_json) == {  # type: ignore[arg-type]
            *("id", "k", "cursor", "group_duplicates")
        }
        expect_hits(page, f"Photos like {name}", count=count)
        expect(page.locator("#hits .like").nth(count - added)).to_be_focused()
        all_of_them = "" if count == 60 else f"{count + 1} of "  # one is folded
        expect(page.get_by_role("status")).to_have_text(
            f"{added} more. {all_of_them}61 photos, those most like {name}."
        )
    expect(page.get_by_role("button", name="Show more")).to_be_hidden()
    every = page.locator("#hits .like").evaluate_all(ids)
    assert every[:9] == first
    assert len(set(every)) == 60


def test_near_duplicates_are_folded_until_they_are_asked_for(page: Page) -> None:
    fold = page.get_by_role("button", name="nearly the same")
    expect(fold).to_have_text(re.compile(r"^\+2 nearly the same"))
    expect(fold).to_have_attribute("aria-expanded", "false")
    expect(page.locator("#hits .twin")).to_have_count(0)
    expect(page.locator("#summary")).to_have_text("11 of 62 photos, the most alike first")
    page.get_by_role("button", name="Show more").click()
    expect_hits(page, "Photos like yours", count=27)
    fold.focus()
    page.keyboard.press("Enter")
    expect(fold).to_have_attribute("aria-expanded", "true")
    expect(fold).to_be_focused()
    expect(page.locator("#hits .twin")).to_have_count(2)
    page.keyboard.press("Tab")
    twin = page.locator("#hits .twin").first
    expect(twin).to_be_focused()
    assert axe(page) == ""
    assert small_targets(page) == []
    title = twin.get_by_role("img").get_attribute("alt").replace("More like", "Photos like")
    page.keyboard.press("Enter")
    expect_hits(page, title)
    assert re.search(r"\?id=[0-9a-f]{20}$", page.url)
    page.go_back()
    expect_hits(page, "Photos like yours", count=27)
    expect(page.locator("#hits .twin")).to_have_count(2)  # as it was left
    fold.click()
    expect(page.locator("#hits .twin").first).to_be_hidden()
    page.locator("#refine summary").click()
    page.locator("#show").focus()
    page.locator("#show").select_option("single")
    expect(fold).to_have_count(0)
    expect_hits(page, "Photos like yours")
    expect(page.locator("#show")).to_be_focused()
    assert page.url.endswith("?group_duplicates=false")
    expect(page.locator("#summary")).to_have_text("9 of 62 photos, the most alike first")
    page.locator("#show").select_option("varied")
    expect_hits(page, "Photos like yours")  # nine again: the line below them may read as before
    expect(page.locator("#summary")).to_have_text(
        re.compile(r"^\d+ of 62 photos, the most alike first$")
    )
    percents = [int(p[:-1]) for p in page.locator("#hits .percent").all_inner_texts()]
    assert percents == sorted(percents, reverse=True)
    before = page.locator("#hits .like").evaluate_all("all => all.map((e) => e.dataset.id)")
    page.get_by_role("button", name="Show more").click()
    expect_hits(page, "Photos like yours", count=27)
    after = page.locator("#hits .like").evaluate_all("all => all.map((e) => e.dataset.id)")
    assert len(set(after)) == 27
    focused = page.evaluate("document.activeElement.dataset.id")
    assert focused in set(after) - set(before)


def test_a_link_of_an_upload_keeps_the_filter(page: Page, photos: Path) -> None:
    apply(page, "price < 3")
    expect_hits(page, "Photos like yours", count=3)
    other = page.context.new_page()
    other.goto(page.url)
    expect(other.locator("#notice")).to_have_text(
        "A link cannot carry a photo. Choose one: it is searched with the filter price < 3"
    )
    choose(other, photos / "plate-00007.jpg")
    expect_hits(other, "Photos like yours", count=3)
    expect(other.locator("#where")).to_have_value("price < 3")
    other.go_back()
    other.locator("#sample-list .like").first.click()
    expect(other.locator("#where")).to_have_value("price < 3")
    expect(other.locator("#hits .card")).not_to_have_count(0)


def test_the_address_asks_in_the_words_of_the_api(page: Page, url: str) -> None:
    apply(page, "price < 30")
    expect(page.locator("#summary")).to_contain_text("that pass the filter")
    page.locator("#show").select_option("varied")
    expect(page).to_have_url(re.compile("diversity="))
    expect_hits(page, "Photos like yours")
    title = f"Photos like {page.locator('#hits .name').nth(1).inner_text()}"
    page.locator("#hits .like").nth(1).click()
    expect_hits(page, title)
    asked = dict(parse_qsl(urlsplit(page.url).query))
    assert asked.keys() == {"id", "where", "group_duplicates", "diversity"}
    hits = httpx.post(f"{url}/api/v1/search", data=asked).json()["hits"]
    shown = page.locator("#hits .like").evaluate_all("all => all.map((e) => e.dataset.id)")
    assert shown == [hit["id"] for hit in hits]


@pytest.mark.parametrize("width", [360, 1280])
def test_it_fits_and_axe_finds_nothing(page: Page, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 800})
    apply(page, 'NOT allergens HAS "peanut"')
    expect(page.locator("#notes")).to_be_visible()
    page.locator("#show").select_option("single")
    expect_hits(page, "Photos like yours")
    assert no_sideways_scroll(page)
    assert small_targets(page) == []
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme, reduced_motion="reduce")  # type: ignore[arg-type]
        assert axe(page) == ""


def test_the_keyboard_alone_is_enough(page: Page) -> None:
    page.locator("#refine summary").focus()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    expect(page.locator("#where")).to_be_focused()
    page.keyboard.type("price < 2")
    page.keyboard.press("Enter")
    expect_hits(page, "Photos like yours", count=2)
    expect(page.locator("#where")).to_be_focused()
    for name in ("Apply", "Clear"):
        page.keyboard.press("Tab")
        expect(page.get_by_role("button", name=name, exact=True)).to_be_focused()
    page.keyboard.press("Tab")
    expect(page.locator("#show")).to_be_focused()
