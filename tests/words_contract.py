"""What every gallery must find by words. A module that imports these gives the fixture `engine`."""

from dataclasses import replace
from typing import Any

import pytest

from deepfood.errors import QueryError
from deepfood.gallery.declared import Definition
from deepfood.gallery.filters import parse_filter
from deepfood.gallery.photo import How
from deepfood.gallery.protocol import SearchedGallery
from deepfood.gallery.tokens import tokens_of
from deepfood.gallery.written import (
    Level,
    Suggestion,
    match_of,
    parse_words,
    texts_of,
)
from gallery_contract import GalleryUnderTest, new_photo

#: Name, label, other names and another attribute of the photos that these tests find.
DISHES: list[tuple[str | None, str | None, list[str] | None, str | None]] = [
    ("Zucchini-9", "Gemüse", ["Courgette", "Turai"], "sautéed in a pan"),
    ("Courgette flowers", "Gemüse", None, None),
    ("Crème brûlée", "dessert", ["麻婆豆腐", "Tofu à la Mapo"], "nordic kitchen"),
    ("Cloudberry tart", "dessert", None, 'a "quoted" NOT OR ( text'),
    ("बैंगन भर्ता", None, ["Smørrebrød"], None),
    ("Tart with cloudberries and quince", "cake", ["Mapo", "La Tofu"], None),
]
_ADDED: dict[int, list[str]] = {}


def dishes(engine: GalleryUnderTest) -> list[str]:
    """The ids of DISHES, added once to each gallery."""
    if id(engine) not in _ADDED:
        with engine.writing() as writer:
            writer.declare({"also": Definition("list"), "about": Definition("text")})
        new = []
        for number, (name, label, also, about) in enumerate(DISHES):
            said = {"also": also, "about": about, "mine": 7}
            known: dict[str, Any] = {k: value for k, value in said.items() if value is not None}
            one = new_photo(engine, 700 + number, **known)
            photo = replace(one.photo, name=name, label=label, file=f"menu/IMG_{number:04}x.jpeg")
            new.append(replace(one, photo=photo))
        with engine.writing() as writer:
            writer.add(new)
        _ADDED[id(engine)] = [one.photo.id for one in new]
    return _ADDED[id(engine)]


def found(gallery: SearchedGallery, words: str, limit: int = 1000) -> list[str]:
    return [hit.id for hit in gallery.find_written(parse_words(words), limit).hits]


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        ("zucchini", [0]),
        ("ZUCCHINI-9", [0]),
        ("zucch", [0]),
        ("ucchi", [0]),  # a part
        ("zuchini", [0]),  # one letter is missing
        ("zucchnii", [0]),  # two are swapped
        ("zuchinni", []),
        ("tur", [0]),
        ("urai", [0]),
        ("tuari", [0]),
        ("turo", []),  # too short for a typo
        ("creme", [2]),
        ("cre\u0300me BRULEE", [2]),
        ("bru\u0302lee cre\u0300me", [2]),
        ("gemuse", [0, 1]),
        ("gemüse -zucchini", [1]),
        ('"courgette flowers"', [1]),
        ('"flowers courgette"', []),
        ("“courgette flowers”", [1]),
        ("flowers courgette", [1, 0]),
        ("cloudberry", [3]),
        ("cloudberri", [5]),
        ("oudberr", [3, 5]),
        ('"cloudberr"', []),
        ("tart quince", [5, 3]),
        ("婆豆", [2]),
        ("麻", [2]),
        ("豆婆", []),
        ('"mapo la"', []),  # two texts of one photo are no phrase
        ('"tofu a la mapo"', [2]),
        ("बैंगन", [4]),
        ("smorrebrod", [4]),
        ('"IMG_0003x"', [3]),
        ("sauteed", [0]),
        ("nordic dessert", [2, 3]),
        ("zzzzzzzz", []),
        ("quoted NOT", [3]),
    ],
)
def test_words_find_what_is_written(
    engine: GalleryUnderTest, words: str, wanted: list[int]
) -> None:
    ids = dishes(engine)
    hits = found(engine.open(), words)
    assert sorted(ids.index(one) for one in hits) == sorted(wanted)
    if words in ("flowers courgette", "tart quince", "nordic dessert"):  # all words, then some
        assert [ids.index(one) for one in hits] == wanted


