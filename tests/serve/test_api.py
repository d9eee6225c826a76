"""The HTTP API of a real server: answers, limits, errors; what a client sends is never a 500."""

import base64
import concurrent.futures
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import Mock
from urllib.parse import quote

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from deepfood.config import load_settings
from deepfood.errors import PortTakenError
from deepfood.serve.edge.problem import DOCS, KINDS
from deepfood.serve.run import bind, run
from live import SmallGallery, serving
from samples import PHOTOS, bombs, grey_photos, not_photos

SCORES_FALL = "the most similar first"


@pytest.fixture(scope="module")
def client(server_url: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server_url, timeout=300) as client:
        yield client


@pytest.fixture(scope="module")
def photo(small_gallery: SmallGallery) -> bytes:
    return small_gallery.photos[9].read_bytes()


def data_url(photo: bytes, kind: str = "image/jpeg") -> str:
    return f"data:{kind};base64,{base64.b64encode(photo).decode()}"


def problem(answer: httpx.Response, status: int) -> str:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    body = answer.json()
    assert set(body) - {"field", "position"} == {"type", "title", "status", "detail", "request_id"}
    assert body["status"] == status
    assert body["type"] == f"{DOCS}#{KINDS[status]}"
    assert status != 422 or body["field"], "every 422 names the field at fault"
    return str(body["detail"])


def upload(client: httpx.Client, photo: bytes, **fields: Any) -> httpx.Response:
    return client.post("/api/v1/search", files={"photo": ("p.jpg", photo)}, data=fields)


# What is answered


def test_a_photo_of_the_gallery_is_found_first(client: httpx.Client, photo: bytes) -> None:
    hits = upload(client, photo).json()["hits"]
    assert len(hits) == 9
    assert hits[0]["name"] == "Curry no. 1"
    assert hits[0]["label"] == "Curries"
    assert hits[0]["score"] == pytest.approx(1, abs=1e-5)
    scores = [hit["score"] for hit in hits]
    assert scores == sorted(scores, reverse=True), SCORES_FALL
    assert client.get(hits[0]["url"]).content == photo
    shown = client.get(hits[0]["thumbnail_url"])
    assert shown.headers["content-type"] == "image/jpeg"
    assert (hits[0]["width"], hits[0]["height"]) == (640, 480)


def test_every_form_of_one_query_gives_the_same_answer(client: httpx.Client, photo: bytes) -> None:
    url = data_url(photo)
    answers = [
        upload(client, photo, k=24),
        client.post("/api/v1/search", files={"photo": (None, url), "k": (None, "24")}),
        client.post("/api/v1/search", data={"photo": url, "k": "24"}),
        client.post("/api/v1/search", json={"photo": url, "k": 24}),
    ]
    assert all(answer.status_code == 200 for answer in answers)
    assert len({json.dumps(answer.json()) for answer in answers}) == 1


def test_the_originals_form(client: httpx.Client, photo: bytes) -> None:
    url = data_url(photo)
    modern = [hit["url"] for hit in upload(client, photo).json()["hits"]]
    for answer in (
        client.post("/search", data={"image": url}),
        client.post("/search", files={"image": (None, url)}),
        client.post("/search", files={"image": ("p.jpg", photo)}),
        # As a page that forgets to encode its form sends it: "+" arrives as a space.
        client.post(
            "/search",
            content=f"image={url}",
            headers={"content-type": "application/x-www-form-urlencoded"},
        ),
    ):
        assert answer.json() == {"urls": modern}
    assert len(modern) == 9


def test_more_like_one_of_the_gallery(client: httpx.Client, photo: bytes) -> None:
    found = upload(client, photo, k=1).json()["hits"][0]
    for answer in (
        client.post("/api/v1/search", json={"id": found["id"], "k": 5}),
        client.post("/api/v1/search", data={"id": found["id"], "k": "5"}),
    ):
        hits = answer.json()["hits"]
        assert len(hits) == 5
        assert found["id"] not in {hit["id"] for hit in hits}


def test_what_the_gallery_says_of_itself(client: httpx.Client) -> None:
    about = client.get("/api/v1/gallery").json()
    assert about["photos"] == 24
    assert about["index"] == "exact"
    samples = client.get("/api/v1/samples", params={"k": 5, "seed": 3}).json()
    assert len({one["id"] for one in samples}) == 5
    assert samples == client.get("/api/v1/samples", params={"k": 5, "seed": 3}).json()
    facts = client.get(f"/api/v1/photos/{samples[0]['id']}").json()
    assert facts == {**samples[0], "attributes": {}}
    assert client.get("/healthz").status_code == client.get("/readyz").status_code == 200


