"""What a real server logs, and that nothing which a client sends gets into it unescaped."""

import json
import logging
import re
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
import uvicorn
from hypothesis import given
from hypothesis import strategies as st

from deepfood.config import load_settings
from deepfood.serve.api.keys import new_key
from deepfood.serve.app import create_app
from deepfood.serve.edge.guard import CONTENT_SECURITY_POLICY
from deepfood.serve.run import bind
from deepfood.serve.service import SearchService, open_service
from deepfood.serve.telemetry.logs import JsonLines, TextLines
from live import Server, SmallGallery, serving
from samples import photo

SECRET = "Sesame1234"  # pragma: allowlist secret


@pytest.fixture(scope="module")
def server(small_gallery: SmallGallery) -> Iterator[Server]:
    with serving(small_gallery.folder, log_format="json") as server:
        yield server


@pytest.fixture(scope="module")
def client(server: Server) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, timeout=300) as client:
        yield client


def logged(server: Server, wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """The one line that is wanted; a request's line comes after its answer."""
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline:
        lines = [json.loads(line) for line in server.log.read_text().splitlines()]
        if found := [line for line in lines if wanted(line)]:
            assert len(found) == 1, found
            return dict(found[0])
        time.sleep(0.02)
    pytest.fail(server.log.read_text())


def line_of(server: Server, answer: httpx.Response) -> dict[str, Any]:
    this = answer.headers["x-request-id"]
    return logged(server, lambda line: line.get("request_id") == this and "route" in line)


@pytest.mark.slow
def test_a_request_is_a_line_of_json(client: httpx.Client, server: Server) -> None:
    started = time.perf_counter()
    answer = client.post("/api/v1/search", files={"photo": ("p.jpg", photo())})
    took_ms = (time.perf_counter() - started) * 1000
    line = line_of(server, answer)
    assert set(line) == {
        *("time", "level", "logger", "process", "message"),
        *("request_id", "method", "route", "status", "ms", "client"),
    }
    assert line["method"] == "POST"
    assert line["route"] == "/api/v1/search"
    assert line["status"] == 200
    assert 0 < line["ms"] <= took_ms
    assert line["client"] == "127.0.0.1"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line["time"])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("path", "route", "status", "level"),
    [
        ("/photos/0123456789abcdef0123", "/photos/{id}", 404, "info"),
        ("/api/v1/photos/0123456789abcdef0123", "/api/v1/photos/{id}", 404, "info"),
        ("/static/app.js", "/static", 200, "info"),
        ("/static/nothing.js", "/static", 404, "info"),
        ("/search", "/search", 405, "info"),
        ("/wp-login.php", "unmatched", 404, "info"),
        ("/", "/", 200, "info"),
    ],
)
def test_a_line_names_the_route_and_not_the_path(
    client: httpx.Client, server: Server, path: str, route: str, status: int, level: str
) -> None:
    line = line_of(server, client.get(path))
    assert (line["route"], line["status"], line["level"]) == (route, status, level)


@pytest.mark.slow
def test_a_method_that_no_route_has_is_another(client: httpx.Client, server: Server) -> None:
    assert line_of(server, client.request("PROPFIND", "/"))["method"] == "other"


@pytest.mark.slow
def test_who_watches_the_service_leaves_no_line(client: httpx.Client, server: Server) -> None:
    watched = [client.get("/healthz"), client.get("/readyz")]
    line_of(server, client.get("/api/v1/gallery"))
    for answer in watched:
        assert answer.headers["x-request-id"] not in server.log.read_text()


@pytest.mark.slow
@pytest.mark.parametrize("given_id", ["req-1.a_B", "0" * 128])
def test_a_well_formed_request_id_is_kept(
    client: httpx.Client, server: Server, given_id: str
) -> None:
    answer = client.get("/nothing", headers={"X-Request-ID": given_id})
    assert answer.headers["x-request-id"] == given_id
    assert answer.json()["request_id"] == given_id
    assert line_of(server, answer)["status"] == 404


@pytest.mark.slow
@pytest.mark.parametrize("given_id", ["", "two words", 'a"b', "x\ty", "é", "0" * 129, "<script>"])
def test_another_is_made_in_place_of_one_that_is_not(client: httpx.Client, given_id: str) -> None:
    sent = {"X-Request-ID": given_id.encode()}
    made = [client.get("/nothing", headers=sent) for _ in range(2)]  # type: ignore[arg-type]
    ids = [answer.headers["x-request-id"] for answer in made]
    assert ids == [answer.json()["request_id"] for answer in made]
    assert all(re.fullmatch("[0-9a-f]{32}", one) for one in ids)
    assert ids[0] != ids[1]


@pytest.mark.slow
def test_what_clients_send_is_not_logged(client: httpx.Client, server: Server) -> None:
    key = {"Authorization": f"Bearer {SECRET}"}
    asked = [
        client.get(f"/{SECRET}?{SECRET}={SECRET}", headers={"Cookie": SECRET, "Referer": SECRET}),
        client.get("/api/v1/samples", params={"k": 1, "key": SECRET}),
        client.get(f"/photos/{SECRET}", headers={"User-Agent": SECRET}),
        client.post("/api/v1/search", files={"photo": (SECRET, SECRET.encode())}),
        client.post("/api/v1/search", json={"photo": SECRET, "where": f"{SECRET} < 1"}),
        client.post("/api/v1/photos", files={"photo": (SECRET, photo())}, headers=key),
    ]
    for answer in asked:
        line_of(server, answer)
    assert SECRET not in server.log.read_text()


