"""Three `deepfood serve` of one gallery on the cluster, behind Caddy: users see one service."""

import hashlib
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

import httpx
import pytest

import samples
from caddy import caddy
from deepfood.config import Settings
from deepfood.milvus.address import MilvusAddress
from gallery_contract import GalleryUnderTest
from live import Server, serving
from load import wait_for
from milvus_cluster import MilvusCluster
from milvus_engine import milvus_engine

#: Each server is on port 80 of an address of its own, as in a container.
ADDRESSES = ("127.0.0.11", "127.0.0.12", "127.0.0.13")
CLIENTS = 6
KEY = "a key for the tests"
#: How long some answers may take to come, on busy cores.
_LIMIT_S = 90


@dataclass
class Site:
    """Servers by address, and the URL under which Caddy has them all."""

    gallery: str
    settings: dict[str, object]
    running: ExitStack
    servers: dict[str, Server] = field(default_factory=dict)
    url: str = ""

    def start(self, address: str) -> None:
        options = ("--host", address, "--port", "80")
        server = serving(self.gallery, *options, **self.settings)
        self.servers[address] = self.running.enter_context(server)

    def searches(self, address: str) -> int:
        """How many searches a server has answered since it was started."""
        return self.servers[address].log.read_text().count("POST /api/v1/search 200")


@pytest.fixture(scope="module")
def engine(
    cluster: MilvusCluster, settings: Settings, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[GalleryUnderTest]:
    address = MilvusAddress(cluster.uri, "served")
    with milvus_engine(tmp_path_factory.mktemp("served"), address, settings) as made:
        yield made


@pytest.fixture(scope="module")
def site(
    cluster: MilvusCluster,
    settings: Settings,
    engine: GalleryUnderTest,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Site]:
    said: dict[str, object] = {
        "photos_store": settings.photos_store,
        "cache": settings.cache,
        "milvus_timeout_s": settings.milvus_timeout_s,
        "api_key_hashes": hashlib.sha256(KEY.encode()).hexdigest(),
    }
    with ExitStack() as running:
        site = Site(f"{cluster.url}/served", said, running)
        for address in ADDRESSES:
            site.start(address)
        site.url = running.enter_context(caddy(tmp_path_factory.mktemp("caddy"), ADDRESSES))
        yield site


def ids_of(answer: httpx.Response) -> list[str]:
    return [hit["id"] for hit in answer.json()["hits"]]


def search(client: httpx.Client, photo: bytes) -> httpx.Response:
    return client.post("/api/v1/search", files={"photo": ("p.jpg", photo)}, data={"k": "9"})


@dataclass
class Load:
    """Clients that search without end, each on a connection of its own, and check each answer."""

    url: str
    right: dict[bytes, list[str]]
    answers: int = 0
    wrong: list[str] = field(default_factory=list)
    slowest_s: float = 0.0
    ended: threading.Event = field(default_factory=threading.Event)
    counting: threading.Lock = field(default_factory=threading.Lock)

    def run(self) -> None:
        with httpx.Client(base_url=self.url, timeout=60) as client:
            while not self.ended.is_set():
                for photo, right in self.right.items():
                    started = time.monotonic()
                    fault = self._fault(client, photo, right)
                    with self.counting:
                        self.slowest_s = max(self.slowest_s, time.monotonic() - started)
                        self.answers += not fault
                        self.wrong += [fault] if fault else []

    def _fault(self, client: httpx.Client, photo: bytes, right: list[str]) -> str:
        """What is wrong with the answer to one search; nothing if it is right."""
        try:
            answer = search(client, photo)
        except httpx.TransportError as error:
            return repr(error)
        if answer.status_code != 200:
            return f"{answer.status_code} {answer.text[:200]}"
        return "" if ids_of(answer) == right else "other photos"

    def wait_for(self, answers: int) -> None:
        until, wanted = time.monotonic() + _LIMIT_S, self.answers + answers
        while self.answers < wanted:
            assert time.monotonic() < until, f"only {self.answers} of {wanted} answers came"
            time.sleep(0.05)


@contextmanager
def loaded(site: Site, engine: GalleryUnderTest) -> Iterator[Load]:
    photos = [path.read_bytes() for path in sorted(engine.photos.iterdir())]
    gallery = engine.open()
    right = {
        photo: [hit.photo.id for hit in gallery.search(engine.embedder.embed(photo), 9)]
        for photo in photos
    }
    load = Load(site.url, right)
    clients = [threading.Thread(target=load.run) for _ in range(CLIENTS)]
    for one in clients:
        one.start()
    try:
        yield load
    finally:
        load.ended.set()
        for one in clients:
            one.join()
        print(f"\n{load.answers} right answers, slowest {load.slowest_s:.1f} s, {load.wrong}")


def test_what_one_server_adds_all_find(site: Site) -> None:
    photo = samples.photo(90, 80, 4000)
    with httpx.Client(base_url=site.url, headers={"Authorization": f"Bearer {KEY}"}) as client:
        added = client.post("/api/v1/photos", files={"photo": ("new.jpg", photo)})
        assert added.status_code == 201, added.text
        new = added.json()["id"]
        for address in ADDRESSES:
            with httpx.Client(base_url=f"http://{address}", timeout=60) as direct:
                # One of the two replicas may be a time tick behind.
                wait_for(lambda direct=direct: ids_of(search(direct, photo))[0] == new)  # type: ignore[misc]
                assert direct.get(f"/photos/{new}").content == photo
        assert client.delete(f"/api/v1/photos/{new}").status_code == 204


def test_a_server_is_killed_under_load_and_no_search_fails(
    site: Site, engine: GalleryUnderTest
) -> None:
    dying = ADDRESSES[1]
    with loaded(site, engine) as load:
        load.wait_for(60)
        assert all(site.searches(address) for address in ADDRESSES), "one is not used"
        site.servers[dying].process.kill()
        load.wait_for(120)
        assert not load.wrong
        site.start(dying)
        until = time.monotonic() + _LIMIT_S
        while site.searches(dying) < 20:
            assert time.monotonic() < until, "a server that came back is not used"
            time.sleep(0.1)
    assert not load.wrong
