"""The page in the visitor's language: which one, and that no string is missing in any."""

import re

import pytest

from deepfood.serve import STATIC
from deepfood.serve.language import ENGLISH, LANGUAGES, language_of, page_in, strings_of

PAGES = ("index.html", "error.html")
#: Keys that the server fills in by itself.
FILLED_IN = {"language", "direction", "modules", "strings", "problem"}
SCRIPTS = {file.name: file.read_text(encoding="utf-8") for file in STATIC.glob("*.js")}


@pytest.mark.parametrize(
    ("accepted", "language"),
    [
        ("", "en"),
        ("en-GB,en;q=0.9", "en"),
        ("tlh", "en"),
        ("tlh, en;q=0.3", "en"),
        ("en;q=0", "en"),
        ("en;q=much", "en"),
    ],
)
def test_the_language_is_the_one_that_the_browser_prefers(accepted: str, language: str) -> None:
    assert language_of(accepted) == language


def test_each_string_is_there_and_is_used() -> None:
    strings = strings_of(ENGLISH)
    pages = "".join((STATIC / file).read_text(encoding="utf-8") for file in PAGES)
    wanted = set(re.findall(r"\{\{([\w.-]+)\}\}", pages)) - FILLED_IN
    code = "".join(SCRIPTS.values())
    taken = set(re.findall(r'\b(?:t|parts)\("([\w.-]+)"', code))
    for beginning in re.findall(r"\b(?:t|parts)\(`([\w.-]+)\$\{", code):
        taken |= {key for key in strings["script"] if key.startswith(beginning)}
    assert strings["script"].keys() == taken | (wanted - strings["page"].keys())
    assert strings["page"].keys() == wanted - strings["script"].keys()


@pytest.mark.parametrize("language", LANGUAGES)
def test_no_key_is_left_in_a_page(language: str) -> None:
    assert "{{" not in page_in(language)
    assert re.findall(r"\{\{([\w.-]+)\}\}", page_in(language, "error.html")) == ["problem"]
