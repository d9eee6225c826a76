"""Searches with words: by command, over HTTP and by the client, with a Model that knows colours."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

import deepfood
from deepfood.errors import QueryError
from deepfood_client import Client
from live import fails
from served import serving_here
from text_models import COLOURS, build_colour_gallery, photo_of

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def gallery(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_colour_gallery(tmp_path_factory.mktemp("colours"))


@pytest.fixture(scope="module")
def url(gallery: Path) -> Iterator[str]:
    with serving_here(gallery) as url:
        yield url


def file_of(colour: str) -> str:
    return f"{list(COLOURS).index(colour)}.png"


def ask(url: str, **question: Any) -> httpx.Response:
    return httpx.post(f"{url}/api/v1/search", json=question, timeout=300)


@pytest.mark.parametrize("colour", COLOURS)
def test_the_photo_that_the_words_name_is_first(url: str, gallery: Path, colour: str) -> None:
    first = ask(url, words=f"{colour}", k=1).json()["hits"][0]
    with deepfood.open_gallery(gallery) as opened:
        assert opened.photo(first["id"]).file == file_of(colour)
        assert opened.search(words=colour, k=1).hits[0].score == pytest.approx(first["score"])


def test_several_words_photos_and_unwanted_words_together(gallery: Path) -> None:
    with deepfood.open_gallery(gallery) as opened:
        both = opened.search(words=["red", "green"], k=3).hits  # added, light is yellow
        assert both[0].photo.file == file_of("yellow")
        mixed = opened.search(photo_of("red"), words="blue").hits
        assert {hit.photo.file for hit in mixed[:3]} >= {file_of("red"), file_of("blue")}
        without = opened.search(words="yellow", not_words="green").hits
        assert without[0].photo.file in (file_of("yellow"), file_of("red"))
        assert without[-1].photo.file != file_of("red")


def test_a_form_and_the_client_ask_the_same(url: str) -> None:
    wanted = ask(url, words=["red", "white"], not_words="blue").json()
    form = [("words", "red"), ("words", "white"), ("not_words", "blue")]
    sent = httpx.post(
        f"{url}/api/v1/search",
        content="&".join(f"{name}={value}" for name, value in form),
        headers={"content-type": "application/x-www-form-urlencoded"},
        timeout=300,
    )
    assert sent.json() == wanted
    with Client(url) as client:
        found = client.search(words=["red", "white"], not_words="blue")
    assert [hit.id for hit in found.hits] == [hit["id"] for hit in wanted["hits"]]


@pytest.mark.parametrize(
    ("question", "why"),
    [
        ({"words": ""}, "`words`"),
        ({"words": "  "}, "`words`"),
        ({"words": 7}, "`words`"),
        ({"not_words": "red"}, "give `photo`, `id` or `words`"),
        ({"words": ["red"] * 9}, "9 photos, ids and words: ask with 8 at most"),
        ({"words": "red", "box": [0, 0, 0.5, 1]}, "a box is a part of one photo"),
        ({"words": "a" * 100_001}, "`words`"),
        ({"word": "red"}, "do you mean `words`"),
    ],
)
def test_words_that_cannot_be_asked_with(url: str, question: dict[str, Any], why: str) -> None:
    answer = ask(url, **question)
    assert answer.status_code == 422
    assert why in answer.json()["detail"]


def ask_label(url: str, **question: Any) -> httpx.Response:
    return httpx.post(f"{url}/api/v1/label", json=question, timeout=300)


def test_a_label_is_guessed_from_names(url: str) -> None:
    with Client(url) as client:
        answer = client.guess_label(photo_of("green"), names=["red", "green"], template="{}")
    assert [one.label for one in answer.guesses] == ["green", "red"]
    assert answer.guesses[0].score > answer.guesses[1].score
    assert (answer.verdict, answer.calibration) == (None, None)  # no photo has a label
    assert "the gallery has 0" in answer.notes[0].message
    assert (answer.notes[0].photos, answer.notes[0].needed) == (0, 50)
    form = httpx.post(
        f"{url}/api/v1/label",
        files={"photo": photo_of("green")},
        data={"names": "red\ngreen\n", "template": "{}"},
        timeout=300,
    )
    assert form.json() == answer.model_dump(mode="json")


@pytest.mark.parametrize(
    ("question", "why"),
    [
        ({"names": ["red", "green"]}, "give either `photo` or `id`"),
        ({"id": "0" * 20}, "give `names`"),
        ({"id": "0" * 20, "names": ["red"]}, "`names`: List should have at least 2 items"),
        ({"id": "0" * 20, "names": ["red"] * 301}, "`names`: List should have at most 300 items"),
        ({"id": "0" * 20, "names": ["red", "Red"]}, "the name 'Red' is given twice"),
        ({"id": "0" * 20, "names": ["red", ""]}, "name 2 is empty"),
        ({"id": "0" * 20, "names": ["red", "blue"], "template": "x"}, "it needs {} once"),
        ({"id": "0" * 20, "names": ["red", 7]}, "`names.1` should be a valid string"),
    ],
)
def test_labels_that_cannot_be_guessed(url: str, question: dict[str, Any], why: str) -> None:
    answer = ask_label(url, **question)
    assert answer.status_code == 422
    assert why in answer.json()["detail"]


def test_a_photo_that_is_not_there_has_no_label(url: str) -> None:
    assert ask_label(url, id="0" * 20, names=["red", "green"]).status_code == 404


def test_a_model_without_a_text_tower_guesses_no_label(server_url: str) -> None:
    with Client(server_url) as client, pytest.raises(QueryError, match="has no text tower"):
        client.guess_label(photo_of("red"), names=["red", "green"])


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ((), "give the names to choose from with --names"),
        (("--names", "nowhere.txt"), "there is no nowhere.txt"),
        (("--names", "ONE"), "1 name: give 2 to 2,000 to choose from"),
        (("photo.png", "--names", "NAMES", "--out", "x.csv"), "--out lists photos of the gallery"),
    ],
)
def test_one_line_says_what_a_label_lacks(
    gallery: Path, tmp_path: Path, arguments: tuple[str, ...], why: str
) -> None:
    texts = {"NAMES": "red\ngreen\n", "ONE": "red\n"}
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
    written = [tmp_path / one if one in texts else one for one in arguments]
    assert why in fails("label", gallery, *written)


def test_half_a_surrogate_pair(url: str) -> None:
    answer = httpx.post(
        f"{url}/api/v1/search",
        content=rb'{"words": "\ud800"}',
        headers={"content-type": "application/json"},
        timeout=300,
    )
    assert answer.status_code == 422


def test_the_command(gallery: Path) -> None:
    done = subprocess.run(
        [
            *(sys.executable, "-m", "deepfood", "search", str(gallery), "-k", "2", "--json"),
            *("--words", "red", "--not-words", "blue"),
        ],
        capture_output=True,
        check=True,
    )
    hits = json.loads(done.stdout)["hits"]
    assert hits[0]["file"] == file_of("red")