def test_what_somebody_begins_to_type_is_suggested(client: httpx.Client) -> None:
    answer = client.get("/api/v1/suggest", params={"q": "x", "limit": 3})
    assert (answer.status_code, answer.json()) == (200, [])
    labels = client.get("/api/v1/suggest").json()
    assert all(one["kind"] == "label" for one in labels)
    for params in ({"limit": 0}, {"limit": 101}, {"limit": "x"}, {"q": "a" * 1001}):
        assert client.get("/api/v1/suggest", params=params).status_code == 422, params


def test_photos_are_cached_and_safe_to_open(client: httpx.Client, photo: bytes) -> None:
    hit = upload(client, photo).json()["hits"][0]
    for url in (hit["url"], hit["thumbnail_url"]):
        answer = client.get(url)
        assert "immutable" in answer.headers["cache-control"]
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "default-src 'none'" in answer.headers["content-security-policy"]


def test_the_openapi_document_names_every_route(client: httpx.Client) -> None:
    document = client.get("/openapi.json").json()
    assert set(document["paths"]) >= {
        "/search",
        "/api/v1/search",
        "/photos/{id}",
        "/thumbnails/{id}",
        "/healthz",
        "/readyz",
    }
    for path, kind in (("search", "application/json"), ("search:upload", "multipart/form-data")):
        body = document["paths"][f"/api/v1/{path}"]["post"]["requestBody"]["content"]
        assert kind in body
    assert client.get("/docs").status_code == 200


@pytest.mark.parametrize("kind", [*PHOTOS, *(f"grey {kind}" for kind in grey_photos())])
def test_each_format_as_an_upload(kind: str, client: httpx.Client) -> None:
    photo = grey_photos()[kind[5:]] if kind.startswith("grey ") else PHOTOS[kind]
    by_file = upload(client, photo, k=24)
    by_url = client.post("/api/v1/search", json={"photo": data_url(photo), "k": 24})
    assert len(by_file.json()["hits"]) == 24
    assert by_url.json() == by_file.json()


def test_k(client: httpx.Client, photo: bytes) -> None:
    assert len(upload(client, photo, k=1).json()["hits"]) == 1
    assert len(upload(client, photo, k=100).json()["hits"]) == 24, "larger than the gallery"
    for k in (0, -1, 101, 10**30):
        assert f"k = {k}" in problem(upload(client, photo, k=k), 422)
        assert "k" in problem(client.post("/api/v1/search", json={"id": "x", "k": k}), 422)
    for text in ("nine", "1.5", "٣٣٣"):
        problem(upload(client, photo, k=text), 422)


# What is refused


