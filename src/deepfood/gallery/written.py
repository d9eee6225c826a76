"""Search by what is written: names, labels, synonyms, text attributes and file names.

    mint leaves           photos with both words; after these, photos with one of them
    "mint leaves" -dried  exactly these words in this order, and not the word "dried"

Everything else in the words of a user is plain text. What matches is decided here, from the texts
of one photo (`match_of`), for every engine: an engine proposes candidates, and orders them.
"""

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from enum import IntEnum
from itertools import groupby
from typing import Literal

from deepfood.errors import QueryError
from deepfood.gallery.notes import Note
from deepfood.gallery.photo import How, Matched, Photo
from deepfood.gallery.tokens import may_have_a_typo, near, stands_alone, tokens_of
from deepfood.gallery.values import Value

#: The attribute that holds other names of what a photo shows.
ALSO = "also"
#: The columns of texts, and how much a word in each weighs. `attributes` are all but `also`.
WEIGHTS = {"name": 10.0, "label": 6.0, ALSO: 5.0, "attributes": 2.0, "file": 1.0}
#: Limits for strangers.
MAX_CHARACTERS = 1_000
MAX_WORDS = 32
MOST_SUGGESTED = 100
#: A shorter piece is a part of too many words.
SHORTEST_PART = 3
#: Longer texts are searched, and not suggested.
_LONGEST_SUGGESTED = 100

#: What a suggestion is.
Kind = Literal["label", "name", "attribute"]

_QUOTES = str.maketrans(dict.fromkeys("“”„‟«»\uff02", '"'))
_WORDS = re.compile(r'(?P<minus>(?<!\S)[-\u2212])?(?:"(?P<exact>[^"]*)"|(?P<word>[^\s"]+))')


class Level(IntEnum):
    """How well a photo matches all words of a query: as well as the worst of them.

    SOME lacks a word. LOOSE has parts of words, or words with a typo.
    """

    SOME = 0
    LOOSE = 1
    BEGINNING = 2
    WHOLE = 3


@dataclass(frozen=True)
class Term:
    """A word of the query: consecutive tokens, mostly one. `exact` is without parts and typos."""

    tokens: tuple[str, ...]
    exact: bool = False

    @property
    def token(self) -> str | None:
        """The token of which parts and typos count; None where only the beginning of it does."""
        return None if self.exact or len(self.tokens) > 1 else self.tokens[0]

    def in_tokens(self, tokens: Sequence[str], forgiven: Set["Term"] = frozenset()) -> How | None:
        """How the term is in the tokens of a text; None where it is not.

        `forgiven` are the terms that may have a typo.
        """
        *first, last = self.tokens
        best = None
        for end in range(len(first), len(tokens)):
            token = tokens[end]
            if list(tokens[end - len(first) : end]) != first:
                continue
            if token == last:
                return How.WHOLE
            if self.exact:
                continue
            if token.startswith(last):
                best = How.BEGINNING
            elif not first and len(last) >= SHORTEST_PART and last in token:
                best = max(best or How.PART, How.PART)
            elif best is None and self in forgiven and near(last, token):
                best = How.TYPO
        return best

    def __str__(self) -> str:
        text = " ".join(self.tokens)
        return f'"{text}"' if self.exact else text


@dataclass(frozen=True)
class WordsQuery:
    """What is searched for, at least one term, and the terms that no found photo has."""

    wanted: tuple[Term, ...]
    unwanted: tuple[Term, ...] = ()

    @property
    def forgivable(self) -> tuple[Term, ...]:
        """The terms in which a typo may be forgiven."""
        return tuple(one for one in self.wanted if one.token and may_have_a_typo(one.token))


@dataclass(frozen=True)
class WrittenText:
    """A text of a photo. `field` is name, label, file, or the name of an attribute."""

    field: str
    value: str

    @property
    def column(self) -> str:
        """Its key in WEIGHTS."""
        return self.field if self.field in WEIGHTS and self.field != "attributes" else "attributes"

    @property
    def tokens(self) -> list[str]:
        """The tokens by which it is found: those of a file's name without its ending."""
        text = self.value
        if self.field == "file":
            text = re.sub(r"\.[^./\\]*$", "", text)
        return tokens_of(text)


