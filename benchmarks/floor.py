"""The steps of indexing, each alone on all cores, and the machine's peak."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch

from contenders import DEFAULT, RESNET34
from deepfood.config import available_cores
from deepfood.embed import Embedder
from deepfood.photo import read_pixels
from machine import matmul_gflops
from photos import PhotoSet
from reference import BATCH, Reference, prepare
from report import Table, interleave, medians

#: At 224 x 224 pixels, multiply and add counted as two; 7.33 with the products with padding, which
#: libraries skip.
RESNET34_GFLOP = 6.75
_PHOTOS = 128
_TORCH = "reference: inference, torch f32"


def tables(
    sets: list[PhotoSet], reference: Reference, embedders: dict[str, Embedder], rounds: int
) -> list[Table]:
    steps = _decoding(sets, embedders[DEFAULT]) | _inference(reference, embedders)
    rates = medians(interleave(steps, rounds))
    rows = [(name, rate, 1000 / rate) for name, rate in rates.items()]
    return [
        Table("What it is made of, each step alone", ("step", "photos/s", "ms a photo"), rows),
        _roofline(rates[_TORCH], rates[_ours(RESNET34)], embedders[RESNET34].precision),
    ]


def _ours(name: str) -> str:
    return f"{name}: inference"


def _decoding(sets: list[PhotoSet], embedder: Embedder) -> dict[str, Callable[[], float]]:
    steps: dict[str, Callable[[], float]] = {}

    def decode(data: bytes) -> None:
        read_pixels(data, embedder.preprocess, embedder.limits)

    for photos in sets:
        files = photos.files[:_PHOTOS]
        data = [file.read_bytes() for file in files]
        steps[f"reference: decode, {photos.name}"] = _rate(prepare, files)
        steps[f"deepfood: decode, {photos.name}"] = _rate(decode, data)
    return steps


def _inference(
    reference: Reference, embedders: dict[str, Embedder]
) -> dict[str, Callable[[], float]]:
    rng = np.random.default_rng(0)
    pixels = list(rng.integers(0, 256, (_PHOTOS, 224, 224, 3), np.uint8))
    batch = torch.from_numpy(rng.standard_normal((BATCH, 3, 224, 224), np.float32))

    def with_torch() -> float:
        started = time.perf_counter()
        reference.embed(batch)
        return BATCH / (time.perf_counter() - started)

    return {_TORCH: with_torch} | {
        _ours(name): _rate(embedder.infer, pixels) for name, embedder in embedders.items()
    }


def _rate(function: Callable[[Any], object], items: Any) -> Callable[[], float]:
    """A measurement: items per second through `function`, with a build's number of threads."""

    def measure() -> float:
        with ThreadPoolExecutor(available_cores() + 1) as pool:
            started = time.perf_counter()
            list(pool.map(function, items))
            return len(items) / (time.perf_counter() - started)

    return measure


def _roofline(torch_rate: float, our_rate: float, our_precision: str) -> Table:
    peaks = {precision: matmul_gflops(precision) for precision in ("f32", our_precision)}
    rows = [
        (who, precision, peaks[precision], peaks[precision] / RESNET34_GFLOP, rate, share)
        for who, precision, rate in (
            ("reference, torch", "f32", torch_rate),
            (RESNET34, our_precision, our_rate),
        )
        if (share := rate * RESNET34_GFLOP / peaks[precision])
    ]
    return Table(
        "ResNet34 against this machine's peak",
        ("network", "precision", "peak GFLOP/s", "photos/s at peak", "measured", "share of peak"),
        rows,
        f"Peak: the best of many 1024 x 1024 matrix products in OpenVINO on all cores; ResNet34 "
        f"takes {RESNET34_GFLOP} GFLOP a photo. No gallery is built faster than photos/s at peak.",
    )
