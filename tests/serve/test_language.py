"""The page in the visitor's language: which one, and that no string is missing in any."""

import re

import pytest

from deepfood.serve import STATIC
from deepfood.serve.language import LANGUAGES, language_of, page_in, strings_of

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


@pytest.mark.parametrize("language", LANGUAGES)
def test_each_string_is_there_and_is_used(language: str) -> None:
    strings = strings_of(language)
    page = (STATIC / "index.html").read_text(encoding="utf-8")
    wanted = set(re.findall(r"\{\{([\w.-]+)\}\}", page)) - {"language", "direction", "strings"}
    assert strings["page"].keys() == wanted
    taken = {
        key for text in SCRIPTS.values() for key in re.findall(r'\b(?:t|parts)\("([\w.-]+)"', text)
    }
    assert strings["script"].keys() == taken
    assert "{{" not in page_in(language)
