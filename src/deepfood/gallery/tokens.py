"""Tokens: the folded words of a text, which is what words are searched by.

Folding ignores case, accents and the encoding of letters: "Crème brûlée" has the tokens `creme` and
`brulee`. Chinese and Japanese are written without blanks, so each of their characters is a token,
and a word of several is found as a run of them. A token has only letters, digits and the marks that
belong to its letters, so that no query language has a meaning for any part of it.
"""

import re
import unicodedata
from functools import lru_cache

#: Longer tokens are cut: nobody types them, and they would fill an index of parts.
LONGEST_TOKEN = 64
#: Words of at least so many letters may have one typo.
FORGIVEN_LETTERS = 5

_ASCII = re.compile("[a-z0-9]+")
#: Letters with a stroke and ligatures, which Unicode does not take apart, as people type them.
_PLAIN = str.maketrans(
    {
        "ø": "o",
        "đ": "d",
        "ð": "d",
        "ł": "l",
        "ħ": "h",
        "ŧ": "t",
        "\u0131": "i",
        "æ": "ae",
        "œ": "oe",
    }
    | {"þ": "th"}
)
#: Canonical combining classes of the marks that people leave out: accents, niqqud, harakat, nukta.
#: Vowel signs and viramas of Indic scripts, and the marks of Thai and Lao, belong to the word.
_ACCENTS = frozenset({1, 7, *range(10, 36), *range(200, 241)})
_SELECTORS = re.compile("[\u034f\ufe00-\ufe0f\U000e0100-\U000e01ef]")


def tokens_of(text: str) -> list[str]:
    """The tokens of a text, in order."""
    if text.isascii():
        return [token[:LONGEST_TOKEN] for token in _ASCII.findall(text.lower())]
    tokens: list[str] = []
    letters: list[str] = []

    def end() -> None:
        if any(map(str.isalnum, letters)):
            tokens.append("".join(letters[:LONGEST_TOKEN]))
        letters.clear()

    for letter in _folded(text):
        if stands_alone(letter):
            end()
            tokens.append(letter)
        elif letter.isalnum() or unicodedata.category(letter)[0] == "M":
            letters.append(letter)
        else:
            end()
    end()
    return tokens


def stands_alone(letter: str) -> bool:
    """Whether a character is a token of its own: Han, Hiragana and Katakana."""
    return (
        "\u3040" <= letter <= "\u30ff"
        or "\u3400" <= letter <= "\u9fff"
        or "\U00020000" <= letter <= "\U0003ffff"
        or "\u3005" <= letter <= "\u3007"
        or "\u31f0" <= letter <= "\u31ff"
    ) and (letter.isalnum())


def near(one: str, other: str) -> bool:
    """Whether one typo at most parts two tokens.

    A typo inserts, omits or changes a letter, or swaps two neighbours (optimal string alignment
    distance; L. Boytsov, Indexing methods for approximate dictionary searching, 2011).
    """
    if abs(len(one) - len(other)) > 1:
        return False
    same = 0
    while same < min(len(one), len(other)) and one[same] == other[same]:
        same += 1
    a, b = one[same:], other[same:]
    return (
        a[1:] == b[1:]
        or a[1:] == b
        or a == b[1:]
        or (len(a) > 1 and a[:2] == b[1::-1] and a[2:] == b[2:])
    )


def may_have_a_typo(token: str) -> bool:
    """Whether a typo in this word is forgiven: 13 is not 14, and "rice" is not "ride"."""
    return len(token) >= FORGIVEN_LETTERS and not any(map(str.isdigit, token))


def _folded(text: str) -> str:
    """A text without case, accents and invisible characters, in NFC."""
    for _ in range(2):  # folding one letter may yield another that has a case
        text = unicodedata.normalize("NFKD", unicodedata.normalize("NFD", text).casefold())
    return unicodedata.normalize("NFC", "".join(map(_plain, _SELECTORS.sub("", text))))


@lru_cache(4096)
def _plain(letter: str) -> str:
    """A letter of a folded text; nothing for an accent or an invisible character."""
    if unicodedata.category(letter) == "Cf" or unicodedata.combining(letter) in _ACCENTS:
        return ""
    return letter.translate(_PLAIN)
