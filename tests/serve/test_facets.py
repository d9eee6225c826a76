"""The facets of the page in a real browser: a rail, a sheet, what is left out, and what to drop."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

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
from plates import write_photos, write_tiny_model
from served import serving_here

pytestmark = needs_browser

browser = pages.browser  # the fixture

#: By the number of a photo; None is not known.
CUISINES = ("Thai", 'Grandma\'s "best"', "أردني")
ALLERGENS: tuple[list[str] | None, ...] = ([], ["nuts", "egg"], ["egg"], None)
INGREDIENTS = (["rice", "mint"], ["rice"], ["noodles"])


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three photos of each of 16 dishes."""
    photos = tmp_path_factory.mktemp("facets") / "photos"
    for number in range(16):
        write_photos(photos / f"dish_{number:02}", 3, start=3 * number)
    return photos


@pytest.fixture(scope="module")
def url(photos: Path) -> Iterator[str]:
    root = photos.parent
    write_tiny_model(root / "model")
    run_deepfood("build", photos, "--out", root / "gallery", "--model", root / "model")
    lines = [
        {
            "file": path.relative_to(photos).as_posix(),
            "price": number if number % 8 else None,
            "cuisine": CUISINES[number % 3],
            "takeaway": number % 2 == 0,
            "allergens": ALLERGENS[number % 4],
            "ingredients": INGREDIENTS[number % 3],
            "recipe": f"https://example.org/{number}",
            "also": [f"name {number % 5}"],
            "code": f"code {number}",
            "stamps": [f"stamp {number} {one}" for one in range(5)],
        }
        for number, path in enumerate(sorted(photos.rglob("*.jpg")))
    ]
    (root / "about.jsonl").write_text("\n".join(map(json.dumps, lines)))
    run_deepfood("attributes", root / "gallery", root / "about.jsonl")
    with serving_here(root / "gallery") as url:
        yield url


@pytest.fixture
def page(browser: Browser, url: str, photos: Path) -> Iterator[Page]:
    """What is found with a photo of the gallery."""
    context = browser.new_context(base_url=url, viewport={"width": 1280, "height": 900})
    context.set_default_timeout(WAIT_MS)
    watch = Watch(context, url)
    page = context.new_page()
    page.goto("/")
    choose(page, next(iter(sorted(photos.rglob("*.jpg")))))
    expect(page.locator("#summary")).to_contain_text("of 48 photos, the most alike first")
    yield page
    context.close()
    assert watch.faults == []


def facet(page: Page, name: str) -> Locator:
    """The facet of an attribute, unfolded."""
    found = page.locator(f'.facet[data-name="{name}"]')
    expect(found).to_be_visible()
    if found.get_attribute("open") is None:
        found.locator("summary").click()
    return found


def counts(of: Locator) -> dict[str, str]:
    values = of.locator("li:visible")
    return dict(
        zip(
            values.locator(".value").all_inner_texts(),
            values.locator(".count").all_inner_texts(),
            strict=True,
        )
    )


def filter_of(page: Page) -> str:
    return parse_qs(urlsplit(page.url).query).get("where", [""])[0]


