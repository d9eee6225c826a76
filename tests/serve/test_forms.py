"""What clients send in forms and JSON: as HTML forms have it, misspelt, twice, null, or empty."""

import base64
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from held import held_server
from PIL import Image
from test_api import data_url, problem

from deepfood.serve.api.keys import new_key
from live import run_deepfood
from plates import jpeg, write_photos, write_tiny_model

pytestmark = pytest.mark.slow

KEY, HASH = new_key()
BEARER = {"authorization": f"Bearer {KEY}"}


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server of three plates that may be changed."""
    root = tmp_path_factory.mktemp("forms")
    write_tiny_model(root / "model")
    photos = write_photos(root / "photos", 3)
    run_deepfood("build", photos, "--out", root / "gallery", "--model", root / "model")
    with held_server(root / "gallery", api_key_hashes=HASH) as (port, _):
        yield f"http://127.0.0.1:{port}"


def search(url: str, *, files: Any = None, **fields: Any) -> httpx.Response:
    return httpx.post(f"{url}/api/v1/search", files=files or {"photo": jpeg(1)}, data=fields)


def add(url: str, **sent: Any) -> httpx.Response:
    return httpx.post(f"{url}/api/v1/photos", headers=BEARER, **sent)


def count(url: str) -> int:
    photos = httpx.get(f"{url}/readyz").json()["photos"]
    assert isinstance(photos, int)
    return photos


def test_a_photo_above_a_megabyte_never_touches_the_disk(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (900, 900, 3), np.uint8)
    path = tmp_path / "large.png"
    Image.fromarray(noise).save(path)
    photo = path.read_bytes()
    assert len(photo) > 2 * 2**20
    # Nothing can be written there: a file that anybody spools is an error.
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "nowhere"))
    with pytest.raises(FileNotFoundError), tempfile.TemporaryFile():
        pass
    answer = search(url, files={"photo": ("large.png", photo)})
    assert answer.status_code == 200, answer.text
    as_json = httpx.post(f"{url}/api/v1/search", json={"photo": data_url(photo)})
    assert as_json.json() == answer.json()


@pytest.mark.parametrize("field", ["k", "box", "where", "diversity", "cursor", "id", "not_id"])
def test_a_text_that_is_left_empty_is_not_given(url: str, field: str) -> None:
    plain = search(url).json()
    assert search(url, **{field: ""}).json() == plain
    urlencoded = httpx.post(
        f"{url}/api/v1/search", data={"photo": data_url(jpeg(1)), "group_duplicates": "", field: ""}
    )
    assert urlencoded.json() == plain


def test_a_file_input_without_a_file_is_not_given(url: str) -> None:
    nothing = ("", b"", "application/octet-stream")
    unlike = search(url, files=[("photo", ("p.jpg", jpeg(1))), ("not_photo", nothing)])
    assert unlike.json() == search(url).json()
    assert "give `photo`, `id` or `words`" in problem(search(url, files={"photo": nothing}), 422)
    # A file that was chosen and is empty is another thing.
    chosen = search(url, files={"photo": ("chosen.jpg", b"")})
    assert "empty" in problem(chosen, 422)
    found = search(url).json()["hits"][0]["id"]
    form = {"id": (None, found), "hit": (None, found), "photo": nothing}
    asked = httpx.post(f"{url}/api/v1/explain", files=form)  # type: ignore[arg-type]
    assert "no heat maps" in problem(asked, 422), "the tiny Model's, so it was asked"


def test_fields_left_empty_when_a_photo_is_added(url: str) -> None:
    before = count(url)
    empty = {"label": "", "name": "", "attributes": ""}
    added = add(url, files={"photo": jpeg(50)}, data=empty)
    assert added.status_code == 201, added.text
    assert (added.json()["label"], added.json()["attributes"]) == (None, {})
    said = {"label": None, "name": None, "attributes": None}
    again = add(url, json={"photo": data_url(jpeg(50)), **said})
    assert (again.status_code, again.json()) == (200, added.json())
    assert count(url) == before + 1


@pytest.mark.parametrize(
    ("path", "files", "said"),
    [
        ("photos", [("photo", jpeg(60)), ("photo", jpeg(61))], "`photo` was sent 2 times"),
        ("photos", [("photo", jpeg(60)), ("label", (None, "a")), ("label", (None, "b"))], "label"),
        ("search", [("photo", jpeg(1)), ("k", (None, "1")), ("k", (None, "2"))], "`k` was sent 2"),
        ("explain", [("photo", jpeg(1)), ("photo", jpeg(2)), ("hit", (None, "x"))], "`photo` was"),
    ],
)
def test_what_is_sent_twice_is_refused_and_nothing_is_lost(
    url: str, path: str, files: Any, said: str
) -> None:
    before = count(url)
    answer = httpx.post(f"{url}/api/v1/{path}", files=files, headers=BEARER)
    assert said in problem(answer, 422)
    assert count(url) == before


@pytest.mark.parametrize("name", ["file", "image", "foto", "Photo", "upload", "food"])
def test_a_photo_in_the_wrong_field_is_told_the_right_one(url: str, name: str) -> None:
    for path in ("search", "photos", "explain", "label"):
        sent = httpx.post(f"{url}/api/v1/{path}", files={name: jpeg(1)}, headers=BEARER)
        assert f"no field `{name}`: send the photo as `photo`" in problem(sent, 422)
    wrong = httpx.post(f"{url}/api/v1/search", json={"image": data_url(jpeg(1))})
    assert "no field `image`: send the photo as `photo`" in problem(wrong, 422)
    wrong = httpx.post(f"{url}/search", data={"picture": data_url(jpeg(1))})
    assert "there are `image`" in problem(wrong, 422)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ([1], "the body should be a JSON object"),
        ("text", "the body should be a JSON object"),
        ({"id": "x", "wheer": "price < 1"}, "no field `wheer`: do you mean `where`?"),
        ({"id": "x", "colour": None}, "no field `colour`; there are `photo`, `url`, `id`"),
        ({"id": 5}, "`id` should be a valid string or a JSON object or a valid list"),
        ({"id": ["x", 5]}, "`id.1` should be a valid string"),
        ({"id": "x", "k": "many"}, "`k` should be a valid integer"),
        ({"id": "x", "diversity": 2}, "`diversity` should be less than or equal to 1"),
        ({"id": "x", "box": [0, 0, 1]}, "give `box.3`"),
    ],
)
def test_what_is_wrong_with_json_is_said_in_its_own_terms(url: str, body: Any, said: str) -> None:
    detail = problem(httpx.post(f"{url}/api/v1/search", json=body), 422)
    assert said in detail
    assert "Request" not in detail


def test_a_file_where_text_belongs(url: str) -> None:
    sent = search(url, files={"photo": jpeg(1), "k": ("k.txt", b"3")})
    assert problem(sent, 422) == "`k` is a file, and should be text"


def test_null_is_as_good_as_not_given_for_every_optional_field(url: str) -> None:
    document = httpx.get(f"{url}/openapi.json").json()
    found = search(url).json()["hits"][0]["id"]
    given = {
        ("/api/v1/search", "post"): {"id": found},
        ("/api/v1/explain", "post"): {"id": found, "hit": found},
        ("/api/v1/label", "post"): {"id": found, "names": ["soup", "cake"]},
        ("/api/v1/photos", "post"): {"photo": data_url(jpeg(1))},
        ("/api/v1/photos/{id}", "patch"): {"name": "Plate"},
    }
    for (path, method), body in given.items():
        content = document["paths"][path][method]["requestBody"]["content"]
        name = content["application/json"]["schema"]["$ref"].rpartition("/")[2]
        schema = document["components"]["schemas"][name]
        optional = set(schema["properties"]) - set(schema.get("required", ()))
        to = url + path.format(id=found)

        def ask(sent: dict[str, Any], method: str = method, to: str = to) -> tuple[int, Any]:
            answer = httpx.request(method, to, json=sent, headers=BEARER)
            body = answer.json()
            return answer.status_code, {k: v for k, v in body.items() if k != "request_id"}

        plain = ask(body)
        assert optional - set(body)
        for name in optional - set(body):
            assert {"type": "null"} in schema["properties"][name]["anyOf"], name
            assert ask({**body, name: None}) == plain, name


def test_null_takes_away_what_a_change_says_it_does(url: str) -> None:
    added = add(url, files={"photo": jpeg(70)}, data={"label": "Soups", "name": "Leek"}).json()
    where = f"{url}/api/v1/photos/{added['id']}"
    changed = httpx.patch(where, json={"label": None, "attributes": None}, headers=BEARER).json()
    assert (changed["label"], changed["name"]) == (None, "Leek")
    nothing = httpx.patch(where, json={"attributes": None}, headers=BEARER)
    assert "nothing to change" in problem(nothing, 422)


@pytest.mark.parametrize(
    "spelled",
    [
        lambda text: text.replace("+", "-").replace("/", "_").rstrip("="),
        lambda text: text.replace("+", "%2B").replace("/", "%2F").replace("=", "%3D"),
        lambda text: text.replace("+", "%2b").replace("/", "%2f").replace("=", "%3d"),
    ],
    ids=["base64url", "percent", "percent in small letters"],
)
def test_each_alphabet_of_base64(url: str, spelled: Any) -> None:
    photo = jpeg(1)
    text = base64.b64encode(photo).decode()
    assert {"+", "/"} <= set(text)
    sent = {"photo": f"data:image/jpeg;base64,{spelled(text)}"}
    plain = search(url).json()
    assert httpx.post(f"{url}/api/v1/search", json=sent).json() == plain
    assert httpx.post(f"{url}/api/v1/search", data=sent).json() == plain
    junk = {"photo": "data:image/jpeg;base64,%5B"}
    content = json.dumps(junk), {"content-type": "application/json"}
    wrong = httpx.post(f"{url}/api/v1/search", content=content[0], headers=content[1])
    assert "not base64" in problem(wrong, 422)
