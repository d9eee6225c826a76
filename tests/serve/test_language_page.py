"""The page in the visitor's language, in a real browser: German, and Arabic from right to left."""

import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect

from browser import WAIT_MS, Watch, axe, needs_browser, no_sideways_scroll
from deepfood.serve.language import LANGUAGES, strings_of
from pages import browser

__all__ = ["browser"]
pytestmark = needs_browser
Visit = Callable[..., Page]


@pytest.fixture
def visit(browser: Browser, server_url: str) -> Iterator[Visit]:
    """A page of a browser of one language, which must end without a fault."""
    with ExitStack() as stack:

        def visit(language: str, width: int) -> Page:
            context = browser.new_context(
                base_url=server_url,
                locale=language,
                viewport={"width": width, "height": 800},
                reduced_motion="reduce",
            )
            stack.callback(context.close)
            context.set_default_timeout(WAIT_MS)
            watch = Watch(context, server_url)
            stack.callback(lambda: watch.faults and pytest.fail(str(watch.faults)))
            return context.new_page()

        yield visit


def test_german_by_the_browsers_language(visit: Visit) -> None:
    page = visit("de-AT", 320)
    page.goto("/?words=soup")
    expect(page.get_by_role("heading", level=1)).to_have_text("Fotos von „soup“")
    expect(page).to_have_title("Fotos von „soup“ · deepfood")
    expect(page.locator("#summary")).to_have_text("9 von 24 Fotos, die passendsten zuerst")
    assert page.locator("html").get_attribute("lang") == "de"
    assert no_sideways_scroll(page)
    page.locator("#hits .like").first.click()
    expect(page.locator("#hits .percent").first).to_have_text(re.compile(r"^\d+\s%$"))
    # All forms that this browser may ask for are in the files.
    forms = page.evaluate(
        "all => all.map((one) => new Intl.PluralRules(one).resolvedOptions().pluralCategories)",
        list(LANGUAGES),
    )
    for language, categories in zip(LANGUAGES, forms, strict=True):
        assert set(strings_of(language)["script"]["photos"]) == set(categories), language


def test_arabic_runs_from_right_to_left(visit: Visit) -> None:
    page = visit("ar", 1280)
    page.goto("/")
    expect(page.locator("#sample-list .card")).to_have_count(12)
    assert page.locator("html").get_attribute("dir") == "rtl"
    brand, links = (page.locator(f".top {one}").first.bounding_box() for one in (".brand", "nav"))
    assert brand is not None
    assert links is not None
    assert links["x"] < brand["x"]
    faults = {"start": axe(page)}
    page.locator("#sample-list .like").first.click()
    expect(page.locator("#hits .percent")).to_have_count(9)
    expect(page.locator("#summary")).to_contain_text("9 من 23 صورة")
    faults["answer"] = axe(page)
    # What is in a photo keeps its sides.
    part = page.locator("#query-seen")
    page.locator("#part-middle").click()
    expect(page.locator("#part-middle")).to_have_attribute("aria-pressed", "true")
    before = part.bounding_box()
    part.focus()
    page.keyboard.press("ArrowRight")
    after = part.bounding_box()
    assert before is not None
    assert after is not None
    assert after["x"] > before["x"]
    page.goto("/?browse=name")
    expect(page.locator("#browse-summary")).to_have_text("24 صورة")
    faults["browse"] = axe(page)
    page.locator("#browse-list .tile a").first.click()
    expect(page.locator("#detail-place")).to_have_text("1 من 24")
    expect(page.locator("#detail-actions")).to_be_visible()
    page.keyboard.press("ArrowLeft")  # on is to the left
    expect(page.locator("#detail-place")).to_have_text("2 من 24")
    page.keyboard.press("ArrowRight")
    expect(page.locator("#detail-place")).to_have_text("1 من 24")
    faults["detail"] = axe(page)
    page.set_viewport_size({"width": 320, "height": 700})
    assert no_sideways_scroll(page)
    for address in ("/", "/?browse=name", "/?words=soup"):
        page.goto(address)
        expect(page.locator(".tile, .card:not(.blank)").first).to_be_attached()
        assert no_sideways_scroll(page), address
    faults["small"] = axe(page)
    assert faults == dict.fromkeys(faults, "")


def test_each_language_is_another_answer_for_caches(server_url: str) -> None:
    answers = {
        language: httpx.get(server_url, headers={"Accept-Language": language}, timeout=60)
        for language in LANGUAGES
    }
    for language, answer in answers.items():
        assert f'<html lang="{language}"' in answer.text
        assert "accept-language" in answer.headers["vary"].lower()
    assert len({answer.headers["etag"] for answer in answers.values()}) == len(LANGUAGES)
    gone = httpx.get(
        f"{server_url}/nowhere", headers={"Accept": "text/html", "Accept-Language": "fr"}
    )
    assert "Retour à la recherche" in gone.text
    assert "accept-language" in gone.headers["vary"].lower()
