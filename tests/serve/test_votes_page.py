"""Votes on the page, in a real browser: given, changed, taken back, and refused."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Locator, Page, Route, expect

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
from deepfood.gallery.feedback import Feedback
from deepfood.serve.joined import modules_of
from live import SmallGallery, deepfood_here
from pages import browser
from served import serving_here

__all__ = ["browser"]
pytestmark = needs_browser


@pytest.fixture(scope="module")
def gallery(small_gallery: SmallGallery, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("votes") / "gallery"
    shutil.copytree(small_gallery.folder, folder)
    return folder


@pytest.fixture(scope="module")
def voting_url(gallery: Path) -> Iterator[str]:
    with serving_here(gallery, feedback="true", feedback_photos_bytes=2**20) as url:
        yield url


@pytest.fixture
def context(browser: Browser, voting_url: str) -> Iterator[BrowserContext]:
    context = browser.new_context(
        base_url=voting_url, viewport={"width": 1280, "height": 800}, locale="en-GB"
    )
    context.set_default_timeout(WAIT_MS)
    yield context
    context.close()


def vote_on(page: Page, name: str, says: str) -> Locator:
    row = page.get_by_role("group", name=f"Is {name} right?")
    return row.get_by_role("button", name=says, exact=True)


def said(page: Page, text: str) -> None:
    expect(page.locator("#status")).to_have_text(text)


def test_a_visitor_votes_changes_it_and_takes_it_back(
    context: BrowserContext, voting_url: str, gallery: Path, small_gallery: SmallGallery
) -> None:
    watch = Watch(context, voting_url)
    page = context.new_page()
    page.goto("/")
    choose(page, small_gallery.photos[9])
    expect_hits(page, "Photos like yours")
    expect(page.locator("#hits .vote")).to_have_count(9)
    expect(page.locator("#votes-about")).to_contain_text("and with your photo")
    name = "Curry no. 1"
    right, wrong = (vote_on(page, name, says) for says in ("Right", "Wrong"))
    right.click()
    said(page, f"{name}: you said that it is right.")
    expect(right).to_have_attribute("aria-pressed", "true")
    with Feedback.open(gallery) as feedback:
        (photo,) = feedback.photos()
        assert photo[1] == small_gallery.photos[9].read_bytes(), "small, and sent as it is"
        assert feedback.read().question_of.tolist() == [0]

    wrong.focus()  # by keys, and another answer takes the place of the first
    page.keyboard.press("Enter")
    said(page, f"{name}: you said that it is wrong.")
    expect(right).to_have_attribute("aria-pressed", "false")
    expect(wrong).to_have_attribute("aria-pressed", "true")
    assert axe(page) == ""
    assert small_targets(page) == []
    for width in (390, 320):
        page.set_viewport_size({"width": width, "height": 700})
        assert (axe(page), small_targets(page), no_sideways_scroll(page)) == ("", [], True)
    with Feedback.open(gallery) as feedback:
        assert feedback.read().right.tolist() == [False]

    page.get_by_role("button", name="Show more").click()
    expect(page.locator("#hits .vote")).to_have_count(24)
    page.reload()
    expect(wrong).to_have_attribute("aria-pressed", "true")
    wrong.click()
    said(page, f"{name}: your vote is taken back.")
    expect(wrong).to_have_attribute("aria-pressed", "false")
    with Feedback.open(gallery) as feedback:
        assert (len(feedback.read()), feedback.counts().photos) == (0, 0)

    hit = page.locator("#hits .card").last
    lost = hit.locator(".like").get_attribute("data-id")
    deepfood_here("remove", gallery, lost)
    watch.expect("404")
    hit.locator("[data-vote]").first.click()
    expect(hit.get_by_role("alert")).to_contain_text("is no longer in this gallery")
    expect(hit.locator("[data-vote]").first).to_have_attribute("aria-pressed", "false")

    page.locator("#home").click()  # the next answer has no hits
    page.locator("#words").fill("xqzjwv")
    page.keyboard.press("Enter")
    expect(page.locator("#summary")).to_contain_text("xqzjwv")
    expect(page.locator("#hits .card")).to_have_count(0)
    expect(page.locator("#votes-about")).to_be_hidden()
    assert watch.faults == []


def test_votes_are_loaded_while_the_server_searches(context: BrowserContext) -> None:
    """Their script and style sheet are there before the answer, which waits for neither."""
    page, held = context.new_page(), list[Route]()
    page.route("**/api/v1/search", lambda route: held.append(route))
    with page.expect_request_finished(lambda request: "css/votes.css" in request.url):
        page.goto("/?words=curry")
    held[0].continue_()
    expect(page.locator("#hits .vote")).to_have_count(9)


def test_a_server_that_takes_no_feedback_has_no_votes(browser: Browser, server_url: str) -> None:
    context = browser.new_context(base_url=server_url, locale="en-GB")
    page = context.new_page()
    page.goto("/?words=curry")
    expect(page.locator("#hits .card:not(.blank)")).to_have_count(9, timeout=WAIT_MS)
    expect(page.locator("#keep")).to_be_visible()
    expect(page.locator(".vote")).to_have_count(0)
    assert "votes" not in modules_of("app"), "who cannot vote need not load it"
    context.close()
