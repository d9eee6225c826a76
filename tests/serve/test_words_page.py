"""The words box of the page in a real browser: words alone and with a photo, and suggestions."""

import re

import pytest
from playwright.sync_api import BrowserContext, Page, Route, expect

from browser import (
    Watch,
    axe,
    choose,
    expect_hits,
    needs_browser,
    no_sideways_scroll,
    small_targets,
)
from live import SmallGallery
from pages import *  # noqa: F403

pytestmark = needs_browser


def search(page: Page, words: str) -> None:
    page.get_by_label("Search by words").fill(words)
    page.get_by_role("button", name="Search", exact=True).click()


def names(page: Page) -> list[str]:
    return page.locator("#hits .name").all_inner_texts()


def test_words_alone_are_searched_and_shared(page: Page, context: BrowserContext) -> None:
    search(page, "tomato")
    expect_hits(page, "Photos of “tomato”")
    assert names(page)[0] == "Tomato soup"
    assert page.url.endswith("/?words=tomato")
    expect(page.locator("#query-side")).to_be_hidden()
    expect(page.locator("#hits .ask")).to_have_count(0)  # there is no photo to compare regions with
    expect(page.locator("#hits .similarity")).to_have_count(0)
    first, second = (page.locator("#hits .card").nth(at) for at in range(2))
    expect(first.locator(".matched")).to_have_text("")  # its name says it
    expect(second.locator(".matched")).to_have_text("looks so")
    other = context.new_page()
    other.goto(page.url)
    expect_hits(other, "Photos of “tomato”")
    expect(other.get_by_label("Search by words")).to_have_value("tomato")
    page.go_back()
    expect(page.get_by_label("Search by words")).to_have_value("")
    expect(page.locator("#start")).to_be_visible()


def test_a_photo_and_words_are_one_question(page: Page, small_gallery: SmallGallery) -> None:
    choose(page, small_gallery.photos[9])
    expect_hits(page, "Photos like yours")
    chip = page.locator("#chips")
    expect(chip.locator("img")).to_have_attribute("src", re.compile("^blob:"))
    search(page, "soup")
    expect_hits(page, "Photos like yours and “soup”")
    assert "Tomato soup" in names(page)
    page.locator("#hits .ask").first.click()  # regions are compared with the photo
    expect(page.locator("#why-sum")).not_to_be_empty()
    page.keyboard.press("Escape")
    chip.get_by_role("button", name="Take out Your photo").click()
    expect_hits(page, "Photos of “soup”")
    expect(chip).to_be_hidden()
    choose(page, small_gallery.photos[9])  # which joins the words
    expect_hits(page, "Photos like yours and “soup”")
    page.locator("#hits .like").first.click()  # and this asks for what it shows, not for the words
    expect(page.locator("#chips img")).to_have_attribute("src", f"thumbnails/{_id(page)}")
    expect(page.get_by_label("Search by words")).to_have_value("")


def _id(page: Page) -> str:
    return str(page.evaluate("new URLSearchParams(location.search).get('id')"))


def test_taking_the_photo_away_without_words_leads_to_the_start(page: Page) -> None:
    page.locator("#sample-list .like").first.click()
    expect(page.locator("#hits .card:not(.blank)")).to_have_count(9)
    page.get_by_role("button", name="Take out").click()
    expect(page.locator("#start")).to_be_visible()


def test_nothing_is_shown_for_what_the_gallery_has_not(page: Page) -> None:
    search(page, "bicycle")
    expect(page.locator("#summary")).to_have_text("No photo is called or looks like “bicycle”")
    expect(page.locator("#status")).to_contain_text("No photo is called or looks like “bicycle”")
    expect(page.locator("#hits .card")).to_have_count(0)
    expect(page.locator("#verdict")).to_be_hidden()


def test_parts_of_a_name_are_a_guess(page: Page) -> None:
    search(page, "omato")
    expect(page.locator("#verdict")).to_have_text("These come close, and may not be what you mean.")
    assert names(page)[0] == "Tomato soup"


