"""The page in the visitor's language: which one, and that no string is missing in any."""

import gzip
import re
from html.parser import HTMLParser

import pytest

from deepfood.serve import STATIC
from deepfood.serve.joined import joined_later, joined_script, joined_sheet
from deepfood.serve.language import ENGLISH, LANGUAGES, language_of, page_in, strings_of

PAGES = ("index.html", "error.html")
#: docs.js belongs to the page of the API, which is for programmers and in English.
SCRIPTS = {
    file.name: file.read_text(encoding="utf-8")
    for file in STATIC.glob("*.js")
    if file.name != "docs.js"
}
#: Keys that the server fills in by itself.
FILLED_IN = {"language", "direction", "strings", "problem"}
#: CLDR's plural categories; test_language_page.py asks the browser.
CATEGORIES = {
    "ar": {"zero", "one", "two", "few", "many", "other"},
    "es": {"one", "many", "other"},
    "fr": {"one", "many", "other"},
}
#: Forms for one number, which a language may say by a word of its own.
OF_ONE_NUMBER = {"zero", "one", "two"}
#: Words that are the same in English and another language.
SHARED_WORDS = {
    "details",
    "filter",
    "label",
    "labels",
    "name",
    "no",
    "site",
    "photo",
    "photos",
    "pixels",
    "suggestions",
    "conditions",
    "kb",
}


@pytest.mark.parametrize(
    ("accepted", "language"),
    [
        ("", "en"),
        ("en-GB,en;q=0.9", "en"),
        ("tlh", "en"),
        ("tlh, en;q=0.3", "en"),
        ("en;q=0", "en"),
        ("en;q=much", "en"),
        ("de-AT, de;q=0.9, en;q=0.8", "de"),
        ("en;q=0.4, fr-CA;q=0.5, *;q=0.1", "fr"),
        ("tlh, AR;q=0.2", "ar"),
        ("es;q=0, hi;q=0.1", "hi"),
        ("es, de", "es"),
    ],
)
def test_the_language_is_the_one_that_the_browser_prefers(accepted: str, language: str) -> None:
    assert language_of(accepted) == language


def test_each_string_is_there_and_is_used() -> None:
    strings = strings_of(ENGLISH)
    pages = "".join((STATIC / file).read_text(encoding="utf-8") for file in PAGES)
    wanted = set(re.findall(r"\{\{([\w.-]+)\}\}", pages)) - FILLED_IN
    code = "".join(SCRIPTS.values())
    taken = set(re.findall(r'\b(?:t|parts)\(\s*"([\w.-]+)"', code))
    for beginning in re.findall(r"\b(?:t|parts)\(\s*`([\w.-]+)\$\{", code):
        taken |= {key for key in strings["script"] if key.startswith(beginning)}
    assert strings["script"].keys() == taken | (wanted - strings["page"].keys())
    assert strings["page"].keys() == wanted - strings["script"].keys()


@pytest.mark.parametrize("language", LANGUAGES)
def test_no_key_is_left_in_a_page(language: str) -> None:
    assert "{{" not in page_in(language)
    assert re.findall(r"\{\{([\w.-]+)\}\}", page_in(language, "error.html")) == ["problem"]


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_language_has_every_string_in_every_form(language: str) -> None:
    english, strings = strings_of(ENGLISH), strings_of(language)
    assert {part: set(keys) for part, keys in strings.items()} == {
        part: set(keys) for part, keys in english.items()
    }
    wrong = []
    for part, keys in english.items():
        for key, model in keys.items():
            forms, models = forms_of(strings[part][key]), forms_of(model)
            expected = CATEGORIES.get(language, {"one", "other"}) if "other" in models else {""}
            if forms.keys() != expected:
                wrong.append(f"{key}: {set(forms)}")
            wanted = fillings([*models.values()][-1])
            for form, text in forms.items():
                may_lack = {"{count}"} if form in OF_ONE_NUMBER else set()
                if (
                    not text.strip()
                    or wanted - fillings(text) - may_lack
                    or fillings(text) - wanted
                ):
                    wrong.append(f"{key} {form}: {text!r}")
    assert not wrong


def forms_of(string: str | dict[str, str]) -> dict[str, str]:
    """The forms of a string that counts, or the only one."""
    return string if isinstance(string, dict) else {"": string}


def fillings(text: str) -> set[str]:
    """What a translation must have too: the {names}, and tags with their attributes."""
    return set(re.findall(r"\{\w+\}|</?\w[^>]*>|&\w+;", text))


@pytest.mark.parametrize("language", [one for one in LANGUAGES if one != ENGLISH])
def test_nothing_is_left_in_english(language: str) -> None:
    english, strings = strings_of(ENGLISH), strings_of(language)
    same = [
        key
        for part in english
        for key, text in english[part].items()
        if strings[part][key] == text and set(words_of(str(text))) - SHARED_WORDS
    ]
    assert not same


def words_of(text: str) -> list[str]:
    """The words that are read: without {names}, and the names of CLDR's forms."""
    text = re.sub(r"'(zero|one|two|few|many|other)':|\{\w+\}|<[^>]*>", " ", text)
    return [word.lower() for word in re.findall(r"[^\W\d_]{2,}", text)]


# ----------------------------------------------------------------------------- nothing beside them


