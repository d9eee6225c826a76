"""The laws of words over what is written, whatever engine holds it."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepfood.errors import QueryError
from deepfood.gallery.photo import How
from deepfood.gallery.tokens import LONGEST_TOKEN, may_have_a_typo, near, tokens_of
from deepfood.gallery.written import (
    MAX_CHARACTERS,
    MAX_WORDS,
    Level,
    Suggestion,
    Term,
    WordsQuery,
    WrittenText,
    choose_suggestions,
    match_of,
    parse_words,
    texts_of,
)

LETTERS = "abcé日"
WORDS = st.text(st.sampled_from(LETTERS), min_size=1, max_size=6)


def neighbours(word: str) -> set[str]:
    """All that one typo makes of a word: the definition that `near` must agree with."""
    found = {word}
    for at in range(len(word) + 1):
        begin, end = word[:at], word[at:]
        found |= {f"{begin}{letter}{end}" for letter in LETTERS}
        found |= {f"{begin}{letter}{end[1:]}" for letter in LETTERS if end}
        found.add(f"{begin}{end[1:]}")
        if len(end) > 1:
            found.add(f"{begin}{end[1]}{end[0]}{end[2:]}")
    return found


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("Crème brûlée", ["creme", "brulee"]),
        ("Brinjal-9, ripe", ["brinjal", "9", "ripe"]),
        ("麻婆豆腐 rice", ["麻", "婆", "豆", "腐", "rice"]),
        ("ｶﾚｰライス", ["カ", "レ", "ー", "ラ", "イ", "ス"]),
        ("ぱん", ["ぱ", "ん"]),
        ("बैंगन", ["बैंगन"]),
        ("김치", ["김치"]),
        ("ต้มยำ", ["ต้มยํา"]),
        ("بَاذِنْجَان", ["باذنجان"]),
        ("Smørrebrød Œufs", ["smorrebrod", "oeufs"]),
        ("İstanbul ISPANAK", ["istanbul", "ispanak"]),
        ("STRASSE ½ ①", ["strasse", "1", "2", "1"]),
        ("so\u00adft\u200b \u202ebidi\u202c", ["soft", "bidi"]),
        ("nul\x00nul", ["nul", "nul"]),
        ("! \u0301 -- 👩\u200d🍳", []),
        ("", []),
    ],
)
def test_a_text_has_these_tokens(text: str, tokens: list[str]) -> None:
    assert tokens_of(text) == tokens


@given(st.text(max_size=30))
def test_folding_is_done_once_and_whatever_the_encoding(text: str) -> None:
    tokens = tokens_of(text)
    assert tokens_of(" ".join(tokens)) == tokens
    for form in ("NFC", "NFD"):
        assert tokens_of(unicodedata.normalize(form, text)) == tokens
    assert all(len(token) <= LONGEST_TOKEN for token in tokens)


@given(st.text(max_size=30))
def test_no_part_of_a_token_means_something_to_an_engine(text: str) -> None:
    for token in tokens_of(text):
        assert all(unicodedata.category(one)[0] in "LNM" for one in token)
        assert not {*token} & {*"\"'\\%_*|(){}:^-\x00 "}


@given(WORDS, WORDS)
def test_near_is_one_typo_at_most(one: str, other: str) -> None:
    assert near(one, other) == (other in neighbours(one)) == near(other, one)


def test_words_with_digits_and_short_ones_have_no_typos() -> None:
    assert may_have_a_typo("curry")
    assert may_have_a_typo("बैंगन")
    assert not may_have_a_typo("rice")
    assert not may_have_a_typo("20240131")


def test_a_query_has_words_quotes_and_minus() -> None:
    assert parse_words('Mint  leaves -"dried mint" -Soup "Fresh  herbs" mint') == WordsQuery(
        (Term(("mint",)), Term(("leaves",)), Term(("fresh", "herbs"), exact=True)),
        (Term(("dried", "mint"), exact=True), Term(("soup",), exact=True)),
    )
    assert parse_words("stir-fry 婆豆rice").wanted == (
        Term(("stir",)),
        Term(("fry",)),
        Term(("婆", "豆")),
        Term(("rice",)),
    )
    assert parse_words('12" plate -').wanted == (Term(("12",)), Term(("plate",)))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "there is no word in ''"),
        ("?! -", "there is no word in"),
        ("-soup", "says only what is unwanted"),
        ("a" * (MAX_CHARACTERS + 1), "1,001 characters"),
        (" ".join(f"w{number}" for number in range(10_000)), "characters"),
        (" ".join(f"w{number}" for number in range(MAX_WORDS + 1)), "33 words at once"),
        ("soup \ud800", "no Unicode text"),
    ],
)
def test_what_is_no_question_is_said_in_one_line(text: str, told: str) -> None:
    with pytest.raises(QueryError, match=told) as raised:
        parse_words(text)
    assert "\n" not in str(raised.value)
    assert str(raised.value).isprintable()
    assert len(str(raised.value)) < 300


@given(st.text(max_size=40))
def test_every_text_is_a_query_or_refused(text: str) -> None:
    try:
        query = parse_words(text)
    except QueryError:
        return
    assert query.wanted
    assert all(term.tokens for term in (*query.wanted, *query.unwanted))


@given(st.lists(WORDS, min_size=1, max_size=5))
def test_a_photo_is_found_by_all_words_of_its_name(words: list[str]) -> None:
    name = " ".join(words)
    query = parse_words(name)
    match = match_of(query, texts_of(name, None, "x.jpg", {}))
    assert match is not None
    assert match.level is Level.WHOLE
    assert {(one.field, one.value) for one in match.matched} == {("name", name)}
    exact = parse_words(f'"{name}"')
    assert match_of(exact, texts_of(name, None, "x.jpg", {})) is not None
    minus = parse_words(f'x -"{name}"')
    assert match_of(minus, texts_of(name, None, "x.jpg", {})) is None


def test_the_best_place_of_a_word_is_told() -> None:
    texts = texts_of(
        "Baked mackerel",
        "fish",
        "fish/mackerel 7.jpg",
        {"also": ["Makrele", "fish"], "note": "fishy", "price": 3, "fresh": True},
    )
    assert [(one.field, one.value) for one in texts] == [
        ("name", "Baked mackerel"),
        ("label", "fish"),
        ("also", "Makrele"),
        ("also", "fish"),
        ("note", "fishy"),
        ("file", "fish/mackerel 7.jpg"),
    ]

    def told(words: str, *forgiven: str) -> list[tuple[str, How]]:
        terms = frozenset(Term((one,)) for one in forgiven)
        match = match_of(parse_words(words), texts, terms)
        return [(one.field, one.how) for one in match.matched] if match else []

    assert told("mackerel") == [("name", How.WHOLE)]
    assert told("fish") == [("label", How.WHOLE)]
    assert told("makre 7") == [("also", How.BEGINNING), ("file", How.WHOLE)]
    assert told("ackere") == [("name", How.PART)]
    assert told("jpg") == []
    assert told("makerel") == []
    assert told("makerel", "makerel") == [("name", How.TYPO)]
    assert told("fish soup") == [("label", How.WHOLE)]
    assert told("fish -fishy") == []
    assert told("mackerel -fis") == [("name", How.WHOLE)]


def test_columns_of_texts() -> None:
    assert [WrittenText(field, "x").column for field in ("name", "label", "also", "file")] == [
        "name",
        "label",
        "also",
        "file",
    ]
    assert WrittenText("attributes", "x").column == WrittenText("cuisine", "x").column
    assert WrittenText("file", "a.b/c.tar.gz").tokens == ["a", "b", "c", "tar"]
    assert WrittenText("name", "c.tar.gz").tokens == ["c", "tar", "gz"]


def test_each_kind_of_suggestion_has_its_places() -> None:
    labels = [Suggestion(f"l{n}", "label", "label", n) for n in range(20)]
    names = [Suggestion("n", "name", "name", 1)]
    values = [Suggestion(f"v{n}", "attribute", "also", 1) for n in range(20)]
    chosen = choose_suggestions([*values, *labels, *names, *labels], 7)
    assert [one.text for one in chosen] == ["l19", "l18", "l17", "n", "v0", "v1", "v10"]
    assert choose_suggestions(labels, 2) == [labels[19], labels[18]]
    assert choose_suggestions([Suggestion("x" * 101, "name", "name", 1)], 5) == []
