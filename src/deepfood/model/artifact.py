"""A Model: a folder with `model.onnx` and a manifest with its input and output.

It may have a text tower too: `text.onnx` and `tokenizer.json`, which turn words into vectors of the
photos' space.
"""

import hashlib
import json
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from deepfood.artifacts import FileRecord, Manifest, replacing, sha256_of_file, write_atomically
from deepfood.errors import ArtifactError, raising_disk_full
from deepfood.photo import Preprocess

ONNX = "model.onnx"
TEXT_ONNX = "text.onnx"
TOKENIZER = "tokenizer.json"
#: The vectors that texts and photos had where the Model was made.
GOLDEN = "golden.json"
CARD = "README.md"
#: Ids of the photos that the Model was trained on, one per line: on them it looks too good.
TRAINED_ON = "trained_on.txt"
#: Prefixes of names of weight files beside a graph; the rest is from their SHA-256.
WEIGHTS, TEXT_WEIGHTS = "weights-", "text-weights-"
_NAMES = (ONNX, TEXT_ONNX, TOKENIZER, GOLDEN, CARD, TRAINED_ON)
#: The prefix of file names while they replace those of an earlier Model.
_NEXT = "next-"

#: The Model that ships with deepfood: no download, no torch.
DEFAULT_MODEL = Path(__file__).parent / "default"


