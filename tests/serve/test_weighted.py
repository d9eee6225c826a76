"""Weights of photos, ids and words: the same answers on every surface, and what is no weight."""

import asyncio
import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from held import held_server

import deepfood
from deepfood.errors import QueryError
from deepfood_client import AsyncClient, Client, Weighted
from live import fails, run_deepfood
from text_models import COLOURS, build_colour_gallery, photo_of

pytestmark = pytest.mark.slow

#: What each surface says of a weight that is none.
SAID = "give a finite number above 0; what hits should be unlike is given as not_photo, not_id or"


@pytest.fixture(scope="module")
def gallery(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_colour_gallery(tmp_path_factory.mktemp("weights"))


@pytest.fixture(scope="module")
def url(gallery: Path) -> Iterator[str]:
    with held_server(gallery) as (port, _):
        yield f"http://127.0.0.1:{port}"


@pytest.fixture(scope="module")
def ids(gallery: Path) -> dict[str, str]:
    """The id of each colour's photo."""
    with deepfood.open_gallery(gallery) as opened:
        return {colour: opened.search(words=colour, k=1).hits[0].photo.id for colour in COLOURS}


def ask(url: str, question: str | dict[str, Any]) -> httpx.Response:
    content = question if isinstance(question, str) else json.dumps(question)
    headers = {"content-type": "application/json"}
    return httpx.post(f"{url}/api/v1/search", content=content, headers=headers, timeout=300)


def scores(answer: httpx.Response) -> dict[str, float]:
    assert answer.status_code == 200, answer.text
    return {hit["id"]: hit["score"] for hit in answer.json()["hits"]}


def data_url(colour: str) -> str:
    return f"data:image/png;base64,{base64.b64encode(photo_of(colour)).decode()}"


def test_a_weight_of_two_is_the_same_given_twice(url: str, ids: dict[str, str]) -> None:
    for name, one, other in (("words", "red", "green"), ("id", ids["red"], ids["green"])):
        inner = "text" if name == "words" else "id"
        twice = scores(ask(url, {name: [one, one, other]}))
        weighted = scores(ask(url, {name: [{inner: one, "weight": 2}, other]}))
        assert weighted == pytest.approx(twice, abs=1e-6)
        plain = scores(ask(url, {name: [one, other]}))
        assert weighted != pytest.approx(plain, abs=1e-3)
        equal = [{inner: text, "weight": 7} for text in (one, other)]
        assert scores(ask(url, {name: equal})) == pytest.approx(plain, abs=1e-6)


def test_every_surface_takes_every_weight(url: str, gallery: Path, ids: dict[str, str]) -> None:
    wanted = scores(
        ask(
            url,
            {
                "photo": {"photo": data_url("red"), "weight": 3},
                "id": [{"id": ids["white"], "weight": 0.5}],
                "words": {"text": "blue", "weight": 2},
                "not_photo": [{"photo": data_url("yellow"), "weight": 2}],
                "not_id": {"id": ids["black"], "weight": 0.25},
                "not_words": [{"text": "green", "weight": 0.75}],
            },
        )
    )
    question: dict[str, Any] = {
        "photo": Weighted(photo_of("red"), 3),
        "id": Weighted(ids["white"], 0.5),
        "words": [Weighted("blue", 2)],
        "not_photo": [Weighted(photo_of("yellow"), 2)],
        "not_id": Weighted(ids["black"], 0.25),
        "not_words": Weighted("green", 0.75),
    }
    with deepfood.open_gallery(gallery) as opened, Client(url) as client:
        here = {hit.photo.id: hit.score for hit in opened.search(**question).hits}
        there = {hit.id: hit.score for hit in client.search(**question).hits}

    async def search() -> dict[str, float]:
        async with AsyncClient(url) as food:
            return {hit.id: hit.score for hit in (await food.search(**question)).hits}

    awaited = asyncio.run(search())
    for name, colour in (("wanted", "red"), ("unwanted", "yellow")):
        (gallery.parent / f"{name}.png").write_bytes(photo_of(colour))
    said = run_deepfood(
        *("search", gallery, gallery.parent / "wanted.png", "--json"),
        *("--id", ids["white"], "--words", "blue", "--not-words", "green"),
        *("--not-photo", gallery.parent / "unwanted.png", "--not-id", ids["black"]),
        *("--weight", f"{gallery.parent / 'wanted.png'}=3", "--weight", f"{ids['white']}=0.5"),
        *("--weight", "blue=2", "--weight", f"{gallery.parent / 'unwanted.png'}=2"),
        *("--weight", f"{ids['black']}=0.25", "--weight", "green=0.75"),
    )
    printed = {hit["id"]: hit["score"] for hit in json.loads(said)["hits"]}
    for found in (here, there, awaited, printed):
        assert found == pytest.approx(wanted, abs=1e-5)
    plain = scores(
        ask(
            url,
            {
                "photo": data_url("red"),
                "id": ids["white"],
                "words": "blue",
                "not_photo": data_url("yellow"),
                "not_id": ids["black"],
                "not_words": "green",
            },
        )
    )
    assert plain != pytest.approx(wanted, abs=1e-3)


def test_the_more_something_is_unwanted_the_less_it_is_like_the_hits(
    url: str, ids: dict[str, str]
) -> None:
    found = [
        scores(ask(url, {"words": "yellow", "not_words": {"text": "red", "weight": weight}}))
        for weight in (0.5, 1, 2, 4)
    ]
    of_red = [one[ids["red"]] for one in found]
    assert of_red == sorted(of_red, reverse=True)
    assert of_red[-1] < of_red[0] - 0.1


@pytest.mark.parametrize(
    ("weight", "named"),
    [
        ("0", "weight 0.0:"),
        ("-0.0", "weight -0.0:"),
        ("-1", "weight -1.0:"),
        ("NaN", "weight nan:"),
        ("Infinity", "weight inf:"),
        ("1e999", "weight inf:"),
        ("1" * 400, "weight inf:"),
        ('"2"', "weight '2':"),
        ("true", "weight True:"),
        ("[2]", "weight [2]:"),
    ],
)
def test_what_is_no_weight(url: str, ids: dict[str, str], weight: str, named: str) -> None:
    asked = (
        '{"words": {"text": "red", "weight": %s}}',
        '{"words": ["blue", {"text": "red", "weight": %s}]}',
        '{"words": "red", "not_words": {"text": "blue", "weight": %s}}',
        '{"id": {"id": "' + ids["red"] + '", "weight": %s}}',
        '{"words": "red", "not_photo": {"photo": "' + data_url("blue") + '", "weight": %s}}',
        '{"url": {"url": "https://example.org/a.jpg", "weight": %s}}',
    )
    for question in asked:
        answer = ask(url, question % weight)
        assert answer.status_code == 422, question
        detail = answer.json()["detail"]
        assert detail.startswith(named), detail
        assert SAID in detail
        assert "\n" not in detail
    form = httpx.post(
        f"{url}/api/v1/search", data={"words": "red", "weights": f'{{"words": [{weight}]}}'}
    )
    assert form.status_code == 422
    assert SAID in form.json()["detail"]


def test_no_weight_is_one(url: str) -> None:
    plain = ask(url, {"words": "red"}).json()
    for question in (
        '{"words": {"text": "red"}}',
        '{"words": {"text": "red", "weight": null}}',
        '{"words": [{"text": "red", "weight": 1}]}',
    ):
        assert ask(url, question).json() == plain
    for weights in ("{}", '{"words": 1}', '{"words": [1.0]}'):
        form = {"words": "red", "weights": weights}
        assert httpx.post(f"{url}/api/v1/search", data=form).json() == plain


@pytest.mark.parametrize(
    ("question", "why"),
    [
        ({"words": {"weight": 2}}, "give `words.text`"),
        ({"words": ["red", {"weight": 2}]}, "give `words.1.text`"),
        ({"words": {"text": "red", "wieght": 2}}, "there is no field `words.wieght`"),
        ({"words": {"text": " "}}, "`words`"),
        ({"words": {"text": 7}}, "`words` should be a valid string"),
        ({"id": 7}, "`id` should be a valid string or a JSON object or a valid list"),
        ({"words": [{"text": "red", "weight": 2}] * 9}, "9 photos, ids and words"),
        ({"words": "red", "weights": {"words": [2]}}, "there is no field `weights`"),
    ],
)
def test_what_cannot_be_weighed(url: str, question: dict[str, Any], why: str) -> None:
    answer = ask(url, question)
    assert answer.status_code == 422
    assert why in answer.json()["detail"]


@pytest.mark.parametrize(
    ("weights", "why"),
    [
        ("2", "`weights` should be a JSON object"),
        ("[2, 1]", "`weights` should be a JSON object"),
        ("{", "this is not JSON"),
        ('{"words": [2, 1]}', "`weights`: 2 for 1 `words`: give one for each"),
        ('{"words": []}', "`weights`: 0 for 1 `words`: give one for each"),
        ('{"id": [2]}', "`weights`: 1 for 0 `id`: give one for each"),
        ('{"word": [2]}', "do you mean `words`?"),
        ('{"k": [2]}', "there is no field `k`"),
    ],
)
def test_what_a_form_cannot_weigh(url: str, weights: str, why: str) -> None:
    answer = httpx.post(f"{url}/api/v1/search", data={"words": "red", "weights": weights})
    assert answer.status_code == 422
    assert why in answer.json()["detail"]


@pytest.mark.parametrize("weight", [0, -1, float("nan"), float("inf"), True, "2", None, 10**400])
def test_python_refuses_what_is_no_weight(weight: Any) -> None:
    with pytest.raises(QueryError, match="give a finite number above 0"):
        Weighted("mint", weight)


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("--words", "red", "--weight", "red=0"), f"weight 0.0: {SAID}"),
        (("--words", "red", "--weight", "red=-1"), f"weight -1.0: {SAID}"),
        (("--words", "red", "--weight", "red=nan"), f"weight nan: {SAID}"),
        (("--words", "red", "--weight", "red=inf"), f"weight inf: {SAID}"),
        (("--words", "red", "--weight", "red=two"), "give EXAMPLE=NUMBER, such as mint=2"),
        (("--words", "red", "--weight", "red"), "give EXAMPLE=NUMBER, such as mint=2"),
        (("--words", "red", "--weight", "=2"), "give EXAMPLE=NUMBER, such as mint=2"),
        (
            ("--words", "red", "--weight", "blue=2"),
            "no photo, id or words of this search is 'blue'",
        ),
        (
            ("--words", "red", "--not-words", "red", "--weight", "red=2"),
            "2 examples of this search are 'red'",
        ),
        (
            ("--words", "red", "--weight", "red=2", "--weight", "red=3"),
            "--weight red=3: red has a weight already",
        ),
    ],
)
def test_what_a_command_cannot_weigh(gallery: Path, arguments: tuple[str, ...], why: str) -> None:
    assert why in fails("search", gallery, *arguments)


def test_a_command_weighs_words_with_signs_in_them(gallery: Path) -> None:
    found = run_deepfood(
        *("search", gallery, "--words", "red = green", "--words", "blue", "--json"),
        *("--weight", "red = green=2.5"),
    )
    plain = run_deepfood(
        *("search", gallery, "--words", "red = green", "--words", "blue", "--json")
    )
    assert json.loads(found)["hits"] != json.loads(plain)["hits"]


def test_the_description_of_the_api_refers_to_nothing_outside(url: str) -> None:
    text = httpx.get(f"{url}/openapi.json").text
    assert "exclusiveMinimum" in text
    assert "#/$defs/" not in text
