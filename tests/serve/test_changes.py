"""A gallery that is changed over HTTP while it is searched, by servers of several processes."""

import concurrent.futures
import contextlib
import hashlib
import json
import logging
import os
import resource
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from held import held_server
from test_api import problem

from deepfood.local.lock import only_writer
from deepfood.serve.api.keys import new_key
from deepfood.serve.current import Upkeep
from live import Server, build_tiny, run_deepfood, serving
from plates import jpeg, write_photos, write_tiny_model

pytestmark = pytest.mark.slow

KEY, HASH = new_key()
OTHER_KEY, OTHER_HASH = new_key()
BEARER = {"authorization": f"Bearer {KEY}"}


@dataclass(frozen=True)
class Living:
    """A gallery of its own, one server with two worker processes, and one with a single process."""

    gallery: Path
    many: Server
    single: Server


@contextlib.contextmanager
def with_keys(hashes: str) -> Iterator[None]:
    os.environ["DEEPFOOD_API_KEY_HASHES"] = hashes
    try:
        yield
    finally:
        del os.environ["DEEPFOOD_API_KEY_HASHES"]


@pytest.fixture(scope="module")
def living(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Living]:
    root = tmp_path_factory.mktemp("living")
    write_tiny_model(root / "model")
    write_photos(root / "photos", 20)
    build_tiny(root)
    with contextlib.ExitStack() as servers:
        with with_keys(f"{OTHER_HASH} {HASH}"):
            many = servers.enter_context(serving(root / "gallery", "--workers", "2"))
            single = servers.enter_context(serving(root / "gallery"))
        run_deepfood(
            *("attributes", root / "gallery", "--declare", "price=number"),
            *(
                "--declare",
                "diet=list",
                "--declare",
                "spicy=boolean",
                "--declare",
                "allergens=list",
            ),
        )
        yield Living(root / "gallery", many, single)


def add(url: str, photo: bytes, **fields: Any) -> httpx.Response:
    return httpx.post(
        f"{url}/api/v1/photos",
        files={"photo": ("C:\\photos\\lunch.jpg", photo)},
        data=fields,
        headers=BEARER,
        timeout=300,
    )


def search(url: str, photo: bytes, **fields: Any) -> dict[str, Any]:
    """By a connection of its own, so that any worker may answer."""
    files = {"photo": ("p.jpg", photo)}
    answer = httpx.post(f"{url}/api/v1/search", files=files, data=fields, timeout=300)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def until(holds: Callable[[], bool]) -> None:
    ends = time.monotonic() + 300
    while not holds():
        assert time.monotonic() < ends
        time.sleep(0.02)


def ids(found: dict[str, Any]) -> list[str]:
    return [hit["id"] for hit in found["hits"]]


def test_an_added_photo_is_found_at_once_by_every_process(living: Living) -> None:
    photo = jpeg(100)
    added = add(living.many.url, photo, label=" Soups ", attributes='{"price": 4, "Diet": "vegan"}')
    assert added.status_code == 201, added.text
    said = added.json()
    assert (said["label"], said["name"]) == ("Soups", None)
    assert said["attributes"] == {"price": 4, "diet": ["vegan"]}
    # Two workers share the port: of forty connections, none should meet one that lacks it.
    for url in [living.single.url, *[living.many.url] * 40]:
        assert ids(search(url, photo, k=1)) == [said["id"]]
    where = living.single.url + added.headers["location"]
    assert httpx.get(where).json() == said
    assert httpx.get(living.single.url + said["url"]).content == photo
    again = add(living.single.url, photo, name="Leek")
    assert again.status_code == 200
    assert again.json() == {**said, "name": "Leek"}


def test_a_photo_that_is_there_stays_as_it_is_where_only_new_ones_are_wanted(
    living: Living, server_url: str
) -> None:
    photo = jpeg(106)
    send = {"files": {"photo": ("a.jpg", photo)}, "timeout": 300}
    only_new = {**BEARER, "if-none-match": "*"}
    at = f"{living.many.url}/api/v1/photos"
    first = httpx.post(at, data={"label": "Soups"}, headers=only_new, **send)  # type: ignore[arg-type]
    assert first.status_code == 201, first.text
    for url in (living.many.url, living.single.url):
        again = httpx.post(
            f"{url}/api/v1/photos",
            data={"label": "Stews"},
            headers=only_new,
            **send,  # type: ignore[arg-type]
        )
        assert problem(again, 412) == "the gallery has this photo already"
        assert again.headers["location"] == first.headers["location"]
    assert httpx.get(living.single.url + first.headers["location"]).json() == first.json()
    assert httpx.get(f"{living.many.url}/api/v1/gallery").json()["changes"] is True
    assert httpx.get(f"{server_url}/api/v1/gallery").json()["changes"] is False


