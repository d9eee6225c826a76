"""Words that nobody should send, by the API, its forms, suggestions and the command.

Asked of a gallery whose Model takes words, of one with names whose Model does not, and of one
without either. Each is answered, or refused in one line that says why.
"""

import csv
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from held import held_server

from live import deepfood_here, one_line, run_deepfood
from plates import write_photos, write_tiny_model
from text_models import build_colour_gallery

pytestmark = pytest.mark.slow

#: The words, and what a gallery whose Model takes none says where it refuses them.
ODD: list[tuple[str, str | None]] = [
    ("NEAR(a b, 3)", None),
    ("name : tart OR *", None),
    ('"', "there is no word in"),
    ('""" tart', None),
    ("{name} : ^tart*", None),
    ('tart" AND 1 == 1 OR "', None),
    ("'; DROP TABLE written; --", None),
    ("tart AND NOT (", None),
    ("a " * 10_000, "the words have 20,000 characters, and may have 1,000"),
    ("a b " * 200, None),
    (" ".join(f"w{number}" for number in range(200)), "words at once: search for 32 at most"),
    ("a", None),
    ("é", None),
    ("塩", None),
    ("!?.,;:-_()[]{}", "there is no word in"),
    ("\u2014\u2026", "there is no word in"),
    ("-tart", "says only what is unwanted"),
    ("\x00", "there is no word in"),
    ("tart\x00cake", None),
    ("\u202e\u2066", "there is no word in"),
    ("tar\u202et \u2067cake", None),
    ("\u200b\ufeff", "there is no word in"),
    ("ᚠᚢᚦᚨᚱᚲ", None),
    ("ᏣᎳᎩ ᎦᏬᏂᎯᏍᏗ", None),
    ("བོད་སྐད", None),
    ("\U00012000\U00012001", None),
    ("\ue000\U0010ffff", "there is no word in"),
    ("👩\u200d🍳", "there is no word in"),
    ("x\u0301" * 300, None),
]
KINDS = ("colours", "named", "nameless")


@dataclass(frozen=True)
class Place:
    kind: str
    folder: Path
    url: str

    @property
    def takes_words(self) -> bool:
        return self.kind == "colours"


@pytest.fixture(scope="module", params=KINDS)
def place(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Place]:
    root = tmp_path_factory.mktemp(request.param)
    if request.param == "colours":
        gallery = build_colour_gallery(root)
    else:
        write_tiny_model(root / "model")
        photos = write_photos(root / "photos", 6)
        if request.param == "named":
            with (photos / "photos.csv").open("w", encoding="utf-8", newline="") as file:
                rows = csv.writer(file)
                rows.writerow(["photo", "label", "name"])
                for number, photo in enumerate(sorted(photos.glob("*.jpg"))):
                    rows.writerow([photo.name, "tarts", f"Crème tart {number} 麻婆豆腐"])
        gallery = root / "gallery"
        run_deepfood("build", photos, "--out", gallery, "--model", root / "model")
    with held_server(gallery) as (port, _):
        yield Place(request.param, gallery, f"http://127.0.0.1:{port}")


def ask(place: Place, content: bytes | str) -> httpx.Response:
    headers = {"content-type": "application/json"}
    return httpx.post(f"{place.url}/api/v1/search", content=content, headers=headers, timeout=300)


def refused(answer: httpx.Response) -> str:
    """The one line that says why."""
    assert answer.status_code == 422, answer.text
    detail = str(answer.json()["detail"])
    assert "\n" not in detail
    assert len(detail) < 300
    return detail


@pytest.mark.parametrize(("words", "why"), ODD, ids=range(len(ODD)))
def test_odd_words_are_plain_words_or_refused(place: Place, words: str, why: str | None) -> None:
    for question in ({"words": words}, {"words": "tart", "not_words": words}):
        answer = ask(place, json.dumps(question))
        if why is None or place.takes_words:
            assert answer.status_code == 200, (question, answer.text)
        else:
            assert why in refused(answer)
    form = httpx.post(f"{place.url}/api/v1/search", data={"words": words}, timeout=300)
    assert form.status_code == ask(place, json.dumps({"words": words})).status_code
    suggested = httpx.get(f"{place.url}/api/v1/suggest", params={"q": words[:900]})
    assert suggested.status_code == 200, suggested.text


@pytest.mark.parametrize(("words", "why"), ODD, ids=range(len(ODD)))
def test_the_command_says_so_too(place: Place, words: str, why: str | None) -> None:
    if "\x00" in words:
        return  # no argument of a program has one
    asked: tuple[object, ...] = ("search", place.folder, f"--words={words}", "--json")
    done = deepfood_here(*asked)
    if why is None or place.takes_words:
        assert done.returncode == 0, done.stderr
        assert "hits" in json.loads(done.stdout)
    else:
        assert why in one_line(done)


def test_half_of_a_surrogate_pair_is_no_text(place: Place) -> None:
    for body in (
        rb'{"words": "\ud800"}',
        rb'{"words": "tart \udfff"}',
        rb'{"words": "tart", "not_words": "\udc00\ud800"}',
        rb'{"words": [{"text": "\ud800", "weight": 2}]}',
    ):
        refused(ask(place, body))
    pair = ask(place, rb'{"words": "\ud83c\udf70 tart"}')
    assert pair.status_code == 200
    form = httpx.post(
        f"{place.url}/api/v1/search",
        content="words=%ED%A0%80+tart",  # as UTF-8 would have it, which is no UTF-8
        headers={"content-type": "application/x-www-form-urlencoded"},
    )
    assert form.status_code in (200, 422)
    assert "Unicode" in one_line(deepfood_here("search", place.folder, "--words", "tart \udce9"))


@pytest.mark.parametrize(
    "words", ["", " ", "\t\n", "\u3000", None, 7, True, {}, [[]], ["tart", None], {"text": ["x"]}]
)
def test_what_is_no_text(place: Place, words: Any) -> None:
    refused(ask(place, json.dumps({"words": words})))


def test_a_gallery_without_names_has_nothing_that_is_called_so(place: Place) -> None:
    if place.kind != "nameless":
        return
    found = ask(place, '{"words": "tart"}').json()
    assert (found["verdict"], found["hits"], found["next"], found["total"]) == ("none", [], None, 0)
    done = deepfood_here("search", place.folder, "--words", "tart")
    assert done.returncode == 0
    assert done.stdout.startswith("nothing in this gallery is what the words name\n0 of 0 photos")
    photo = httpx.get(f"{place.url}/api/v1/samples", params={"k": 1}).json()[0]["id"]
    with_photo = ask(place, json.dumps({"id": photo, "words": "tart"})).json()
    assert len(with_photo["hits"]) == 5
    assert [note["code"] for note in with_photo["notes"]] == ["words_unused"]
