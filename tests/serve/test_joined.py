"""The page's joined style sheets and modules."""

import re

import httpx
import pytest
from playwright.sync_api import BrowserContext, expect

from deepfood.serve import STATIC
from deepfood.serve.joined import (
    joined_later,
    joined_script,
    joined_sheet,
    modules_of,
    sheets_of,
    version_of_page,
)
from pages import *  # noqa: F403

#: All that a module may say at the beginning of a line that concerns others.
WRITTEN = re.compile(
    r'import (\{ [\w$]+( as [\w$]+)?(, [\w$]+( as [\w$]+)?)* \} from )?"\./[\w-]+\.js";'
    r"|export ((async )?function [\w$]+\(.*|const [\w$]+ = .*)"
)
MODULES = sorted({file.stem for file in STATIC.glob("*.js")} - {"sw", "docs"})


@pytest.mark.parametrize("name", MODULES)
def test_a_module_is_written_so_that_it_can_be_joined(name: str) -> None:
    text = (STATIC / f"{name}.js").read_text()
    lines = [line for line in text.splitlines() if re.match(r"(import|export)\b(?!\()", line)]
    assert [line for line in lines if not WRITTEN.fullmatch(line)] == []
    dynamic = re.findall(r"(?<!\w)import\([^)]*\)", text)
    assert [one for one in dynamic if not re.fullmatch(r'import\("\./[\w-]+\.js"\)', one)] == []
    assert not re.search(r"^await |\$(take|modules|made)\b", text, re.MULTILINE)
    imported = re.findall(r'^import .*"\./([\w-]+)\.js";$', text, re.MULTILINE)
    assert [one for one in imported if name in modules_of(one)] == []


def test_each_module_is_joined_once() -> None:
    both = joined_script() + joined_later()
    joined = re.findall(r'^\$modules\["([\w-]+)"\] = ', both, re.MULTILINE)
    assert sorted(joined) == MODULES
    wanted = set(re.findall(r'\$take\("([\w-]+)"\)', both))
    assert wanted == set(joined), "each is imported"


def test_the_style_sheets_of_the_page_are_joined_in_its_order() -> None:
    page = (STATIC / "index.html").read_text()
    names = re.findall(r'<link rel="stylesheet" href="static/(.*?)">', page)
    assert sheets_of(page) == names
    joined, at = joined_sheet(), 0
    for name in names:
        text = (STATIC / name).read_text()
        assert joined.count(text) == 1
        assert (at := joined.index(text, at)) >= 0


def test_joined_files_are_kept_until_there_are_others(server_url: str) -> None:
    version = version_of_page()
    page = httpx.get(server_url).text
    for name in (f"css/page-{version}.css", f"app-{version}.js"):
        assert page.count(f'"static/{name}"') == 1
    assert version in httpx.get(f"{server_url}/sw.js").text
    for name in ("css/page-{}.css", "app-{}.js", "later-{}.js"):
        address = f"{server_url}/static/{name}"
        kept, other = httpx.get(address.format(version)), httpx.get(address.format("other"))
        assert "immutable" in kept.headers["Cache-Control"]
        assert other.headers["Cache-Control"] == "no-cache"
        assert other.content == kept.content
        assert kept.headers["Content-Type"].startswith(("text/css", "text/javascript"))


def test_the_page_asks_for_each_file_once(context: BrowserContext) -> None:
    asked: list[str] = []
    page = context.new_page()
    page.on("request", lambda request: asked.append(request.url))
    page.goto("/?browse=newest")
    expect(page.locator("#browse-list .tile").first).to_be_visible()
    texts = [url for url in asked if re.search(r"\.(css|js)$", url) and not url.endswith("/sw.js")]
    version = version_of_page()
    assert [url.rpartition("/static/")[2] for url in texts] == [
        f"css/page-{version}.css",
        f"app-{version}.js",
    ]


def test_files_of_an_earlier_version_are_forgotten(context: BrowserContext) -> None:
    page = context.new_page()
    page.goto("/docs")
    page.evaluate("Promise.all(['deepfood-page-old', 'other'].map((name) => caches.open(name)))")
    page.goto("/")
    page.evaluate("navigator.serviceWorker.ready")
    page.wait_for_function("caches.keys().then((names) => !names.includes('deepfood-page-old'))")
    version = version_of_page()
    assert set(page.evaluate("caches.keys()")) == {"other", f"deepfood-page-{version}"}
    kept = page.evaluate(
        "async (name) => (await (await caches.open(name)).keys()).map(({ url }) => url)",
        f"deepfood-page-{version}",
    )
    names = {url.rpartition("/static/")[2] for url in kept if "/static/" in url}
    assert {f"app-{version}.js", f"later-{version}.js", f"css/page-{version}.css"} <= names
    assert not names & {f"{name}.js" for name in MODULES}
