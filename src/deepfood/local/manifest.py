"""The gallery's manifest, the names of its parts on disk, its copy of its Model, and leftovers."""

import shutil
from pathlib import Path
from typing import Annotated, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from deepfood.artifacts import MANIFEST, Manifest, kind_of, write_atomically
from deepfood.errors import (
    ArtifactError,
    ArtifactFormatError,
    ModelMismatchError,
    raising_disk_full,
)
from deepfood.gallery.calibration import Calibration
from deepfood.gallery.reports import PartsReport
from deepfood.gallery.tuned import Tuned
from deepfood.index import INDEXES, IndexSpec, Storage
from deepfood.model import Model, ModelManifest, open_model

MODELS = "models"
#: What `verify --repair` could not use, and does not delete.
LOST_FOUND = "lost+found"

PartsStorage = Literal["f16", "i8"]

_GENERATION, _OF_PARTS = "generation-", "index-parts-"


class PartsManifest(BaseModel):
    """How a gallery keeps the parts of its photos: see `local/parts.py`.

    `index` covers the first `covered` rows of their file.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    storage: PartsStorage
    index: IndexSpec
    covered: Annotated[int, Field(ge=0)]


class LocalManifest(Manifest):
    """Which generation lives, and the facts about it that only a new manifest changes.

    The number of photos is in the catalogue, which changes with each photo. `files` lists the file
    of the index, the only file that is never changed in place.
    """

    kind_wanted: ClassVar[str] = "gallery"
    #: Galleries of format 1 had no journal.
    format_oldest: ClassVar[int] = 2
    kind: Literal["gallery"] = "gallery"

    generation: Annotated[int, Field(ge=1)]
    photos_root: str
    dimension: Annotated[int, Field(ge=1)]
    storage: Storage
    model_name: str
    model_fingerprint: str
    #: The index, with its kind, and the rows that it covers: [0, covered).
    index: IndexSpec
    covered: Annotated[int, Field(ge=0)]
    #: Whether the kind of index follows the number of photos (`auto`).
    index_by_size: bool
    #: The parts of photos, where the gallery has them.
    parts: PartsManifest | None = None
    #: The calibration, or the reason why there is none.
    calibration: Calibration | None = None
    uncalibrated: str | None = None
    #: How `deepfood tune` has tuned it; a build or another Model ends that.
    tuned: Tuned | None = None
    #: The generation that had the same photos when this one took over, and the number of this
    #: one's newest change then. None after a build, which has other photos.
    took_over: tuple[int, int] | None = None
    #: The generation before the last build or change of Model, for `rollback`.
    before: "LocalManifest | None" = None

    @classmethod
    def parse(cls, text: bytes, folder: Path | str) -> Self:
        """Also raise ArtifactFormatError for a format that is too old to be read."""
        manifest = super().parse(text, folder)
        if manifest.format_version < cls.format_oldest:
            raise ArtifactFormatError(
                f"{folder} was made by an earlier deepfood: deepfood verify --repair {folder} "
                "upgrades it to the current format; nothing is lost or embedded again"
            )
        return manifest

    def write(self, folder: Path) -> None:
        """Commit, after writing a copy for `verify --repair` to the generation's folder."""
        super().write(self.folder(folder))
        super().write(folder)

    def folder(self, gallery: Path) -> Path:
        return generation_folder(gallery, self.generation)

    def index_path(self, gallery: Path) -> Path:
        return index_path(self.folder(gallery), self.index, self.covered)

    def parts_report(self) -> PartsReport | None:
        kept = self.parts
        return PartsReport(kept.covered, kept.storage, kept.index.kind) if kept else None

    def parts_index_path(self, gallery: Path) -> Path:
        assert self.parts is not None
        return parts_index_path(self.folder(gallery), self.parts.index, self.parts.covered)

    def model_folder(self, gallery: Path) -> Path:
        return _model_folder(gallery, self.model_fingerprint)

    @property
    def alone(self) -> "LocalManifest":
        """This manifest without the generation before."""
        return self.model_copy(update={"before": None})

    @property
    def next_generation(self) -> int:
        """The number of the next generation, above this one and the one before."""
        return max(self.generation, self.before.generation if self.before else 0) + 1

    def check_model(self, gallery: Path, model: Model) -> None:
        """Raise ModelMismatchError unless the gallery was made with this Model."""
        if self.model_fingerprint != model.fingerprint:
            raise ModelMismatchError(
                f"{gallery} was made with the Model {self.model_name} "
                f"({self.model_fingerprint[:12]}), and you are using {model.manifest.name} "
                f"({model.fingerprint[:12]}): leave --model out, or build it again"
            )


class AnyLocalManifest(LocalManifest):
    """A manifest of the current or an earlier format, for upgrade.py."""

    format_oldest: ClassVar[int] = 1


