"""A real browser for the pages' tests, and what axe says of a page in it."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, BrowserContext, Page, Request, expect, sync_playwright

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

#: How long a test waits for what the page must do: only a page that never does it is at fault.
WAIT_MS = 60_000
expect.set_options(timeout=WAIT_MS)

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


#: Colours may be on their way, after a change from light to dark for example.
SETTLED = "() => !document.getAnimations().some((one) => one instanceof CSSTransition)"


def axe(page: Page) -> str:
    """What axe finds wrong, or nothing; once no style is changing."""
    page.wait_for_function(SETTLED)
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


class Watch:
    """What a page must never do: errors in the console, broken CSP, requests to other hosts."""

    def __init__(self, context: BrowserContext, origin: str) -> None:
        self.faults: list[str] = []
        self.expected: list[str] = []
        context.add_init_script(
            "addEventListener('securitypolicyviolation', (event) => console.error("
            "'CSP: ' + event.violatedDirective + ' ' + event.blockedURI))"
        )
        context.on("request", lambda request: self._check(request, origin))
        context.on("console", lambda one: self._add(one.text, one.type in ("error", "warning")))
        context.on("weberror", lambda error: self._add(str(error.error), True))

    def expect(self, text: str) -> None:
        """A fault that the test provokes."""
        self.expected.append(text)

    def _check(self, request: Request, origin: str) -> None:
        url = request.url
        elsewhere = urlsplit(url).scheme != "blob" and not url.startswith(origin + "/")
        self._add(f"request to {url}", elsewhere)

    def _add(self, text: str, fault: bool) -> None:
        if fault and not any(one in text for one in self.expected):
            self.faults.append(text)


def choose(page: Page, file: Path | dict[str, object]) -> None:
    """Give the page a file through the button that is on show."""
    with page.expect_file_chooser() as chosen:
        page.locator("[data-picks=file]:visible").last.click()  # the header has one too
    chosen.value.set_files(file)  # type: ignore[arg-type]


def expect_hits(page: Page, title: str, count: int = 9) -> None:
    expect(page.get_by_role("heading", level=1)).to_have_text(title)
    expect(page).to_have_title(f"{title} · deepfood")
    expect(page.locator("#hits .card:not(.blank)")).to_have_count(count)
    expect(page.locator("#hits")).not_to_have_attribute("aria-busy", "true")
