"""A real server in this process, whose searches can be held back, to see what waits behind them."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from deepfood.config import Settings, load_settings
from deepfood.serve.api.url_fetcher import Fetcher
from deepfood.serve.question import SearchQuestion, SearchResult
from deepfood.serve.service import SearchService, open_service
from served import listening


class HeldService(SearchService):
    """Searches as ever, but each waits for `gate` first; `begun` and `ended` count them."""

    gate: threading.Event
    begun = 0
    ended = 0

    def search(self, question: SearchQuestion) -> SearchResult:
        self.begun += 1
        try:
            assert self.gate.wait(300)
            return super().search(question)
        finally:
            self.ended += 1


@contextmanager
def held_server(
    gallery: Path, fetcher: Fetcher | None = None, **changed: object
) -> Iterator[tuple[int, HeldService]]:
    """A port of 127.0.0.1, and its service, whose gate is open. Two threads search."""
    settings = load_settings(gallery=gallery, threads=1, **changed)
    service = open_held(settings)
    with listening(settings, service, fetcher) as port:
        try:
            yield port, service
        finally:
            service.gate.set()


def open_held(settings: Settings) -> HeldService:
    service = open_service(settings)
    held = HeldService(service.gallery, service.embedder, settings)
    held.gate = threading.Event()
    held.gate.set()
    return held
