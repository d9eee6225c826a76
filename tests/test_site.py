"""The documentation site builds without a warning, leaves nothing out, and needs no other host."""

import json
import os
import re
import subprocess
import sys
from html import unescape
from html.parser import HTMLParser
from pathlib import Path

import pytest

import deepfood
import deepfood_client
from test_docs import commands

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built as `make docs` does: strictly, so that a dead link or anchor is an error."""
    out = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(out)],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return out


def text_of(page: Path) -> str:
    """What a reader sees of a page."""
    (article,) = re.findall(r"<article.*?</article>", page.read_text(encoding="utf-8"), re.DOTALL)
    return " ".join(unescape(re.sub(r"<[^>]+>", "", article)).split())


def test_every_command_and_option_is_in_the_reference(site: Path) -> None:
    text = text_of(site / "cli.html")
    for name, options in commands().items():
        if name not in ("data", "deploy", "model"):  # groups
            assert f"deepfood {name} " in text
            assert [one for one in options if one not in text] == [], name


def test_every_operation_and_object_is_in_the_reference(site: Path) -> None:
    openapi = json.loads((site / "openapi.json").read_text(encoding="utf-8"))
    text = text_of(site / "http-api.html")
    for path, operations in openapi["paths"].items():
        for method in operations:
            assert f"{method.upper()} {path}" in text
    for name, schema in openapi["components"]["schemas"].items():
        assert name in text
        assert [one for one in schema["properties"] if one not in text] == [], name


def test_every_public_name_is_in_the_reference(site: Path) -> None:
    names = {*getattr(deepfood, "__all__", ()), *deepfood_client.__all__}
    page = (site / "python-api.html").read_text(encoding="utf-8")
    headings = {unescape(one) for one in re.findall(r"doc-object-name[^>]*>([^<]+)<", page)}
    assert {name for name in names if not name.startswith("_")} <= headings


class Loaded(HTMLParser):
    """The addresses that a browser fetches to show a page."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        if tag in ("script", "img", "iframe", "source"):
            self.addresses.append(found.get("src") or "")
        elif tag == "link" and found.get("rel") != "canonical":
            self.addresses.append(found.get("href") or "")


def test_no_page_loads_anything_from_another_host(site: Path) -> None:
    pages = list(site.glob("*.html"))
    assert len(pages) > 20
    for page in pages:
        loaded = Loaded()
        loaded.feed(page.read_text(encoding="utf-8"))
        assert loaded.addresses
        assert [
            one for one in loaded.addresses if "//" in one and not one.startswith("data:")
        ] == []
    for style in site.rglob("*.css"):
        assert not re.search(r"url\(\s*['\"]?(https?:)?//", style.read_text(encoding="utf-8"))


def test_no_page_shows_markdown(site: Path) -> None:
    """Python-Markdown wants other indents than GitHub, and shows what it does not understand."""
    for page in site.glob("*.html"):
        shown = re.sub(
            r"<(pre|code).*?</\1>", "", page.read_text(encoding="utf-8"), flags=re.DOTALL
        )
        found = re.findall(r"```.*|<p>[^<]*\n(?:-|\d+\.|\|) .*|\*\*\w.*|\]\(.*", shown)
        assert found == [], page.name