def test_choices_write_the_filter_and_history_has_each(page: Page) -> None:
    # Neither addresses nor other names are facets.
    expect(page.locator("#facets-list .facet")).to_have_count(8)
    cuisine, ingredients = facet(page, "cuisine"), facet(page, "ingredients")
    assert counts(cuisine) == dict.fromkeys(CUISINES, "16")
    cuisine.get_by_role("checkbox", name="Thai").check()
    expect(page.locator("#summary")).to_contain_text("16 photos that pass the filter")
    assert filter_of(page) == 'cuisine = "Thai"'
    expect(cuisine.get_by_role("checkbox", name="Thai")).to_be_focused()
    expect(ingredients.locator("li:visible")).to_have_count(2)  # under the filter
    assert counts(ingredients) == {"mint": "16", "rice": "16"}
    assert counts(cuisine) == dict.fromkeys(CUISINES, "16")  # of its own, under the rest of it
    cuisine.get_by_role("checkbox", name="best").check()
    expect(page.locator("#summary")).to_contain_text("32 photos")
    assert filter_of(page) == 'cuisine IN ("Thai", "Grandma\'s \\"best\\"")'
    expect(page.get_by_role("status")).to_contain_text("32 photos that pass the filter")
    ingredients.get_by_role("checkbox", name="mint").check()
    expect(page.locator("#summary")).to_contain_text("16 photos")
    facet(page, "takeaway").get_by_role("checkbox", name="yes").check()
    expect(page.locator("#summary")).to_contain_text("8 photos")
    assert filter_of(page).endswith('AND ingredients HAS "mint" AND takeaway = true')
    expect(page.locator("#where")).to_have_value(filter_of(page))
    link = page.locator("#hits .links a").first
    expect(link).to_have_accessible_name(re.compile(r"^recipe of dish \d\d, in a new tab$"))
    expect(link).to_have_attribute("href", re.compile(r"^https://example\.org/\d+$"))
    for total, left in (("16", 2), ("32", 1), ("16", 1), ("48", 0)):
        page.go_back()
        expect(page.locator("#summary")).to_contain_text(f"{total} photos")
        expect(page.locator("#facets-chosen .taken:not(.all)")).to_have_count(left)
    expect(cuisine.get_by_role("checkbox", checked=True)).to_have_count(0)
    page.go_forward()
    expect(cuisine.get_by_role("checkbox", name="Thai")).to_be_checked()


def test_without_an_allergen_and_how_many_are_hidden(page: Page) -> None:
    allergens = facet(page, "allergens")
    assert counts(allergens) == {"egg": "12", "nuts": "24"}  # what each choice leaves
    expect(allergens.locator(".hides")).to_have_text(
        "Not known of 12 photos that otherwise pass, which would be hidden."
    )
    allergens.get_by_role("checkbox", name="nuts").check()
    expect(page.locator("#summary")).to_contain_text("24 photos that pass the filter")
    expect(allergens.locator(".hides")).to_have_text(
        "Not known of 12 photos that otherwise pass, which are hidden."
    )
    expect(page.locator("#notes")).to_have_text("12 photos are left out: allergens not known.")
    allergens.get_by_role("checkbox", name="egg").check()
    expect(page.locator("#summary")).to_contain_text("12 photos that pass the filter")
    assert filter_of(page) == 'NOT allergens HAS "nuts" AND NOT allergens HAS "egg"'
    assert set(page.locator("#hits .safety").all_inner_texts()) == {"allergens: none"}
    assert axe(page) == ""
    page.get_by_role("button", name="Remove without nuts").click()
    expect(page.get_by_role("button", name="Remove without egg")).to_be_focused()
    expect(page.locator("#summary")).to_contain_text("12 photos that pass the filter")
    expect(allergens.get_by_role("checkbox", checked=True)).to_have_count(1)


def test_numbers_labels_and_what_others_write(page: Page) -> None:
    label = facet(page, "label")
    expect(label.locator("li:visible")).to_have_count(8)
    label.get_by_label("Find in label").fill("dish 1")
    expect(label.locator("li:visible")).to_have_count(6)
    label.get_by_label("Find in label").fill("")
    label.get_by_role("button", name="Show all 16").click()
    expect(label.locator("li:visible")).to_have_count(16)
    price = facet(page, "price")
    price.get_by_label("price from").fill("20")
    price.get_by_label("price to").fill("10")  # the other way round
    price.get_by_label("price to").press("Enter")
    expect(page.locator("#summary")).to_contain_text("10 photos that pass the filter")
    assert filter_of(page) == "price >= 10 AND price <= 20"
    expect(price.locator(".hides")).to_contain_text("Not known of 6 photos")
    # By hand: quotes of the other kind, another case, what no facet can set.
    page.locator("#refine summary").click()
    by_hand = "CUISINE = 'THAI' and (takeaway = true or price < 9) and price >= 4"
    page.locator("#where").fill(by_hand)
    page.locator("#where").press("Enter")
    expect(facet(page, "cuisine").get_by_role("checkbox", name="Thai")).to_be_checked()
    expect(price.get_by_label("price from")).to_have_value("4")
    chips = page.locator("#facets-chosen .taken:not(.all)")
    expect(chips).to_have_text(["cuisine: THAI", "(takeaway = true or price < 9)", "price from 4"])
    facet(page, "cuisine").get_by_role("checkbox", name="Thai").uncheck()
    expect(page).to_have_url(re.compile("takeaway"))
    expect(chips).to_have_count(2)
    assert filter_of(page) == "(takeaway = true or price < 9) AND price >= 4"