class TextTower(BaseModel):
    """How words become the input of `text.onnx`, beyond what is in `tokenizer.json`.

    Its inputs are `ids`, [1, context], and with `attention_mask` also `mask` of the same shape and
    type; its output `embedding` is float [1, dimension], in the space of the photos' vectors.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    #: The number of tokens of a text, with begin and end tokens; it is cut or padded to that.
    context: Annotated[int, Field(ge=2, le=8192)]
    pad_id: Annotated[int, Field(ge=0)]
    pad_side: Literal["left", "right"] = "right"
    #: The token at the end of each text, even of one that was cut; None if there is none.
    end_id: Annotated[int, Field(ge=0)] | None = None
    #: The largest token id plus one: the rows of the network's embedding table.
    vocabulary: Annotated[int, Field(ge=1)]
    id_type: Literal["int32", "int64"] = "int64"
    attention_mask: bool = False
    lowercase: bool = False
    #: Remove punctuation, and make runs of white space one space, as big_vision does.
    canonicalise: bool = False
    #: The languages that it was trained on ("English", "more than 100"); "" if unknown.
    languages: str = ""


class ModelManifest(Manifest):
    """`model.onnx`: float32 [1, 3, size, size], normalised RGB, to float [1, dimension]."""

    kind_wanted: ClassVar[str] = "model"
    kind: Literal["model"] = "model"

    name: str
    backbone: str
    dimension: Annotated[int, Field(ge=1, le=65_536)]
    preprocess: Preprocess
    #: The input of `text.onnx`; None if the Model has no text tower.
    text_tower: TextTower | None = None
    labels: tuple[str, ...] = ()
    #: Its training, and its metrics on held-out photos; empty if it was not trained here.
    training: Annotated[dict[str, JsonValue], Field(default_factory=dict)]
    source: str
    #: For an imported Model: the hash of each original file, by its original name.
    imported: dict[str, str] = Field(default_factory=dict)
    licence: str

    def file(self, name: str) -> str:
        """The current name of a file, which differs while a Model is being replaced."""
        return _NEXT + name if _NEXT + name in self.files else name

    @property
    def text_files(self) -> frozenset[str]:
        """The files of the text tower; empty without one."""
        own = {self.file(TEXT_ONNX), self.file(TOKENIZER)}
        return frozenset(f for f in self.files if f in own or f.startswith(TEXT_WEIGHTS))

    @property
    def fingerprint(self) -> str:
        """64 hex digits that change whenever the vectors of photos would.

        The text tower has no part in it: galleries hold vectors of photos only.
        """
        parts: dict[str, Any] = {
            "onnx": self.files[self.file(ONNX)].sha256,
            # Options that earlier Models did not have are omitted at their defaults.
            "preprocess": self.preprocess.model_dump(mode="json", exclude_defaults=True),
            "dimension": self.dimension,
        }
        weights = sorted(name for name in self.files if name.startswith(WEIGHTS))
        if weights:
            parts["weights"] = [self.files[name].sha256 for name in weights]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class Model:
    folder: Path
    manifest: ModelManifest

    @property
    def onnx(self) -> Path:
        return self.folder / self.manifest.file(ONNX)

    @property
    def text_onnx(self) -> Path:
        return self.folder / self.manifest.file(TEXT_ONNX)

    @property
    def tokenizer(self) -> Path:
        return self.folder / self.manifest.file(TOKENIZER)

    @property
    def has_golden(self) -> bool:
        """Whether it has golden vectors, from the machine where it was made."""
        return self.manifest.file(GOLDEN) in self.manifest.files

    @property
    def weights(self) -> dict[str, Path]:
        """The weight files beside `model.onnx`, by name; most Models have none."""
        return self._parts(name for name in self.manifest.files if name.startswith(WEIGHTS))

    @property
    def text_parts(self) -> dict[str, Path]:
        """The files of the text tower, by their names for `write_model`; empty without one."""
        return self._parts(self.manifest.text_files)

    def _parts(self, files: Iterable[str]) -> dict[str, Path]:
        return {name.removeprefix(_NEXT): self.folder / name for name in sorted(files)}

    @cached_property
    def fingerprint(self) -> str:
        return self.manifest.fingerprint

    @cached_property
    def trained_on(self) -> frozenset[str]:
        """Ids of the photos that it was trained on; empty if unknown."""
        name = self.manifest.file(TRAINED_ON)
        if name not in self.manifest.files:
            return frozenset()
        return frozenset((self.folder / name).read_text(encoding="ascii").split())


def open_model(folder: Path | None = None) -> Model:
    """Open a Model and verify every byte of it; None is the one that ships with deepfood.

    Of a text tower only the sizes are checked here; its bytes when words are first embedded. Raises
    ArtifactMissingError, ArtifactCorruptError or ArtifactFormatError.
    """
    folder = folder or DEFAULT_MODEL
    manifest = ModelManifest.read(folder)
    # The vectors that it makes are stored for long.
    manifest.check_every_byte(folder, manifest.files.keys() - manifest.text_files)
    manifest.check_on_open(folder, contents=False)
    return Model(folder, manifest)


def write_model(
    folder: Path,
    onnx: bytes,
    card: str,
    *,
    trained_on: Iterable[str] = (),
    files: Mapping[str, bytes | Path] | None = None,
    **about: Any,
) -> ModelManifest:
    """Write a Model folder, its manifest last; `about` are the manifest's own fields.

    `files` are the others by name: those of a text tower, weights beside a graph (see
    `weights_name`), and golden vectors; a Path is copied. An earlier Model in the folder is
    replaced: killed at any moment, this leaves one or the other. Raises DiskFullError.
    """
    contents: dict[str, bytes | Path] = {ONNX: onnx, CARD: card.encode(), **(files or {})}
    ids = sorted(set(trained_on))
    if ids:
        contents[TRAINED_ON] = "".join(f"{one}\n" for one in ids).encode("ascii")
    # A graph refers to its weight files by name, so that they keep one name, from their content.
    fixed = {name for name in contents if name.startswith((WEIGHTS, TEXT_WEIGHTS))}
    with raising_disk_full(folder):
        folder.mkdir(parents=True, exist_ok=True)
        before = _files(folder)
        # A file in the manifest is never overwritten. So the new Model is committed under other
        # names first, and then again under its own.
        prefixes = (_NEXT, "") if before & (contents.keys() - fixed) else ("",)
        try:
            for name in fixed - before:
                _write(folder / name, contents[name])
            for prefix in prefixes:
                named = {name if name in fixed else prefix + name: name for name in contents}
                for new, name in named.items():
                    if name not in fixed:
                        _write(folder / new, contents[name])
                records = {new: FileRecord.of(folder / new) for new in named}
                manifest = ModelManifest(files=records, **about)
                manifest.write(folder)
        finally:
            ours = before | fixed | {prefix + n for prefix in (_NEXT, "") for n in _NAMES}
            for name in ours - _files(folder):
                (folder / name).unlink(missing_ok=True)
    return manifest


def weights_name(prefix: str, path: Path) -> str:
    """The name for the weight file at `path`; `prefix` is WEIGHTS or TEXT_WEIGHTS."""
    return f"{prefix}{sha256_of_file(path)[:16]}.bin"


def _write(path: Path, contents: bytes | Path) -> None:
    if isinstance(contents, bytes):
        write_atomically(path, contents)
        return
    with contents.open("rb") as source, replacing(path) as file:
        shutil.copyfileobj(source, file, 2**20)


def _files(folder: Path) -> set[str]:
    """The files of the Model in the folder; empty if there is none that can be read."""
    try:
        return set(ModelManifest.read(folder).files)
    except ArtifactError:
        return set()
