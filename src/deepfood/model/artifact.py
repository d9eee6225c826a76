"""A Model: a folder with `model.onnx` and a manifest: how to feed it, what comes out."""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, JsonValue

from deepfood.artifacts import FileRecord, Manifest, write_atomically
from deepfood.errors import ArtifactError, raising_disk_full
from deepfood.photo import Preprocess

ONNX = "model.onnx"
CARD = "README.md"
#: Ids of the photos that the Model was trained on, a line each; they flatter it when measured.
TRAINED_ON = "trained_on.txt"
#: Begins the names that files have while they replace those of an earlier Model.
_NEXT = "next-"

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
    #: How it was trained, and what was measured on held-out photos; empty for one that was not.
    training: Annotated[dict[str, JsonValue], Field(default_factory=dict)]
    source: str
    licence: str

    def file(self, name: str) -> str:
        """Under which name the folder has `name`: another one while a Model is being replaced."""
        return _NEXT + name if _NEXT + name in self.files else name

    @property
    def fingerprint(self) -> str:
        """64 hex digits that change whenever vectors of this Model would."""
        parts = {
            "onnx": self.files[self.file(ONNX)].sha256,
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
        return self.folder / self.manifest.file(ONNX)

    @cached_property
    def fingerprint(self) -> str:
        return self.manifest.fingerprint

    @cached_property
    def trained_on(self) -> frozenset[str]:
        """Ids of the photos it was trained on; empty where it does not say."""
        name = self.manifest.file(TRAINED_ON)
        if name not in self.manifest.files:
            return frozenset()
        return frozenset((self.folder / name).read_text(encoding="ascii").split())


def open_model(folder: Path | None = None) -> Model:
    """Open a Model and check every byte of it; None is the one that ships with deepfood.

    Raises ArtifactMissingError, ArtifactCorruptError or ArtifactFormatError.
    """
    folder = folder or DEFAULT_MODEL
    manifest = ModelManifest.read(folder)
    manifest.check_every_byte(folder)  # whatever it embeds is kept with a checksum
    return Model(folder, manifest)


def write_model(
    folder: Path,
    onnx: bytes,
    card: str,
    *,
    trained_on: Iterable[str] = (),
    **about: Any,
) -> ModelManifest:
    """Write a Model folder, its manifest last; `about` are the manifest's own fields.

    An earlier Model in the folder is replaced: killed at any moment, this leaves the one or the
    other. Raises DiskFullError.
    """
    contents = {ONNX: onnx, CARD: card.encode()}
    ids = sorted(set(trained_on))
    if ids:
        contents[TRAINED_ON] = "".join(f"{one}\n" for one in ids).encode("ascii")
    with raising_disk_full(folder):
        folder.mkdir(parents=True, exist_ok=True)
        before = _files(folder)
        # A file that the manifest names is never written over. So the new Model is committed under
        # other names first, and then once more, under its own.
        prefixes = (_NEXT, "") if before & contents.keys() else ("",)
        try:
            for prefix in prefixes:
                for name, data in contents.items():
                    write_atomically(folder / (prefix + name), data)
                files = {
                    prefix + name: FileRecord.of(folder / (prefix + name)) for name in contents
                }
                manifest = ModelManifest(files=files, **about)
                manifest.write(folder)
        finally:
            ours = {prefix + name for prefix in (_NEXT, "") for name in (ONNX, CARD, TRAINED_ON)}
            for name in ours - _files(folder):
                (folder / name).unlink(missing_ok=True)
    return manifest


def _files(folder: Path) -> set[str]:
    """What the Model in the folder consists of; empty where there is none that can be read."""
    try:
        return set(ModelManifest.read(folder).files)
    except ArtifactError:
        return set()
