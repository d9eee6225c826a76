"""Fixtures of the web page in a real browser. Modules of tests import all of them."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from browser import WAIT_MS, Watch, open_browser

__all__ = ["browser", "context", "page", "watch"]

#: For scripts of tests: `await take('recent')` is a module of the page, which it runs already.
TAKE = """window.take = async (name) =>
    (await import(document.querySelector('script[type=module]').src)).$take(name)"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with open_browser() as browser:
        yield browser


@pytest.fixture
def context(browser: Browser, server_url: str) -> Iterator[BrowserContext]:
    context = browser.new_context(
        base_url=server_url, viewport={"width": 1280, "height": 800}, locale="en-GB"
    )
    context.set_default_timeout(WAIT_MS)
    context.add_init_script(TAKE)
    yield context
    context.close()


@pytest.fixture
def watch(context: BrowserContext, server_url: str) -> Iterator[Watch]:
    watch = Watch(context, server_url)
    yield watch
    assert watch.faults == [], watch.faults


@pytest.fixture
def page(context: BrowserContext, watch: Watch) -> Page:
    """The start page with its samples."""
    page = context.new_page()
    page.goto("/")
    expect(page.locator("#sample-list .card")).to_have_count(12)
    return page
