"""A real browser for the pages' tests, and what axe says of a page in it."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, sync_playwright

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
ARGUMENTS = [
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]

#: What axe checks: WCAG 2.2 up to AA, and good practice.
AXE_OPTIONS = {
    "resultTypes": ["violations"],
    "runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"],
}

needs_browser = pytest.mark.skipif(
    "DEEPFOOD_SKIP_BROWSER" in os.environ, reason="DEEPFOOD_SKIP_BROWSER is set"
)


@contextmanager
def open_browser() -> Iterator[Browser]:
    program = next(filter(None, map(shutil.which, BROWSERS)), None)
    if program is None:
        pytest.fail(
            "the page's tests need Chromium or Chrome: `make test` installs it "
            "(scripts/install-browser); DEEPFOOD_SKIP_BROWSER=1 leaves these tests out"
        )
    as_root = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=program, args=[*ARGUMENTS, *as_root], timeout=60_000
        )
        yield browser
        browser.close()


def axe(page: Page) -> str:
    """What axe finds wrong, or nothing."""
    results = Axe().run(page, options=AXE_OPTIONS)
    return str(results.generate_report()) if results.violations_count else ""


def no_sideways_scroll(page: Page) -> bool:
    return bool(page.evaluate("document.documentElement.scrollWidth <= innerWidth"))


def small_targets(page: Page) -> list[str]:
    """Buttons and links that are hard to hit: below 44 pixels."""
    found = page.evaluate(
        """[...document.querySelectorAll('button, a:not(.skip)')]
            .filter((e) => e.checkVisibility())
            .map((e) => [e.outerHTML, e.getBoundingClientRect()])
            .filter(([, box]) => box.width < 44 || box.height < 44)
            .map(([html]) => html)"""
    )
    return list(found)
