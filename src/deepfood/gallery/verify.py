"""Check a gallery to the last byte: its files, its vectors, its index, and its photos."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from deepfood.artifacts import sha256_of_file
from deepfood.data.photos import path_inside
from deepfood.errors import ArtifactError
from deepfood.gallery.gallery import Gallery, GalleryManifest
from deepfood.progress import bar

_CHUNK = 4096


def gallery_problems(
    folder: Path, photos_root: Path | None = None, *, quiet: bool = False
) -> Iterator[str]:
    """One line for each fault found; none means that the gallery is whole.

    Raises an ArtifactError where there is no readable manifest to check against.
    """
    manifest = GalleryManifest.read(folder)
    damaged = False
    for problem in manifest.problems(folder, contents=True):
        damaged = True
        yield problem
    if damaged:
        return  # what stands inside damaged files says nothing
    try:
        gallery = Gallery(folder, manifest, photos_root or Path(manifest.photos_root))
    except ArtifactError as error:
        yield str(error)
        return
    try:
        if len(gallery.vectors) != manifest.count:
            yield f"{len(gallery.vectors)} vectors, and the manifest says {manifest.count}"
        for start in range(0, len(gallery.vectors), _CHUNK):
            lengths = np.linalg.norm(gallery.vectors[start : start + _CHUNK], axis=1)
            for row in np.flatnonzero(~(np.abs(lengths - 1) < 1e-3)):
                yield f"vector {start + row} has length {lengths[row]:.3f}, not 1"
        with bar("checking", " photos", manifest.count, quiet=quiet) as progress:
            for photo in gallery.store.photos():
                path = path_inside(gallery.photos_root, photo.file)
                if path is None or not path.is_file():
                    yield f"photo {photo.file} is missing from {gallery.photos_root}"
                elif sha256_of_file(path) != photo.sha256:
                    yield f"photo {photo.file} has changed since the gallery was built"
                progress.update()
    finally:
        gallery.close()
