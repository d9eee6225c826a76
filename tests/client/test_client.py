"""The client against real servers: one of deepfood, and one that fails as it is told."""

import asyncio
import io
import shutil
import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from PIL import Image

from deepfood.errors import (
    DeepfoodError,
    KeyRefusedError,
    PhotoError,
    PhotoExistsError,
    PhotoNotFoundError,
    PhotoUnsupportedError,
    QueryError,
    ServiceBusyError,
    ServiceError,
    UndeclaredError,
)
from deepfood.serve.api.keys import new_key
from deepfood_client import AsyncClient, Client, SearchResult, Suggestion
from live import SmallGallery
from samples import photo
from served import serving_here

KEY, HASH = new_key()


@pytest.fixture(scope="module")
def url(small_gallery: SmallGallery, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    gallery = tmp_path_factory.mktemp("client") / "gallery"
    shutil.copytree(small_gallery.folder, gallery)
    with serving_here(gallery, api_key_hashes=HASH) as url:
        yield url


@pytest.fixture(scope="module")
def food(url: str) -> Iterator[Client]:
    with Client(url, key=KEY, timeout_s=120) as client:
        yield client


def test_a_photo_in_every_form_finds_itself(food: Client, small_gallery: SmallGallery) -> None:
    path = small_gallery.photos[9]
    found = [food.search(one, k=3) for one in (path, str(path), path.read_bytes(), [path])]
    assert all(one == found[0] for one in found)
    assert len(found[0].hits) == 3
    best = found[0].hits[0]
    assert (best.name, best.label) == ("Curry no. 1", "Curries")
    assert best.score == pytest.approx(1, abs=1e-5)
    for mode in ("RGB", "RGBA"):
        seen = food.search(Image.open(path).convert(mode), k=1).hits[0]
        assert seen.id == best.id
        assert seen.score == pytest.approx(1, abs=0.01)
    assert food.photo(best.id) == path.read_bytes()
    assert Image.open(io.BytesIO(food.thumbnail(best.id))).format == "JPEG"
    assert best.id not in {hit.id for hit in food.search(id=best.id).hits}
    part = food.search(path, box=(0.5, 0.5, 0.5, 0.5), k=1)
    assert part.hits[0].score < 0.9999
    why = food.explain(path, hit=best.id)
    assert why == food.explain(id=best.id, hit=best.id)
    assert sum(map(sum, why.hit.contributions)) == pytest.approx(why.score, abs=1e-3)
    half = food.explain(path, hit=best.id, box=(0.5, 0.5, 0.5, 0.5))
    assert half.query.seen.x >= 0.5
    with pytest.raises(ValueError, match="frozen"):
        best.score = 0.0


def test_pages_have_every_photo_once(food: Client, small_gallery: SmallGallery) -> None:
    pages = list(food.pages(small_gallery.photos[0], k=10))
    assert [len(page.hits) for page in pages] == [10, 10, 4]
    assert len({hit.id for page in pages for hit in page.hits}) == 24


@pytest.mark.slow
def test_a_photo_is_added_changed_and_removed(food: Client) -> None:
    price = food.declare("price", "number")
    assert (price.name, price.type, price.safety) == ("price", "number", False)
    added = food.add(photo(seed=77), label="Soups", name="Leek soup", attributes={"price": 4.5})
    assert (added.label, added.name, added.attributes) == ("Soups", "Leek soup", {"price": 4.5})
    assert food.search(photo(seed=77), where="price < 5").hits[0].id == added.id
    with pytest.raises(PhotoExistsError, match="the gallery has this photo already"):
        food.add(photo(seed=77), label="Pies", only_new=True)
    assert food.facts(added.id).label == "Soups"
    assert food.update(added.id, label=None).label is None
    assert food.facts(added.id).name == "Leek soup"
    assert food.suggest("lee", 5) == [
        Suggestion(text="Leek soup", kind="name", field="name", count=1)
    ]
    assert food.gallery().photos == 25
    assert "price" in {one.name for one in food.gallery().attributes}
    with pytest.raises(QueryError, match="no attribute 'prize': is 'price' meant"):
        food.update(added.id, attributes={"prize": 4})
    with pytest.raises(QueryError, match="known of 1 photo,"):
        food.drop_attribute("price")
    with pytest.raises(UndeclaredError, match="no attribute 'prize': is 'price' meant"):
        food.drop_attribute("prize")
    food.remove(added.id)
    food.drop_attribute("price")
    assert food.gallery().attributes == ()
    assert food.gallery().photos == 24
    assert food.samples(3, seed=1) == food.samples(3, seed=1)


@pytest.mark.slow
def test_a_problem_is_the_error_that_it_would_be_here(url: str, food: Client) -> None:
    with pytest.raises(PhotoUnsupportedError):
        food.search(b"no photo")
    with pytest.raises(PhotoNotFoundError):
        food.facts("0" * 20)
    with pytest.raises(PhotoNotFoundError):
        food.facts("../../healthz")
    with pytest.raises(QueryError, match="k = 1000") as caught:
        food.search(photo(), k=1000)
    assert caught.value.field == "k"
    with pytest.raises(QueryError, match="nothing to search for"):
        food.search()
    with pytest.raises(PhotoError, match="No such file"):
        food.search(Path("nowhere.jpg"))
    for key in (None, "wrong"):
        with Client(url, key=key) as other, pytest.raises(KeyRefusedError, match="request"):
            other.remove("0" * 20)


def test_the_async_client_does_the_same(
    url: str, food: Client, small_gallery: SmallGallery
) -> None:
    path = small_gallery.photos[9]
    best = food.search(path, k=1).hits[0].id
    assert food.explain(path, hit=best) == food.explain(id=best, hit=best)

    async def ask() -> tuple[list[SearchResult], list[SearchResult]]:
        async with AsyncClient(url, key=KEY, timeout_s=120) as client:
            assert await client.gallery() == food.gallery()
            assert await client.facts(best) == food.facts(best)
            assert await client.photo(best) == food.photo(best)
            assert await client.thumbnail(best) == food.thumbnail(best)
            assert await client.suggest("cur", 3) == food.suggest("cur", 3)
            assert await client.samples(3, seed=1) == food.samples(3, seed=1)
            assert await client.labels("c") == food.labels("c")
            assert await client.facets(2) == food.facets(2)
            assert await client.explain(path, hit=best) == food.explain(path, hit=best)
            listed = [page async for page in client.photo_pages(limit=20)]
            assert listed == list(food.photo_pages(limit=20))
            assert (await client.declare("grams", "number")).name == "grams"
            new = await client.add(photo(seed=78), label="Soups", only_new=True)
            with pytest.raises(PhotoExistsError):
                await client.add(photo(seed=78), label="Pies", only_new=True)
            assert (await client.add(photo(seed=78))).label == "Soups"
            changed = await client.update(new.id, name="Broth", attributes={"grams": 3})
            assert (changed.name, changed.attributes) == ("Broth", {"grams": 3})
            await client.remove(new.id)
            await client.drop_attribute("grams")
            with pytest.raises(QueryError, match="text tower"):
                await client.guess_label(path, names=["soup", "pie"])
            for lists in ("doubtful_labels", "overlapping_labels", "outliers", "duplicates"):
                assert await getattr(client, lists)() == getattr(food, lists)()
            several = await asyncio.gather(*[client.search(p) for p in small_gallery.photos[:4]])
            with pytest.raises(PhotoNotFoundError):
                await client.facts("0" * 20)
            return several, [page async for page in client.pages(small_gallery.photos[0], k=10)]

    several, pages = asyncio.run(ask())
    assert several == [food.search(one) for one in small_gallery.photos[:4]]
    assert [len(page.hits) for page in pages] == [10, 10, 4]


def test_both_clients_have_the_same_methods() -> None:
    def methods(kind: type) -> set[str]:
        return {name for name in vars(kind) if not name.startswith("_")}

    assert methods(Client) == methods(AsyncClient)


# What is sent again, and what is not


class Failing:
    """Answers as told: a status, or `cut`, which ends the connection after the request."""

    def __init__(self, *plan: int | str, retry_after: str = "0", body: bytes = b"") -> None:
        outer, given, self.times = self, body, list[float]()

        class Handler(BaseHTTPRequestHandler):
            def answer(self) -> None:
                self.rfile.read(int(self.headers.get("content-length", 0)))
                step = plan[min(len(outer.times), len(plan) - 1)]
                outer.times.append(time.monotonic())
                if step == "cut":
                    self.connection.shutdown(socket.SHUT_RDWR)
                    self.close_connection = True
                    return
                told = b'{"detail": "told so", "request_id": "r1"}'
                body = b"[]" if step == 200 else given or told
                self.send_response(int(step))
                self.send_header("retry-after", retry_after)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            do_GET = do_POST = do_DELETE = answer

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> "Failing":
        threading.Thread(target=self._server.serve_forever).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


def asked(kind: str, url: str, change: bool, **options: float) -> object:
    async def ask() -> object:
        async with AsyncClient(url, **options) as client:  # type: ignore[arg-type]
            return await (client.remove("a") if change else client.samples())

    if kind == "async":
        return asyncio.run(ask())
    with Client(url, **options) as client:  # type: ignore[arg-type]
        return client.remove("a") if change else client.samples()  # type: ignore[func-returns-value]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["sync", "async"])
@pytest.mark.parametrize(
    ("plan", "change", "sent", "error"),
    [
        ((503, 429, 200), False, 3, None),
        ((503, 200), True, 2, None),
        (("cut", 200), False, 2, None),
        (("cut", 200), True, 1, ServiceError),  # it may have been done
        ((500, 200), False, 1, ServiceError),
        ((503,), False, 4, ServiceBusyError),
        ((404, 200), False, 1, PhotoNotFoundError),
    ],
)
def test_what_is_safe_to_repeat_is_repeated(
    kind: str,
    plan: tuple[int | str, ...],
    change: bool,
    sent: int,
    error: type[DeepfoodError] | None,
) -> None:
    with Failing(*plan) as server:
        if error is None:
            asked(kind, server.url, change)
        else:
            with pytest.raises(error) as told:
                asked(kind, server.url, change)
            assert type(told.value) is error
        assert len(server.times) == sent


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["sync", "async"])
def test_retry_after_is_kept_to_unless_it_is_too_long(kind: str) -> None:
    with Failing(503, 200, retry_after="1") as server:
        asked(kind, server.url, False)
        first, second = server.times
        assert second - first >= 1
    with Failing(503, 200, retry_after="60") as server:
        with pytest.raises(ServiceBusyError, match=r"told so \(request r1\)"):
            asked(kind, server.url, False)
        assert len(server.times) == 1


@pytest.mark.slow
def test_a_server_that_is_away_is_named() -> None:
    with pytest.raises(ServiceError, match=r"http://127\.0\.0\.1:9: "):
        asked("sync", "http://127.0.0.1:9", True, retries=1)


def test_an_answer_of_another_kind_of_server_is_refused() -> None:
    refused = pytest.raises(ServiceError, match="does not answer as a deepfood server")
    with Failing(200) as server, Client(server.url) as client, refused:
        client.gallery()


@pytest.mark.slow
def test_a_failure_that_no_deepfood_worded_is_told_by_its_status() -> None:
    """As of a proxy in between; and one that says to wait, but not how long."""
    with Failing(502, body=b"<html>") as server:
        with pytest.raises(ServiceError, match=r"^502 Bad Gateway$"):
            asked("sync", server.url, False)
        assert len(server.times) == 1
    with Failing(503, 200, retry_after="soon") as server:
        asked("sync", server.url, False)
        assert len(server.times) == 2
