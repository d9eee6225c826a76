"""Find the parts of photos that nobody has looked at yet: of those that were added since."""

import contextlib
from collections.abc import Callable, Sequence
from pathlib import Path

from deepfood.data.locate import IN_PLACE, PhotoAccess
from deepfood.errors import ArtifactBusyError, ArtifactError
from deepfood.gallery.part_vectors import PartEmbedder, PhotoParts
from deepfood.local.gallery import LocalGallery
from deepfood.local.lock import only_writer
from deepfood.local.make_parts import make_parts
from deepfood.local.manifest import LocalManifest
from deepfood.local.parts import StoredParts
from deepfood.local.recover import open_to_change
from deepfood.locks import held

_LOCK = ".parts.lock"
#: How long it waits for a writer, which commits a batch at a time.
_WAIT_S = 5.0


def complete_parts(
    folder: Path,
    open_embedder: Callable[[], PartEmbedder],
    photos: PhotoAccess = IN_PLACE,
    *,
    quiet: bool,
) -> None:
    """Look at the photos that lack it, where the gallery keeps parts, and no other process does.

    `open_embedder` is called only where there are any. A photo that cannot be read is passed over.
    Raises ArtifactError (ArtifactBusyError where somebody else writes for long), DiskFullError.
    """
    with contextlib.ExitStack() as opened:
        gallery = opened.enter_context(LocalGallery.open(folder, photos=photos))
        manifest = gallery.manifest
        about = manifest.parts
        if about is None:
            return
        lacking = StoredParts(gallery.store, about.storage).lacking()
        if not lacking:
            return
        try:
            opened.enter_context(held(folder / _LOCK, ArtifactBusyError("")))
        except ArtifactBusyError:
            return  # another process is at it
        except PermissionError as error:
            raise ArtifactError(f"{folder} cannot be written: {error.strerror}") from error

        def keep(found: Sequence[tuple[str, PhotoParts]]) -> None:
            with only_writer(folder, _WAIT_S):
                if LocalManifest.read(folder).generation == manifest.generation:
                    with open_to_change(folder, manifest) as store:
                        StoredParts(store, about.storage).append(found, announce=True)

        make_parts(
            lacking,
            gallery.read,
            open_embedder(),
            keep,
            reads_ahead=gallery.reads_ahead,
            quiet=quiet,
        )
