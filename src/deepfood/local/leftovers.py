"""What lies in a gallery's folder and belongs to nothing that lives."""

import shutil
from pathlib import Path

from deepfood.artifacts import BUILDING as BUILDING
from deepfood.local.manifest import MODELS, GalleryManifest, is_generation

#: What `verify --repair` could not put to use, and does not delete.
LOST_FOUND = "lost+found"


def remove_leftovers(out: Path, manifest: GalleryManifest) -> None:
    """What no reader needs: earlier generations, their Models and indexes.

    A server that reads them keeps its open files.
    """
    for path in leftovers(out, manifest):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def leftovers(out: Path, manifest: GalleryManifest) -> list[Path]:
    """What lies in the gallery's folder and belongs to nothing that lives, or can live again."""
    kept = [manifest, *([manifest.before] if manifest.before else [])]
    folders = [one.folder(out) for one in kept]
    models = [one.model_folder(out) for one in kept]
    found = [path for path in out.iterdir() if is_generation(path) and path not in folders]
    found += [path for path in (out / MODELS).glob("*") if path not in models]
    for one in kept:
        found += old_indexes(out, one)
    return sorted(found)


def remove_old_indexes(out: Path, manifest: GalleryManifest) -> None:
    """Files of the index that the living one has replaced."""
    for path in old_indexes(out, manifest):
        path.unlink(missing_ok=True)


def old_indexes(out: Path, manifest: GalleryManifest) -> list[Path]:
    """Files of indexes in a generation's folder that its manifest does not name."""
    folder = manifest.folder(out)
    return [
        path
        for path in folder.iterdir()
        if path.name.startswith(("index-", ".index-"))
        and path.relative_to(out).as_posix() not in manifest.files
    ]


def keep_aside(folder: Path, path: Path) -> Path:
    """Move a file or folder to the gallery's lost+found, under a name that is free."""
    home = folder / LOST_FOUND
    home.mkdir(exist_ok=True)
    to, number = home / path.name, 1
    while to.exists():
        to, number = home / f"{path.name}.{number}", number + 1
    shutil.move(path, to)
    return to.relative_to(folder)
