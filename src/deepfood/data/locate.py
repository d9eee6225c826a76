"""From what a user names, a path or an s3:// URL, to the Root that is meant and a file in it."""

from pathlib import Path

from deepfood.data.root import Folder, Root
from deepfood.errors import DatasetError


def locate(where: Path | str) -> tuple[Root, str]:
    """The Root of a folder, with ""; or that of a file's folder, with the file's name.

    Raises DatasetError where there is neither.
    """
    path = Path(where)
    if path.is_dir():
        return Folder(path), ""
    if path.is_file():
        return Folder(path.parent), path.name
    if path.exists():
        raise DatasetError(f"{path} is neither a folder nor a file")
    raise DatasetError(
        f"there is no {path}: give photos, a folder of photos, or a CSV that names them"
    )


def root_named(where: Path | str) -> Root:
    """The Root called `where`, there or not, as a gallery's manifest or a setting names it."""
    return Folder(Path(where))
