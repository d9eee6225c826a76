"""Problems say what kind they are, where that is explained, and which field is at fault."""

import re
from pathlib import Path
from typing import Any

import httpx
import pytest
from test_api import problem

from deepfood.serve.edge.problem import DOCS, KINDS
from samples import photo

PAGE = Path(__file__).parents[2] / "docs" / "problems.md"


@pytest.fixture(scope="module")
def client(server_url: str) -> Any:
    with httpx.Client(base_url=server_url, timeout=300) as client:
        yield client


def test_each_kind_is_explained() -> None:
    text = PAGE.read_text(encoding="utf-8")
    explained = re.findall(r"^## (\S+)\n\n(\d+)\. ", text, re.MULTILINE)
    assert {int(status): kind for kind, status in explained} == KINDS
    assert DOCS.rpartition("/")[2] == "problems.html"


@pytest.mark.parametrize(
    ("address", "field", "said"),
    [
        ("photos?limt=3", "limt", "do you mean `limit`?"),
        ("photos?limit=3&limit=4", "limit", "`limit` was given 2 times: give one"),
        ("photos?limit=many", "limit", "`limit` should be a valid integer"),
        ("photos?sort=season", "sort", "newest, name"),
        ("photos?cursor=x", "cursor", "start with the first page"),
        ("photos?where=x%20%3D", "where", "wrong at character"),
        ("photos?words=%21", "words", "no word"),
        ("facets?label=a&label=b&k=1", "k", "there is no field `k`"),
        ("labels?begins=a", "begins", "`cursor`, `limit`, `q`"),
        ("gallery?x=1", "x", "this address takes none"),
        ("samples?k=0", "k", "greater than or equal to 1"),
        ("suggest?q=a&limit=1000", "limit", "less than or equal to"),
    ],
)
def test_what_is_wrong_in_an_address(
    client: httpx.Client, address: str, field: str, said: str
) -> None:
    answer = client.get(f"/api/v1/{address}")
    assert said in problem(answer, 422)
    assert answer.json()["field"] == field


def test_pages_and_pictures_take_any_query(client: httpx.Client) -> None:
    """The page keeps its state there, and others put marks into links."""
    one = client.get("/api/v1/samples?k=1").json()[0]
    for address in ("/?q=x", f"{one['url']}?v=2", f"{one['thumbnail_url']}?v=2"):
        assert client.get(address).status_code == 200


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"words": "a", "kk": 3}, "kk"),
        ({"words": "a", "k": "many"}, "k"),
        ({"words": "a", "k": 0}, "k"),
        ({"words": "a", "where": "price <"}, "where"),
        ({"words": "a", "cursor": "x"}, "cursor"),
        ({"words": "a", "box": [0, 0, 1, 1]}, "box"),
        ({"id": "0" * 20, "box": [0.5, 0, 1, 1]}, "box"),
        ({"words": "a", "diversity": 2}, "diversity"),
        ({"url": "https://food.example/a.jpg"}, "url"),
        ({"photo": "data:image/png;base64,AA=="}, "photo"),
        ({}, "photo"),
        ([], "body"),
    ],
)
def test_what_is_wrong_in_a_body(client: httpx.Client, body: Any, field: str) -> None:
    answer = client.post("/api/v1/search", json=body)
    if answer.status_code != 415:  # of bytes that are no photo
        problem(answer, 422)
        assert answer.json()["field"] == field
    asked = client.post("/api/v1/search?k=3", json={"words": "a"})
    assert "this address takes none" in problem(asked, 422)


def test_what_is_wrong_in_a_form(client: httpx.Client) -> None:
    data = photo(640, 480)
    files = {"photo": data}
    for form, field in (
        ({"k": "many"}, "k"),
        ({"k": ["1", "2"]}, "k"),
        ({"kk": "1"}, "kk"),
        ({"box": "1,2"}, "box"),
    ):
        answer = client.post("/api/v1/search:upload", files=files, data=form)
        problem(answer, 422)
        assert answer.json()["field"] == field
    broken = client.post("/api/v1/search:upload", files={"photo": data[: len(data) // 2]})
    problem(broken, 422)
    assert broken.json()["field"] == "photo"