@dataclass(frozen=True)
class Match:
    level: Level
    matched: tuple[Matched, ...]


@dataclass(frozen=True)
class WrittenHit:
    """A photo with words of the query. Of two hits, the one with the higher score comes first.

    Scores compare the hits of one answer only. `matched` says where the words are, in their order;
    words that the photo lacks are not in it.
    """

    photo: Photo
    score: float
    matched: tuple[Matched, ...]
    attributes: Mapping[str, Value] = field(default_factory=dict, hash=False)

    @property
    def id(self) -> str:
        return self.photo.id


@dataclass(frozen=True)
class WrittenResult:
    """Hits, best first. `notes` say what a filter left out."""

    hits: list[WrittenHit]
    notes: tuple[Note, ...] = ()


@dataclass(frozen=True)
class Suggestion:
    """A text that begins as somebody types, and the number of photos that have it.

    `field` is label, name, or the name of the attribute.
    """

    text: str
    kind: Kind
    field: str
    count: int


def parse_words(text: str) -> WordsQuery:
    """Parse the words of a user. Raises QueryError where there are none, or too many."""
    check_text(text)
    wanted: dict[Term, None] = {}
    unwanted: dict[Term, None] = {}
    for found in _WORDS.finditer(text.translate(_QUOTES)):
        exact, minus = found["exact"] is not None, found["minus"] is not None
        tokens = tokens_of(found["exact"] if exact else found["word"])
        # An unwanted word is one that is there as it is: "-mint" leaves "peppermint".
        for run in [tokens] if exact or minus else _runs(tokens):
            if run:
                (unwanted if minus else wanted)[Term(tuple(run), exact or minus)] = None
    if len(wanted) + len(unwanted) > MAX_WORDS:
        raise QueryError(
            f"{len(wanted) + len(unwanted)} words at once: search for {MAX_WORDS} at most", "words"
        )
    if not wanted and unwanted:
        raise QueryError(
            f"{text[:40]!r} says only what is unwanted: give a wanted word too", "words"
        )
    if not wanted:
        raise QueryError(f"there is no word in {text[:40]!r}: give letters or digits", "words")
    return WordsQuery(tuple(wanted), tuple(unwanted))


def _runs(tokens: Sequence[str]) -> Iterator[list[str]]:
    """Each token by itself, but characters that are written without blanks together."""
    for alone, some in groupby(tokens, stands_alone):
        if alone:
            yield list(some)
        else:
            yield from ([token] for token in some)


def check_text(text: str) -> None:
    """Raise QueryError for a text that is too long, or no Unicode."""
    if len(text) > MAX_CHARACTERS:
        raise QueryError(
            f"the words have {len(text):,} characters, and may have {MAX_CHARACTERS:,}", "words"
        )
    if any("\ud800" <= letter <= "\udfff" for letter in text):
        raise QueryError(f"the words are no Unicode text: {text[:40]!r}", "words")


def check_limit(limit: int) -> None:
    """Raise QueryError for a limit below 1."""
    if limit < 1:
        raise QueryError(f"limit = {limit}: ask for at least 1", "limit")


def check_suggested(text: str, limit: int) -> None:
    """Raise QueryError for a text that is too long or no Unicode, or a limit out of range."""
    check_text(text)
    if not 1 <= limit <= MOST_SUGGESTED:
        raise QueryError(f"limit = {limit}: ask for 1 to {MOST_SUGGESTED} suggestions", "limit")


def texts_of(
    name: str | None, label: str | None, file: str, values: Mapping[str, object]
) -> list[WrittenText]:
    """The texts of a photo by which words find it, the weightiest first, without empty ones."""
    texts = [WrittenText("name", name or ""), WrittenText("label", label or "")]
    for attribute in sorted(values, key=lambda one: (one != ALSO, one)):
        value = values[attribute]
        items = value if isinstance(value, list) else [value]
        texts += [WrittenText(attribute, one) for one in items if isinstance(one, str)]
    texts.append(WrittenText("file", file))
    return [text for text in texts if text.value]


