"""A Model: a folder with `model.onnx` and a manifest: how to feed it, what comes out."""

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from deepfood.artifacts import Manifest
from deepfood.photo import Preprocess

ONNX = "model.onnx"
CARD = "README.md"

#: The Model that ships with deepfood: no download, no torch.
DEFAULT_MODEL = Path(__file__).parent / "default"


class ModelManifest(Manifest):
    """`input` float32 [1, 3, size, size], normalised RGB; `output` float [1, dimension]."""

    kind_wanted: ClassVar[str] = "model"
    kind: Literal["model"] = "model"

    name: str
    backbone: str
    dimension: Annotated[int, Field(ge=1, le=65_536)]
    preprocess: Preprocess
    labels: tuple[str, ...] = ()
    source: str
    licence: str

    @property
    def fingerprint(self) -> str:
        """64 hex digits that change whenever vectors of this Model would."""
        parts = {
            "onnx": self.files[ONNX].sha256,
            "preprocess": self.preprocess.model_dump(mode="json"),
            "dimension": self.dimension,
        }
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class Model:
    folder: Path
    manifest: ModelManifest

    @property
    def onnx(self) -> Path:
        return self.folder / ONNX

    @cached_property
    def fingerprint(self) -> str:
        return self.manifest.fingerprint


def open_model(folder: Path | None = None) -> Model:
    """Open a Model and check its files; None is the one that ships with deepfood.

    Raises ArtifactMissingError, ArtifactCorruptError or ArtifactFormatError.
    """
    folder = folder or DEFAULT_MODEL
    manifest = ModelManifest.read(folder)
    manifest.check_on_open(folder)
    return Model(folder, manifest)
