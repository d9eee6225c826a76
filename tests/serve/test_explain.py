"""`POST /api/v1/explain` of a real server: what it answers, and what it refuses."""

import base64
import concurrent.futures
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from live import SmallGallery, run_deepfood
from plates import write_photos, write_tiny_model
from samples import not_photos
from served import serving_here

ADDRESS = "/api/v1/explain"


@pytest.fixture(scope="module")
def client(server_url: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server_url, timeout=300) as client:
        yield client


@pytest.fixture(scope="module")
def photo(small_gallery: SmallGallery) -> bytes:
    return small_gallery.photos[9].read_bytes()


@pytest.fixture(scope="module")
def hits(client: httpx.Client, photo: bytes) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = client.post("/api/v1/search", files={"photo": photo}).json()[
        "hits"
    ]
    return found


def data_url(photo: bytes) -> str:
    return f"data:image/jpeg;base64,{base64.b64encode(photo).decode()}"


def problem(answer: httpx.Response, status: int) -> str:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    return str(answer.json()["detail"])


def test_both_photos_come_back_under_their_heat(
    client: httpx.Client, photo: bytes, hits: list[dict[str, Any]]
) -> None:
    answer = client.post(ADDRESS, files={"photo": photo}, data={"hit": hits[1]["id"]}).json()
    # The search may compute in bfloat16, and heat maps are always float32.
    assert answer["score"] == pytest.approx(hits[1]["score"], abs=0.02)
    strongest = 0.0
    for side in (answer["query"], answer["hit"]):
        cells = np.array(side["contributions"])
        assert cells.shape == (7, 7)
        assert cells.sum() == pytest.approx(answer["score"], abs=1e-4)
        strongest = max(strongest, float(np.abs(cells).max()))
        assert side["crop"] == 0.875
        # 640 x 480: the middle square, 420 pixels a side.
        assert side["seen"] == {"x": 110 / 640, "y": 30 / 480, "width": 420 / 640, "height": 0.875}
        head, _, body = side["picture"].partition(",")
        assert head == "data:image/jpeg;base64"
        with Image.open(io.BytesIO(base64.b64decode(body))) as image:
            assert image.format == "JPEG"
            assert image.size == (640, 480)
    assert answer["strongest"] == pytest.approx(strongest, abs=1e-6)


def test_every_form_of_one_question_gives_the_same_answer(
    client: httpx.Client, photo: bytes, hits: list[dict[str, Any]]
) -> None:
    hit, url = hits[2]["id"], data_url(photo)
    assert hits[0]["score"] == pytest.approx(1, abs=1e-5)  # the photo itself
    answers = [
        client.post(ADDRESS, files={"photo": photo}, data={"hit": hit}),
        client.post(ADDRESS, files={"photo": (None, url), "hit": (None, hit)}),
        client.post(ADDRESS, data={"photo": url, "hit": hit}),
        client.post(ADDRESS, json={"photo": url, "hit": hit}),
        client.post(ADDRESS, data={"id": hits[0]["id"], "hit": hit}),
        client.post(ADDRESS, json={"id": hits[0]["id"], "hit": hit}),
    ]
    assert [answer.status_code for answer in answers] == [200] * len(answers)
    assert len({json.dumps(answer.json()) for answer in answers}) == 1


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        ({"id": "0" * 20, "hit": "HIT"}, 404, "there is no photo"),
        ({"id": "HIT", "hit": "../../etc/passwd"}, 404, "there is no photo"),
        ({"id": "HIT"}, 422, "give `hit`"),
        ({"hit": "HIT"}, 422, "give either `photo` or `id`"),
        ({"id": "HIT", "photo": "data:image/png;base64,AA==", "hit": "HIT"}, 422, "give either"),
        ({"photo": "data:image/png;base64,QUFB", "hit": "HIT"}, 415, "the photo is not JPEG"),
        ({"id": "HIT", "hit": "HIT", "k": 3}, 422, "no field `k`"),
        ({"id": "HIT", "hit": 7}, 422, "`hit` should be a valid string"),
        ([], 422, "should be a JSON object"),
    ],
)
def test_what_cannot_be_explained_is_a_problem(
    client: httpx.Client, hits: list[dict[str, Any]], body: Any, status: int, said: str
) -> None:
    text = json.dumps(body).replace("HIT", hits[0]["id"])
    answer = client.post(ADDRESS, content=text, headers={"content-type": "application/json"})
    assert said in problem(answer, status)


