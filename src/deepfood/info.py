"""`deepfood info` and `deepfood verify` for an artifact of either kind."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from deepfood.artifacts import kind_of
from deepfood.config import Settings
from deepfood.engine import engine_at
from deepfood.model import ModelManifest
from deepfood.place import Place


def describe(place: Place, settings: Settings) -> dict[str, Any]:
    """The facts of a Model or gallery, ready for JSON. Raises an ArtifactError."""
    place = place.readable(settings)
    folder = _model_folder(place)
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
    folder = _model_folder(place)
    if folder is None:
        return engine_at(place, settings).problems(quiet=quiet)
    return ModelManifest.read(folder).problems(folder, contents=True)


def repair_gallery(
    place: Place, settings: Settings, *, quiet: bool = False
) -> tuple[list[str], list[str]]:
    """Mend a gallery: what was done, and what is still wrong. Raises an ArtifactError."""
    return engine_at(place, settings).repair(quiet=quiet)


def _model_folder(place: Place) -> Path | None:
    """The folder of a Model; None for anything else."""
    folder = Path(place.text)
    return folder if place.kind == "folder" and kind_of(folder) == "model" else None