def test_numbers_are_chosen_with_two_thumbs(page: Page) -> None:
    price = facet(page, "price")
    least, most = (price.get_by_role("slider", name=f"{end} price") for end in ("Least", "Most"))
    first, last = price.get_by_label("price from"), price.get_by_label("price to")
    least.focus()
    for _ in range(9):
        page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowDown")
    expect(least).to_have_attribute("aria-valuetext", "9")
    expect(first).to_have_value("9")
    page.keyboard.press("Tab")
    expect(most).to_be_focused()
    expect(page.locator("#summary")).to_contain_text("35 photos that pass the filter")
    assert filter_of(page) == "price >= 9"
    page.keyboard.press("PageDown")
    page.keyboard.press("Tab")
    expect(page.locator("#facets-chosen .taken").nth(1)).to_have_text(re.compile("price to 4"))
    # By hand: the filter is written once, when the thumb is let go.
    visits = page.evaluate("history.length")
    most.scroll_into_view_if_needed()
    box = most.bounding_box()
    assert box is not None
    y, left, wide = box["y"] + box["height"] / 2, box["x"] + 14, box["width"] - 28
    page.mouse.move(left + wide * 19 / 20, y)
    page.mouse.down()
    page.mouse.move(left + wide * 0.8, y, steps=3)
    page.mouse.move(left + wide / 2, y, steps=3)
    expect(last).to_have_value("24")  # of 1 to 47
    expect(price.locator(".bars .out")).to_have_count(12)
    assert page.evaluate("history.length") == visits
    page.mouse.up()
    expect(page.locator("#summary")).to_contain_text("14 photos that pass the filter")
    assert filter_of(page) == "price >= 9 AND price <= 24"
    assert page.evaluate("history.length") == visits + 1
    # A thumb stops at the other one, and at its end asks for nothing.
    least.focus()
    page.keyboard.press("End")
    expect(first).to_have_value("24")
    page.keyboard.press("Home")
    page.evaluate("document.documentElement.dir = 'rtl'")
    page.keyboard.press("ArrowLeft")
    expect(first).to_have_value("2")
    page.keyboard.press("ArrowRight")
    expect(first).to_have_value("")
    page.keyboard.press("Tab")
    expect(page.locator("#facets-chosen .taken")).to_have_text(["price to 24"])
    last.fill("30")
    last.press("Enter")
    expect(most).to_have_attribute("aria-valuetext", "30")
    assert axe(page) == ""


@pytest.mark.parametrize("width", [1280, 320])
def test_what_can_be_dropped_where_nothing_passes(page: Page, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 800})
    page.locator("#refine summary").click()
    page.locator("#where").fill('cuisine = "Thai" AND price > 900 AND takeaway = true')
    page.locator("#where").press("Enter")
    expect(page.locator("#summary")).to_have_text("No photo passes the filter")
    ways = page.locator("#dropped-list button")
    expect(ways).to_have_text(["Without price > 9008 photos", "Without any filter48 photos"])
    expect(page.get_by_role("status")).to_contain_text("Without price > 900: 8 photos.")
    assert axe(page) == ""
    assert no_sideways_scroll(page)
    assert small_targets(page) == []
    ways.first.click()
    expect_hits(page, "Photos like yours", count=8)
    expect(page.locator("#dropped")).to_be_hidden()
    expect(page.locator("#title")).to_be_focused()
    assert filter_of(page) == 'cuisine = "Thai" AND takeaway = true'
    page.go_back()
    expect(ways.first).to_be_visible()


