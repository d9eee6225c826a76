"""The reference: photo search as in the original project, written from its description.

Pillow opens and decodes, torchvision resizes to 256 and crops 224, a torch ResNet34 runs in f32, a
forward hook takes the 512 numbers after `avgpool`, and Annoy (5 trees, euclidean) searches them.
Its server runs the network inside the async handler. Weights are random, as only speed is compared.

    python benchmarks/reference.py FOLDER index the photos of a folder and serve them
"""

import base64
import io
import socket
import sys
import tempfile
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import uvicorn
from annoy import AnnoyIndex
from fastapi import FastAPI, Form
from PIL import Image
from torchvision import models, transforms

from deepfood.config import available_cores

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
BATCH = 64
NUMBERS = 512
TREES = 5
NEIGHBOURS = 9

PREPARE = transforms.Compose(
    [
        transforms.Resize(256),
        transforms.CenterCrop(224),
        transforms.ToTensor(),
        transforms.Normalize(MEAN, STD),
    ]
)


def resnet34() -> Any:
    torch.manual_seed(0)
    return models.resnet34(weights=None).eval()


class Reference:
    """Embeds, indexes and searches; torch uses all cores."""

    def __init__(self) -> None:
        torch.set_num_threads(available_cores())
        self._network = resnet34()
        self._network.avgpool.register_forward_hook(self._keep)
        self._kept = torch.empty(0)

    def _keep(self, _module: Any, _inputs: Any, output: Any) -> None:
        self._kept = output.flatten(1)

    def embed(self, batch: Any) -> np.ndarray:
        """Numbers float32 [n, 512] of prepared photos float32 [n, 3, 224, 224]."""
        with torch.no_grad():
            self._network(batch)
        return self._kept.numpy()

    def index(self, batches: Iterable[Any], path: Path) -> AnnoyIndex:
        """Embed all batches, build the index, save it as `path`."""
        forest = AnnoyIndex(NUMBERS, "euclidean")
        row = 0
        for batch in batches:
            for numbers in self.embed(batch):
                forest.add_item(row, numbers)
                row += 1
        forest.build(TREES)
        forest.save(str(path))
        return forest


def prepare(photo: Any) -> Any:
    return PREPARE(Image.open(photo).convert("RGB"))


def plain_batches(files: tuple[Path, ...]) -> Iterable[Any]:
    """Batches read and decoded one photo after the other."""
    for start in range(0, len(files), BATCH):
        yield torch.stack([prepare(file) for file in files[start : start + BATCH]])


def batches_ahead(files: tuple[Path, ...]) -> Iterable[Any]:
    """Batches decoded by as many threads as cores, ahead of the network.

    Threads instead of a DataLoader's processes, as these, forked beside OpenVINO's and torch's
    threads, crash now and then; when they did not, they were no faster.
    """
    with ThreadPoolExecutor(available_cores()) as pool:
        waiting = [pool.submit(prepare, file) for file in files[:BATCH]]
        for start in range(0, len(files), BATCH):
            following = [
                pool.submit(prepare, file) for file in files[start + BATCH : start + 2 * BATCH]
            ]
            yield torch.stack([one.result() for one in waiting])
            waiting = following


def create_app(reference: Reference, forest: AnnoyIndex, files: tuple[Path, ...]) -> FastAPI:
    app = FastAPI()

    @app.get("/healthz")
    async def healthz() -> dict[str, str]:
        return {"status": "ok"}

    @app.post("/search")
    async def search(image: Annotated[str, Form()]) -> dict[str, list[str]]:
        photo = prepare(io.BytesIO(base64.b64decode(image.partition(",")[2])))
        numbers = reference.embed(photo[None])[0]
        rows = forest.get_nns_by_vector(numbers, NEIGHBOURS)
        return {"urls": [f"/photos/{files[row].name}" for row in rows]}

    return app


def main() -> None:
    files = tuple(sorted(Path(sys.argv[1]).iterdir()))
    reference = Reference()
    with tempfile.TemporaryDirectory() as folder:
        forest = reference.index(plain_batches(files), Path(folder) / "index.annoy")
        # Named as TCP, so that asyncio disables Nagle's delay, as when uvicorn binds the socket.
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listening:
            listening.bind(("127.0.0.1", 0))
            listening.listen(2048)
            print(f"reference: http://127.0.0.1:{listening.getsockname()[1]}", flush=True)
            app = create_app(reference, forest, files)
            config = uvicorn.Config(app, log_level="warning", server_header=False)
            uvicorn.Server(config).run(sockets=[listening])


if __name__ == "__main__":
    main()
