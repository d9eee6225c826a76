"""Photos, labels and facets listed by a real server: by hand, by the clients, and from Python."""

import asyncio
import shutil
import sqlite3
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from test_api import problem

import deepfood
from deepfood.errors import QueryError
from deepfood.gallery.declared import Definition
from deepfood.local import LocalWriter
from deepfood_client import AsyncClient, Client, PhotoPage
from live import DISHES, SmallGallery
from served import serving_here

#: Each third photo has a price.
PRICES = range(0, len(DISHES), 3)


@pytest.fixture(scope="module")
def folder(small_gallery: SmallGallery, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("listing") / "gallery"
    shutil.copytree(small_gallery.folder, folder)
    with LocalWriter.open(folder) as writer:
        writer.declare({"price": Definition("number"), "vegan": Definition("boolean")})
        for number in PRICES:
            file = small_gallery.photos[number].name
            writer.update(file, attributes={"price": number, "vegan": number > 9})
    return folder


@pytest.fixture(scope="module")
def url(folder: Path) -> Iterator[str]:
    with serving_here(folder) as url:
        yield url


@pytest.fixture(scope="module")
def client(url: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=url, timeout=300) as client:
        yield client


def test_photos_are_listed_by_price_page_by_page(client: httpx.Client) -> None:
    asked: dict[str, str | int] = {"sort": "-price", "limit": 10}
    pages = [client.get("/api/v1/photos", params=asked).json()]
    while pages[-1]["next"]:
        more = {**asked, "cursor": pages[-1]["next"]}
        pages.append(client.get("/api/v1/photos", params=more).json())
    assert [len(page["photos"]) for page in pages] == [10, 10, 4]
    assert {page["total"] for page in pages} == {24}
    shown = [photo for page in pages for photo in page["photos"]]
    assert len({photo["id"] for photo in shown}) == 24
    prices = [photo["attributes"].get("price") for photo in shown]
    assert prices == [*reversed(PRICES), *[None] * (24 - len(PRICES))]
    assert client.get(shown[0]["thumbnail_url"]).status_code == 200


def test_a_filter_words_and_labels_narrow_what_is_listed(client: httpx.Client) -> None:
    def names(**asked: object) -> list[str]:
        params = {"sort": "name", **asked}
        found = client.get("/api/v1/photos", params=params).json()  # type: ignore[arg-type]
        assert found["total"] == len(found["photos"])
        return [photo["name"] for photo in found["photos"]]

    assert names(label="soups") == ["Tomato soup", "Борщ"]
    assert names(label=["Soups", "Fried"]) == ["<b>Fish & chips</b>", "Tomato soup", "Борщ"]
    assert names(words='"no 15"') == ["Curry no. 15"]
    assert names(where="price < 4") == ["Tomato soup", "Борщ"]
    assert names(where="price < 4", words="tomato", label="Soups") == ["Tomato soup"]
    assert len(names(where="", words="", cursor="")) == 24  # fields of a form left empty


def test_a_page_is_around_a_photo(client: httpx.Client) -> None:
    def listed(**asked: object) -> dict[str, Any]:
        params = {"sort": "name", "limit": 5, **asked}
        return dict(client.get("/api/v1/photos", params=params).json())  # type: ignore[arg-type]

    every = [photo["id"] for photo in listed(limit=100)["photos"]]
    page = listed(around=every[9])
    assert [photo["id"] for photo in page["photos"]] == every[7:12]
    assert (page["start"], page["total"]) == (7, len(every))
    following = listed(around=every[9], cursor=page["next"])  # as clients walk through pages
    assert [photo["id"] for photo in following["photos"]] == every[12:17]
    assert (following["start"], listed(around="")["start"]) == (None, None)
    asked = {"around": every[0], "where": "price > 1000"}
    assert "not in this list" in problem(client.get("/api/v1/photos", params=asked), 422)
    problem(client.get("/api/v1/photos", params={"around": "0" * 20}), 404)


def test_labels_are_listed_with_counts(client: httpx.Client) -> None:
    found = client.get("/api/v1/labels").json()
    counts = Counter(label for _, label in DISHES if label)
    assert {one["label"]: one["count"] for one in found["labels"]} == counts
    assert (found["total"], found["next"]) == (len(counts), None)
    begun = client.get("/api/v1/labels", params={"q": "sim"}).json()
    assert [one["label"] for one in begun["labels"]] == [DISHES[5][1]]
    first = client.get("/api/v1/labels", params={"limit": 3}).json()
    rest = client.get("/api/v1/labels", params={"cursor": first["next"]}).json()
    problem(client.get("/api/v1/labels", params={"q": "s", "cursor": first["next"]}), 422)
    assert first["labels"] + rest["labels"] == found["labels"]


def test_facets_count_what_is_selected(client: httpx.Client) -> None:
    found = client.get("/api/v1/facets", params={"label": "Curries"}).json()
    assert (found["total"], found["counted"], found["notes"]) == (15, 15, [])
    facets = {one["name"]: one for one in found["facets"]}
    assert list(facets) == ["label", "price", "vegan"]
    assert facets["label"]["values"] == [{"value": "Curries", "count": 15}]
    curries = [number for number in PRICES if number >= 9]
    price = facets["price"]
    assert (price["known"], price["unknown"]) == (len(curries), 15 - len(curries))
    assert (price["bins"][0]["low"], price["bins"][-1]["high"]) == (curries[0], curries[-1])
    assert sum(one["count"] for one in price["bins"]) == len(curries)
    assert facets["vegan"]["values"] == [
        {"value": True, "count": len(curries) - 1},
        {"value": False, "count": 1},
    ]


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("photos?sort=vegan", "newest, name, price"),
        ("photos?sort=", "cannot be sorted by"),
        ("photos?limit=0", "greater than or equal to 1"),
        ("photos?limit=501", "less than or equal to 500"),
        ("photos?cursor=made-up", "not a cursor of this service"),
        ("photos?where=price%20%3C", "the filter is wrong at character 8"),
        ("facets?where=prize%20%3C%203", "there is no attribute 'prize'"),
        ("photos?words=!", "no word"),
        ("photos?words=-mint", "only what is unwanted"),
    ],
)
def test_what_cannot_be_listed_is_refused(client: httpx.Client, address: str, said: str) -> None:
    assert said in problem(client.get(f"/api/v1/{address}"), 422)


