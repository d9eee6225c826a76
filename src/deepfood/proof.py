"""Golden vectors of a Model: made where it comes to be, and compared wherever somebody doubts."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from deepfood.embed import Embedder
from deepfood.model import Model, ModelManifest, open_model
from deepfood.model.golden import (
    NO_LIMITS,
    TEXTS,
    Golden,
    golden_photos,
    least_cosine,
    write_golden,
)
from deepfood.words import TextEmbedder


@dataclass(frozen=True)
class Proof:
    """The least cosine between golden vectors and the same made here, for photos and for texts.

    `words` is None where the Model has no text tower; precisions are those that were in use.
    """

    photos: float
    photo_precision: str
    words: float | None
    text_precision: str | None


def record_golden(folder: Path) -> ModelManifest:
    """Note in the Model's folder what it gives the golden photos and texts here, in f32.

    Raises ArtifactError, MissingExtraError or DiskFullError.
    """
    model = open_model(folder)
    photos = Embedder(model, NO_LIMITS, precision="f32", device="cpu", compare=False)
    words = None
    if model.manifest.text_tower is not None:
        words = TextEmbedder(model, precision="f32", compare=False).embed_many(TEXTS)
    return write_golden(folder, _photo_vectors(photos), words)


def check_model(model: Model, embedder: Embedder, words: TextEmbedder | None) -> Proof | None:
    """How near the Model comes to its golden vectors here; None where it has none.

    Opening `embedder` and the text tower has refused what is too far already. Raises
    ArtifactError.
    """
    golden = Golden.of(model)
    if golden is None:
        return None
    photos = least_cosine(golden.photo_vectors, _photo_vectors(embedder))
    if words is None:
        return Proof(photos, embedder.precision, None, None)
    texts = least_cosine(golden.text_vectors, words.embed_many(golden.texts))
    return Proof(photos, embedder.precision, texts, words.precision)


def _photo_vectors(embedder: Embedder) -> "np.ndarray[tuple[int, int], np.dtype[np.float32]]":
    return np.stack([embedder.embed(data) for data in golden_photos()])
