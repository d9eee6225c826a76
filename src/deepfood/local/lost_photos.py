"""Find the bytes of added photos that are elsewhere in the gallery than in their own files."""

import hashlib
import os
import stat
from collections.abc import Iterable
from pathlib import Path

from deepfood.artifacts import read_file
from deepfood.gallery.photo import Photo
from deepfood.local.manifest import keep_aside
from deepfood.local.photo_files import PhotoFiles


def bring_back(folder: Path, photos: Iterable[Photo]) -> list[str]:
    """Write added photos to their own files, where those lack them and another file has them.

    All files of the gallery are looked at, `lost+found/` too: where files were exchanged, a photo
    may be in any of them, and a build or a repair would delete or overwrite it there. What is in
    the photo's place is moved to `lost+found/`. Returns what was done, a line each. Raises
    DiskFullError.
    """
    files, done = PhotoFiles(folder), list[str]()
    lost = [one for one in photos if not _holds(files.path(one.sha256), one)]
    alike = _by_size(folder, {one.bytes for one in lost}) if lost else {}
    for photo in lost:
        path = next((one for one in alike[photo.bytes] if _holds(one, photo)), None)
        if path is None:
            continue
        data, place = read_file(path), files.path(photo.sha256)
        if place.exists():
            kept = folder / keep_aside(folder, place)
            for some in alike.values():
                some[:] = [kept if one == place else one for one in some]
        files.write([data])
        done.append(
            f"the photo {photo.file} ({photo.id}) is back in its place: it was in "
            f"{path.relative_to(folder)}"
        )
    return done


def _by_size(folder: Path, sizes: set[int]) -> dict[int, list[Path]]:
    """The files of a gallery that have one of these sizes, by size."""
    found: dict[int, list[Path]] = {size: [] for size in sizes}
    for inside, _, names in os.walk(folder):
        for name in sorted(names):
            path = Path(inside, name)
            about = path.lstat()
            if stat.S_ISREG(about.st_mode) and about.st_size in found:
                found[about.st_size].append(path)
    return found


def _holds(path: Path, photo: Photo) -> bool:
    """Whether a file has the bytes of a photo."""
    try:
        about = path.lstat()
        if not stat.S_ISREG(about.st_mode) or about.st_size != photo.bytes:
            return False
        return hashlib.sha256(read_file(path)).hexdigest() == photo.sha256
    except OSError:
        return False