@pytest.mark.slow
def test_uvicorn_speaks_in_the_same_form(server: Server) -> None:
    host, port = server.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(b"\x16\x03\x01 this is no HTTP\r\n\r\n")
        assert connection.recv(100).startswith(b"HTTP/1.1 400")
    line = logged(server, lambda line: "Invalid HTTP" in line["message"])
    assert (line["level"], line["logger"]) == ("warning", "uvicorn.error")


def test_a_proxys_word_for_the_client_cannot_forge_a_line(small_gallery: SmallGallery) -> None:
    forged = "9.9.9.9\x85\x9b31m\xad2030-01-01T00:00:00Z ERROR all is lost"
    with serving(small_gallery.folder, "--workers", "2", trusted_proxies="127.0.0.1") as server:
        answer = httpx.get(
            server.url + "/nothing",
            headers={"X-Forwarded-For": forged.encode("latin-1")},  # type: ignore[arg-type, dict-item]
            timeout=300,
        )
        deadline = time.monotonic() + 300
        while answer.headers["x-request-id"] not in server.log.read_text():
            assert time.monotonic() < deadline
            time.sleep(0.02)
        lines = server.log.read_text().split("\n")
    (line,) = [line for line in lines if "9.9.9.9" in line]
    assert line.isprintable()
    assert "GET unmatched 404" in line
    assert line.endswith(f"[{answer.headers['x-request-id']}]")


def test_the_level_is_a_setting(small_gallery: SmallGallery) -> None:
    with serving(small_gallery.folder, log_level="warning") as server:
        assert httpx.get(server.url + "/nothing").status_code == 404
        said = server.log.read_text()
    assert len(said.splitlines()) == 1, said


# A record becomes a line


def record(message: str, error: BaseException | None = None) -> logging.LogRecord:
    info = (type(error), error, error.__traceback__) if error else None
    return logging.LogRecord("deepfood", logging.ERROR, "x.py", 1, "%s", (message,), info)


@given(st.text())
def test_no_message_and_no_error_makes_a_second_line(text: str) -> None:
    try:
        raise ValueError(text)
    except ValueError as error:
        one = record(text, error)
    first, *below = TextLines().format(one).split("\n")
    for line in (first, *below):
        assert line.isprintable()
    assert first.startswith("20")
    assert all(line.startswith("    ") for line in below)
    (line,) = JsonLines().format(one).splitlines()
    assert line.isascii()
    assert json.loads(line)["message"] == text
    assert "ValueError" in json.loads(line)["error"]


def test_long_messages_are_cut() -> None:
    one = record("x" * 10**6, ValueError("y" * 10**6))
    assert len(JsonLines().format(one)) < 25_000
    assert len(TextLines().format(one)) < 25_000


# What nobody caught


def test_an_unexpected_error_is_logged_once_with_its_request(
    small_gallery: SmallGallery,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError("between\nlines")

    monkeypatch.setattr(SearchService, "search", fail)
    settings = load_settings(gallery=small_gallery.folder)
    caplog.handler.setFormatter(JsonLines())
    listening = bind("127.0.0.1", 0)
    listening.listen()
    app = create_app(settings, open_service)
    server = uvicorn.Server(uvicorn.Config(app, log_config=None))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    try:
        host, port = listening.getsockname()
        answer = httpx.post(
            f"http://{host}:{port}/api/v1/search",
            files={"photo": photo()},
            headers={"X-Request-ID": "this-one"},
        )
    finally:
        server.should_exit = True
        thread.join()
        listening.close()
    assert answer.status_code == 500
    assert answer.json()["request_id"] == answer.headers["x-request-id"] == "this-one"
    assert "between" not in answer.text
    assert answer.headers["content-security-policy"] == CONTENT_SECURITY_POLICY
    lines = [json.loads(line) for line in caplog.text.splitlines()]
    (fault,) = [line for line in lines if "error" in line]
    assert fault["request_id"] == "this-one"
    assert fault["error"].endswith("ZeroDivisionError: between\nlines")
    (request,) = [line for line in lines if "route" in line]
    assert (request["status"], request["level"]) == (500, "warning")


@pytest.mark.slow
def test_a_key_is_in_no_line(small_gallery: SmallGallery) -> None:
    key, its_hash = new_key()
    wrong = f"{key}x"
    with serving(small_gallery.folder, api_key_hashes=its_hash, log_level="debug") as server:
        for given, status in ((key, 404), (wrong, 401), (f"{key} two", 401)):
            path = f"{server.url}/api/v1/photos/0123456789abcdef0123"
            headers = {"authorization": f"Bearer {given}"}
            answer = httpx.patch(path, json={"label": "x"}, headers=headers, timeout=300)
            assert answer.status_code == status
            assert key not in answer.text
        httpx.get(f"{server.url}/api/v1/photos", params={"key": key, "sort": key}, timeout=300)
        httpx.get(f"{server.url}/{key}", timeout=300)
        server.process.send_signal(signal.SIGINT)
        server.process.wait(timeout=300)
        log = server.log.read_text()
    assert "/api/v1/photos" in log
    assert key not in log