class Words(HTMLParser):
    """The texts of a page that somebody reads, or hears."""

    READ = ("aria-label", "placeholder", "title", "alt", "content")

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        said = dict(attrs)
        if tag == "meta" and said.get("name") != "description":
            return
        self.found += [text for name in self.READ if (text := said.get(name))]

    def handle_data(self, data: str) -> None:
        self.found.append(data)


@pytest.mark.parametrize("file", PAGES)
def test_a_page_has_no_words_of_its_own(file: str) -> None:
    words = Words()
    words.feed((STATIC / file).read_text(encoding="utf-8"))
    said = re.sub(r"\{\{[\w.-]+\}\}", " ", " ".join(words.found))
    assert set(re.findall(r"[^\W\d_]{2,}", said)) <= {"deepfood", "API"}


#: How literals begin that nobody reads: classes of elements, kinds of links, a header.
NEVER_READ = ("button ", "taken ", "noopener noreferrer", "Bearer ")
PHRASE = re.compile(r"\b[A-Za-z]{2,}[,.:]? [a-z]{2,}\b")
#: As in `${place} of ${total}` and `Photo ${id}`.
BESIDE_A_VALUE = re.compile(r"\0\W* [a-z]{2,}\b|\b[A-Za-z][a-z]+,? \0")
#: A word beginning with a capital: the name of a key, or of a header.
CAPITALS = re.compile(r"(Escape|Enter|Tab|Home|End|Delete|Backspace|Accept|Etag|Files|Location)$")
#: Where a text is given to be read; what a `?` chooses counts too.
GIVEN = re.compile(
    r"(?:\b(?:textContent|title|alt|placeholder|about|says)\s*[=:](?!=)"
    r'|\b(?:announce|say|showNotice|entitle)\(|"aria-label",|\belement\("\w+",(?= "))([^;,\n]*)'
)


def english_in(code: str) -> list[str]:
    """Literals of a script that look like English to be read."""
    code = re.sub(r"/\*.*?\*/|(?<![:\"'])//[^\n]*", "", code, flags=re.DOTALL)
    code = re.sub(r"^import [^;]*;|new Error\(`[^`]*`", "", code, flags=re.MULTILINE)
    code = re.sub(r'\b(?:t|parts)\(\s*["`][^"`]*["`]', "t(", code).replace(" · deepfood", "")
    code = re.sub(r'\b(?:matches|closest|querySelector(?:All)?)\((["`])(?:(?!\1).)*\1', "", code)
    found = []
    for text in re.findall(r'"((?:[^"\\\n]|\\.)*)"', code):
        phrase = PHRASE.search(text)
        is_code = text.startswith(NEVER_READ) or re.search(r"\(|--", text)
        capital = re.fullmatch(r"[A-Z][a-z]{2,}", text) and not CAPITALS.match(text)
        if (phrase and not is_code) or capital:
            found.append(text)
    for text in re.findall(r"`((?:[^`\\]|\\.)*)`", code):
        bare = re.sub(r"\$\{[^{}]*(?:\{[^{}]*\}[^{}]*)*\}", "\0", text)
        is_code = text.startswith(NEVER_READ) or "{ display:" in text
        if not is_code and (PHRASE.search(bare) or BESIDE_A_VALUE.search(bare)):
            found.append(text)
    for given in GIVEN.findall(code):
        values = re.sub(r'\[[^\]]*\]|===? "[^"]*"|[\w$]+\("[^"]*"\)|element\("\w+"', "", given)
        found += re.findall(r'(?:^|[?:(=])\s*"([A-Za-z]{2,}[^"]*)"', values)
    return found


def test_the_scripts_have_no_words_of_their_own() -> None:
    found = {name: english_in(code) for name, code in SCRIPTS.items()}
    assert {name: texts for name, texts in found.items() if texts} == {}


@pytest.mark.parametrize(
    "code",
    [
        'announce("Looking…")',
        'button.title = "Compare";',
        'part.textContent = open ? "Done" : t("part.choose");',
        "link.textContent = `${place} of ${total}`;",
        'find.setAttribute("aria-label", `Find in ${name}`)',
        'return passing ? "No photo passes the filter" : none;',
        'const SAYS = { more: "More like this" };',
        'options.push({ text, about: "not" })',
        'const made = element("span", "wrong");',
        "return `Photo ${id}`;",
    ],
)
def test_words_in_a_script_are_found(code: str) -> None:
    assert english_in(code)


def test_the_sides_of_style_sheets_follow_the_lines() -> None:
    """`inset-inline-start` and not `left`: the page also runs from right to left."""
    side = re.compile(
        r"^\s*((?:[\w-]+-)?(?:left|right)\b.*:.*|[\w-]+: (?:left|right));", re.MULTILINE
    )
    found = {
        file.name: side.findall(file.read_text(encoding="utf-8"))
        for file in (STATIC / "css").glob("*.css")
        if file.name != "part.css"  # places in a photo
    }
    assert {name: lines for name, lines in found.items() if lines} == {}


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_page_is_light(language: str) -> None:
    """Below 110 KB are sent for it, without photos."""
    texts = [page_in(language), joined_sheet(), joined_script(), joined_later()]
    pictures = [STATIC / "icon.svg", STATIC / "plate.svg"]
    texts += [file.read_text() for file in pictures]
    assert sum(len(gzip.compress(text.encode())) for text in texts) < 110_000
