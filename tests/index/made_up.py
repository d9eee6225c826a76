"""Vectors for tests of the indexes."""

import numpy as np
import numpy.typing as npt

Vectors = npt.NDArray[np.float32]


def unit_vectors(count: int, dimension: int, seed: int = 0) -> Vectors:
    rng = np.random.default_rng(seed)
    return _unit(rng.standard_normal((count, dimension)))


def food_like(count: int, dimension: int = 48) -> Vectors:
    """Clusters in a space of few dimensions, which is how embeddings of real photos lie."""
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((80, 10))
    low = centres[rng.integers(80, size=count)] + 0.5 * rng.standard_normal((count, 10))
    return _unit(low @ rng.standard_normal((10, dimension)))


def _unit(vectors: npt.NDArray[np.float64]) -> Vectors:
    units: Vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    return units
