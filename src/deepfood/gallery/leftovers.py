"""What lies in a gallery's folder and belongs to nothing that lives."""

import shutil
from pathlib import Path

from deepfood.gallery.manifest import MODELS, GalleryManifest, is_generation

#: Unfinished work of a build, which the next build goes on with.
BUILDING = "building"


def remove_leftovers(out: Path, manifest: GalleryManifest) -> None:
    """What no reader needs: earlier generations, their Models and indexes, unfinished work.

    A server that reads them keeps its open files.
    """
    for path in leftovers(out, manifest):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
    shutil.rmtree(out / BUILDING, ignore_errors=True)


def leftovers(out: Path, manifest: GalleryManifest) -> list[Path]:
    """What lies in the gallery's folder and belongs to nothing that lives."""
    living, model = manifest.folder(out), manifest.model_folder(out)
    found = [path for path in out.iterdir() if is_generation(path) and path != living]
    found += [path for path in (out / MODELS).glob("*") if path != model]
    found += _old_indexes(out, manifest)
    return sorted(found)


def remove_old_indexes(out: Path, manifest: GalleryManifest) -> None:
    """Files of the index that the living one has replaced."""
    for path in _old_indexes(out, manifest):
        path.unlink(missing_ok=True)


def _old_indexes(out: Path, manifest: GalleryManifest) -> list[Path]:
    folder = manifest.folder(out)
    return [
        path
        for path in (*folder.glob("index-*"), *folder.glob(".index-*"))
        if path.relative_to(out).as_posix() not in manifest.files
    ]
