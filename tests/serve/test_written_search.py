"""Words in galleries whose Model takes photos only: what is written, and what looks like it.

Twelve plates of each of three dishes; every second one has a name and a label.
"""

import csv
import itertools
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

import deepfood
from deepfood.config import load_settings
from deepfood.engine import engine_at
from deepfood.errors import QueryError
from deepfood.gallery.logistic import Logistic
from deepfood.gallery.notes import end_note
from deepfood.gallery.photo import Hit, Photo
from deepfood.gallery.protocol import FindResult
from deepfood.gallery.word_calibration import WordCalibration
from deepfood.gallery.written import (
    Level,
    WrittenHit,
    WrittenResult,
    match_of,
    parse_words,
    texts_of,
)
from deepfood.serve.worded import (
    UNUSED,
    WRITTEN_PROBABILITY,
    Written,
    find_with_words,
    fuse,
    look_up,
    probabilities,
)
from deepfood_client import Client
from live import run_deepfood
from plates import write_dishes, write_tiny_model
from served import serving_here

EACH, NAMED = 12, 6
NAMES = {"Brinjal": "aubergine", "Gâteau Basque": "custard", "麻婆豆腐": "mapo tofu"}


@pytest.fixture(scope="module")
def gallery(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("written")
    write_tiny_model(root / "model")
    photos = write_dishes(root / "photos", EACH, labels=3)
    with (photos / "photos.csv").open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["photo", "name", "label", "also"])
        for (name, also), folder in zip(
            NAMES.items(), sorted(p for p in photos.iterdir() if p.is_dir()), strict=True
        ):
            for number, photo in enumerate(sorted(folder.iterdir())):
                named = number < NAMED
                said = (f"{name}-{number}", name, also) if named else ("", "", "")
                rows.writerow([photo.relative_to(photos), *said])
    run_deepfood("build", photos, "--out", root / "gallery", "--model", root / "model")
    return root / "gallery"


@pytest.fixture(scope="module")
def opened(gallery: Path) -> Iterator[deepfood.Gallery]:
    with deepfood.open_gallery(gallery) as found:
        yield found


@pytest.mark.slow
@pytest.mark.parametrize(
    "words", ["brinjal", "Brinjl", "aubergine", "gateau basque", "豆腐", "mapo"]
)
def test_named_photos_come_first_and_then_those_that_look_so(
    opened: deepfood.Gallery, words: str
) -> None:
    found = opened.search(words=words, k=EACH)
    assert found.verdict == ("maybe" if words == "Brinjl" else "match")
    folders = [hit.photo.file.partition("/")[0] for hit in found.hits]
    assert all(hit.matched for hit in found.hits[:NAMED])
    assert len(set(folders[:NAMED])) == 1
    # Photos without any name look like those that have one.
    alike = [hit.photo.file.startswith(folders[0]) for hit in found.hits if not hit.photo.name]
    assert sum(alike) > len(alike) / 2


@pytest.mark.slow
def test_a_hit_says_where_the_words_are(opened: deepfood.Gallery) -> None:
    (first, *_) = opened.search(words="Brinjal-3").hits
    assert (first.matched[0].field, first.matched[0].value) == ("name", "Brinjal-3")


@pytest.mark.slow
def test_words_that_nothing_has_find_nothing(opened: deepfood.Gallery) -> None:
    nothing = opened.search(words="bicycle")
    assert (nothing.verdict, nothing.hits, nothing.next) == ("none", (), None)


@pytest.mark.slow
def test_pages_of_words_show_each_photo_once(opened: deepfood.Gallery) -> None:
    pages = list(opened.pages(words="brinjal", k=5))
    ids = [hit.photo.id for page in pages for hit in page.hits]
    assert len(ids) == len(set(ids)) == 3 * EACH
    assert pages[-1].next is None
    with pytest.raises(QueryError, match="cursor"):
        opened.search(id=ids[0], cursor=pages[0].next)
    other = opened.search(id=ids[0], k=5).next
    with pytest.raises(QueryError, match="another search"):
        opened.search(words="brinjal", cursor=other)


@pytest.mark.slow
def test_near_duplicates_that_words_find_are_one_on_every_page(opened: deepfood.Gallery) -> None:
    pages = list(opened.pages(words="brinjal", k=3, group_duplicates=True))
    hits = [hit for page in pages for hit in page.hits]
    ids = [one.photo.id for hit in hits for one in (hit, *hit.alike)]
    assert len(ids) == len(set(ids)) == 3 * EACH
    assert len(pages) > 1
    assert hits[0].matched
    apart = opened.search(words="brinjal", k=1).hits[0]
    assert hits[0].photo == apart.photo


