"""A Gallery that can be searched: its manifest, its Store and its index, all opened read-only."""

import hashlib
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Literal, Self

import numpy as np
import numpy.typing as npt
from pydantic import Field

from deepfood.artifacts import Manifest
from deepfood.data.photos import path_inside
from deepfood.errors import ModelMismatchError, PhotoNotFoundError
from deepfood.gallery.calibration import Calibration
from deepfood.gallery.store import Photo, Store
from deepfood.index import INDEXES, IndexSpec
from deepfood.model import Model

_GENERATION = "generation-"


class GalleryManifest(Manifest):
    """`generation` names the sub-folder that holds the files; a rebuild writes the next one."""

    kind_wanted: ClassVar[str] = "gallery"
    kind: Literal["gallery"] = "gallery"

    generation: Annotated[int, Field(ge=1)]
    photos_root: str
    count: Annotated[int, Field(ge=0)]
    skipped: Annotated[int, Field(ge=0)]
    labels: Annotated[int, Field(ge=0)]
    dimension: Annotated[int, Field(ge=1)]
    model_name: str
    model_fingerprint: str
    index: IndexSpec
    #: How sure answers are, or a line that says why that is not known; neither in early galleries.
    calibration: Calibration | None = None
    uncalibrated: str | None = None

    def folder(self, gallery: Path) -> Path:
        return generation_folder(gallery, self.generation)


def generation_folder(gallery: Path, generation: int) -> Path:
    return gallery / f"{_GENERATION}{generation:06d}"


def is_generation(path: Path) -> bool:
    return path.name.startswith(_GENERATION)


@dataclass(frozen=True)
class Hit:
    """A photo of the gallery and its cosine similarity to the query, -1 to 1.

    `probability` is that of having the query's label, where `judge` could tell.
    """

    photo: Photo
    score: float
    probability: float | None = None


class Gallery:
    """Search by vector or by id; safe to use from many threads."""

    def __init__(self, folder: Path, manifest: GalleryManifest, photos_root: Path) -> None:
        self.folder = folder
        self.manifest = manifest
        self.photos_root = photos_root
        inside = manifest.folder(folder)
        self.store = Store.open(inside, manifest.dimension)
        self.attributes = self.store.attributes
        self.vectors = self.store.vectors()
        kind = INDEXES[manifest.index.kind]
        path = inside / f"index.{kind.suffix}"
        self.index = kind.open(self.store.vector_file(), path, manifest.index, manifest.count)

    @classmethod
    def open(cls, folder: Path, model: Model, photos_root: Path | None = None) -> Self:
        """Open a gallery with the Model that its queries will be embedded with.

        `photos_root` says where the photos are now, if not where they were when it was built.
        Raises an ArtifactError: missing, corrupt, of a newer format, or ModelMismatchError.
        """
        manifest = GalleryManifest.read(folder)
        if manifest.model_fingerprint != model.fingerprint:
            raise ModelMismatchError(
                f"{folder} was made with the Model {manifest.model_name} "
                f"({manifest.model_fingerprint[:12]}), and you are using {model.manifest.name} "
                f"({model.fingerprint[:12]}): name the right one with --model, or build it again"
            )
        manifest.check_on_open(folder)
        return cls(folder, manifest, photos_root or Path(manifest.photos_root))

    def close(self) -> None:
        self.store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def search(self, query: npt.NDArray[np.float32], k: int) -> list[Hit]:
        """The k photos nearest to a unit vector, float32 [dimension]; all where there are fewer.

        Raises QueryError for k < 1.
        """
        rows, scores = self.index.search(query, k)
        return [
            Hit(self.store.at(int(row)), float(score))
            for row, score in zip(rows, scores, strict=True)
        ]

    def search_like(self, photo_id: str, k: int) -> list[Hit]:
        """The k photos nearest to one of the gallery, itself left out. Raises QueryError."""
        row, photo = self._find(photo_id)
        hits = self.search(np.array(self.vectors[row]), k + 1 if k > 0 else k)
        return [hit for hit in hits if hit.photo.id != photo.id][:k]

    def photo(self, photo_id: str) -> Photo:
        """Raises PhotoNotFoundError."""
        return self._find(photo_id)[1]

    def read(self, photo: Photo) -> bytes:
        """The photo's file, if it still is what was built from.

        The content is compared with the catalogue, so nothing but the indexed photos can ever be
        read this way. Raises PhotoNotFoundError where the file is gone or has changed.
        """
        path = path_inside(self.photos_root, photo.file)
        try:
            data = path.read_bytes() if path and path.stat().st_size == photo.bytes else b""
        except OSError:
            data = b""
        if hashlib.sha256(data).hexdigest() != photo.sha256:
            raise PhotoNotFoundError(
                f"photo {photo.id} is no longer what the gallery was built from: build it again"
            )
        return data

    def sample(self, count: int, seed: int) -> list[Photo]:
        """Photos drawn at random, the same for the same seed; all where there are fewer."""
        rows = random.Random(seed).sample(range(len(self.vectors)), min(count, len(self.vectors)))  # noqa: S311
        return [self.store.at(row) for row in rows]

    def _find(self, photo_id: str) -> tuple[int, Photo]:
        found = self.store.find(photo_id)
        if found is None:
            raise PhotoNotFoundError(f"there is no photo {photo_id[:40]!r} in this gallery")
        return found
