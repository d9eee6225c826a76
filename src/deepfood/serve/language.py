"""The page in the languages that visitors read: every string is in one file a language.

`languages/de.json` has two parts. `page` is put into the HTML where it says `{{key}}`, so that a
visitor reads it before any script runs. `script` goes along in the page for its scripts, which take
their strings from it by `t(key)` (static/text.js); the HTML may have those as well. A string that
counts is an object with one form for each of CLDR's plural categories of its language.
"""

import html
import json
import re
from functools import cache
from pathlib import Path

from deepfood.serve import STATIC
from deepfood.serve.joined import with_joined

FOLDER = Path(__file__).parent / "languages"
ENGLISH = "en"
LANGUAGES = (ENGLISH, *sorted(file.stem for file in FOLDER.glob("*.json") if file.stem != ENGLISH))
RIGHT_TO_LEFT = frozenset({"ar"})
_KEY = re.compile(r"\{\{([\w.-]+)\}\}")
_HARMLESS = str.maketrans({"<": r"\u003c", ">": r"\u003e", "&": r"\u0026"})


def language_of(accepted: str) -> str:
    """The language that an Accept-Language header prefers among ours; English where none is.

    Of equal weight, the first (RFC 9110, 12.5.4). A region does not matter: `de-AT` is `de`.
    """
    best, most = ENGLISH, 0.0
    for one in accepted.split(","):
        tag, _, rest = one.partition(";")
        language, weight = tag.strip().partition("-")[0].lower(), _weight(rest)
        if language in LANGUAGES and weight > most:
            best, most = language, weight
    return best


def _weight(text: str) -> float:
    """`q=0.8` as a number; 1 where there is none, 0 where it is no number."""
    name, _, value = text.strip().partition("=")
    if not name:
        return 1.0
    return float(value) if re.fullmatch(r"[01](\.\d{0,3})?", value.strip()) else 0.0


@cache
def page_in(language: str, file: str = "index.html") -> str:
    """A page of static/ in one of LANGUAGES; keys that are in no file of strings stay in it."""
    strings = strings_of(language)
    texts = {
        **strings["script"],
        **strings["page"],
        "language": language,
        "direction": "rtl" if language in RIGHT_TO_LEFT else "ltr",
    }

    def put(found: re.Match[str]) -> str:
        if found[1] == "strings":
            written = json.dumps(strings["script"], ensure_ascii=False, separators=(",", ":"))
            return written.translate(_HARMLESS)
        text = str(texts.get(found[1], found[0]))
        return text if "<" in text else html.escape(text)

    return _KEY.sub(put, with_joined((STATIC / file).read_text(encoding="utf-8")))


def strings_of(language: str) -> dict[str, dict[str, str | dict[str, str]]]:
    """The strings of one language, by part and key."""
    parts: dict[str, dict[str, str | dict[str, str]]] = json.loads(
        (FOLDER / f"{language}.json").read_text(encoding="utf-8")
    )
    return parts
