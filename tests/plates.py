"""What many tests start from: a small real Model, folders of drawn plates, galleries of them."""

import hashlib
import io
import itertools
import json
from collections.abc import Iterable
from copy import copy
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from PIL import Image, ImageDraw

from deepfood.artifacts import MANIFEST, FileRecord, with_checksum
from deepfood.data.photo_file import photo_id
from deepfood.data.photos import list_photos
from deepfood.embed import Embedder
from deepfood.gallery import BuildReport
from deepfood.index import IndexSpec
from deepfood.local import build_gallery
from deepfood.local.manifest import LocalManifest
from deepfood.model import ModelManifest, open_model
from deepfood.model.artifact import ONNX, write_model
from deepfood.photo import Limits, Preprocess

LIMITS = Limits(max_bytes=20 * 2**20, max_pixels=64_000_000)


def plate(seed: int, size: tuple[int, int] = (96, 72)) -> Image.Image:
    """A round dish of some colour with pieces on it; every seed another."""
    rng = np.random.default_rng(seed)
    image = Image.new("RGB", size, tuple(rng.integers(90, 255, 3).tolist()))
    draw = ImageDraw.Draw(image)
    width, height = size
    radius = min(size) * 0.42
    middle = (width / 2, height / 2)
    draw.ellipse(_circle(middle, radius), fill=tuple(rng.integers(0, 255, 3).tolist()))
    for _ in range(int(rng.integers(4, 12))):
        at = (middle[0] + rng.normal(0, radius / 3), middle[1] + rng.normal(0, radius / 3))
        fill = tuple(rng.integers(0, 255, 3).tolist())
        draw.ellipse(_circle(at, rng.uniform(0.1, 0.3) * radius), fill=fill)
    return image


def _circle(at: tuple[float, float], radius: float) -> tuple[float, float, float, float]:
    return (at[0] - radius, at[1] - radius, at[0] + radius, at[1] + radius)


@cache
def jpeg(seed: int, size: tuple[int, int] = (96, 72)) -> bytes:
    out = io.BytesIO()
    plate(seed, size).save(out, "JPEG", quality=90)
    return out.getvalue()


def write_photos(folder: Path, count: int, start: int = 0) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for seed in range(start, start + count):
        (folder / f"plate-{seed:05d}.jpg").write_bytes(jpeg(seed))
    return folder


