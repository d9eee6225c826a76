"""Check a release in place: every byte in the bucket, and the artifact that they form."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

from deepfood.artifacts import kind_of
from deepfood.config import Settings
from deepfood.data.locate import PhotoAccess
from deepfood.errors import ArtifactError, StorageError, StorageMissingError
from deepfood.local.verify import gallery_problems
from deepfood.model import ModelManifest
from deepfood.progress import bar
from deepfood.release.cached import CachedReleases
from deepfood.release.objects import Release, blob_key, parse_address
from deepfood.release.parallel import Transfers
from deepfood.release.shelf import Shelf


def release_problems(address: str, settings: Settings, *, quiet: bool = False) -> list[str]:
    """One line for each fault of the named or the latest release; none if it is intact.

    All chunks and photos are read from the bucket and verified; then the artifact is checked.
    Raises StorageError if the bucket, or the release's own object, cannot be read.
    """
    url, name = parse_address(address)
    shelf = Shelf.open(url, settings)
    release = shelf.read(shelf.resolve(name))
    problems = _blob_problems(shelf, _chunks(release), quiet=quiet)
    if not problems:
        folder = CachedReleases(address, settings, quiet=quiet).compared(release)
        return list(_artifact_problems(folder, settings, quiet=quiet))
    try:
        problems += _blob_problems(shelf, shelf.photos(release), quiet=quiet)
    except StorageError as error:
        problems.append(f"its photos were not read: {error}")
    problems.append("the artifact was not checked: delete the damaged objects, and push again")
    return problems


def _chunks(release: Release) -> dict[str, int]:
    """SHA-256 and bytes of each piece of its files, and of its list of photos."""
    files = [*release.files.values(), *([release.photos] if release.photos else [])]
    return {
        sha256: one.chunk_bytes(number) for one in files for number, sha256 in enumerate(one.chunks)
    }


def _blob_problems(shelf: Shelf, blobs: dict[str, int], *, quiet: bool) -> list[str]:
    problems: list[str] = []
    total = sum(blobs.values())
    with (
        bar("reading", "B", total, quiet=quiet, unit_scale=True, unit_divisor=1024) as progress,
        Transfers() as parallel,
    ):

        def check(sha256: str, size: int) -> None:
            place = shelf.bucket.place(blob_key(sha256))
            try:
                data = shelf.bucket.read(blob_key(sha256))
            except StorageMissingError:
                problems.append(f"{place} is missing")
            else:
                if len(data) != size or hashlib.sha256(data).hexdigest() != sha256:
                    problems.append(f"{place} is damaged")
            progress.update(size)

        for sha256, size in blobs.items():
            parallel.run(check, sha256, size)
    return sorted(problems)


def _artifact_problems(folder: Path, settings: Settings, *, quiet: bool) -> Iterator[str]:
    """Faults of the artifact; photos of the release are read from the bucket."""
    try:
        if kind_of(folder) == "model":
            yield from ModelManifest.read(folder).problems(folder, contents=True)
        else:
            yield from gallery_problems(folder, PhotoAccess.of(settings), quiet=quiet)
    except ArtifactError as error:
        yield str(error)
