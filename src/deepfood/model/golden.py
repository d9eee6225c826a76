"""Golden vectors: a Model's vectors of a few photos and texts, from where it was made.

Another processor, precision or version of a runtime must reproduce them. The photos are drawn by
code, so that every machine has them; none is square, since on a square photo cropping and squashing
look the same.
"""

import io
import logging
from pathlib import Path
from typing import Literal, Self

import numpy as np
import numpy.typing as npt
from PIL import Image
from pydantic import BaseModel, ConfigDict, ValidationError

from deepfood.artifacts import FileRecord, read_file, write_atomically
from deepfood.errors import ArtifactCorruptError
from deepfood.model.artifact import GOLDEN, Model, ModelManifest, open_model
from deepfood.photo import Limits

_log = logging.getLogger(__name__)

Vectors = npt.NDArray[np.float32]

#: The least cosine between a golden vector and the same one computed now: in f32, and in a lower
#: precision. Below the first a Model is refused; below the second it runs in f32 instead.
LEAST_F32, LEAST_OTHER = 0.999, 0.995

#: For the photos drawn here.
NO_LIMITS = Limits(2**40, 2**40)
#: Width and height of the photos: wide, high, and as narrow as a scan of a receipt.
SIZES = ((640, 427), (300, 450), (150, 700))
TEXTS = (
    "Mint Leaves, fresh & GREEN (washed)!",
    "a plate of rice with lentils, fried onions, yoghurt and coriander " * 40,
    "塩ラーメンと餃子",
)


class Golden(BaseModel):
    """The texts and vectors in `golden.json`; empty lists without a text tower."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    texts: tuple[str, ...] = ()
    photos: tuple[tuple[float, ...], ...]
    words: tuple[tuple[float, ...], ...] = ()

    @classmethod
    def of(cls, model: Model) -> Self | None:
        """The golden vectors of a Model; None if it has none. Raises ArtifactCorruptError."""
        name = model.manifest.file(GOLDEN)
        if name not in model.manifest.files:
            return None
        path = model.folder / name
        try:
            golden = cls.model_validate_json(read_file(path))
        except (OSError, ValidationError) as error:
            raise ArtifactCorruptError(
                f"{path} cannot be read: {str(error).split(chr(10))[0]}"
            ) from error
        rows = (*golden.photos, *golden.words)
        if (
            len(golden.photos) != len(SIZES)
            or len(golden.words) != len(golden.texts)
            or any(len(row) != model.manifest.dimension for row in rows)
        ):
            raise ArtifactCorruptError(f"{path} has vectors of another Model")
        return golden

    @property
    def photo_vectors(self) -> Vectors:
        """float32 [3, dimension], length 1."""
        return np.array(self.photos, np.float32)

    @property
    def text_vectors(self) -> Vectors:
        """float32 [n, dimension], length 1."""
        return np.array(self.words, np.float32)


def write_golden(folder: Path, photos: Vectors, words: Vectors | None) -> ModelManifest:
    """Add the vectors of `golden_photos` and, if any, TEXTS to the Model in `folder`.

    Both are float32 [3, dimension]. Raises DiskFullError.
    """
    golden = Golden(
        texts=() if words is None else TEXTS,
        photos=_rows(photos),
        words=() if words is None else _rows(words),
    )
    manifest = open_model(folder).manifest
    name = manifest.file(GOLDEN)
    write_atomically(folder / name, golden.model_dump_json().encode())
    files = {**manifest.files, name: FileRecord.of(folder / name)}
    with_golden = manifest.model_copy(update={"files": files})
    with_golden.write(folder)
    return with_golden


def golden_photos() -> list[bytes]:
    """Three photos as PNG, with circles and stripes in many colours, the same everywhere."""
    return [_drawn(width, height, seed) for seed, (width, height) in enumerate(SIZES, 1)]


def least_cosine(golden: Vectors, found: Vectors) -> float:
    """The smallest cosine between corresponding rows."""
    return float((golden * found).sum(axis=1).min())


def check_golden(
    model: Model, of: Literal["photo", "text"], golden: Vectors, found: Vectors, precision: str
) -> bool:
    """Whether `found` (unit vectors, float32 [n, dimension]) are close enough to the golden ones.

    False, with a warning in the log, if a precision below f32 is at fault. Raises
    ArtifactCorruptError if they differ in f32.
    """
    cosine = least_cosine(golden, found)
    if precision == "f32":
        if not cosine >= LEAST_F32:
            raise ArtifactCorruptError(
                f"the Model {model.manifest.name} gives other {of} vectors here than where it was "
                f"made (cosine {cosine:.4f}, required {LEAST_F32}), and would find the wrong "
                "photos: get it again, or try another version of the runtime"
            )
        return True
    if not cosine >= LEAST_OTHER:
        _log.warning(
            "the Model %s gives other %s vectors in %s than in f32 (cosine %.4f, required %s): "
            "it runs in f32",
            model.manifest.name,
            of,
            precision,
            cosine,
            LEAST_OTHER,
        )
        return False
    return True


def _rows(vectors: Vectors) -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(float(value) for value in row) for row in vectors)


def _drawn(width: int, height: int, seed: int) -> bytes:
    """A photo made with integer arithmetic only, which is the same with any library version."""
    y, x = np.mgrid[0:height, 0:width].astype(np.int64)
    planes = []
    for channel in range(3):
        shade = x * (40 + 30 * channel) // width + y * (90 - 20 * channel) // height
        for disc in range(6):
            number = seed * 7919 + channel * 131 + disc * 1031
            left, top = number * 613 % width, number * 419 % height
            radius = min(width, height) * (8 + number % 23) // 80
            inside = (x - left) ** 2 + (y - top) ** 2 < radius**2
            stripes = ((x * (disc + 1) + y * (seed + 1)) // (9 + disc)) % 2 * 40
            shade = np.where(inside, shade + number % 120 + stripes, shade)
        planes.append(shade % 256)
    out = io.BytesIO()
    Image.fromarray(np.stack(planes, axis=2).astype(np.uint8)).save(out, "PNG")
    return out.getvalue()