def test_words_that_the_server_refuses_are_told(page: Page, watch: Watch) -> None:
    watch.expect("422")
    search(page, "-soup")
    expect(page.locator("#problem-text")).to_contain_text("only what is unwanted")
    expect(page.get_by_label("Search by words")).to_have_value("-soup")


def test_suggestions_are_used_with_the_keyboard(page: Page) -> None:
    box, options = page.get_by_label("Search by words"), page.locator("#suggestions [role=option]")
    box.press_sequentially("sou")
    expect(options.first).to_contain_text("Soups")
    expect(options.first).to_contain_text("label, 2 photos")
    expect(box).to_have_attribute("aria-expanded", "true")
    expect(page.locator("#status")).to_contain_text("suggestion")
    box.press("ArrowUp")  # from what is typed to the last
    expect(options.last).to_have_attribute("aria-selected", "true")
    box.press("ArrowDown")  # and on to what is typed
    assert box.get_attribute("aria-activedescendant") is None
    box.press("ArrowDown")
    expect(box).to_have_attribute("aria-activedescendant", "suggestions-0")
    assert axe(page) == ""
    box.press("Enter")
    expect_hits(page, "Photos of “Soups”")
    expect(page.locator("#suggestions")).to_be_hidden()
    box.fill("so")
    expect(options.first).to_be_visible()
    box.press("Escape")
    expect(page.locator("#suggestions")).to_be_hidden()
    expect(box).to_have_value("so")


def test_without_words_the_most_frequent_labels_are_suggested(page: Page) -> None:
    page.get_by_label("Search by words").press("ArrowDown")
    expect(page.locator("#suggestions [role=option]").first).to_contain_text("Curries")


def test_a_suggestion_can_be_pressed(page: Page) -> None:
    page.get_by_label("Search by words").press_sequentially("crè")
    page.locator("#suggestions [role=option]").first.click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Photos of “Crème brûlée”")
    expect(page.locator("#hits .name").first).to_have_text("Crème brûlée")


def test_without_suggestions_words_are_searched_all_the_same(page: Page, watch: Watch) -> None:
    def fail(route: Route) -> None:
        route.fulfill(status=503, json={"detail": "busy"})

    watch.expect("503")
    page.route("**/api/v1/suggest*", fail)
    page.get_by_label("Search by words").press_sequentially("tomato")
    expect(page.locator("#suggestions")).to_be_hidden()
    page.keyboard.press("Enter")
    expect_hits(page, "Photos of “tomato”")


def test_late_suggestions_for_other_words_are_not_shown(page: Page) -> None:
    held: list[Route] = []

    def hold(route: Route) -> None:
        if "q=t&" in route.request.url:
            held.append(route)
        else:
            route.continue_()

    page.route("**/api/v1/suggest*", hold)
    box = page.get_by_label("Search by words")
    with page.expect_request("**/api/v1/suggest?q=t&*"):
        box.press_sequentially("t")
    box.press_sequentially("omato")
    expect(page.locator("#suggestions [role=option]")).to_have_text(["Tomato soupname, 1 photo"])
    held[0].abort()
    expect(page.locator("#suggestions [role=option]")).to_have_count(1)


@pytest.mark.parametrize("width", [1280, 390, 320])
def test_it_fits_and_axe_finds_nothing(page: Page, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 700})
    page.locator("#sample-list .like").first.click()
    expect(page.locator("#hits .card:not(.blank)")).to_have_count(9)
    search(page, "soup")
    expect(page.locator("#hits .card:not(.blank)")).to_have_count(9)
    expect(page.locator("#hits")).not_to_have_attribute("aria-busy", "true")
    page.get_by_label("Search by words").fill("so")
    expect(page.locator("#suggestions")).to_be_visible()
    assert no_sideways_scroll(page)
    assert small_targets(page) == []
    assert axe(page) == ""
