"""How often the gate refuses a Model that is as good as the one before.

    python benchmarks/gate.py FOLDER [--queries 60 200] [--draws 300] [--noise 0.3]

FOLDER has a folder of photos a label; they are embedded with the Model that ships, and 1,000 of
them are the gallery. Two Models differ by noise alone, and each query's answers are given to either
of them by chance, so that neither is better. Printed is the share of draws in which one of the
gate's figures is certainly worse, and that in which labels are named as lost.
"""

import argparse
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

import deepfood
from deepfood.config import load_settings
from deepfood.embed import Vectors
from deepfood.evaluate.gate import answers_of, judge
from deepfood.evaluate.metrics import measure

_GALLERY = 1000


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--queries", type=int, nargs="*", default=[60, 200])
    parser.add_argument("--draws", type=int, default=300)
    parser.add_argument("--noise", type=float, default=0.3)
    options = parser.parse_args()

    found = deepfood.embed_photos(options.folder, load_settings(), quiet=False)
    names, labels = np.unique([one.label or "" for one in found.files], return_inverse=True)
    labels = labels.astype(np.int64)
    vectors = np.asarray(found.vectors, np.float32)
    order = np.random.default_rng(0).permutation(len(vectors))
    gallery, queries = order[:_GALLERY], order[_GALLERY:]
    one, other = (
        answers_of(
            measure(noisy[queries], labels[queries], noisy[gallery], labels[gallery]),
            labels[queries],
            labels[gallery],
        )
        for noisy in (_noisy(vectors, options.noise, seed) for seed in (1, 2))
    )
    for count in options.queries:
        worse = lost = 0
        for draw in range(options.draws):
            rng = np.random.default_rng([count, draw])
            rows = rng.choice(len(queries), count, replace=False)
            swapped = rng.random(count) < 0.5
            before, after = _given(one, other, rows, swapped), _given(other, one, rows, swapped)
            found_by = judge(before, after, labels[queries][rows], names.tolist(), seed=0)
            worse += bool(found_by.worse(decisive=None))
            lost += bool(found_by.lost)
        print(
            f"{count} queries, {options.draws} draws: certainly worse in "
            f"{worse / options.draws:.3f}, labels lost in {lost / options.draws:.3f}"
        )


def _noisy(vectors: Vectors, noise: float, seed: int) -> Vectors:
    drawn = np.random.default_rng(seed).normal(0, 1, vectors.shape).astype(np.float32)
    moved = vectors + np.float32(noise / np.sqrt(vectors.shape[1])) * drawn
    unit: Vectors = moved / np.linalg.norm(moved, axis=1, keepdims=True)
    return unit


def _given(
    one: Mapping[str, npt.NDArray[np.float64]],
    other: Mapping[str, npt.NDArray[np.float64]],
    rows: npt.NDArray[np.int64],
    swapped: npt.NDArray[np.bool_],
) -> dict[str, npt.NDArray[np.float64]]:
    """The answers of these rows, those of `other` where swapped."""
    return {
        key: np.where(
            swapped.reshape(-1, *[1] * (answers.ndim - 1)), other[key][rows], answers[rows]
        )
        for key, answers in one.items()
    }


if __name__ == "__main__":
    main()