def test_a_photo_is_changed_and_removed(living: Living) -> None:
    photo = jpeg(101)
    said = add(living.many.url, photo, label="Soups", attributes='{"price": 4}').json()
    at = f"{living.single.url}/api/v1/photos/{said['id']}"
    thumbnail = living.many.url + said["thumbnail_url"]
    assert {httpx.get(thumbnail).status_code for _ in range(10)} == {200}  # cached in both
    change = {"label": None, "name": "Bisque", "attributes": {"price": None, "spicy": True}}
    changed = httpx.patch(at, json=change, headers=BEARER).json()
    assert changed == {**said, "label": None, "name": "Bisque", "attributes": {"spicy": True}}
    assert httpx.get(at.replace(living.single.url, living.many.url)).json() == changed
    assert {httpx.get(thumbnail).status_code for _ in range(10)} == {200}
    for body in ({}, {"colour": 1}, {"label": "x" * 1001}, {"attributes": {"price": "four"}}):
        problem(httpx.patch(at, json=body, headers=BEARER), 422)
    problem(httpx.patch(at, content=b"x", headers=BEARER), 415)

    assert httpx.delete(at, headers=BEARER).status_code == 204
    for url in [living.single.url, *[living.many.url] * 20]:
        assert said["id"] not in ids(search(url, photo, k=100))
        problem(httpx.get(url + said["thumbnail_url"]), 404)
        problem(httpx.get(url + said["url"]), 404)
    problem(httpx.delete(at, headers=BEARER), 404)
    problem(httpx.patch(at, json={"name": "x"}, headers=BEARER), 404)
    named = f"{living.single.url}/api/v1/photos/plate-00001.jpg"
    problem(httpx.delete(named, headers=BEARER), 404)  # by ids only
    assert add(living.many.url, photo).status_code == 201
    assert httpx.get(thumbnail).status_code == 200


def test_an_attribute_is_declared_before_it_is_said(living: Living) -> None:
    at = f"{living.single.url}/api/v1/attributes"
    photo = add(living.many.url, jpeg(103)).json()
    one = f"{living.single.url}/api/v1/photos/{photo['id']}"

    def say(**attributes: Any) -> httpx.Response:
        return httpx.patch(one, json={"attributes": attributes}, headers=BEARER)

    before = httpx.get(f"{living.single.url}/api/v1/gallery").json()["attributes"]
    told = problem(say(pirce=5), 422)
    assert "no attribute 'pirce': is 'price' meant?" in told
    assert "--declare pirce=number, or POST /api/v1/attributes" in told
    assert "is 'allergens' meant?" in problem(say(price=5, alergens=["milk"]), 422)
    assert "is 'spicy' meant?" in problem(
        add(living.many.url, jpeg(104), attributes='{"spicey":1}'), 422
    )
    assert httpx.get(one).json()["attributes"] == {}
    assert httpx.get(f"{living.single.url}/api/v1/gallery").json()["attributes"] == before

    wanted = {"name": " Halal ", "type": "boolean", "safety": True}
    for status in (201, 200):
        answer = httpx.post(at, json=wanted, headers=BEARER)
        assert answer.status_code == status, answer.text
        assert answer.json() == {
            "name": "halal",
            "type": "boolean",
            "safety": True,
            "examples": [],
        }
    for url in [living.single.url, *[living.many.url] * 20]:
        columns = httpx.get(f"{url}/api/v1/gallery").json()["attributes"]
        assert [column["name"] for column in columns] == [
            *(column["name"] for column in before),
            "halal",
        ]
    assert say(halal=True).json()["attributes"] == {"halal": True}
    assert "known of 1 photo," in problem(httpx.delete(f"{at}/halal", headers=BEARER), 422)
    assert say(halal=None).json()["attributes"] == {}
    assert httpx.delete(f"{at}/HALAL", headers=BEARER).status_code == 204
    assert "no attribute 'halal'" in problem(httpx.delete(f"{at}/halal", headers=BEARER), 404)
    assert "no attribute 'halal'" in problem(say(halal=True), 422)
    assert httpx.get(f"{living.many.url}/api/v1/gallery").json()["attributes"] == before

    for body, said in (
        ({"name": "price", "type": "text"}, "price is a number, and cannot become a text"),
        ({"name": "diet", "type": "text"}, "diet is a list"),
        ({"name": "file", "type": "text"}, "no attribute can be called 'file'"),
        ({"name": "a b", "type": "text"}, "no attribute can be called 'a b'"),
        ({"name": "a", "type": "date"}, "`type` should be"),
        ({"name": "a"}, "`type`"),
        ({"name": "a", "type": "text", "unit": "g"}, "`unit`"),
    ):
        assert said in problem(httpx.post(at, json=body, headers=BEARER), 422)
    problem(httpx.post(at, content=b"x", headers=BEARER), 415)