def test_an_answer_is_all_that_matches_and_nothing_else(engine: GalleryUnderTest) -> None:
    """Each engine finds what `match_of` says of every photo, the better levels first."""
    dishes(engine)
    gallery = engine.open()
    every = {photo.id: gallery.facts(photo.id) for photo in gallery.photos()[0]}
    texts = {
        one: texts_of(photo.name, photo.label, photo.file, values)
        for one, (photo, values) in every.items()
    }
    for words in (
        "tart",
        "art",
        "plate 00005",
        "la tart courgette",
        "-plate menu img",
        "zuchini tart",
        "desert",
        "e",
        "0",
        "IMG -0002x",
        'tart "la tofu"',
        "xyzzy plate -00003",
    ):
        query = parse_words(words)
        forgiven = frozenset(
            term
            for term in query.forgivable
            if not any(
                term.in_tokens(text.tokens) is not None for some in texts.values() for text in some
            )
        )
        matches = {
            one: match for one, some in texts.items() if (match := match_of(query, some, forgiven))
        }
        hits = gallery.find_written(query, 1000).hits
        assert {hit.id for hit in hits} == matches.keys(), words
        shown = [matches[hit.id].level for hit in hits]
        assert shown == sorted(shown, reverse=True), words
        assert [hit.score for hit in hits] == sorted((h.score for h in hits), reverse=True), words
        for hit in hits:
            assert hit.matched == matches[hit.id].matched
            assert hit.attributes == every[hit.id][1]
        some = gallery.find_written(query, 2).hits
        assert [hit.score for hit in some] == [hit.score for hit in hits[:2]], words


def test_a_hit_says_where_its_words_are(engine: GalleryUnderTest) -> None:
    ids = dishes(engine)
    gallery = engine.open()

    def matched(words: str) -> list[tuple[str, str, How]]:
        (hit, *_) = gallery.find_written(parse_words(words), 5).hits
        assert hit.id == ids[0]
        return [(one.field, one.value, one.how) for one in hit.matched]

    assert matched("zucchini gemuse") == [
        ("name", "Zucchini-9", How.WHOLE),
        ("label", "Gemüse", How.WHOLE),
    ]
    assert matched("turei") == [("also", "Turai", How.TYPO)]
    assert matched("sautéed zucch") == [
        ("about", "sautéed in a pan", How.WHOLE),
        ("name", "Zucchini-9", How.BEGINNING),
    ]
    # The name counts more than another name, and a whole word more than the beginning of one.
    (first, second) = gallery.find_written(parse_words("courgette"), 5).hits
    assert (first.id, second.id) == (ids[1], ids[0])
    assert first.score > second.score >= Level.WHOLE


def test_words_and_a_filter_together(engine: GalleryUnderTest) -> None:
    ids = dishes(engine)
    gallery = engine.open()
    with engine.writing() as writer:
        writer.update(ids[0], attributes={"allergens": []})
        writer.update(ids[1], attributes={"allergens": ["milk"]})
    try:
        query = parse_words("gemüse")
        where = parse_filter('mine = 7 AND NOT allergens HAS "milk"')
        answer = gallery.find_written(query, 9, where)
        assert [hit.id for hit in answer.hits] == [ids[0]]
        assert any("allergens not known" in note.message for note in answer.notes)
        where = parse_filter("mine = 8")
        assert gallery.find_written(query, 9, where).hits == []
        with pytest.raises(QueryError, match="no attribute 'nothing'"):
            gallery.find_written(query, 9, parse_filter("nothing = 1"))
    finally:
        with engine.writing() as writer:
            for one in ids[:2]:
                writer.update(one, attributes={"allergens": None})


