"""How every gallery is browsed. A module that imports these tests gives the fixture `engine`."""

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from deepfood.errors import PhotoNotFoundError, QueryError
from deepfood.gallery.browse import Facet, PhotoPage, Selected, Sort, bins_of
from deepfood.gallery.declared import Definition
from deepfood.gallery.filters import parse_filter
from deepfood.gallery.photo import Photo
from deepfood.gallery.protocol import SearchedGallery
from deepfood.gallery.values import Type, Value, folded
from deepfood.gallery.written import parse_words
from gallery_contract import GalleryUnderTest, new_photo

#: Name, label and attributes of the photos that these tests browse; all have `shelf`.
ON_SHELF: list[tuple[str | None, str | None, dict[str, Value]]] = [
    ("Éclair", "Cakes", {"grams": 80, "tart": False, "season": ["Winter", "spring"]}),
    ("eclair with cream", "cakes", {"grams": 90, "tart": False, "season": []}),
    ("Lemon bar", "Cakes", {"grams": 55.5, "tart": True, "season": ["winter"]}),
    ("apple pie", "Pies", {"grams": 300, "tart": True, "season": ["Autumn", "winter"]}),
    ("Zuger Torte", "Cakes", {"grams": 90, "tart": False}),
    (None, "Pies", {"grams": -1}),
    ("Pie of everything", None, {"season": ["SPRING"]}),
    (None, None, {}),
]
_ADDED: dict[int, list[str]] = {}
_OURS = 'shelf = "top"'


def shelf(engine: GalleryUnderTest) -> list[str]:
    """The ids of ON_SHELF, added once to each gallery, each a second after the one before."""
    if id(engine) not in _ADDED:
        types: dict[str, Type] = {
            "grams": "number",
            "tart": "boolean",
            "season": "list",
            "shelf": "text",
        }
        new = []
        for number, (name, label, values) in enumerate(ON_SHELF):
            more: dict[str, Any] = {**values}
            one = new_photo(engine, 900 + number, shelf="top", **more)
            at = 1_700_000_000_000_000_000 + number * 10**9
            photo = replace(one.photo, name=name, label=label, modified_ns=at)
            new.append(replace(one, photo=photo))
        with engine.writing() as writer:
            writer.declare({name: Definition(type_) for name, type_ in types.items()})
        with engine.writing() as writer:
            writer.add(new)
        _ADDED[id(engine)] = [one.photo.id for one in new]
    return _ADDED[id(engine)]


def ours(where: str = "", words: str = "") -> Selected:
    both = f"{_OURS} AND ({where})" if where else _OURS
    return Selected(parse_filter(both), parse_words(words) if words else None)


def places(engine: GalleryUnderTest, page: PhotoPage) -> list[int]:
    """Which of ON_SHELF are on a page."""
    return [shelf(engine).index(photo.id) for photo, _ in page.photos]


def every_page(
    gallery: SearchedGallery, selected: Selected, sort: str, limit: int
) -> list[PhotoPage]:
    pages = [gallery.browse(selected, Sort.parse(sort), limit)]
    while pages[-1].next is not None:
        pages.append(gallery.browse(selected, Sort.parse(sort), limit, pages[-1].next))
    return pages


@pytest.mark.parametrize(
    ("sort", "wanted"),
    [
        ("newest", [7, 6, 5, 4, 3, 2, 1, 0]),
        ("-newest", [0, 1, 2, 3, 4, 5, 6, 7]),
        ("name", [3, 1, 0, 2, 6, 4]),
        ("-name", [4, 6, 2, 0, 1, 3]),
        ("grams", [5, 2, 0, (1, 4), 3]),
        ("-grams", [3, (1, 4), 0, 2, 5]),
        ("GRAMS", [5, 2, 0, (1, 4), 3]),
    ],
)
@pytest.mark.parametrize("limit", [1, 3, 8, 100])
def test_pages_have_each_photo_once_in_the_order_asked_for(
    engine: GalleryUnderTest, sort: str, wanted: list[int | tuple[int, ...]], limit: int
) -> None:
    pages = every_page(engine_of(engine), ours(), sort, limit)
    assert {page.total for page in pages} == {len(ON_SHELF)}
    assert [len(page.photos) for page in pages[:-1]] == [limit] * (len(pages) - 1)
    found = [place for page in pages for place in places(engine, page)]
    assert sorted(found) == list(range(len(ON_SHELF)))
    for one in wanted:  # of equal ones, either may come first
        group = one if isinstance(one, tuple) else (one,)
        assert set(found[: len(group)]) == set(group)
        found = found[len(group) :]