def test_both_clients_and_python_list_the_same(url: str, folder: Path) -> None:
    async def asked() -> tuple[list[PhotoPage], object, object]:
        async with AsyncClient(url) as food:
            pages = [page async for page in food.photo_pages(sort="name", limit=10)]
            return pages, await food.labels("s"), await food.facets(3, where="price > 3")

    with Client(url) as food, deepfood.open_gallery(folder) as gallery:
        pages = list(food.photo_pages(sort="name", limit=10))
        assert [len(page.photos) for page in pages] == [10, 10, 4]
        others = asyncio.run(asked())
        assert [page.photos for page in others[0]] == [page.photos for page in pages]
        assert others[1:] == (food.labels("s"), food.facets(3, where="price > 3"))
        here = gallery.photos(sort="name", limit=10)
        assert [photo.id for photo, _ in here.photos] == [one.id for one in pages[0].photos]
        following = gallery.photos(sort="name", limit=10, cursor=here.next)
        assert [photo.id for photo, _ in following.photos] == [one.id for one in pages[1].photos]
        label = gallery.labels("sou").labels[0]
        assert (label.label, label.count) == ("Soups", 2)
        counts = gallery.facets(label=["Soups"])
        assert (counts.total, counts.facets[0].known) == (2, 2)
        with pytest.raises(QueryError, match="cannot be sorted by 'prize'"):
            food.photos(sort="prize")
        with pytest.raises(QueryError, match="cannot be sorted by 'prize'"):
            gallery.photos(sort="prize")


def test_an_altered_value_is_not_listed(folder: Path, tmp_path: Path) -> None:
    """The index says 3, and the value, which has a checksum, says otherwise."""
    damaged = tmp_path / "gallery"
    shutil.copytree(folder, damaged)
    catalogue = next(damaged.glob("generation-*/catalogue.sqlite"))
    with sqlite3.connect(catalogue) as db:
        db.execute("UPDATE attribute_keys SET key = 1000.0 WHERE key = 3.0")
    db.close()
    with deepfood.open_gallery(damaged) as gallery:
        with pytest.raises(deepfood.DeepfoodError, match="run deepfood verify"):
            gallery.photos(sort="price")
        assert len(gallery.photos(sort="name").photos) == 24
