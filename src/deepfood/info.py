"""What `deepfood info` and `deepfood verify` say of an artefact, whichever kind it is."""

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from deepfood.artifacts import kind_of
from deepfood.gallery import GalleryManifest
from deepfood.gallery.store import Store
from deepfood.gallery.verify import gallery_problems
from deepfood.model import ModelManifest


def describe(folder: Path) -> dict[str, Any]:
    """The facts of a Model or gallery, ready for JSON. Raises an ArtifactError."""
    if kind_of(folder) == "model":
        model = ModelManifest.read(folder)
        return {
            **model.model_dump(mode="json", exclude={"files", "labels"}),
            "fingerprint": model.fingerprint,
            "bytes": sum(record.bytes for record in model.files.values()),
        }
    gallery = GalleryManifest.read(folder)
    gallery.check_on_open(folder)
    store = Store.open(gallery.folder(folder), gallery.dimension)
    left_out = [asdict(one) for one in store.skipped()]
    store.close()
    return {
        **gallery.model_dump(mode="json", exclude={"files", "index", "skipped"}),
        "index": gallery.index.kind,
        "bytes": sum(record.bytes for record in gallery.files.values()),
        "skipped": gallery.skipped,
        "left_out": left_out,
    }


def problems_of(
    folder: Path, photos_root: Path | None = None, *, quiet: bool = False
) -> Iterator[str]:
    """Every fault in a Model or gallery, a line each. Raises an ArtifactError."""
    if kind_of(folder) == "model":
        return ModelManifest.read(folder).problems(folder, contents=True)
    return gallery_problems(folder, photos_root, quiet=quiet)
