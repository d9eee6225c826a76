"""One file, one vector: by build, command line, upload, data URL and the original's form."""

import base64
import json
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import uvicorn

from deepfood.cli import main
from deepfood.config import Settings, load_settings
from deepfood.embed import Embedder
from deepfood.local import LocalGallery
from deepfood.model import open_model
from deepfood.photo import Pixels
from deepfood.serve.app import create_app
from deepfood.serve.run import bind
from deepfood.serve.service import open_service
from plates import LIMITS
from samples import PHOTOS


def run(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> None:
    monkeypatch.setattr(sys, "argv", ["deepfood", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 0


@contextmanager
def served_here(settings: Settings) -> Iterator[httpx.Client]:
    """The service over real HTTP, but in this process, where the test can watch it."""
    listening = bind("127.0.0.1", 0)
    listening.listen()
    app = create_app(settings, open_service)
    # uvicorn's own logging configuration closes every handler of the process, and absl's (it comes
    # with tensorboard) closes its stream too: that is pytest's, where a test before loaded torch.
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, log_level="error"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    host, port = listening.getsockname()
    try:
        with httpx.Client(base_url=f"http://{host}:{port}", timeout=300) as client:
            yield client
    finally:
        server.should_exit = True
        thread.join()
        listening.close()


@pytest.mark.parametrize(
    "kind",
    [
        "jpeg",
        *(pytest.param(kind, marks=pytest.mark.slow) for kind in ("png-palette", "heic", "webp")),
    ],
)
def test_every_route_gives_the_same_tensor_and_the_same_vector(
    kind: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    seen: list[tuple[Pixels, np.ndarray]] = []
    real = Embedder.infer

    def infer_and_note(self: Embedder, pixels: Pixels) -> np.ndarray:
        vector = real(self, pixels)
        seen.append((pixels, vector))
        return vector

    monkeypatch.setattr(Embedder, "infer", infer_and_note)
    data = PHOTOS[kind]
    photo = tmp_path / "photos" / "one.jpg"
    photo.parent.mkdir()
    photo.write_bytes(data)
    url = f"data:image/jpeg;base64,{base64.b64encode(data).decode()}"

    run(monkeypatch, "build", photo.parent, "--out", tmp_path / "gallery", "--json")
    run(monkeypatch, "search", tmp_path / "gallery", photo, "--json")
    printed = json.loads(capsys.readouterr().out.partition("\n}\n")[2])
    settings = load_settings(gallery=tmp_path / "gallery")
    with served_here(settings) as client:
        answers: list[Any] = [
            client.post("/api/v1/search", files={"photo": ("x.jpg", data)}),
            client.post("/api/v1/search", json={"photo": url}),
            client.post("/api/v1/search", data={"photo": url}),
            client.post("/search", data={"image": url}),
        ]
    assert [answer.status_code for answer in answers] == [200] * 4
    assert len(seen) == 6
    for pixels, vector in seen[1:]:
        np.testing.assert_array_equal(pixels, seen[0][0])
        np.testing.assert_array_equal(vector, seen[0][1])
    with LocalGallery.open(tmp_path / "gallery", open_model()) as gallery:
        _, vectors, rows = gallery.photos()
        np.testing.assert_array_equal(vectors.take(rows)[0], seen[0][1])
    assert answers[0].json()["hits"][0]["score"] == printed["hits"][0]["score"]
    assert LIMITS.max_pixels == settings.max_photo_pixels