def test_only_keys_change_a_gallery(living: Living, server_url: str) -> None:
    photo_id = ids(search(living.single.url, jpeg(1), k=1))[0]
    for url, status, given in (
        (living.single.url, 401, {}),
        (living.single.url, 401, {"authorization": f"Bearer {KEY}x"}),
        (living.single.url, 401, {"authorization": f"Bearer {HASH}"}),
        (living.single.url, 401, {"authorization": "Bearer é".encode("latin-1")}),
        (living.single.url, 401, {"authorization": f"Basic {KEY}"}),
        (server_url, 403, BEARER),
    ):
        at = f"{url}/api/v1/photos"
        for answer in (
            httpx.post(at, content=b"no form", headers=given),  # type: ignore[arg-type]
            httpx.patch(f"{at}/{photo_id}", json={"name": "x"}, headers=given),  # type: ignore[arg-type]
            httpx.delete(f"{at}/{photo_id}", headers=given),  # type: ignore[arg-type]
            httpx.post(f"{url}/api/v1/attributes", json={"name": "x"}, headers=given),  # type: ignore[arg-type]
            httpx.delete(f"{url}/api/v1/attributes/price", headers=given),  # type: ignore[arg-type]
            httpx.post(f"{url}/api/v1/admin/reload", headers=given),  # type: ignore[arg-type]
        ):
            said = problem(answer, status)
            assert ("api_key_hashes" if status == 403 else "Bearer KEY") in said
            assert ("www-authenticate" in answer.headers) == (status == 401)
    assert ids(search(living.single.url, jpeg(1), k=1)) == [photo_id]
    other = {"authorization": f"Bearer {OTHER_KEY}"}
    reloaded = httpx.post(f"{living.single.url}/api/v1/admin/reload", headers=other)
    assert reloaded.json()["model"] == "tiny"


def test_the_command_makes_a_key_that_fits_its_hash() -> None:
    made = json.loads(run_deepfood("api-key", "--json"))
    assert made["hash"] == hashlib.sha256(made["key"].encode()).hexdigest()