def test_on_a_phone_a_sheet_has_them_and_the_keyboard_is_enough(page: Page) -> None:
    page.set_viewport_size({"width": 390, "height": 800})
    expect(page.locator("#facets")).to_be_hidden()
    opener = page.locator("#answer-filter")
    opener.focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog", name="Filter")).to_be_visible()
    expect(page.locator("#facets-title")).to_be_focused()
    for name in ("cuisine", "allergens"):
        facet(page, name).scroll_into_view_if_needed()
    facet(page, "allergens").get_by_role("checkbox", name="egg").focus()
    page.keyboard.press("Space")
    expect(page.locator("#facets-total")).to_have_text("Show 12 photos")
    expect(page.locator("#facets-status")).to_have_text("12 photos that pass the filter.")
    expect(page.get_by_role("dialog", name="Filter")).to_be_visible()
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme, reduced_motion="reduce")  # type: ignore[arg-type]
        assert axe(page) == ""
    assert small_targets(page) == []
    page.keyboard.press("Escape")
    expect(page.locator("#facets-sheet")).to_be_hidden()
    expect(opener).to_be_focused()
    expect(opener).to_have_text("Filter (1)")
    expect(page.locator("#summary")).to_contain_text("12 photos that pass the filter")
    assert no_sideways_scroll(page)
    page.evaluate("document.documentElement.dir = 'rtl'")
    assert no_sideways_scroll(page)
    opener.click()
    page.go_back()  # closes it, and takes the choice back
    expect(page.locator("#facets-sheet")).to_be_hidden()
    expect(opener).to_have_text("Filter")


def test_browse_has_the_same_facets(page: Page) -> None:
    page.goto("/?browse=newest")
    tiles = page.locator("#browse-list .tile")
    summary = page.locator("#browse-summary")
    expect(page.locator("#browse-facets .facet:visible")).to_have_count(7)  # labels have a list
    facet(page, "cuisine").get_by_role("checkbox", name="Thai").check()
    expect(summary).to_have_text("16 photos")
    expect(tiles).to_have_count(16)
    assert filter_of(page) == 'cuisine = "Thai"'
    expect(facet(page, "cuisine").get_by_role("checkbox", name="Thai")).to_be_focused()
    assert axe(page) == ""
    page.locator("#labels-list a", has_text="dish 03").click()
    expect(page.locator("#browse-title")).to_have_text("dish 03")
    expect(summary).to_have_text("1 photo")
    cuisine = facet(page, "cuisine")
    expect(cuisine.locator("li", has_text="أردني").locator(".count")).to_have_text("1")
    page.set_viewport_size({"width": 320, "height": 568})
    opener = page.locator("#browse-filter")
    expect(opener).to_have_text("Filter (1)")
    opener.click()
    page.locator("#facets-chosen").get_by_role("button", name="Remove cuisine: Thai").click()
    expect(page.locator("#facets-total")).to_have_text("Show 3 photos")
    assert axe(page) == ""
    page.locator("#facets-done").click()
    expect(opener).to_have_text("Filter")
    expect(tiles).to_have_count(3)
    assert axe(page) == ""
    assert no_sideways_scroll(page)
    for total in ("1 photo", "16 photos", "48 photos"):
        page.go_back()
        expect(summary).to_have_text(total)
    page.go_back()  # an answer has labels among its facets
    page.set_viewport_size({"width": 1280, "height": 900})
    expect(page.locator("#answer-facets .facet:visible")).to_have_count(8)


def test_values_that_are_too_many_for_a_list_are_looked_for(page: Page) -> None:
    """What each photo has of its own, and the values beyond the 200 that the page lists."""
    page.goto("/?browse=newest")
    summary = page.locator("#browse-summary")
    code, stamps = facet(page, "code"), facet(page, "stamps")
    expect(code.locator("li:visible")).to_have_count(0)
    code.locator("summary").focus()
    page.keyboard.press("Tab")
    expect(code.get_by_label("Find in code")).to_be_focused()
    page.keyboard.type("code 17")
    expect(code.locator("li:visible .value")).to_have_text(["code 17"])
    assert axe(page) == ""
    page.keyboard.press("Tab")
    page.keyboard.press("Space")
    expect(summary).to_have_text("1 photo")
    assert filter_of(page) == 'code = "code 17"'
    code.get_by_label("Find in code").fill("")
    code.get_by_role("checkbox", name="code 17", checked=True).click()
    expect(summary).to_have_text("48 photos")
    expect(code.locator("li:visible")).to_have_count(0)
    expect(code.get_by_label("Find in code")).to_be_focused()  # what had the focus is gone
    stamps.get_by_role("button", name="Show all 200").click()
    expect(stamps.get_by_text("stamp 9 4", exact=True)).to_have_count(0)
    stamps.get_by_label("Find in stamps").fill("stamp 9 4")
    stamps.get_by_role("checkbox", name="stamp 9 4").check()
    expect(summary).to_have_text("1 photo")
    assert filter_of(page) == 'stamps HAS "stamp 9 4"'