def test_forms_without_a_hit_and_other_bodies_are_refused(
    client: httpx.Client, photo: bytes, hits: list[dict[str, Any]]
) -> None:
    assert "give `hit`" in problem(client.post(ADDRESS, files={"photo": photo}), 422)
    as_file = client.post(ADDRESS, files={"hit": b"x"}, data={"id": hits[0]["id"]})
    assert "`hit` is a file, and should be text" in problem(as_file, 422)
    text = {"photo": not_photos()["text"]}
    assert "not JPEG" in problem(client.post(ADDRESS, files=text, data={"hit": hits[0]["id"]}), 415)
    cut = client.post(ADDRESS, files={"photo": photo[:900]}, data={"hit": hits[0]["id"]})
    problem(cut, 422)
    plain = client.post(ADDRESS, content=photo, headers={"content-type": "image/jpeg"})
    assert "multipart/form-data" in problem(plain, 415)
    problem(client.post(ADDRESS, files={"photo": bytes(40 * 2**20)}), 413)


def test_many_at_once_get_their_own_answers(
    client: httpx.Client, hits: list[dict[str, Any]]
) -> None:
    pairs = [(a["id"], b["id"]) for a in hits[:4] for b in hits[:4]]

    def ask(pair: tuple[str, str]) -> dict[str, Any]:
        answer = client.post(ADDRESS, json={"id": pair[0], "hit": pair[1]})
        if answer.status_code == 503:  # on a slow machine, those before it took too long
            return ask(pair)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    with concurrent.futures.ThreadPoolExecutor(8) as threads:
        answers = dict(zip(pairs, threads.map(ask, pairs), strict=True))
    for (a, b), answer in answers.items():
        assert answer["query"] == answers[b, a]["hit"]
        if a == b:
            assert answer["score"] == pytest.approx(1, abs=1e-5)


@pytest.mark.slow
def test_a_model_without_heat_maps_and_a_photo_that_is_gone_say_so(tmp_path: Path) -> None:
    photos = write_photos(tmp_path / "photos", 3)
    model = write_tiny_model(tmp_path / "model")
    run_deepfood("build", photos, "--out", tmp_path / "g", "--model", model)
    with (
        serving_here(tmp_path / "g") as url,
        httpx.Client(base_url=url, timeout=300) as client,
    ):
        first, second = (one["id"] for one in client.get("/api/v1/samples?k=2").json())
        answer = client.post(ADDRESS, json={"id": first, "hit": second})
        assert "the Model tiny has no heat maps" in problem(answer, 422)
        for path in photos.iterdir():
            path.unlink()
        answer = client.post(ADDRESS, json={"id": first, "hit": second})
        assert "no longer what the gallery was built from" in problem(answer, 404)


def test_openapi_describes_it(client: httpx.Client) -> None:
    paths = client.get("/openapi.json").json()["paths"]
    for address, kind in (
        (ADDRESS, "application/json"),
        (f"{ADDRESS}:upload", "multipart/form-data"),
    ):
        operation = paths[address]["post"]
        assert set(operation["requestBody"]["content"]) == {kind}
        assert {"200", "404", "413", "415", "422"} <= set(operation["responses"])


@pytest.mark.parametrize("as_json", [True, False])
def test_the_part_that_was_searched_with_is_explained(
    client: httpx.Client, photo: bytes, hits: list[dict[str, Any]], as_json: bool
) -> None:
    box = [0.5, 0.25, 0.5, 0.5]
    hit = hits[1]["id"]
    if as_json:
        asked = client.post(ADDRESS, json={"photo": data_url(photo), "hit": hit, "box": box})
    else:
        form = {"hit": hit, "box": ",".join(map(str, box))}
        asked = client.post(f"{ADDRESS}:upload", files={"photo": photo}, data=form)
    answer, whole = asked.json(), client.post(ADDRESS, files={"photo": photo}, data={"hit": hit})
    part = io.BytesIO()
    image = Image.open(io.BytesIO(photo))
    width, height = image.size
    image.crop((width // 2, height // 4, width, height * 3 // 4)).save(part, "PNG")
    cut = client.post(ADDRESS, files={"photo": part.getvalue()}, data={"hit": hit}).json()
    assert answer["score"] == pytest.approx(cut["score"], abs=0.02)
    assert answer["hit"]["seen"] == whole.json()["hit"]["seen"]
    seen, of_cut = answer["query"]["seen"], cut["query"]["seen"]
    assert seen["x"] == pytest.approx(0.5 + of_cut["x"] / 2)
    assert seen["y"] == pytest.approx(0.25 + of_cut["y"] / 2)
    assert (seen["width"], seen["height"]) == pytest.approx(
        (of_cut["width"] / 2, of_cut["height"] / 2)
    )
    outside = client.post(
        ADDRESS, json={"photo": data_url(photo), "hit": hit, "box": [0.9, 0, 1, 1]}
    )
    assert "is not inside the photo" in problem(outside, 422)
