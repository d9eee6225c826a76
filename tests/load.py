"""Searches without end, for tests of what changes under a server."""

import base64
import threading
import time
from collections.abc import Callable

import httpx


def wait_for(condition: Callable[[], object], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


class Load(threading.Thread):
    """Searches with a photo and by id, and reads photos, as fast as the server answers."""

    def __init__(self, url: str, photo: bytes) -> None:
        super().__init__()
        self.url, self.photo = url, "data:image/jpeg;base64," + base64.b64encode(photo).decode()
        self.ended = threading.Event()
        self.answers = 0
        self.worst_s = 0.0
        self.failed: list[str] = []

    def run(self) -> None:
        with httpx.Client(base_url=self.url, timeout=300) as client:
            while not self.ended.is_set():
                try:
                    started = time.monotonic()
                    found = client.post("/api/v1/search", json={"photo": self.photo, "k": 9})
                    self.worst_s = max(self.worst_s, time.monotonic() - started)
                    hits = found.raise_for_status().json()["hits"]
                    assert len(hits) == 9
                    assert hits[0]["score"] > 0.999, hits[0]
                    like = client.post("/api/v1/search", json={"id": hits[0]["id"]})
                    assert len(like.raise_for_status().json()["hits"]) == 9
                    client.get(hits[1]["thumbnail_url"]).raise_for_status()
                    self.answers += 3
                except Exception as error:
                    self.failed.append(repr(error))
                    return