def match_of(
    query: WordsQuery, texts: Iterable[WrittenText], forgiven: Set[Term] = frozenset()
) -> Match | None:
    """How a photo with these texts matches, None where it does not.

    It matches with at least one wanted term and no unwanted one. `forgiven` are the terms in which
    a typo is forgiven: those that no photo of the gallery has as they are.
    """
    each = [(text, text.tokens) for text in texts]
    if any(one.in_tokens(tokens) is not None for one in query.unwanted for _, tokens in each):
        return None
    matched: list[Matched] = []
    for term in query.wanted:
        found = [
            (how, WEIGHTS[text.column], text)
            for text, tokens in each
            if (how := term.in_tokens(tokens, forgiven)) is not None
        ]
        if found:
            how, _, text = max(found, key=lambda one: one[:2])
            matched.append(Matched(str(term), text.field, text.value, how))
    return Match(level_of(query, matched), tuple(matched)) if matched else None


def level_of(query: WordsQuery, matched: Sequence[Matched]) -> Level:
    """How well a photo matches all words, by where it has some of them, at least one."""
    if len(matched) < len(query.wanted):
        return Level.SOME
    return Level(max(min(one.how for one in matched), Level.LOOSE))


def share_of(one: Matched) -> float:
    """How much of the word that a photo has was searched for: 0 to 1.

    A typo in the first letter counts as another word: few people mistype it (Pollock and Zamora,
    CACM 1984).
    """
    if one.how is How.WHOLE:
        return 1.0
    asked = tokens_of(one.word)[-1]
    tokens = WrittenText(one.field, one.value).tokens
    if one.how is How.TYPO:
        return float(any(token[0] == asked[0] and near(asked, token) for token in tokens))
    return max(len(asked) / len(token) for token in tokens if asked in token)


def closeness(match: Match) -> float:
    """How much of its texts the words are, in the weights of their columns: 0 to 1.

    For an engine without BM25, to put the photos of one level in order.
    """
    total = 0.0
    for one in match.matched:
        text = WrittenText(one.field, one.value)
        share = len(tokens_of(one.word)) / max(1, len(text.tokens))
        total += WEIGHTS[text.column] * math.sqrt(share)
    return total / (1 + total)


def begins_as(typed: Sequence[str], tokens: Sequence[str]) -> bool:
    """Whether a text with these tokens has all that is typed; the last token may be unfinished."""
    if not typed:
        return True
    *whole, last = typed
    return {*whole} <= {*tokens} and any(one.startswith(last) for one in tokens)


def choose_suggestions(found: Iterable[Suggestion], limit: int) -> list[Suggestion]:
    """The most frequent of each kind: labels, then names, then attributes, in turn.

    A kind gets a place of another only where that has too few.
    """
    kinds: dict[Kind, list[Suggestion]] = {"label": [], "name": [], "attribute": []}
    for one in dict.fromkeys(found):
        if len(one.text) <= _LONGEST_SUGGESTED:
            kinds[one.kind].append(one)
    for some in kinds.values():
        some.sort(key=lambda one: (-one.count, one.text, one.field))
    places = dict.fromkeys(kinds, 0)
    left = limit
    while left and any(places[kind] < len(some) for kind, some in kinds.items()):
        for kind, some in kinds.items():
            if left and places[kind] < len(some):
                places[kind] += 1
                left -= 1
    return [one for kind, some in kinds.items() for one in some[: places[kind]]]


def texts_suggested(
    name: str | None, label: str | None, values: Mapping[str, Value], typed: Sequence[str]
) -> Iterator[tuple[Kind, str, str]]:
    """Kind, field and text of what a photo can suggest for the tokens typed."""
    kinds: dict[str, Kind] = {"label": "label", "name": "name"}
    for text in texts_of(name, label, "", values):
        if begins_as(typed, text.tokens):
            yield kinds.get(text.field, "attribute"), text.field, text.value