@pytest.mark.parametrize("sort", ["newest", "-newest", "name", "-name", "grams", "-grams"])
def test_a_page_is_around_a_photo(engine: GalleryUnderTest, sort: str) -> None:
    gallery, order = engine_of(engine), Sort.parse(sort)
    every = places(engine, gallery.browse(ours(), order, 100))
    for place, number in enumerate(every):
        photo_id = shelf(engine)[number]
        for limit in (1, 2, 5, 100):
            page = gallery.browse(ours(), order, limit, None, photo_id)
            start = max(0, place - limit // 2)
            assert (page.start, page.total) == (start, len(every))
            assert places(engine, page) == every[start : start + limit]
            if page.next:  # goes on from there
                after = gallery.browse(ours(), order, 3, page.next, photo_id)
                assert places(engine, after) == every[start + limit : start + limit + 3]
                assert after.start is None
    with pytest.raises(QueryError, match="is not in this list"):
        gallery.browse(ours("grams > 1000"), order, 3, None, shelf(engine)[0])
    with pytest.raises(PhotoNotFoundError):
        gallery.browse(ours(), order, 3, None, "0" * 20)


def engine_of(engine: GalleryUnderTest) -> SearchedGallery:
    """The opened gallery, with ON_SHELF in it."""
    shelf(engine)
    return engine.open()


@pytest.mark.parametrize(
    ("where", "words", "wanted"),
    [
        ("grams > 60", "", [0, 1, 3, 4]),
        ("NOT tart = true", "", [0, 1, 4]),
        ('label = "CAKES"', "", [0, 1, 2, 4]),
        ("", "eclair", [0, 1]),
        ("", "ecl", [0, 1]),
        ("", "winter", [0, 2, 3]),
        ("", "pie apple", [3]),
        ("", "appel", [3]),
        ("", "pie -apple", [5, 6]),
        ("grams > 85", "eclair", [1]),
        ("", "nothing has these", []),
    ],
)
def test_a_filter_and_words_select_what_is_listed_and_counted(
    engine: GalleryUnderTest, where: str, words: str, wanted: list[int]
) -> None:
    gallery, selected = engine_of(engine), ours(where, words)
    page = gallery.browse(selected, Sort.parse("-newest"), 100)
    assert places(engine, page) == wanted
    assert (page.total, page.next) == (len(wanted), None)
    counts = gallery.facets(selected, 100)
    assert (counts.total, counts.counted) == (len(wanted), len(wanted))
    by_hand = [ON_SHELF[one] for one in wanted]
    for facet in counts.facets:
        if facet.name in ("label", "grams", "tart", "season"):
            check_facet(facet, by_hand)


def check_facet(facet: Facet, shown: list[tuple[str | None, str | None, dict[str, Value]]]) -> None:
    """Compare a facet with one that is counted here."""
    values = [v | {"label": label} if label else v for _, label, v in shown]
    known: list[Value] = [one[facet.name] for one in values if facet.name in one]
    assert (facet.known, facet.unknown) == (len(known), len(shown) - len(known))
    if facet.type == "number":
        assert sum(one.count for one in facet.bins) == len(known)
        if known:
            assert (facet.bins[0].low, facet.bins[-1].high) == (min(known), max(known))  # type: ignore[type-var]
        return
    items = [{folded(i) if isinstance(i, str) else i for i in as_list(one)} for one in known]
    keys = set().union(*items) if items else set()
    assert facet.distinct == len(keys) == len(facet.values)
    counts = {key: sum(key in one for one in items) for key in keys}
    assert {
        folded(one.value) if isinstance(one.value, str) else one.value: one.count
        for one in facet.values
    } == counts
    assert [one.count for one in facet.values] == sorted(counts.values(), reverse=True)
    spellings = {i for one in known for i in as_list(one)}
    assert {one.value for one in facet.values} <= spellings


def as_list(value: Value) -> list[str | float | bool]:
    return list(value) if isinstance(value, list) else [value]


def test_a_facet_has_the_most_frequent_values(engine: GalleryUnderTest) -> None:
    facets = {one.name: one for one in engine_of(engine).facets(ours(), 1).facets}
    assert [(folded(str(one.value)), one.count) for one in facets["season"].values] == [
        ("winter", 3)
    ]
    assert facets["season"].distinct == 3
    assert [one.count for one in facets["label"].values] == [4]
    assert facets["label"].name == next(iter(facets))


def test_photos_left_out_for_their_safety_are_said(engine: GalleryUnderTest) -> None:
    gallery = engine_of(engine)
    selected = ours('NOT allergens HAS "egg"')
    for notes in (
        gallery.browse(selected, Sort.parse("newest"), 9).notes,
        gallery.facets(selected, 9).notes,
    ):
        assert any("photos are left out: allergens not known" in one.message for one in notes)


def test_labels_have_counts_and_pages(engine: GalleryUnderTest) -> None:
    gallery = engine_of(engine)
    found = gallery.label_page("", 500)
    assert found.total == len(found.labels)
    names = [folded(one.label) for one in found.labels]
    assert names == sorted(set(names))
    counts = {folded(one.label): one.count for one in found.labels}
    assert (counts["cakes"], counts["pies"]) == (4, 2)
    photos = gallery.photos()[0]
    assert sum(counts.values()) == sum(photo.label is not None for photo in photos)
    pages = [gallery.label_page("", 2)]
    while pages[-1].next is not None:
        pages.append(gallery.label_page("", 2, pages[-1].next))
    assert [one for page in pages for one in page.labels] == found.labels
    assert [folded(one.label) for one in gallery.label_page("ca", 9).labels] == ["cakes"]
    assert gallery.label_page("ca pi", 9).labels == []
    assert gallery.label_page("!?", 9).labels == []


@pytest.mark.parametrize(
    ("ask", "said"),
    [
        (lambda g: g.browse(Selected(), Sort.parse("season"), 9), "newest, name, .*grams"),
        (lambda g: g.browse(Selected(), Sort.parse("-prize"), 9), "cannot be sorted by 'prize'"),
        (lambda g: g.browse(Selected(), Sort.parse("newest"), 0), "limit = 0: ask for 1 to 500"),
        (lambda g: g.browse(Selected(), Sort.parse("newest"), 501), "limit = 501"),
        (lambda g: g.label_page("", 0), "limit = 0"),
        (lambda g: g.facets(Selected(), 0), "limit = 0"),
        (lambda g: g.browse(Selected(), Sort.parse("newest"), 9, "bm9uZQ=="), "is not a cursor"),
        (lambda g: g.browse(Selected(), Sort.parse("newest"), 9, "é"), "is not a cursor"),
    ],
)
def test_what_cannot_be_listed_is_refused(
    engine: GalleryUnderTest, ask: Callable[[SearchedGallery], object], said: str
) -> None:
    with pytest.raises(QueryError, match=said):
        ask(engine_of(engine))


def test_a_filter_of_what_there_is_not_is_refused(engine: GalleryUnderTest) -> None:
    gallery, selected = engine_of(engine), Selected(parse_filter("prize = 3"))
    with pytest.raises(QueryError, match="no attribute"):
        gallery.facets(selected, 9)
    with pytest.raises(QueryError, match="no attribute"):
        gallery.browse(selected, Sort.parse("newest"), 9)


def test_a_cursor_belongs_to_its_list(engine: GalleryUnderTest) -> None:
    gallery = engine_of(engine)
    cursor = gallery.browse(ours(), Sort.parse("name"), 3).next
    assert cursor is not None
    for selected, sort in (
        (ours(), "-name"),
        (ours("grams > 60"), "name"),
        (ours("", "a"), "name"),
    ):
        with pytest.raises(QueryError, match="another list"):
            gallery.browse(selected, Sort.parse(sort), 3, cursor)
    with pytest.raises(QueryError, match="another list"):
        gallery.label_page("", 3, cursor)


def test_pages_go_on_where_photos_have_come_and_gone(engine: GalleryUnderTest) -> None:
    gallery = engine_of(engine)
    first = gallery.browse(ours(), Sort.parse("-grams"), 3)
    last: Photo = first.photos[-1][0]
    new = new_photo(engine, 990, shelf="top", grams=1000)
    with engine.writing() as writer:
        writer.add([new])
        writer.update(last.id, attributes={"grams": 2000})
    try:
        after = gallery.browse(ours(), Sort.parse("-grams"), 9, first.next)
        assert places(engine, after) == [0, 2, 5, 6, 7] or places(engine, after) == [0, 2, 5, 7, 6]
        assert after.total == len(ON_SHELF) + 1
    finally:
        with engine.writing() as writer:
            writer.update(last.id, attributes={"grams": 90})
            writer.remove([new.photo.id])


def test_a_histogram_counts_every_number_once() -> None:
    numbers = np.array([1.0, 1.0, 2.5, 41.0])
    bins = bins_of(numbers)
    assert len(bins) == 20
    assert [one.count for one in bins if one.count] == [3, 1]
    assert (bins[0].low, bins[-1].high) == (1, 41)
    assert all(one.high == other.low for one, other in pairwise(bins))
    assert [(one.low, one.high, one.count) for one in bins_of(np.array([3.0, 3.0]))] == [(3, 3, 2)]
    assert bins_of(np.zeros(0)) == ()
    far = bins_of(np.array([*range(100), 10_000.0]))
    assert (len(far), far[-2].high, far[-1].high, far[-1].count) == (20, 99, 10_000, 2)
    assert all(4 <= one.count <= 6 for one in far[:-1]), "one that is far out spoils no other bin"
    assert all(one.high == other.low for one, other in pairwise(far))
    huge = np.array([-1.7e308, 1.7e308])
    assert sum(one.count for one in bins_of(huge)) == 2
    near = np.array([1.0, np.nextafter(1.0, 2)])
    assert sum(one.count for one in bins_of(near)) == 2
