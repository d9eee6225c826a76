"""Vectors to search among: embeddings of random crops of real photos, and made-up clusters."""

import hashlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from contenders import embedder
from deepfood.embed import Embedder
from deepfood.model import open_model
from photos import jpegs

Vectors = npt.NDArray[np.float32]

CROPS = 37
_HELD_OUT = 10  # every tenth photo is a query
_CLUSTERS, _LATENT = 500, 24
_CHUNK = 50_000
_QUERIES = 300


@dataclass(frozen=True)
class VectorSet:
    """Unit vectors float32 [n, dim], shuffled, and queries that are not among them."""

    name: str
    gallery: Vectors
    queries: Vectors

    def first(self, count: int) -> "VectorSet":
        return VectorSet(self.name, self.gallery[:count], self.queries)


def real_vectors(folder: Path, cache: Path) -> VectorSet:
    """Crops of the folder's photos through the default Model, kept in `cache`."""
    one = embedder(open_model())
    files = jpegs(folder)
    mark = hashlib.sha256(f"{folder.resolve()} {len(files)} {one.model.fingerprint}".encode())
    path = cache / f"crops-{mark.hexdigest()[:16]}.npz"
    if not path.exists():
        gallery, queries = _crops(files, one)
        np.savez(path, gallery=gallery, queries=queries)
    with np.load(path) as kept:
        return VectorSet("crops of photos", kept["gallery"], kept["queries"])


def synthetic_vectors(wanted: int, dimension: int) -> VectorSet:
    """Clusters in few dimensions, turned into many, with a little noise in every one."""
    rng = np.random.default_rng(0)
    space = _space(dimension, rng)
    vectors = np.empty((wanted + _QUERIES, dimension), np.float32)
    for start in range(0, len(vectors), _CHUNK):  # a million at once would not fit into memory
        _fill(vectors[start : start + _CHUNK], rng, space)
    return VectorSet("made-up clusters", vectors[_QUERIES:], vectors[:_QUERIES])


def synthetic_few(count: int, dimension: int, rng: np.random.Generator) -> Vectors:
    """Unit vectors of the same clusters, float32 [count, dimension], as `rng` draws them."""
    vectors = np.empty((count, dimension), np.float32)
    _fill(vectors, rng, _known_space(dimension))
    return vectors


def _space(dimension: int, rng: np.random.Generator) -> tuple[Vectors, Vectors]:
    """Centres in few dimensions, and how these lie in many."""
    centres = rng.standard_normal((_CLUSTERS, _LATENT), np.float32)
    return centres, rng.standard_normal((_LATENT, dimension), np.float32)


@cache
def _known_space(dimension: int) -> tuple[Vectors, Vectors]:
    return _space(dimension, np.random.default_rng(0))


def _fill(chunk: Vectors, rng: np.random.Generator, space: tuple[Vectors, Vectors]) -> None:
    centres, turned = space
    latent = centres[rng.integers(0, _CLUSTERS, len(chunk))]
    latent += 0.5 * rng.standard_normal(latent.shape, np.float32)
    np.matmul(latent, turned, out=chunk)
    chunk += 0.3 * rng.standard_normal(chunk.shape, np.float32)
    chunk /= np.linalg.norm(chunk, axis=1, keepdims=True)


def _crops(files: list[Path], one: Embedder) -> tuple[Vectors, Vectors]:
    """Gallery: each photo and its crops. Queries: the whole photos that were held out."""

    def embed(number: int) -> Vectors:
        path = files[number]
        vectors = [one.embed(path.read_bytes())]
        if number % _HELD_OUT:
            rng = np.random.default_rng(number)
            with Image.open(path) as image:
                photo = image.convert("RGB")
            vectors += [one.infer(_crop(photo, rng)) for _ in range(CROPS - 1)]
        return np.stack(vectors)

    with ThreadPoolExecutor(one.threads + 1) as pool:
        found = list(pool.map(embed, range(len(files))))
    gallery = np.concatenate([v for number, v in enumerate(found) if number % _HELD_OUT])
    queries = np.concatenate(found[::_HELD_OUT])[:_QUERIES]
    return gallery[np.random.default_rng(0).permutation(len(gallery))], queries


def _crop(photo: Image.Image, rng: np.random.Generator) -> npt.NDArray[np.uint8]:
    """A square of 45 to 100 % of the shorter side, anywhere, mirrored half of the time."""
    side = min(photo.size) * rng.uniform(0.45, 1)
    left, top = rng.uniform(0, photo.width - side), rng.uniform(0, photo.height - side)
    box = (left, top, left + side, top + side)
    square = photo.resize((224, 224), Image.Resampling.BICUBIC, box=box)
    if rng.random() < 0.5:
        square = square.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    return np.asarray(square)