def bad_photos() -> dict[str, tuple[bytes, int]]:
    """Each kind of bad photo, and the status that says what is wrong with it."""
    return {
        "empty": (b"", 422),
        **{f"not: {name}": (data, 415) for name, data in not_photos().items()},
        **{f"half: {name}": (data[: len(data) // 2], 422) for name, data in PHOTOS.items()},
        **{f"bomb: {name}": (data, 413) for name, data in bombs().items()},
    }


#: Only their first picture must be whole, and half of the file still holds it.
WHOLE_IN_HALF = {f"half: {name}" for name in PHOTOS if name.endswith(("animated", "pages"))}


@pytest.mark.parametrize("name", sorted(set(bad_photos()) - WHOLE_IN_HALF - {"half: mpo"}))
def test_bad_photos_in_every_form(name: str, client: httpx.Client) -> None:
    photo, status = bad_photos()[name]
    problem(upload(client, photo), status)
    problem(client.post("/search", data={"image": data_url(photo)}), status)
    problem(client.post("/api/v1/search", json={"photo": data_url(photo)}), status)


@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        (b"", "application/json", 422),
        (b"{", "application/json", 422),
        (b"[1]", "application/json", 422),
        (b"null", "application/json", 422),
        (b"{}", "application/json", 422),
        (b'{"photo": 5}', "application/json", 422),
        (b'{"photo": "http://169.254.169.254/"}', "application/json", 422),
        (b'{"photo": "data:image/jpeg;base64,*"}', "application/json", 422),
        (b'{"id": "nope"}', "application/json", 404),
        (b'{"id": "../../etc/passwd"}', "application/json", 404),
        (b'{"id": "x", "photo": "data:,"}', "application/json", 422),
        (b'{"id": "x", "colour": 1}', "application/json", 422),
        (b"[" * 100_000, "application/json", 422),
        (b"\xff\xfe\x00", "application/json", 422),
        (b"photo=x", "application/x-www-form-urlencoded", 422),
        (b"", "application/x-www-form-urlencoded", 422),
        (b"", "multipart/form-data", 400),
        (b"no parts", "multipart/form-data; boundary=x", 400),
        (b"--x\r\nbroken", "multipart/form-data; boundary=x", 422),
        (b"photo", "text/plain", 415),
        (b"photo", "", 415),
    ],
)
def test_bad_bodies(body: bytes, kind: str, status: int, client: httpx.Client) -> None:
    answer = client.post("/api/v1/search", content=body, headers={"content-type": kind})
    problem(answer, status)


def test_bad_forms_of_the_original(client: httpx.Client) -> None:
    problem(client.post("/search", data={"picture": "x"}), 422)
    problem(client.post("/search", data={"image": "no data url"}), 422)
    problem(client.post("/search"), 422)
    problem(client.post("/search", content=b"x", headers={"content-type": "text/plain"}), 422)


@pytest.mark.parametrize(
    "path",
    [
        "/photos/nope",
        "/thumbnails/nope",
        "/api/v1/photos/nope",
        "/photos/..%2f..%2f..%2fetc%2fpasswd",
        "/photos/%00",
        "/static/../app.py",
        "/static/..%2fapp.py",
        "/static/%2e%2e/app.py",
        "/static//etc/passwd",
        "/nowhere",
        "/photos/" + quote("' OR 1=1 --"),
        "/photos/" + "0" * 20,
    ],
)
def test_nothing_outside_is_ever_found(path: str, client: httpx.Client, server_url: str) -> None:
    # Over a plain socket: clients tidy such paths up before they send them.
    host, port = server_url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    assert answer.startswith(b"HTTP/1.1 404"), answer[:200]
    assert b"application/problem+json" in answer


def test_errors_as_a_page_for_a_browser(client: httpx.Client) -> None:
    answer = client.get("/nowhere<script>", headers={"accept": "text/html,*/*;q=0.8"})
    assert answer.status_code == 404
    assert answer.headers["content-type"].startswith("text/html")
    assert "<script>" not in answer.text.partition("<main")[2]
    problem(client.get("/api/v1/nowhere", headers={"accept": "text/html"}), 404)
    problem(client.get("/search"), 405)


def test_a_body_over_the_limit_is_refused_before_it_is_read(server_url: str) -> None:
    host, port = server_url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=300) as connection:
        connection.sendall(
            b"POST /api/v1/search HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            b"Content-Length: 99999999999\r\n\r\n"
        )
        assert connection.recv(200).startswith(b"HTTP/1.1 413")


def test_a_body_without_a_length_is_counted(client: httpx.Client) -> None:
    sent = 0

    def endless() -> Iterator[bytes]:
        nonlocal sent
        for _ in range(2000):
            sent += 1 << 20
            yield bytes(1 << 20)

    try:
        answer = client.post(
            "/api/v1/search",
            content=endless(),
            headers={"content-type": "application/json"},
        )
        problem(answer, 413)
    except (httpx.WriteError, httpx.ReadError, httpx.RemoteProtocolError):
        pass  # the server closes while we still send, which is an answer too
    assert sent < 200 * 2**20