def test_what_cannot_be_added_is_refused_and_leaves_nothing(living: Living) -> None:
    url = living.single.url
    before = httpx.get(f"{url}/api/v1/gallery").json()["photos"]
    photo = jpeg(102)
    problem(add(url, b"no picture"), 415)
    problem(add(url, photo[: len(photo) // 2]), 422)
    problem(add(url, b""), 422)
    assert "is not a number" in problem(add(url, photo, attributes='{"price": "four"}'), 422)
    assert "can be called" in problem(add(url, photo, attributes='{"id": "four"}'), 422)
    assert "is not a value" in problem(add(url, photo, attributes='{"allergens": ["?"]}'), 422)
    problem(add(url, photo, attributes="[1]"), 422)
    problem(add(url, photo, attributes="{"), 422)
    problem(add(url, photo, colour="red"), 422)
    at = f"{url}/api/v1/photos"
    problem(httpx.post(at, json={"label": "x"}, headers=BEARER), 422)
    form = httpx.post(at, files={"label": (None, "x")}, headers=BEARER)
    assert "give `photo`" in problem(form, 422)
    assert form.json()["field"] == "photo"
    problem(httpx.post(at, json={"photo": "http://x/"}, headers=BEARER), 422)
    problem(httpx.post(at, content=b"x", headers=BEARER), 415)
    assert httpx.get(f"{url}/api/v1/gallery").json()["photos"] == before
    assert run_deepfood("verify", living.gallery).strip().endswith("whole")


def test_too_many_attributes_are_refused_before_anybody_waits(living: Living) -> None:
    url = living.single.url
    photo_id = ids(search(url, jpeg(2), k=1))[0]
    facts = httpx.get(f"{url}/api/v1/photos/{photo_id}").json()
    columns = httpx.get(f"{url}/api/v1/gallery").json()["attributes"]
    many = {f"of_{number}": number for number in range(4000)}
    with only_writer(living.gallery):  # with the lock, they would wait and be a 503
        at = f"{url}/api/v1/photos/{photo_id}"
        changed = httpx.patch(at, json={"label": "X", "attributes": many}, headers=BEARER)
        added = add(url, jpeg(103), attributes=json.dumps(many))
    for answer in (changed, added):
        assert "4,000 attributes at once: set at most 256" in problem(answer, 422)
    assert httpx.get(f"{url}/api/v1/photos/{photo_id}").json() == facts
    assert httpx.get(f"{url}/api/v1/gallery").json()["attributes"] == columns


def test_a_change_that_takes_longer_than_a_search_may_is_answered_as_it_ends(built: Path) -> None:
    held = held_server(built, api_key_hashes=HASH, request_timeout_s=0.3)
    with held as (port, service), concurrent.futures.ThreadPoolExecutor(3) as pool:
        url = f"http://127.0.0.1:{port}"
        named, gone = (photo.id for photo in service.gallery.sample(2, 0))
        with only_writer(built):
            change: dict[str, Any] = {"json": {"name": "Plate"}, "headers": BEARER, "timeout": 60}
            at = f"{url}/api/v1/photos"
            changing = pool.submit(httpx.patch, f"{at}/{named}", **change)
            time.sleep(1)  # more than three times what a search may take
            assert not changing.done()
        answer = changing.result()
        assert (answer.status_code, answer.json()["name"]) == (200, "Plate")
        assert httpx.delete(f"{at}/{gone}", headers=BEARER, timeout=300).status_code == 204
        problem(httpx.get(f"{at}/{gone}"), 404)


def test_a_change_goes_on_whose_client_has_gone(
    built: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also once a search would have been given up: nothing is told as a fault."""
    caplog.set_level(logging.INFO, "deepfood.request")
    monkeypatch.setattr("deepfood.serve.api.changes.WAIT_S", 300)
    with held_server(built, api_key_hashes=HASH, request_timeout_s=0.3) as (port, service):
        photo = service.gallery.sample(1, 0)[0].id
        head = (
            f"PATCH /api/v1/photos/{photo} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\n"
        )
        body = b'{"name": "Plate"}'
        more = f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        with only_writer(built):
            with socket.create_connection(("127.0.0.1", port)) as client:
                client.sendall(f"{head}{more}".encode() + body)
                time.sleep(1)  # more than three times what a search may take
            until(lambda: bool(caplog.records))
            fields = caplog.records[0].fields  # type: ignore[attr-defined]
            assert (fields["method"], fields["status"]) == ("PATCH", 400)
            assert service.gallery.photo(photo).name != "Plate"
        until(lambda: service.gallery.photo(photo).name == "Plate")
    assert not [one for one in caplog.records if one.levelno >= logging.WARNING]


def test_a_writer_elsewhere_is_a_503_and_a_full_disk_a_507(living: Living) -> None:
    url = living.single.url
    photo_id = ids(search(url, jpeg(2), k=1))[0]
    with only_writer(living.gallery), concurrent.futures.ThreadPoolExecutor(8) as pool:
        started = time.monotonic()
        answers = list(pool.map(lambda seed: add(url, jpeg(seed)), range(200, 207)))
        waited_s = time.monotonic() - started
        for answer in answers:
            problem(answer, 503)
            assert int(answer.headers["retry-after"]) >= 1
        assert waited_s < 20, "each waits for its own turn, not for that of the others"
        assert ids(search(url, jpeg(2), k=1)) == [photo_id]
    _, most = resource.prlimit(living.single.process.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(living.single.process.pid, resource.RLIMIT_FSIZE, (1000, most))
    try:
        assert str(living.gallery) not in problem(add(url, jpeg(210)), 507)
        assert ids(search(url, jpeg(2), k=1)) == [photo_id]
    finally:
        resource.prlimit(living.single.process.pid, resource.RLIMIT_FSIZE, (most, most))
    assert add(url, jpeg(210)).status_code == 201
    assert run_deepfood("verify", living.gallery).strip().endswith("whole")


def test_of_many_who_add_at_once_none_is_lost(living: Living) -> None:
    before = httpx.get(f"{living.many.url}/api/v1/gallery").json()["photos"]
    seeds = range(300, 360)
    urls = (living.many.url, living.single.url)
    with concurrent.futures.ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(lambda seed: add(urls[seed % 2], jpeg(seed)), seeds))
    assert [answer.status_code for answer in answers] == [201] * len(seeds)
    for url in urls:
        assert httpx.get(f"{url}/api/v1/gallery").json()["photos"] == before + len(seeds)
    for seed, answer in zip(seeds, answers, strict=True):
        assert ids(search(urls[seed // 2 % 2], jpeg(seed), k=1)) == [answer.json()["id"]]
    assert run_deepfood("verify", living.gallery).strip().endswith("whole")


class Searching:
    """Clients that search all the time; `failed` is what was not answered as it should be."""

    def __init__(self, url: str) -> None:
        self.answered, self.failed = 0, list[str]()
        self._url, self._ended = url, threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(seed,)) for seed in range(4)]

    def __enter__(self) -> "Searching":
        for one in self._threads:
            one.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        for one in self._threads:
            one.join()

    def _run(self, seed: int) -> None:
        photo = jpeg(seed)
        while not self._ended.is_set():
            try:
                found = search(self._url, photo, k=5)
                if len(found["hits"]) == 5 and found["hits"][0]["score"] > 0.999:
                    self.answered += 1
                else:
                    self.failed.append(str(found))
            except (AssertionError, httpx.HTTPError) as error:
                self.failed.append(repr(error))


def test_a_new_generation_and_a_new_model_come_without_a_failed_search(built: Path) -> None:
    root = built.parent
    write_tiny_model(root / "finer", name="finer", pool=4)
    with with_keys(HASH), serving(built, "--workers", "2") as server:
        about = f"{server.url}/api/v1/gallery"
        with Searching(server.url) as searching:
            write_photos(root / "photos", 5, start=50)
            build_tiny(root, "model", "--index", "hnsw")
            for _ in range(20):
                now = httpx.get(about, timeout=300).json()
                assert (now["index"], now["photos"]) == ("hnsw", 25)
            assert ids(search(server.url, jpeg(52), k=1))
            added = add(server.url, jpeg(60)).json()["id"]
            build_tiny(root, "finer", "--index", "exact")
            deadline = time.monotonic() + 300
            while {httpx.get(about, timeout=300).json()["model"] for _ in range(10)} != {"finer"}:
                assert time.monotonic() < deadline, "not followed"
                time.sleep(0.2)
            assert httpx.get(about, timeout=300).json()["dimension"] == 768
            assert ids(search(server.url, jpeg(60), k=1)) == [added]
            assert add(server.url, jpeg(61)).status_code == 201
        assert searching.failed == []
        assert searching.answered > 20


def test_a_photo_is_added_to_a_gallery_that_has_another_model_by_now(
    built: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Upkeep, "run", lambda _: None)  # it would follow within a second
    write_tiny_model(built.parent / "finer", name="finer", pool=4)
    with held_server(built, api_key_hashes=HASH) as (port, service):
        url = f"http://127.0.0.1:{port}"
        build_tiny(built.parent, "finer")
        assert service.embedder.model.manifest.name == "tiny"
        added = add(url, jpeg(60), label="Leek")
        assert (added.status_code, added.json()["label"]) == (201, "Leek")
        assert httpx.get(f"{url}/api/v1/gallery").json()["model"] == "finer"
        first = search(url, jpeg(60), k=1)["hits"][0]
        assert first["id"] == added.json()["id"]
        assert first["score"] == pytest.approx(1, abs=1e-4)
    service.close()


def test_a_reload_takes_up_a_new_model_at_once(built: Path) -> None:
    root = built.parent
    write_tiny_model(root / "finer", name="finer", pool=4)
    with with_keys(HASH), serving(built) as server:
        build_tiny(root, "finer")
        now = httpx.post(f"{server.url}/api/v1/admin/reload", headers=BEARER, timeout=300).json()
        assert (now["model"], now["photos"]) == ("finer", 20)