def is_gallery(folder: Path) -> bool:
    """Whether the folder holds a gallery, in whatever state."""
    return (folder / MANIFEST).is_file() and kind_of(folder) == "gallery"


def manifest_copies(gallery: Path) -> list[Path]:
    """The generation folders with a copy of their manifest, the newest copy last."""
    found = [path.parent for path in gallery.glob(f"{_GENERATION}*/{MANIFEST}")]
    return sorted(found, key=lambda folder: (folder / MANIFEST).stat().st_mtime_ns)


def generation_folder(gallery: Path, generation: int) -> Path:
    return gallery / f"{_GENERATION}{generation:06d}"


def is_generation(path: Path) -> bool:
    return path.name.startswith(_GENERATION)


def index_path(folder: Path, spec: IndexSpec, covered: int) -> Path:
    """The path of the index of the first `covered` rows; kinds without a file have none there."""
    return folder / f"index-{covered:09d}.{INDEXES[spec.kind].suffix}"


def parts_index_path(folder: Path, spec: IndexSpec, covered: int) -> Path:
    """As `index_path`, for the parts of photos."""
    return folder / f"{_OF_PARTS}{covered:09d}.{INDEXES[spec.kind].suffix}"


def is_of_parts(name: str) -> bool:
    """Whether an index's file, as a manifest lists it, is that of the parts of photos."""
    return name.rpartition("/")[2].startswith(_OF_PARTS)


def _model_folder(gallery: Path, fingerprint: str) -> Path:
    return gallery / MODELS / fingerprint[:16]


def gallery_model(gallery: Path, named: Path | None = None) -> Model:
    """The Model in the folder `named`; None means the gallery's copy of its own Model.

    Raises an ArtifactError; ModelMismatchError where the gallery was made with another Model.
    """
    manifest = LocalManifest.read(gallery)
    if named is None:
        try:
            model = open_model(manifest.model_folder(gallery))
        except ArtifactError as error:
            raise type(error)(
                f"the gallery's copy of its Model cannot be used ({error}): name the Model "
                f"{manifest.model_name} with --model"
            ) from error
    else:
        model = open_model(named)
    manifest.check_model(gallery, model)
    return model


def keep_model(gallery: Path, model: Model) -> None:
    """Copy a Model into the gallery, so that serving needs nothing else. Raises DiskFullError."""
    to = _model_folder(gallery, model.fingerprint)
    if not any(model_problems(to, model.fingerprint)):
        return
    with raising_disk_full(gallery):
        to.mkdir(parents=True, exist_ok=True)
        for name in model.manifest.files:
            write_atomically(to / name, (model.folder / name).read_bytes())
        model.manifest.write(to)


def model_problems(copy: Path, fingerprint: str) -> list[str]:
    """The faults of a copy of a Model, a line each. Every byte is read."""
    try:
        manifest = ModelManifest.read(copy)
    except ArtifactError as error:
        return [str(error)]
    if manifest.fingerprint != fingerprint:
        return [f"{copy} is a copy of another Model"]
    return list(manifest.problems(copy, contents=True))


def remove_leftovers(out: Path, manifest: LocalManifest) -> None:
    """Delete what no reader needs: earlier generations, their Models and indexes.

    A server that still reads them keeps its files open.
    """
    for path in leftovers(out, manifest):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def leftovers(out: Path, manifest: LocalManifest) -> list[Path]:
    """What belongs neither to the living generation nor to the one before."""
    kept = [manifest, *([manifest.before] if manifest.before else [])]
    folders = [one.folder(out) for one in kept]
    models = [one.model_folder(out) for one in kept]
    found = [path for path in out.iterdir() if is_generation(path) and path not in folders]
    found += [path for path in (out / MODELS).glob("*") if path not in models]
    for one in kept:
        found += old_indexes(out, one)
    return sorted(found)


def remove_old_indexes(out: Path, manifest: LocalManifest) -> None:
    """Delete the index files that the living one has replaced."""
    for path in old_indexes(out, manifest):
        path.unlink(missing_ok=True)


def old_indexes(out: Path, manifest: LocalManifest) -> list[Path]:
    """Index files in a generation's folder that its manifest does not name."""
    folder = manifest.folder(out)
    return [
        path
        for path in folder.iterdir()
        if path.name.startswith(("index-", ".index-"))
        and path.relative_to(out).as_posix() not in manifest.files
    ]


def keep_aside(folder: Path, path: Path) -> Path:
    """Move a file or folder to the gallery's lost+found, under a free name. Returns where it is."""
    home = folder / LOST_FOUND
    home.mkdir(exist_ok=True)
    to, number = home / path.name, 1
    while to.exists():
        to, number = home / f"{path.name}.{number}", number + 1
    shutil.move(path, to)
    return to.relative_to(folder)
