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
from deepfood.errors import QueryError
from deepfood.serve.worded import UNUSED, fuse
from deepfood_client import Client
from live import run_deepfood, serving
from plates import write_dishes, write_tiny_model

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
def test_a_filter_and_unwanted_words(opened: deepfood.Gallery) -> None:
    only = opened.search(words="brinjal", where='name = "Brinjal-2"', k=5)
    assert [hit.photo.name for hit in only.hits] == ["Brinjal-2"]
    without = opened.search(words='brinjal -"brinjal 2"', k=3 * EACH)
    assert not any(hit.matched for hit in without.hits if hit.photo.name == "Brinjal-2")
    unlike = opened.search(words="brinjal", not_words="custard", k=EACH)
    assert unlike.hits


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
    with serving(gallery) as server, Client(server.url) as client:
        found = client.search(words="aubergine", k=3)
        assert found.hits[0].matched[0].field == "also"
        raw = httpx.post(
            f"{server.url}/api/v1/search", json={"words": "bicycle"}, timeout=60
        ).json()
        assert (raw["verdict"], raw["hits"]) == ("none", [])
        for words in ("-soup", "!!!", "\u202e", "a " * 10_000):
            refused = httpx.post(f"{server.url}/api/v1/search", json={"words": words}, timeout=60)
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
