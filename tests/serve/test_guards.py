"""Who is let in, and from where: rates, hosts, origins, proxies; and what browsers are told."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from held import held_server
from test_api import problem

from deepfood.config import load_settings
from deepfood.errors import SettingError
from deepfood.serve.edge.rate import MAX_CLIENTS, Rate, client_of

PER_MINUTE = 3


@pytest.fixture(scope="module")
def guarded(tiny_gallery: Path) -> Iterator[str]:
    with held_server(
        tiny_gallery,
        rate_limit_per_minute=PER_MINUTE,
        cors_origins="https://shop.example",
        allowed_hosts="food.example *.food.example",
        trusted_proxies="127.0.0.0/8",
    ) as (port, _):
        yield f"http://127.0.0.1:{port}"


@pytest.fixture(scope="module")
def unguarded(tiny_gallery: Path) -> Iterator[str]:
    with held_server(tiny_gallery) as (port, _):
        yield f"http://127.0.0.1:{port}"


def change(url: str, client: str, **headers: str) -> httpx.Response:
    """A cheap request that counts, made by way of a proxy."""
    named = {"host": "food.example", "x-forwarded-for": client, **headers}
    return httpx.post(f"{url}/api/v1/search", json={"id": "nope"}, headers=named)


def test_each_client_has_a_rate_of_its_own(guarded: str) -> None:
    answers = [change(guarded, "192.0.2.1") for _ in range(PER_MINUTE + 1)]
    assert [answer.status_code for answer in answers] == [404] * PER_MINUTE + [429]
    assert "more than 3 requests a minute" in problem(answers[-1], 429)
    assert 1 <= int(answers[-1].headers["retry-after"]) <= 20
    # The proxy's word counts, not what the client wrote before it came there.
    assert change(guarded, "198.51.100.7, 192.0.2.1").status_code == 429
    assert change(guarded, "192.0.2.2").status_code == 404
    free = {"host": "food.example", "x-forwarded-for": "192.0.2.1"}
    assert httpx.get(f"{guarded}/api/v1/gallery", headers=free).status_code == 200


def test_without_trusted_proxies_nobody_is_believed(unguarded: str) -> None:
    answer = httpx.get(f"{unguarded}/healthz", headers={"x-forwarded-proto": "https"})
    assert "strict-transport-security" not in answer.headers
    assert all(change(unguarded, "192.0.2.1").status_code == 404 for _ in range(PER_MINUTE + 1))


def test_a_bucket_holds_a_minutes_worth_and_fills_evenly() -> None:
    rate = Rate(60)
    assert [rate.wait_s("a", 1000.0) for _ in range(60)] == [0] * 60
    assert rate.wait_s("a", 1000.0) == pytest.approx(1)
    assert rate.wait_s("a", 1000.4) == pytest.approx(0.6), "asking in vain costs nothing"
    assert rate.wait_s("a", 1001.0) == 0
    assert rate.wait_s("a", 1001.0) == pytest.approx(1)
    assert [rate.wait_s("a", 2000.0) for _ in range(60)] == [0] * 60
    assert rate.wait_s("a", 2000.0) > 0, "silence saves up no more than a minute's worth"


def test_only_so_many_clients_are_remembered() -> None:
    rate = Rate(1)
    for number in range(MAX_CLIENTS + 500):
        assert rate.wait_s(f"client {number}", 0.0) == 0
    assert len(rate._full_at) == MAX_CLIENTS
    assert rate.wait_s(f"client {MAX_CLIENTS}", 0.0) > 0
    assert rate.wait_s("client 0", 0.0) == 0


@pytest.mark.parametrize(
    ("address", "client"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::9", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("x" * 1000, "x" * 64),
    ],
)
def test_what_counts_as_one_client(address: str, client: str) -> None:
    assert client_of({"client": (address, 1)}) == client
    assert client_of({"client": None}) == ""


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("food.example", 200),
        ("eu.food.example:8080", 200),
        ("evil.example", 400),
        ("food.example.evil.example", 400),
        ("xfood.example", 400),
        ("127.0.0.1", 400),
    ],
)
def test_only_allowed_hosts(host: str, status: int, guarded: str) -> None:
    answer = httpx.get(f"{guarded}/", headers={"host": host})
    assert answer.status_code == status
    if status == 400:
        assert "does not answer to that Host" in problem(answer, 400)
    for path in ("healthz", "readyz"):
        assert httpx.get(f"{guarded}/{path}", headers={"host": host}).status_code == 200


def test_origins(guarded: str, unguarded: str) -> None:
    asks = {"host": "food.example", "access-control-request-method": "POST"}
    ours, evil = {"origin": "https://shop.example"}, {"origin": "https://evil.example"}
    asked = httpx.options(f"{guarded}/api/v1/search", headers={**asks, **ours})
    assert asked.status_code == 200
    assert asked.headers["access-control-allow-origin"] == "https://shop.example"
    assert httpx.options(f"{guarded}/api/v1/search", headers={**asks, **evil}).status_code == 400
    for origin, allowed in ((ours, "https://shop.example"), (evil, None)):
        answer = change(guarded, "192.0.2.3", **origin)
        assert answer.headers.get("access-control-allow-origin") == allowed
    while (refused := change(guarded, "192.0.2.3", **ours)).status_code != 429:
        pass
    assert refused.headers["access-control-allow-origin"] == "https://shop.example"
    assert "Retry-After" in refused.headers["access-control-expose-headers"]
    none = httpx.get(f"{unguarded}/healthz", headers=ours)
    assert "access-control-allow-origin" not in none.headers


def test_what_browsers_are_told(guarded: str, unguarded: str) -> None:
    for path in ("/", "/healthz", "/nowhere", "/static/app.js", "/api/v1/gallery"):
        headers = httpx.get(f"{unguarded}{path}").headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "same-origin"
        assert "default-src 'none'" in headers["content-security-policy"]
        assert "geolocation=()" in headers["permissions-policy"]
        assert "strict-transport-security" not in headers
    named = {"host": "food.example", "x-forwarded-proto": "https"}
    answer = httpx.get(f"{guarded}/", headers=named)
    assert answer.headers["strict-transport-security"] == "max-age=31536000"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("cors_origins", "https://shop.example/"),
        ("cors_origins", "shop.example"),
        ("cors_origins", "https://*.shop.example"),
        ("allowed_hosts", "*food.example"),
        ("allowed_hosts", "https://food.example"),
        ("trusted_proxies", "*"),
        ("trusted_proxies", "10.0.0.1/8"),
        ("trusted_proxies", "localhost"),
        ("rate_limit_per_minute", -1),
    ],
)
def test_settings_that_would_not_do_what_they_say_are_refused(name: str, value: object) -> None:
    with pytest.raises(SettingError, match=name):
        load_settings(**{name: value})