def test_a_photo_over_the_limit(small_gallery: SmallGallery, photo: bytes) -> None:
    os.environ["DEEPFOOD_MAX_PHOTO_BYTES"] = "20000"
    try:
        with serving(small_gallery.folder) as server, httpx.Client(base_url=server.url) as small:
            large = photo + bytes(20_000)
            assert "max_photo_bytes" in problem(upload(small, large), 413)
            assert "max_photo_bytes" in problem(
                small.post("/search", data={"image": data_url(large)}), 413
            )
            assert "over the limit" in problem(upload(small, large * 20), 413)
            assert upload(small, photo[: min(20_000, len(photo) // 2)]).status_code == 422
    finally:
        del os.environ["DEEPFOOD_MAX_PHOTO_BYTES"]


def test_an_upload_cut_off_half_way_harms_nobody(
    server_url: str, client: httpx.Client, photo: bytes
) -> None:
    host, port = server_url.removeprefix("http://").split(":")
    for path, kind in [
        ("/api/v1/search", "application/json"),
        ("/search", "application/x-www-form-urlencoded"),
        ("/api/v1/search", "multipart/form-data; boundary=x"),
    ]:
        with socket.create_connection((host, int(port))) as connection:
            head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: {kind}\r\n"
            connection.sendall(f"{head}Content-Length: {len(photo) * 2}\r\n\r\n".encode() + photo)
    assert upload(client, photo).status_code == 200


def test_a_lost_photo_is_a_404_and_the_rest_goes_on(
    small_gallery: SmallGallery, client: httpx.Client
) -> None:
    path = small_gallery.photos[11]
    data = path.read_bytes()
    hit = upload(client, data).json()["hits"][0]
    try:
        path.unlink()
        assert "build it again" in problem(client.get(hit["url"]), 404)
        path.write_bytes(b"something else")
        problem(client.get(hit["url"]), 404)
        assert upload(client, data).json()["hits"][0]["id"] == hit["id"]
    finally:
        path.write_bytes(data)
    assert client.get(hit["url"]).content == data


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    body=st.binary(max_size=300),
    kind=st.sampled_from(
        [
            "application/json",
            "multipart/form-data; boundary=b",
            "application/x-www-form-urlencoded",
            "*/*",
        ]
    ),
)
def test_no_body_whatever_is_our_fault(body: bytes, kind: str, client: httpx.Client) -> None:
    for path in ("/api/v1/search", "/search"):
        answer = client.post(path, content=body, headers={"content-type": kind})
        assert 400 <= answer.status_code < 500


def test_many_clients_at_once(client: httpx.Client, small_gallery: SmallGallery) -> None:
    photos = [path.read_bytes() for path in small_gallery.photos]
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda photo: upload(client, photo, k=1), photos * 4))
    assert {answer.status_code for answer in answers} == {200}
    names = [answer.json()["hits"][0]["score"] for answer in answers]
    assert min(names) > 0.999


# How it starts and ends


def test_public_url_stands_before_links(small_gallery: SmallGallery, photo: bytes) -> None:
    os.environ["DEEPFOOD_PUBLIC_URL"] = "https://food.example/search/"
    try:
        with serving(small_gallery.folder) as server, httpx.Client(base_url=server.url) as other:
            answer = other.post(
                "/search", data={"image": data_url(photo)}, headers={"host": "evil.example"}
            )
            assert all(
                url.startswith("https://food.example/search/photos/")
                for url in answer.json()["urls"]
            )
    finally:
        del os.environ["DEEPFOOD_PUBLIC_URL"]


def test_several_workers(small_gallery: SmallGallery, photo: bytes) -> None:
    with (
        serving(small_gallery.folder, "--workers", "2") as server,
        httpx.Client(base_url=server.url, timeout=300) as many,
    ):
        assert upload(many, photo).json()["hits"][0]["name"] == "Curry no. 1"


def test_answers_do_not_wait_for_nagle() -> None:
    # What asyncio looks at before it turns Nagle's algorithm off; 0 cost 40 ms an answer.
    with bind("127.0.0.1", 0) as bound:
        assert bound.proto == socket.IPPROTO_TCP


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_it_ends_cleanly_and_gives_its_port_back(
    how: signal.Signals, small_gallery: SmallGallery
) -> None:
    # An address that no other test listens on, and nobody can be given its port meanwhile.
    host = f"127.0.{how.value}.{os.getpid() % 250 + 2}"
    with serving(small_gallery.folder, "--host", host) as server:
        port = server.url.rpartition(":")[2]
        server.process.send_signal(how)
        server.process.wait(timeout=300)
        assert server.process.returncode == 0
        assert "Traceback" not in server.log.read_text()
        with serving(small_gallery.folder, "--host", host, "--port", port):
            pass


def test_a_taken_port_is_said_in_one_line(server_url: str, small_gallery: SmallGallery) -> None:
    port = server_url.rpartition(":")[2]
    done = subprocess.run(
        ["python", "-m", "deepfood.cli", "serve", small_gallery.folder, "--port", port],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        env={**os.environ, "PATH": f"{Path(os.sys.executable).parent}:{os.environ['PATH']}"},  # type: ignore[attr-defined]
    )
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert f"port {port} on 127.0.0.1 is in use" in done.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere one address is bound once only")
def test_clients_are_refused_until_the_gallery_is_open(monkeypatch: pytest.MonkeyPatch) -> None:
    with bind("127.0.0.1", 0) as late:
        host, port = late.getsockname()
        with bind(host, port) as quick:

            def opened(_: object) -> Mock:
                with pytest.raises(ConnectionRefusedError):
                    socket.create_connection((host, port))
                quick.listen()
                return Mock()

            monkeypatch.setattr("deepfood.serve.run.open_service", opened)
            monkeypatch.setattr("deepfood.serve.telemetry.logs.configure", Mock())
            with pytest.raises(PortTakenError, match=f"port {port} on {host} is in use"):
                run(load_settings(host=host, port=port), late)