def write_tiny_model(folder: Path, *, name: str = "tiny", pool: int = 8) -> Path:
    """A real Model that takes microseconds: 64 pixels, averaged over `pool` x `pool` blocks."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / ONNX).write_bytes(_tiny_graph(pool))
    ModelManifest(
        name=name,
        backbone="none",
        dimension=3 * (64 // pool) ** 2,
        preprocess=Preprocess(
            size=64, crop=1.0, interpolation="bilinear", mean=(0.5,) * 3, std=(0.25,) * 3
        ),
        source="made by the tests",
        licence="Apache-2.0",
        training={},
        files={ONNX: FileRecord.of(folder / ONNX)},
    ).write(folder)
    return folder


@cache
def _tiny_graph(pool: int) -> bytes:
    side = 64 // pool
    graph = helper.make_graph(
        [
            helper.make_node(
                "AveragePool", ["pixels"], ["small"], kernel_shape=[pool] * 2, strides=[pool] * 2
            ),
            helper.make_node("Flatten", ["small"], ["embedding"]),
        ],
        "tiny",
        [helper.make_tensor_value_info("pixels", TensorProto.FLOAT, ["n", 3, 64, 64])],
        [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["n", 3 * side * side])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    written: bytes = model.SerializeToString()
    return written


def write_conv_model(folder: Path, *, trained_on: Iterable[str] = (), loud: float = 1) -> Path:
    """A real Model with two convolutions, 64 pixels to 16 numbers, that sees colours and edges.

    `loud` makes one of its inner channels so many times as strong and its follower as many times
    weaker: the same vectors in float32, and less and less left of the others in int8.
    """
    rng = np.random.default_rng(7)
    first = rng.normal(0, 0.3, (8, 3, 5, 5)).astype(np.float32)
    second = rng.normal(0, 0.3, (16, 8, 3, 3)).astype(np.float32)
    first[0] *= loud
    second[:, 0] /= loud
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["pixels", "first"], ["a"], strides=[4, 4]),
            helper.make_node("Relu", ["a"], ["b"]),
            helper.make_node("Conv", ["b", "second"], ["c"], strides=[2, 2]),
            helper.make_node("GlobalAveragePool", ["c"], ["d"]),
            helper.make_node("Flatten", ["d"], ["embedding"]),
        ],
        "conv",
        [helper.make_tensor_value_info("pixels", TensorProto.FLOAT, ["n", 3, 64, 64])],
        [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["n", 16])],
        [numpy_helper.from_array(first, "first"), numpy_helper.from_array(second, "second")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    write_model(
        folder,
        model.SerializeToString(),
        "",
        trained_on=trained_on,
        name="conv",
        backbone="none",
        dimension=16,
        preprocess=Preprocess(
            size=64, crop=1.0, interpolation="bilinear", mean=(0.5,) * 3, std=(0.25,) * 3
        ),
        labels=("soup",),
        source="made by the tests",
        licence="Apache-2.0",
    )
    return folder


def edit_manifest(folder: Path, *, without: Iterable[str] = (), **changes: object) -> None:
    """Change a manifest as a program would that writes such manifests: its checksum fits."""
    said = json.loads((folder / MANIFEST).read_bytes())
    for name in ("checksum", *without):
        said.pop(name)
    text = json.dumps({**said, **changes}, indent=2)
    (folder / MANIFEST).write_bytes(with_checksum(text.encode()))


def trained_copy(folder: Path, model: Path, photos: Iterable[Path], *, name: str) -> Path:
    """A Model again, under another name, that says that it was trained on these photos."""
    about = open_model(model).manifest
    write_model(
        folder,
        (model / ONNX).read_bytes(),
        "# trained",
        trained_on=[photo_id(sha256(path.read_bytes())) for path in photos],
        name=name,
        **about.model_dump(include={"backbone", "dimension", "source", "licence"}),
        preprocess=about.preprocess,
    )
    return folder


def tiny_embedder(folder: Path, *, pool: int = 8, limits: Limits = LIMITS) -> Embedder:
    """The Embedder of a tiny Model in `folder`; the network, always the same, is compiled once."""
    embedder = copy(_tiny_network(pool))
    embedder.model, embedder.limits = open_model(write_tiny_model(folder, pool=pool)), limits
    return embedder


@cache
def _tiny_network(pool: int) -> Embedder:
    with TemporaryDirectory() as folder:
        return Embedder(open_model(write_tiny_model(Path(folder), pool=pool)), LIMITS)


class Counting:
    """The Embedder, and how often it was asked; `stop_at` raises as Ctrl-C does.

    With `stop_at` photos come one after the other, so that it is known which ones came before.
    """

    def __init__(self, embedder: Embedder, stop_at: int = 10**9) -> None:
        self.model = embedder.model
        self.threads = 0 if stop_at < 10**9 else embedder.threads
        self.at_once = 1 if stop_at < 10**9 else embedder.at_once
        self.dimension, self.limits = embedder.dimension, embedder.limits
        self._embedder, self._numbers, self._stop_at = embedder, itertools.count(1), stop_at
        self.asked = 0

    def embed(self, data: bytes) -> "np.ndarray[tuple[int], np.dtype[np.float32]]":
        number = next(self._numbers)  # from several threads
        if number > self._stop_at:
            raise KeyboardInterrupt
        self.asked = max(self.asked, number)
        self.on(number)
        return self._embedder.embed(data)

    def on(self, number: int) -> None:
        """What else happens when it is asked."""


def build(
    photos: Path, out: Path, embedder: Embedder, spec: IndexSpec | None = None
) -> BuildReport[LocalManifest]:
    return build_gallery(list_photos(photos), out, embedder, spec or IndexSpec(), quiet=True)


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


#: Dishes that `write_dishes` draws, and the colour of each, which tells them apart.
DISH_COLOURS = {
    "crème brûlée": (235, 200, 90),
    "spinach_curry": (40, 120, 40),
    "tomato soup": (200, 40, 30),
    "blueberry pie": (60, 40, 140),
}


def dish(colour: tuple[int, int, int], seed: int, size: tuple[int, int] = (96, 72)) -> Image.Image:
    """A plate of food about that colour; other seeds differ in place, shade and garnish."""
    rng = np.random.default_rng(seed)
    image = Image.new("RGB", size, tuple(rng.integers(120, 255, 3).tolist()))
    draw = ImageDraw.Draw(image)
    middle = tuple(np.array(size) / 2 + rng.normal(0, 4, 2))
    radius = min(size) * rng.uniform(0.3, 0.45)
    draw.ellipse(_circle(middle, radius * 1.15), fill=(245, 245, 245))
    shade = np.clip(np.array(colour) + rng.normal(0, 45, 3), 0, 255).astype(int)
    draw.ellipse(_circle(middle, radius), fill=tuple(shade.tolist()))
    for _ in range(int(rng.integers(2, 8))):
        at = (middle[0] + rng.normal(0, radius / 3), middle[1] + rng.normal(0, radius / 3))
        fill = tuple(rng.integers(0, 255, 3).tolist())
        draw.ellipse(_circle(at, rng.uniform(0.1, 0.25) * radius), fill=fill)
    return image


def write_dishes(folder: Path, each: int, start: int = 0, labels: int = 4) -> Path:
    """Class folders with `each` photos of each dish, of different seeds from `start` on."""
    for number, (label, colour) in enumerate(list(DISH_COLOURS.items())[:labels]):
        (folder / label).mkdir(parents=True, exist_ok=True)
        for seed in range(start, start + each):
            photo = dish(colour, 1000 * number + seed)
            photo.save(folder / label / f"{seed:05d}.jpg", quality=90)
    return folder


def write_clouds(folder: Path, each: int, noise: float, labels: int = 3) -> Path:
    """Class folders of photos whose vectors, by the tiny Model, are their label's and noise."""
    rng = np.random.default_rng(0)
    common = 3 * rng.normal(size=(8, 8, 3))  # as in real Models, no two photos are wholly unlike
    middles = common + rng.normal(size=(labels, 8, 8, 3))
    for label, middle in enumerate(middles):
        (folder / f"dish {label}").mkdir(parents=True, exist_ok=True)
        for number in range(each):
            blocks = middle + noise * rng.normal(size=middle.shape)
            scaled = 40 * blocks / np.sqrt(10 + noise**2)
            pixels = np.clip(127.5 + scaled, 0, 255).astype(np.uint8)
            picture = Image.fromarray(pixels.repeat(8, axis=0).repeat(8, axis=1))
            picture.save(folder / f"dish {label}" / f"{number:04d}.png")
    return folder
