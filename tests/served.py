"""A real server in this process: one in a process of its own imports for two seconds."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import uvicorn

from deepfood.config import Settings, load_settings
from deepfood.serve.api.url_fetcher import Fetcher
from deepfood.serve.app import create_app
from deepfood.serve.edge.http1 import Config
from deepfood.serve.run import bind
from deepfood.serve.service import SearchService, open_service


@contextmanager
def serving_here(gallery: Path, **changed: object) -> Iterator[str]:
    """As `serving` of live.py, without its log and signals; where it listens."""
    settings = load_settings(gallery=gallery, **changed)
    with listening(settings, open_service(settings)) as port:
        yield f"http://127.0.0.1:{port}"


@contextmanager
def listening(
    settings: Settings, service: SearchService, fetcher: Fetcher | None = None
) -> Iterator[int]:
    """The port of 127.0.0.1 where this service is served."""
    server = uvicorn.Server(Config(create_app(settings, lambda _: service, fetcher), settings))
    with bind("127.0.0.1", 0) as bound:
        bound.listen()
        thread = threading.Thread(target=lambda: asyncio.run(server.serve([bound])))
        thread.start()
        try:
            yield bound.getsockname()[1]
        finally:
            server.should_exit = True
            thread.join()