def test_what_is_added_changed_and_removed_is_found_so_at_once(engine: GalleryUnderTest) -> None:
    dishes(engine)
    gallery = engine.open()
    one = new_photo(engine, 790, also=["Kohlrabi-Auflauf"])
    other = replace(one, photo=replace(one.photo, name="Steckrübeneintopf", label="Suppe"))
    with engine.writing() as writer:
        writer.add([other])
    assert found(gallery, "steckrubeneintopf suppe") == [one.photo.id]
    assert found(gallery, "kohlrabi") == [one.photo.id]
    with engine.writing() as writer:
        writer.update(one.photo.id, photo_name="Wirsing", attributes={"also": ["Savoy"]})
    assert found(gallery, "steckrubeneintopf") == found(gallery, "kohlrabi") == []
    assert found(gallery, "wirsing savoy") == [one.photo.id]
    assert gallery.suggest("wirs") == [Suggestion("Wirsing", "name", "name", 1)]
    with engine.writing() as writer:
        writer.remove([one.photo.id])
    assert found(gallery, "wirsing") == found(gallery, "suppe") == []
    assert gallery.suggest("wirs") == gallery.suggest("supp") == []
    assert engine.problems() == []


def test_what_somebody_begins_to_type_is_suggested(engine: GalleryUnderTest) -> None:
    dishes(engine)
    gallery = engine.open()

    def texts(begun: str, limit: int = 10) -> list[tuple[str, str, int]]:
        return [(one.text, one.field, one.count) for one in gallery.suggest(begun, limit)]

    assert texts("gem") == [("Gemüse", "label", 2)]
    assert texts("GEMÜ") == texts("gemü") == texts("gem")
    assert texts("cour") == [("Courgette flowers", "name", 1), ("Courgette", "also", 1)]
    assert texts("flowers cour") == [("Courgette flowers", "name", 1)]
    assert texts("麻婆") == [("麻婆豆腐", "also", 1)]
    assert {*texts("clo")} == {
        ("Cloudberry tart", "name", 1),
        ("Tart with cloudberries and quince", "name", 1),
    }
    assert ("dessert", "label", 2) in texts("", 50)
    assert texts("zzz") == texts("!") == texts("zucchini gem") == []
    for limit, told in ((0, "limit = 0"), (101, "limit = 101")):
        with pytest.raises(QueryError, match=told):
            gallery.suggest("a", limit)
    with pytest.raises(QueryError, match="characters"):
        gallery.suggest("a" * 5000)


@pytest.mark.parametrize(
    "words",
    [
        "NEAR(a b, 3)",
        "name : tart OR *",
        '"',
        '""" tart',
        "tart\x00cake",
        "tar\u202et",
        "tart\u200d",
        "^tart",
        "tart*",
        "{name} : tart",
        "'; DROP TABLE written; -- tart",
        'a" or 1 == 1 or "',
        "%",
        "ta_t",
        "\\",
        "က" * 40,
        "a",
        "é",
        "👩\u200d🍳 tart",
    ],
)
def test_the_syntax_of_an_engine_is_plain_text(engine: GalleryUnderTest, words: str) -> None:
    dishes(engine)
    gallery = engine.open()
    if not tokens_of(words):
        with pytest.raises(QueryError, match="there is no word in"):
            parse_words(words)
        return
    query = parse_words(words)
    texts = {
        one.id: texts_of(one.name, one.label, one.file, gallery.facts(one.id)[1])
        for one in gallery.photos()[0]
    }
    wanted = {one for one, some in texts.items() if match_of(query, some)}
    assert {*found(gallery, words)} == wanted
    gallery.suggest(words)


def test_a_limit_is_at_least_one(engine: GalleryUnderTest) -> None:
    for limit in (0, -1):
        with pytest.raises(QueryError, match=f"limit = {limit}"):
            engine.open().find_written(parse_words("tart"), limit)
