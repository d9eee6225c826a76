"""What `deepfood info` and `deepfood verify` say of an artifact, whichever kind it is."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from deepfood.artifacts import kind_of
from deepfood.config import Settings
from deepfood.engine import engine_at
from deepfood.model import ModelManifest
from deepfood.place import Place
from deepfood.release.cached import cached


def describe(place: Place, settings: Settings) -> dict[str, Any]:
    """The facts of a Model or gallery, ready for JSON. Raises an ArtifactError."""
    folder = _model_at(place, settings)
    return engine_at(place, settings).describe() if folder is None else describe_model(folder)


def describe_model(folder: Path) -> dict[str, Any]:
    """The facts of the Model in `folder`, ready for JSON. Raises an ArtifactError."""
    model = ModelManifest.read(folder)
    return {
        **model.model_dump(mode="json", exclude={"files", "labels"}),
        "fingerprint": model.fingerprint,
        "bytes": sum(record.bytes for record in model.files.values()),
        # In memory each takes about its size on disk; that of words from the first words on.
        "text_tower_bytes": sum(model.files[name].bytes for name in model.text_files),
    }


def problems_of(place: Place, settings: Settings, *, quiet: bool = False) -> Iterator[str]:
    """Every fault in a Model or gallery, a line each; of a release, also where it is stored.

    Raises an ArtifactError.
    """
    if place.kind == "folder" and kind_of(Path(place.text)) == "model":
        folder = Path(place.text)
        return ModelManifest.read(folder).problems(folder, contents=True)
    return engine_at(place, settings).problems(quiet=quiet)


def repair_gallery(
    place: Place, settings: Settings, *, quiet: bool = False
) -> tuple[list[str], list[str]]:
    """Mend a gallery: what was done, and what is still wrong. Raises an ArtifactError."""
    return engine_at(place, settings).repair(quiet=quiet)


def _model_at(place: Place, settings: Settings) -> Path | None:
    """The folder of a Model; None where the place holds a gallery."""
    if place.kind == "milvus":
        return None
    folder = cached(place.text, settings) if place.kind == "release" else Path(place.text)
    return folder if kind_of(folder) == "model" else None