@pytest.mark.slow
def test_only_what_is_written_has_pages_of_its_own(
    gallery: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What looks so is left out before the pages are cut, where a text tower says `none`."""
    found, _ = engine_at(gallery, load_settings()).open()
    custard = next(photo for photo in found.photos()[0] if photo.name == "Gâteau Basque-1")
    written = look_up(found, ["brinjal"], {}, or_raise=True)
    pages: list[FindResult] = []
    cursor = None
    while cursor or not pages:
        pages.append(
            find_with_words(
                found,
                found.vector(custard.id),
                written,
                4,
                text_tower=True,
                only_written=True,
                cursor=cursor,
            )
        )
        cursor = pages[-1].next
    # What the gallery has found by looks is enough for both answers.
    query = found.vector(custard.id)
    both = find_with_words(found, query, written, 4, text_tower=True)
    assert both.total > NAMED
    with monkeypatch.context() as patch:
        patch.setattr(found, "find", None)
        again = find_with_words(
            found, query, written, 4, text_tower=True, only_written=True, looks=both.looks
        )
    assert again == pages[0]
    found.close()
    hits = [hit for page in pages for hit in page.hits]
    assert [len(page.hits) for page in pages] == [4, NAMED - 4]
    assert all(hit.matched for hit in hits)
    assert {page.total for page in pages} == {NAMED}


@pytest.mark.slow
def test_a_filter_and_unwanted_words(opened: deepfood.Gallery) -> None:
    only = opened.search(words="brinjal", where='name = "Brinjal-2"', k=5)
    assert [hit.photo.name for hit in only.hits] == ["Brinjal-2"]
    without = opened.search(words='brinjal -"brinjal 2"', k=3 * EACH)
    assert not any(hit.matched for hit in without.hits if hit.photo.name == "Brinjal-2")
    unlike = opened.search(words="brinjal", not_words="custard", k=EACH)
    assert unlike.hits


@pytest.mark.slow
def test_photos_that_are_called_so_are_in_the_order_of_the_whole_question(
    opened: deepfood.Gallery,
) -> None:
    """One of them is unwanted: those that look like it come last."""
    unlike = opened.search(words="brinjal", k=1).hits[0].photo.id
    found = opened.search(words="brinjal", not_id=unlike, k=3 * EACH).hits
    called = [hit.score for hit in found if hit.matched]
    assert len(called) == NAMED - 1
    assert called == sorted(called, reverse=True)
    plain = [hit.photo.id for hit in opened.search(words="brinjal", k=3 * EACH).hits if hit.matched]
    assert [hit.photo.id for hit in found if hit.matched] != [one for one in plain if one != unlike]


@pytest.mark.slow
def test_a_photo_and_words(opened: deepfood.Gallery) -> None:
    custard = opened.search(words="custard", k=1).hits[0].photo
    mixed = opened.search(id=custard.id, words="brinjal", k=9)
    assert any(hit.matched for hit in mixed.hits)
    assert custard.id not in [hit.photo.id for hit in mixed.hits]
    assert UNUSED not in mixed.notes
    assert UNUSED in opened.search(id=custard.id, words="bicycle").notes


@pytest.mark.slow
def test_the_api_the_client_and_the_command(gallery: Path) -> None:
    with serving_here(gallery) as url, Client(url) as client:
        found = client.search(words="aubergine", k=3)
        assert found.hits[0].matched[0].field == "also"
        raw = httpx.post(f"{url}/api/v1/search", json={"words": "bicycle"}, timeout=300).json()
        assert (raw["verdict"], raw["hits"]) == ("none", [])
        for words in ("-soup", "!!!", "\u202e", "a " * 10_000):
            refused = httpx.post(f"{url}/api/v1/search", json={"words": words}, timeout=300)
            assert refused.status_code == 422, words
    done = subprocess.run(
        [sys.executable, "-m", "deepfood", "search", str(gallery), "--words", "aubergine"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.startswith("found what the words name\n")
    assert "also: aubergine" in done.stdout


@given(st.lists(st.integers(0, 20), unique=True), st.lists(st.integers(0, 20), unique=True))
def test_fusing_keeps_every_photo_once_and_agreement_first(
    written: list[int], looks: list[int]
) -> None:
    fused = fuse([str(one) for one in written], [str(one) for one in looks])
    assert sorted(fused) == sorted({str(one) for one in [*written, *looks]})
    if written and looks and written[0] == looks[0]:
        assert fused[0] == str(written[0])
    # One that both lists rank above another is above it in the end.
    for before, after in itertools.pairwise(written):
        if {before, after} <= set(looks) and looks.index(before) < looks.index(after):
            assert fused.index(str(before)) < fused.index(str(after))


CURVE = Logistic(slopes=(10.0,), offset=-5.0)
CALIBRATION = WordCalibration(hit=CURVE, in_gallery=CURVE, labels=5, ece=0, auroc=1)


def seen(score: float) -> Hit:
    return Hit(Photo("0" * 64, "a.jpg", None, None, "image/jpeg", 1, 1, 1, 1), score)


def test_a_photo_in_both_lists_has_both_chances() -> None:
    looks = {"looks": seen(0.7), "both": seen(0.7), "hardly": seen(0.1)}
    written = {"both": 0.8, "called": 0.95}
    sure = probabilities(written, looks, CALIBRATION)
    of_looks = float(CURVE([0.7]))
    assert sure.keys() == looks.keys() | written.keys()
    assert sure["looks"] == pytest.approx(of_looks)
    assert sure["both"] == pytest.approx(1 - (1 - of_looks) * (1 - 0.8))
    assert sure["called"] == pytest.approx(0.95)
    assert sure["hardly"] == pytest.approx(float(CURVE([0.1])))


@given(
    st.dictionaries(st.integers(0, 9), st.floats(0, 1)),
    st.dictionaries(st.integers(0, 9), st.floats(-1, 1)),
)
def test_what_is_written_makes_no_photo_less_likely(
    written: dict[int, float], looks: dict[int, float]
) -> None:
    texts = {str(one): sure for one, sure in written.items()}
    hits = {str(one): seen(score) for one, score in looks.items()}
    both, alone = probabilities(texts, hits, CALIBRATION), probabilities({}, hits, CALIBRATION)
    assert all(0 <= sure <= 1 for sure in both.values())
    assert all(both[one] >= alone[one] - 1e-9 for one in hits)
    assert all(both[one] >= sure - 1e-9 for one, sure in texts.items())


def test_what_has_more_of_the_words_is_likelier() -> None:
    def found(name: str, words: str) -> float:
        query = parse_words(words)
        texts = texts_of(name, None, "", {})
        match = match_of(query, texts, frozenset(query.wanted))
        assert match is not None
        hit = WrittenHit(seen(0).photo, 1.0, match.matched)
        (sure,) = Written(query, WrittenResult([hit])).probabilities.values()
        return sure

    names = ("mint tea leaves", "mint tea leafs", "mint tea", "mint")
    sure = [found(name, "mint tea leaves") for name in names]
    assert sure == sorted(sure, reverse=True)
    assert sure[0] == WRITTEN_PROBABILITY[Level.WHOLE]
    assert sure[2:] == pytest.approx([0.6, 0.3])


@pytest.mark.parametrize(
    ("words", "name", "verdict"),
    [
        ("mint leaves", "Mint leaves, fresh", "match"),
        ("brinj", "Brinjal", "match"),
        ("drum", "Drumstick", "none"),  # less than half of it
        ("rinjal", "Brinjal", "maybe"),
        ("bus", "Robusta", "none"),
        ("brinjel", "Brinjal", "maybe"),
        ("grinjal", "Brinjal", "none"),  # its first letter is another
        ("mint leaves tea", "Mint leaves", "maybe"),
        ("light bulb", "Bulb onion", "none"),
    ],
)
def test_how_much_of_the_words_must_be_there(words: str, name: str, verdict: str) -> None:
    query = parse_words(words)
    match = match_of(query, texts_of(name, None, "", {}), frozenset(query.forgivable))
    assert match is not None, "it is found, whatever is said of it"
    hit = WrittenHit(seen(0).photo, 1.0, match.matched)
    assert Written(query, WrittenResult([hit])).verdict == verdict
    assert Written(query, WrittenResult([])).verdict == "none"


@pytest.mark.slow
def test_words_weigh_beside_a_photo(opened: deepfood.Gallery) -> None:
    """Without a text tower too: the photos that are called so count by the weight of the words."""
    custard = opened.search(words="custard", k=1).hits[0].photo
    looks = opened.search(words="brinjal", k=1).hits[0].photo.id

    def score(weight: float) -> float:
        found = opened.search(id=custard.id, words=deepfood.Weighted("brinjal", weight), k=3 * EACH)
        return next(hit.score for hit in found.hits if hit.photo.id == looks)

    assert score(0.25) < score(1) < score(4)
    plain = opened.search(id=custard.id, words="brinjal", k=3 * EACH)
    assert score(1) == next(hit.score for hit in plain.hits if hit.photo.id == looks)


@pytest.mark.slow
def test_a_varied_answer_begins_with_what_is_written_and_has_one_page(
    opened: deepfood.Gallery, monkeypatch: pytest.MonkeyPatch
) -> None:
    varied = opened.search(words="brinjal", k=5, diversity=0.5)
    assert all(hit.matched for hit in varied.hits[:NAMED])
    assert varied.next is None
    first = opened.search(words="brinjal", k=5)
    with pytest.raises(QueryError, match="a varied answer has no further pages: ask for a larger"):
        opened.search(words="brinjal", k=5, diversity=0.5, cursor=first.next)
    monkeypatch.setattr("deepfood.serve.worded.POOL", 7)  # of many photos only so many are ranked
    pages = list(opened.pages(words="brinjal", k=5))
    last = pages[-1]
    assert last.next is None
    assert end_note(sum(len(page.hits) for page in pages)) in last.notes
