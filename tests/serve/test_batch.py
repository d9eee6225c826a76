"""Several searches in one request, and photos that are the whole body."""

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from held import held_server
from test_api import problem

from deepfood_client import AsyncClient, Client
from live import SmallGallery
from samples import photo as made_photo


@pytest.fixture(scope="module")
def client(server_url: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server_url, timeout=300) as client:
        yield client


@pytest.fixture(scope="module")
def ids(client: httpx.Client) -> list[str]:
    return [one["id"] for one in client.get("/api/v1/samples?k=24&seed=1").json()]


def ask(client: httpx.Client, questions: list[Any]) -> httpx.Response:
    return client.post("/api/v1/search:batch", json={"questions": questions})


def test_each_question_has_the_answer_that_it_has_alone(
    client: httpx.Client, ids: list[str]
) -> None:
    questions: list[Any] = [{"id": one, "k": 3} for one in ids] + [{"words": "curry", "k": 2}]
    answers = ask(client, questions).json()["answers"]
    assert [one["problem"] for one in answers] == [None] * len(questions)
    alone = [client.post("/api/v1/search", json=one).json() for one in questions]
    assert [one["result"] for one in answers] == alone


def test_what_is_wrong_in_one_does_not_stop_the_others(
    client: httpx.Client, ids: list[str]
) -> None:
    wrong: list[Any] = [
        {"id": "0" * 20},
        {"id": ids[0], "where": "price <"},
        {"id": ids[0], "kk": 3},
        "no question",
        {},
        {"photo": "data:image/png;base64,AA=="},
    ]
    answers = ask(client, [{"id": ids[0]}, *wrong, {"id": ids[1]}]).json()["answers"]
    assert [one["result"] is None for one in answers] == [False, *[True] * len(wrong), False]
    problems = [one["problem"] for one in answers[1:-1]]
    assert [one["status"] for one in problems] == [404, 422, 422, 422, 422, 415]
    assert [one["field"] for one in problems] == [None, "where", "kk", "body", "photo", None]
    assert problems[1]["position"] == 8


def test_batches_that_are_none(client: httpx.Client, ids: list[str]) -> None:
    for questions in ([], [{"id": ids[0]}] * 65):
        assert "`questions`" in problem(ask(client, questions), 422)
    problem(client.post("/api/v1/search:batch", json=[]), 422)
    problem(client.post("/api/v1/search:batch", content=b"x"), 415)


def test_a_batch_is_refused_as_a_whole_where_the_queue_is_full(tiny_gallery: Path) -> None:
    with held_server(tiny_gallery, max_queued=0) as (port, service):
        url = f"http://127.0.0.1:{port}/api/v1"
        photo = httpx.get(f"{url}/samples?k=1", timeout=300).json()[0]["id"]

        def answer(count: int) -> httpx.Response:
            body = {"questions": [{"id": photo}] * count}
            return httpx.post(f"{url}/search:batch", json=body, timeout=300)

        service.gate.clear()  # whoever has a thread keeps it, and none may wait for one
        refused = answer(64)
        assert refused.status_code == 503
        assert refused.headers["retry-after"]
        service.gate.set()
        while service.ended < service.begun:
            time.sleep(0.01)
        assert [one["problem"] for one in answer(1).json()["answers"]] == [None]


def test_the_clients_ask_several_questions(
    server_url: str, small_gallery: SmallGallery, ids: list[str]
) -> None:
    path = small_gallery.photos[9]

    async def asked() -> Any:
        async with AsyncClient(server_url) as food:
            return await food.search_batch([{"photo": path, "k": 2}])

    with Client(server_url) as food:
        found = food.search_batch([{"photo": path, "k": 2}, {"id": ids[0]}, {"id": "none"}])
        assert found.answers[0].result == food.search(path, k=2)
        assert found.answers[1].result == food.search(id=ids[0])
        assert found.answers[2].problem is not None
        assert found.answers[2].problem.status == 404
        assert asyncio.run(asked()).answers[0] == found.answers[0]


def test_a_photo_can_be_the_whole_body(client: httpx.Client, small_gallery: SmallGallery) -> None:
    data = small_gallery.photos[9].read_bytes()
    for kind in ("image/jpeg", "image/png", "IMAGE/JPEG; x=y"):
        answer = client.post(
            "/api/v1/search",
            content=data,
            headers={"content-type": kind},
            params={"k": 2, "where": 'label = "Curries"', "box": "0,0,1,1"},
        )
        assert answer.status_code == 200, answer.text
        assert [hit["label"] for hit in answer.json()["hits"]] == ["Curries"] * 2
    sent: dict[str, Any] = {"content": data, "headers": {"content-type": "image/jpeg"}}
    for address, field in (
        ("?kk=2", "kk"),
        ("?k=2&k=3", "k"),
        ("?k=a", "k"),
        ("?photo=x", "photo"),
    ):
        answer = client.post(f"/api/v1/search{address}", **sent)
        problem(answer, 422)
        assert answer.json()["field"] == field
    empty = client.post("/api/v1/search", content=b"", headers={"content-type": "image/jpeg"})
    assert empty.status_code in (415, 422)
    broken = made_photo()[:200]
    answer = client.post("/api/v1/search", content=broken, headers={"content-type": "image/jpeg"})
    assert answer.status_code in (415, 422)
